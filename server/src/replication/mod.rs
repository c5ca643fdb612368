//! From game state to shared bytes.
//!
//! - [`encoder`]: once a tick, what the game publishes becomes a [`TickFrame`]: each changed cell encoded once.
//! - [`frame`]: the frame; immutable, shared by all streams of the room.
//! - [`view`]: which cells a player sees, with hysteresis.
//! - [`traced`]: sampled moves, which ride in the bytes of their cell.
//! - [`splice`]: what one stream has been sent, and its next update: a small header before shared cells.
//!
//! Architecture Invariant: nothing here knows of streams, rooms or clocks, and nothing is kept per player but [`splice::Splicer`],
//! which the stream itself owns.

pub mod encoder;
pub mod frame;
pub mod splice;
pub mod traced;
pub mod view;

pub use encoder::Encoder;
pub use frame::{Grid, PlayerFrame, TickFrame};
pub use splice::Splicer;
pub use traced::TracedCell;
