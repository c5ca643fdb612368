//! One player in the room, and its moves.

use super::room::Faults;
use fray_proto::hash::applied_hash;
use fray_proto::model::{Entity, Steering};
use fray_proto::v1;
use std::collections::VecDeque;

/// A player's place in the room.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    pub ship: Entity,
    pub steering: Steering,
    pub inbox: VecDeque<(u64, v1::Move)>,
    pub ack: v1::MoveAck,
    pub next: u32,
    pub score: i32,
    pub connected: bool,
    pub generation: u32,
    pub leaves: bool,
    pub gone: bool,
}

impl Seat {
    /// Applies what came, with the faults that are wished for.
    pub fn apply_moves(&mut self, faults: &Faults, now_ms: u64) {
        for _ in 0..8 {
            let Some((arrived_ms, message)) = self.inbox.pop_front() else {
                break;
            };
            if message.sequence < self.next {
                continue;
            }
            assert_eq!(message.sequence, self.next, "moves come in order");
            self.next += 1;
            self.ack.input_ack = message.sequence;
            self.ack.arrival_margin_ms = (now_ms - arrived_ms) as u32;
            let times = match Some(message.sequence) {
                number if number == faults.drop_move => 0,
                number if number == faults.double_move => 2,
                _ => 1,
            };
            for _ in 0..times {
                self.ack.applied_count += 1;
                self.ack.applied_hash = applied_hash(self.ack.applied_hash, &(&message).into());
                let aim = message.aim.map(|aim| aim as u16);
                self.steering = Steering { axis_x: message.axis_x, axis_y: message.axis_y, aim };
            }
        }
    }
}
