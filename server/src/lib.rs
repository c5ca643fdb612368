//! An authoritative multiplayer game server.

pub mod game;
