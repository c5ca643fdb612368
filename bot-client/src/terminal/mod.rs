//! The game in a terminal: play, look on, or look at a recording.
//!
//! | module | what |
//! | --- | --- |
//! | `model` | what is known of the room; events and time go in |
//! | `history`, `people`, `feed`, `meter` | its parts: where things are, who plays, what happened, how the way is |
//! | `camera`, `lens`, `scene`, `things` | from that to shapes around a camera |
//! | `keys` | from key events to controls |
//! | `view`, `picture`, `panel`, `colour` | from shapes and numbers to cells of the terminal |
//! | `seat` | playing, looking on and recordings, as one thing to wait for |
//! | `screen`, `run` | the terminal itself, and the loop |
//!
//! All but the last two lines do no I/O and take the time as an argument.

mod camera;
mod colour;
mod feed;
mod history;
mod keys;
mod lens;
mod meter;
mod model;
mod panel;
mod people;
mod picture;
mod run;
mod scene;
mod screen;
mod seat;
#[cfg(test)]
mod tests;
mod things;
mod view;
mod watcher;
mod words;

pub use run::run;
pub(crate) use screen::expect_panics;
pub use seat::Seat;
pub use watcher::Watcher;
pub use words::printable;
