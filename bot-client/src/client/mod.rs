//! The client: a session without I/O, ways to a server, and a player that joins the two.
//!
//! | module | what |
//! | --- | --- |
//! | [`session`] | messages and time in, messages and events out; no socket, no clock |
//! | [`ledger`] | moves, their acknowledgements, and the proof that each was applied once |
//! | `predict` | the own entity ahead of the server, and corrections |
//! | [`schedule`] | when ticks are due |
//! | [`transport`] | gRPC and WebSocket |
//! | [`tracing`] | what is told of sampled moves to whoever traces them |
//! | [`connection`] | when to join, to resume, to wait, to give up; no socket, no clock |
//! | [`player`] | joins, plays, resumes |

pub mod connection;
mod controls;
mod counters;
mod ended;
mod entity_ticks;
pub mod event;
pub mod ledger;
pub mod player;
mod predict;
pub mod schedule;
pub mod session;
pub mod tracing;
pub mod transport;

pub use controls::Controls;
pub use counters::Counters;
pub use ended::Ended;
pub use entity_ticks::EntityTicks;
pub use event::{Event, Updated};
pub use player::{Options, Player};
pub use predict::Correction;
pub use session::{Config, SendError, Session};
