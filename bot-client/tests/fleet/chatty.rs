//! A game of which there is much to tell at each tick, whatever its players do.

use fray_server::game::{
    Controls, Entity, Game, GameFactory, Motions, Profile, Published, Refusal, RestoreError, Setup,
    View, WorldLimits,
};

/// The game: a wall of numbers, all of which change all the time.
#[derive(Clone, Copy)]
pub struct Chatty;

/// Each tick tells of about 40 bytes of each of them.
const LINES: u32 = 40;

#[derive(Default)]
struct Wall {
    tick: u32,
}

impl GameFactory for Chatty {
    fn name(&self) -> &'static str {
        "chatty"
    }
    fn sim_version(&self) -> u32 {
        1
    }
    fn create(&self, _: &Setup) -> Box<dyn Game> {
        Box::new(Wall::default())
    }
    fn restore(&self, _: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        Err(RestoreError("nobody looks back at it".into()))
    }
}

impl Game for Wall {
    fn world(&self) -> WorldLimits {
        WorldLimits { position_bits: 8, unit_bits: 0, speed_max: 0 }
    }
    fn motions(&self) -> Motions {
        Motions::default()
    }
    fn join(&mut self, player: u32, _: &Profile) -> u32 {
        LINES + player
    }
    fn leave(&mut self, _: u32) {}
    fn set_connected(&mut self, _: u32, _: bool) {}
    fn apply(&mut self, _: u32, _: &Controls) -> Result<(), Refusal> {
        Ok(())
    }
    fn step(&mut self) {
        self.tick = self.tick.wrapping_add(1);
    }
    fn publish(&self, out: &mut Published) {
        for id in 1..=LINES {
            // Nothing of it follows from the tick before.
            let mixed = |place: u32| {
                let mixed = (self.tick ^ (id << 16) ^ (place << 24)).wrapping_mul(0x9E37_79B1);
                (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA77).cast_signed()
            };
            let attributes = std::array::from_fn(|place| mixed(place as u32));
            out.global.push(Entity { id, kind: 1, attributes, ..Entity::default() });
        }
    }
    fn view(&self, _: Option<u32>) -> View {
        View { center: [0, 0], extent: [1, 1] }
    }
    fn private(&self, _: u32, _: &mut Vec<i32>) {}
    fn checkpoint(&self) -> Vec<u8> {
        self.tick.to_le_bytes().to_vec()
    }
}
