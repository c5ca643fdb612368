//! Goal: a heavy tick is called heavy, and no other is. Method: a game whose ticks take what its clock says, and stacks made up.

use super::load::{Window, load};
use super::measure::{Alone, Clock, InTurn, alone, in_turn, median};
use super::stacks::{Frame, Profile, Stack};
use super::verdict::{Comparison, Verdict};
use crate::replay::open::Recording;
use bytes::BytesMut;
use fray_server::game::{
    Controls, Game, GameFactory, Motions, Profile as PlayerProfile, Published, Refusal,
    RestoreError, Setup, View, WorldLimits,
};
use fray_server::replay::Games;
use fray_server::store::{Checkpoint, Header, InputRef, TickDraft};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    /// The time, as the game and the one who measures it have it.
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

fn spend(ns: u64) {
    NOW_NS.set(NOW_NS.get() + ns);
}

const LIGHT_NS: u64 = 100_000;
const HEAVY_NS: u64 = 40_000_000;
const JOIN_NS: u64 = 7_000;
const SHOW_NS: u64 = 20_000;
const CHECKPOINT_NS: u64 = 3_000_000;
const HEAVY_TICK: u32 = 150;
const LAST_TICK: u32 = 300;

/// A game with a heavy tick. Restoring it takes longer than all else.
struct Uneven;

struct Spending {
    tick: u32,
}

fn recording() -> Vec<u8> {
    let mut out = BytesMut::new();
    let header = Header {
        game: "uneven".into(),
        sim_version: 1,
        tick_rate_hz: 20,
        first_tick: 1,
        epoch: 1,
        ..Header::default()
    };
    header.put(&mut out);
    let mut game = Spending { tick: 0 };
    Checkpoint::put(0, game.state_hash(), &game.checkpoint(), &mut out);
    let mut draft = TickDraft::default();
    for tick in 1..=LAST_TICK {
        if tick == 160 {
            draft.input(InputRef::Join(1, &PlayerProfile::default()));
        }
        game.step();
        draft.finish(tick, (tick % 20 == 0).then(|| game.state_hash()), false, &mut out);
        if tick == 200 {
            Checkpoint::put(tick, game.state_hash(), &game.checkpoint(), &mut out);
        }
    }
    out.to_vec()
}

impl GameFactory for Uneven {
    fn name(&self) -> &'static str {
        "uneven"
    }
    fn sim_version(&self) -> u32 {
        1
    }
    fn create(&self, _: &Setup) -> Box<dyn Game> {
        Box::new(Spending { tick: 0 })
    }
    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        spend(HEAVY_NS * 10);
        let tick = checkpoint.try_into().map_err(|_| RestoreError("four bytes are".into()))?;
        Ok(Box::new(Spending { tick: u32::from_le_bytes(tick) }))
    }
}

impl Game for Spending {
    fn world(&self) -> WorldLimits {
        WorldLimits { position_bits: 8, unit_bits: 0, speed_max: 0 }
    }
    fn motions(&self) -> Motions {
        Motions::default()
    }
    fn join(&mut self, player: u32, _: &PlayerProfile) -> u32 {
        spend(JOIN_NS);
        player
    }
    fn leave(&mut self, _: u32) {}
    fn set_connected(&mut self, _: u32, _: bool) {}
    fn apply(&mut self, _: u32, _: &Controls) -> Result<(), Refusal> {
        Ok(())
    }
    fn step(&mut self) {
        self.tick += 1;
        spend(if self.tick == HEAVY_TICK { HEAVY_NS } else { LIGHT_NS });
    }
    fn publish(&self, _: &mut Published) {
        spend(SHOW_NS);
    }
    fn view(&self, _: Option<u32>) -> View {
        View { center: [0, 0], extent: [1, 1] }
    }
    fn private(&self, _: u32, _: &mut Vec<i32>) {}
    fn checkpoint(&self) -> Vec<u8> {
        spend(CHECKPOINT_NS);
        self.tick.to_le_bytes().to_vec()
    }
    fn state_hash(&self) -> u64 {
        u64::from(self.tick)
    }
}

/// The window around a tick, and what is measured of it.
fn measured(tick: u32) -> (Window, InTurn, Alone) {
    let games: [Arc<dyn GameFactory>; 1] = [Arc::new(Uneven)];
    let recording = Recording::of_bytes("uneven", recording());
    let window = load(Games(&games), &recording, tick, &|| false).expect("a window");
    let now = || NOW_NS.get();
    let lasts = Duration::from_secs(20);
    let in_turn = in_turn(&window, lasts, Clock(&now), &|| false).expect("nobody stops it");
    let alone = alone(&window, &in_turn, lasts, Clock(&now), &|| false).expect("nobody stops it");
    (window, in_turn, alone)
}

fn compared(tick: u32) -> Comparison {
    let (window, in_turn, _) = measured(tick);
    let ticks = window.ticks.iter().map(|work| work.tick);
    let ticks: Vec<(u32, u64)> = ticks.zip(in_turn.ticks_ns).collect();
    Comparison::new(&ticks, window.index, 20)
}

#[test]
fn a_heavy_tick_is_heavy_and_what_is_around_it_is_not() {
    let heavy = compared(HEAVY_TICK);
    assert_eq!(heavy.verdict(), Verdict::Heavy);
    assert_eq!((heavy.tick_ns, heavy.median_ns), (HEAVY_NS + SHOW_NS, LIGHT_NS + SHOW_NS));
    assert_eq!((heavy.neighbours, heavy.suspect), (200, None));
    assert!(heavy.sentence().contains("333.5 ×"), "{}", heavy.sentence());
    assert!(heavy.sentence().contains("HEAVY in itself"), "{}", heavy.sentence());

    let usual = compared(HEAVY_TICK - 1);
    assert_eq!((usual.verdict(), usual.suspect), (Verdict::Usual, None));
    assert!(usual.sentence().contains("the code is not why it was late"), "{}", usual.sentence());
    assert!(!usual.sentence().contains("look at that one"), "{}", usual.sentence());
}

#[test]
fn a_tick_that_was_late_because_of_one_before_it_names_that_one() {
    let late = compared(HEAVY_TICK + 1);
    assert_eq!(late.verdict(), Verdict::Usual);
    assert_eq!(late.suspect, Some((HEAVY_TICK, HEAVY_NS + SHOW_NS)));
    assert!(late.sentence().contains("--at 150"), "{}", late.sentence());
    // A second later it is no reason any more.
    assert_eq!(compared(HEAVY_TICK + 21).suspect, None);
}

#[test]
fn each_part_is_measured_and_the_restoring_is_not() {
    let parts = |tick| {
        let (_, _, alone) = measured(tick);
        let exact = |part: usize| alone.times[part].max();
        assert!(alone.repetitions() >= 5);
        [exact(0), exact(1), exact(2), exact(3)].map(|ns| ns / 1000 * 1000)
    };
    let thousandth = |ns: u64| ns / 1000;
    let near = |parts: [u64; 4], wanted: [u64; 4]| {
        for (part, wanted) in parts.into_iter().zip(wanted) {
            assert!(part.abs_diff(wanted) <= thousandth(wanted) + 1000, "{parts:?} {wanted}");
        }
    };
    near(parts(160), [JOIN_NS, LIGHT_NS, SHOW_NS, 0]);
    near(parts(200), [0, LIGHT_NS, SHOW_NS, CHECKPOINT_NS]);
    near(parts(HEAVY_TICK), [0, HEAVY_NS, SHOW_NS, 0]);
}

#[test]
fn a_tick_at_the_edge_has_neighbours_on_one_side() {
    for (tick, first, last) in [(1, 1, 101), (LAST_TICK, 200, LAST_TICK), (250, 150, LAST_TICK)] {
        let (window, ..) = measured(tick);
        let ticks: Vec<u32> = window.ticks.iter().map(|work| work.tick).collect();
        assert!(ticks.into_iter().eq(first..=last), "around {tick}");
        assert_eq!(window.work().tick, tick);
    }
}

#[test]
fn a_heavier_tick_that_takes_little_of_its_time_is_no_reason_and_neither_are_all_alike() {
    let of = |tick_ns: u64, others_ns: u64| {
        let ticks: Vec<(u32, u64)> =
            (1..=11).map(|tick| (tick, if tick == 6 { tick_ns } else { others_ns })).collect();
        Comparison::new(&ticks, 5, 20).verdict()
    };
    assert_eq!(of(300_000, 100_000), Verdict::HeavyButShort);
    assert_eq!(of(140_000, 100_000), Verdict::Usual);
    assert_eq!(of(20_000_000, 19_000_000), Verdict::AllLong);
    assert_eq!(of(20_000_000, 1_000_000), Verdict::Heavy);
    let alone = Comparison::new(&[(1, 1000)], 0, 20);
    assert_eq!((alone.verdict(), alone.neighbours), (Verdict::Usual, 0));
    assert!(alone.sentence().contains("no neighbours"), "{}", alone.sentence());
}

#[test]
fn a_median_is_in_the_middle() {
    assert_eq!([median(vec![9, 1, 5]), median(vec![4, 2]), median(Vec::new())], [5, 4, 0]);
}

/// Functions are separated by spaces; `@` is between a name and its file.
fn stack(frames: &str, samples: u64) -> Stack {
    let frame = |text: &str| {
        let (name, file) =
            text.split_once('@').map_or((text, None), |(n, f)| (n, Some(f.to_owned())));
        Frame { name: name.to_owned(), file }
    };
    Stack { frames: frames.split(' ').map(frame).collect(), samples }
}

#[test]
fn only_what_is_within_the_tick_counts() {
    // As in a release build, and with full names.
    let step = "main step@/home/a/fray/bot-client/src/replay/profile/phases.rs";
    let publish = "main fray_bot::replay::profile::phases::publish";
    let stacks = [
        stack(&format!("{step} game::step game::turn"), 5),
        stack(&format!("{step} game::step game::turn game::turn"), 3),
        stack(&format!("{step} game::step"), 2),
        stack(&format!("{publish} encode<[u8;4]>"), 10),
        stack("main fray_bot::replay::profile::measure::measure game::restore", 1000),
        stack("other step@/home/a/game/src/phases.rs fray_server::step", 1000),
    ];
    let profile = Profile::new(&stacks).expect("samples");
    assert_eq!((profile.samples, profile.phases), (20, [0, 10, 10, 0]));
    let wanted = [("encode<[u8;4]>", 10, 10), ("game::turn", 8, 8), ("game::step", 2, 10)];
    let wanted = wanted.map(|(name, own, all)| (name.to_owned(), own, all));
    assert_eq!(profile.hottest, wanted);
    assert_eq!(
        profile.folded(),
        "publish;encode<[u8:4]> 10\nstep;game::step 2\nstep;game::step;game::turn 5\n\
         step;game::step;game::turn;game::turn 3\n"
    );
}

#[test]
fn functions_without_a_path_are_told_apart_by_their_files() {
    let step = "step@/x/bot-client/src/replay/profile/phases.rs";
    let crate_file = "/home/a/.cargo/registry/src/index-1/lz4-0.1/src/lib.rs";
    let std_file = "/rustc/0a1b/library/core/src/slice.rs";
    let own_file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pilot.rs");
    for (file, shown) in [
        (crate_file, "eq (lz4-0.1/src/lib.rs)"),
        (std_file, "eq (core/src/slice.rs)"),
        (own_file, "eq (bot-client/src/pilot.rs)"),
        ("/elsewhere/a.rs", "eq (/elsewhere/a.rs)"),
    ] {
        let profile = Profile::new(&[stack(&format!("{step} eq@{file}"), 1)]).expect("samples");
        assert_eq!(profile.hottest[0].0, shown);
    }
    for (name, shown) in [
        ("{closure#0}<a::B>", "{closure#0}<a::B> (/a.rs)"),
        ("a::b<C>", "a::b<C>"),
        ("<A>::b", "<A>::b"),
    ] {
        let profile = Profile::new(&[stack(&format!("{step} {name}@/a.rs"), 1)]).expect("samples");
        assert_eq!(profile.hottest[0].0, shown);
    }
}

#[test]
fn where_no_sample_is_of_use_it_is_said_why() {
    let why = |stacks: &[Stack]| Profile::new(stacks).expect_err("nothing to show");
    assert!(why(&[]).contains("too short"));
    assert!(why(&[stack("malloc@./malloc/malloc.c Unknown", 7)]).contains("stripped"));
    assert!(why(&[stack("open@/x/open.rs", 7)]).contains("--profile-for"));
}
