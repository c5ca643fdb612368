//! A server that is killed, again and again, while it records: each time every recording is there, as far as it was told.
//!
//! The child is this same program. It opens the folder that the last one left, continues its rooms as their next owner, and
//! writes as fast as it can, until it gets SIGKILL. `FRAY_SOAK_KILLS` says how often.

mod recorded;

use fray_server::replay::Verdict;
use fray_server::store::file::{Options, Sync};
use fray_server::store::{FileStore, Name, Store};
use recorded::{Dice, Play, Rhythm, header, verified};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SAME: Verdict = Verdict::Same { panicked: None };
const ROOMS: [&str; 3] = ["one", "two", "three"];
const FOLDER: &str = "FRAY_SOAK_FOLDER";
const EPOCH: &str = "FRAY_SOAK_EPOCH";

fn options(epoch: u64) -> Options {
    let sync = [Sync::None, Sync::Interval, Sync::Tick][epoch as usize % 3];
    let sync_interval = Duration::from_millis(50);
    let (retention_bytes, segment_bytes) = (400_000, 20_000);
    Options { sync, sync_interval, retention_bytes, segment_bytes, ..Options::default() }
}

/// Not a test by itself: what the soak kills.
#[test]
#[ignore = "make soak"]
fn the_child_records() {
    let (Ok(folder), Ok(epoch)) = (std::env::var(FOLDER), std::env::var(EPOCH)) else { return };
    let epoch: u64 = epoch.parse().expect("a number");
    let store = FileStore::open(Path::new(&folder), options(epoch)).expect("the folder is free");
    let rhythm = Rhythm { hash: 10, checkpoint: 100, chunk: 5 };
    let mut rooms = ROOMS.map(|room| {
        let writer = store.writer(header(room, epoch, 1)).expect("a later one");
        let progress = store.progress(&Name::parse(room).expect("a name")).expect("it runs");
        (room, writer, progress, Play::new(epoch, 16, rhythm), 0)
    });
    println!("\nready");
    loop {
        for (room, writer, progress, play, told) in &mut rooms {
            let chunk = play.next_chunk();
            if writer.append(chunk).is_err() {
                play.begin_anew();
            }
            let last_tick = progress.borrow().last_tick;
            if last_tick != *told {
                // Whoever reads this relies on it.
                println!("told {room} {last_tick}");
                *told = last_tick;
            }
        }
    }
}

#[tokio::test]
#[ignore = "make soak"]
async fn a_server_that_is_killed_loses_nothing_that_it_told() {
    let kills: u64 = std::env::var("FRAY_SOAK_KILLS").map_or(50, |kills| kills.parse().unwrap());
    let folder = std::env::temp_dir().join(format!("fray-soak-kill-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let (mut incomplete, mut ticks) = (0, 0);
    for epoch in 1..=kills {
        let told = record_and_kill(&folder, epoch, Duration::from_millis(dice.roll(300))).await;
        let store = FileStore::open_read_only(&folder).unwrap();
        for found in store.list().unwrap() {
            let room = found.name.as_str();
            let at = format!("seed {seed}, epoch {epoch}, {:?}, {room}", options(epoch).sync);
            let mut bytes = Vec::new();
            store.read(&found.name, 0).unwrap().read_to_end(&mut bytes).unwrap();
            let mut files = Vec::new();
            for file in files_of(&folder.join("rooms").join(room)) {
                files.extend(std::fs::read(file).unwrap());
            }
            // The last owner began at tick 1, and so does this.
            assert_eq!(verified(bytes.as_slice()).verdict, SAME, "{at}");
            incomplete += u32::from(!files.ends_with(&bytes));
            let report = verified(files.as_slice());
            assert_eq!((&report.verdict, report.end), (&SAME, None), "{at}");
            assert_eq!(report.last_tick, found.last_tick, "{at}");
            ticks += u64::from(report.ticks);
            if let Some(tick) = told.get(room) {
                assert_eq!(found.header.epoch, epoch, "{at}");
                assert!(found.last_tick >= *tick, "{at}: {} {tick}", found.last_tick);
            }
        }
    }
    println!("{kills} kills, {ticks} ticks played again, {incomplete} times within a record");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Says what the child had told when it was killed.
async fn record_and_kill(folder: &Path, epoch: u64, after: Duration) -> HashMap<String, u32> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_records", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(EPOCH, epoch.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = out.lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "the child is ready");
    // Its lines are read meanwhile, so that it never waits for that.
    let reading = tokio::task::spawn_blocking(move || {
        let mut told = HashMap::new();
        for line in lines {
            let mut words = line.split(' ').skip(1);
            // The last line may have been cut off.
            if let (Some(room), Some(tick), true) =
                (words.next(), words.next(), line.starts_with("told"))
                && let Ok(tick) = tick.parse::<u32>()
            {
                let known = told.entry(room.to_owned()).or_insert(0);
                *known = tick.max(*known);
            }
        }
        told
    });
    tokio::time::sleep(after).await;
    child.kill().unwrap();
    child.wait().unwrap();
    reading.await.unwrap()
}

fn files_of(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
