//! Bots and load for Fray, and the client library under them.
//!
//! - [`client`]: play on a Fray server. The core does no I/O; gRPC and WebSocket are two ways to carry it.
//! - [`arena`]: what the entities of the built-in game mean.
//! - [`pilot`]: bots that fly and fight like people, and see only what a player sees.
//! - [`swarm`]: many of them, and what they measure.
//! - [`terminal`]: the game in a terminal, for people.
//! - [`replay`]: recordings, verified, compared, and looked at.
//! - [`traces`]: where traces of moves go.
//! - [`admin`]: what operators tell a server.
//! - [`proxy`]: a long, uneven or narrow way to a server.
//!
//! # A player in a few lines
//!
//! ```no_run
//! use fray_bot::client::transport::GrpcServer;
//! use fray_bot::client::{Controls, Event, Options, Player};
//! use std::sync::Arc;
//!
//! # async fn play() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Arc::new(GrpcServer::at("http://127.0.0.1:7777")?);
//! let mut player = Player::join(server, Default::default(), Options::default()).await?;
//! player.steer(Controls { axis_y: 127, buttons: Controls::FIRE, ..Controls::default() })?;
//! while let Some(event) = player.next().await? {
//!     if let Event::Updated(update) = event {
//!         let own = player.session().own();
//!         println!("tick {}: {:?}", update.tick, own.map(|ship| ship.position));
//!         if update.tick % 1000 == 0 {
//!             player.leave();
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod arena;
pub mod client;
pub mod pilot;
pub mod proxy;
pub mod replay;
pub mod swarm;
pub mod terminal;
pub mod traces;
