//! An authoritative multiplayer game server: tick loop, replication, sessions.
//!
//! A game is an implementation of [`game::Game`]; a server for it is a few lines:
//!
//! ```no_run
//! use fray_server::{Server, config::Config, game::arena::Arena};
//!
//! # async fn example() -> Result<(), fray_server::Error> {
//! let app = Server::builder().game(Arena::default()).config(Config::default()).build().await?;
//! println!("play at http://{}/", app.listen_addr());
//! app.run(std::future::pending()).await
//! # }
//! ```
//!
//! The map of the modules, and the arrows between them, are in ARCHITECTURE.md at the top of the repository.

pub mod addresses;
pub mod app;
pub mod cluster;
pub mod config;
pub mod game;
pub mod http2;
mod intake;
pub mod keys;
pub mod reload;
pub mod replay;
pub mod replication;
pub mod room;
pub mod rpc;
pub mod seldom;
pub mod session;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod turn;
pub mod web;
pub mod wire;

pub mod listener;

pub use app::{App, Error, Server};
