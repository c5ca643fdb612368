//! What every store does, in memory or in files. Each test runs against both.

mod recorded;

use fray_server::store::file::{Options, Sync};
use fray_server::store::{
    Chunk, EndReason, Error, FileStore, Incident, MemoryStore, Name, Progress, Reader, Record,
    Store, Writer,
};
use recorded::{Play, Rhythm, header, records, ticks, verified};
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const RHYTHM: Rhythm = Rhythm { hash: 5, checkpoint: 20, chunk: 5 };
const WAIT: Duration = Duration::from_secs(20);

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fray-store-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Small segments, so that there are many.
fn options() -> Options {
    Options { sync: Sync::Tick, segment_bytes: 1, ..Options::default() }
}

/// Runs a test against both. `bytes_max` is what the store may keep.
fn with_both(test: &str, bytes_max: u64, run: impl AsyncFn(&dyn Store)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(run(&MemoryStore::new(bytes_max as usize)));
    let folder = Folder::new(test);
    let options = Options { retention_bytes: bytes_max, ..options() };
    let store = FileStore::open(&folder.0, options).unwrap();
    runtime.block_on(run(&store));
    store.close().unwrap();
    assert_eq!(store.counts().disk_errors, 0);
}

fn name(name: &str) -> Name {
    Name::parse(name).unwrap()
}

/// Waits until so much can be read.
async fn until(progress: &mut watch::Receiver<Progress>, tick: u32) {
    let reached = progress.wait_for(|progress| progress.last_tick >= tick);
    timeout(WAIT, reached).await.expect("the store keeps up").expect("it goes on");
}

async fn append(store: &dyn Store, writer: &mut dyn Writer, room: &str, chunks: Vec<Chunk>) {
    let mut progress = store.progress(&name(room)).expect("it runs");
    for chunk in chunks {
        let tick = chunk.last_tick;
        writer.append(chunk).unwrap();
        until(&mut progress, tick).await;
    }
}

async fn end(store: &dyn Store, room: &str, writer: Box<dyn Writer>) {
    let progress = store.progress(&name(room));
    drop(writer);
    if let Some(mut progress) = progress {
        while store.find(&name(room)).is_ok_and(|found| found.is_running) {
            let _ = timeout(Duration::from_millis(10), progress.changed()).await;
        }
    }
}

#[test]
fn what_is_appended_is_read_in_order() {
    with_both("order", 1 << 30, async |store| {
        let mut play = Play::new(1, 4, RHYTHM);
        let mut writer = store.writer(header("one", 1, 5)).unwrap();
        let mut chunks = play.chunks(30);
        chunks.push(play.last_chunk(EndReason::RoomOver));
        let mut expected = Vec::new();
        let mut reader = Reader::new(&[][..]);
        for chunk in &chunks {
            let mut bytes = bytes::BytesMut::new();
            header("one", 1, 5).put(&mut bytes);
            let _ = &mut reader;
            expected.extend_from_slice(&chunk.records);
        }
        append(store, writer.as_mut(), "one", chunks).await;
        let mut bytes = Vec::new();
        store.read(&name("one"), 0).unwrap().read_to_end(&mut bytes).unwrap();
        let all = records(bytes.as_slice());
        assert_eq!(ticks(&all), (1..=play.tick()).collect::<Vec<_>>());
        // The same bytes, but for the headers of segments.
        let mut without_headers = bytes::BytesMut::new();
        for record in &all {
            match record {
                Record::Header(_) | Record::Unknown => {}
                Record::Tick(tick) => tick.put(&mut without_headers),
                Record::Checkpoint(at) => fray_server::store::Checkpoint::put(
                    at.tick,
                    at.hash,
                    &at.state,
                    &mut without_headers,
                ),
                Record::End(end) => end.put(&mut without_headers),
            }
        }
        assert_eq!(without_headers, expected);
        let report = verified(bytes.as_slice());
        assert_eq!(report.end, Some(EndReason::RoomOver));
        assert_eq!((report.last_tick, report.gaps), (play.tick(), 0));
        assert_eq!(report.verdict, fray_server::replay::Verdict::Same { panicked: None });
        end(store, "one", writer).await;
    });
}
