//! Files to try the tool on, and a game that breaks.

use bytes::BytesMut;
use fray_server::game::{
    Controls, Game, GameFactory, Motions, Profile, Published, Refusal, RestoreError, Setup, View,
    WorldLimits,
};
use fray_server::store::{Checkpoint, End, EndReason, Header, Reader, Record, TickDraft};
use std::fs;
use std::path::PathBuf;

/// A folder that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("replay-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// A path whose folder is there.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        path.into_os_string().into_string().expect("UTF-8")
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
        let mut names: Vec<_> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn records(bytes: &[u8]) -> Vec<Record> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(|| reader.next_record().expect("a whole recording")).collect()
}

/// The records again, but for those that `other` writes in another way.
pub(crate) fn written(
    records: &[Record],
    other: impl Fn(&Record, &mut BytesMut) -> bool,
) -> Vec<u8> {
    let mut out = BytesMut::new();
    for record in records {
        if other(record, &mut out) {
            continue;
        }
        match record {
            Record::Header(header) => header.put(&mut out),
            Record::Tick(tick) => tick.put(&mut out),
            Record::Checkpoint(c) => {
                Checkpoint::put(c.tick, c.hash, &c.state, &mut out);
            }
            Record::End(end) => end.put(&mut out),
            Record::Sessions(_) | Record::Unknown => {}
        }
    }
    out.to_vec()
}

/// A game that counts, and breaks in its seventh tick if it was made to.
pub(crate) struct Fragile;

struct Counter {
    ticks: u8,
    breaks: bool,
}

impl Fragile {
    /// `breaks`: the game does so now; `is_recorded`: it did so then.
    pub(crate) fn recording(breaks: bool, is_recorded: bool) -> Vec<u8> {
        let mut out = BytesMut::new();
        let header = Header {
            game: "fragile".into(),
            sim_version: 3,
            tick_rate_hz: 20,
            room: "fragile".into(),
            epoch: 1,
            first_tick: 1,
            incident: "a fragile game broke".into(),
            ..Header::default()
        };
        header.put(&mut out);
        let mut game = Counter { ticks: 0, breaks };
        Checkpoint::put(0, game.state_hash(), &game.checkpoint(), &mut out);
        let mut draft = TickDraft::default();
        for tick in 1..7 {
            game.step();
            draft.finish(tick, Some(game.state_hash()), false, &mut out);
        }
        draft.finish(7, None, is_recorded, &mut out);
        End { tick: 7, reason: EndReason::Panicked }.put(&mut out);
        out.to_vec()
    }
}

impl GameFactory for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }
    fn sim_version(&self) -> u32 {
        3
    }
    fn create(&self, _: &Setup) -> Box<dyn Game> {
        Box::new(Counter { ticks: 0, breaks: false })
    }
    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        match checkpoint {
            [ticks, breaks] => Ok(Box::new(Counter { ticks: *ticks, breaks: *breaks == 1 })),
            _ => Err(RestoreError("two bytes are".into())),
        }
    }
}

impl Game for Counter {
    fn world(&self) -> WorldLimits {
        WorldLimits { position_bits: 8, unit_bits: 0, speed_max: 0 }
    }
    fn motions(&self) -> Motions {
        Motions::default()
    }
    fn join(&mut self, player: u32, _: &Profile) -> u32 {
        player
    }
    fn leave(&mut self, _: u32) {}
    fn set_connected(&mut self, _: u32, _: bool) {}
    fn apply(&mut self, _: u32, _: &Controls) -> Result<(), Refusal> {
        Ok(())
    }
    fn step(&mut self) {
        self.ticks += 1;
        assert!(!self.breaks || self.ticks < 7, "it broke at {}", self.ticks);
    }
    fn publish(&self, _: &mut Published) {}
    fn view(&self, _: Option<u32>) -> View {
        View { center: [0, 0], extent: [1, 1] }
    }
    fn private(&self, _: u32, _: &mut Vec<i32>) {}
    fn checkpoint(&self) -> Vec<u8> {
        vec![self.ticks, u8::from(self.breaks)]
    }
}
