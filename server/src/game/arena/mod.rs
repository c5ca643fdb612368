//! The arena: ships with inertia in a world larger than the screen, shots, drifting rocks, pick-ups, rounds.
//!
//! # What it shows on the wire
//!
//! | kind | entity | attributes |
//! | --- | --- | --- |
//! | 1 | ship | 0 player number, 1 hull 0..=100, 2 flags: bit 0 protected after spawning, bit 1 shield, bit 2 rapid fire |
//! | 2 | shot | 0 player number of the shooter |
//! | 3 | rock | 0 radius in units, 1 shape seed |
//! | 4 | pick-up | 0 type: 1 repair, 2 shield, 3 rapid fire |
//! | 16 (global) | player | 0 player number, 1 its ship's id, 2 score, 3 kills, 4 deaths, 5 hue, 6 flags: bit 0 connected, bit 1 alive; payload: the name |
//! | 17 (global) | round | 0 number, 1 phase: 1 playing, 2 pause, 2 tick at which the phase ends, 3 the winner's player number in the pause |
//! | 18 (global) | happening | 0 type: 1 kill, 2 pick-up, 3 joined, 4 left, 5 round began, 6 round ended; 1 player, 2 the other player or the pick-up's type, 3 tick, 4 x, 5 y (sub-units) |
//!
//! Private values: 0 the tick until which the gun's heat lasts (each shot adds to it; it does not fire when it would go too
//! far above the present tick), 1 the tick of the respawn, 0 while alive.
//! Buttons: bit 0 fire.
