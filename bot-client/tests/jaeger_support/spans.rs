//! What the spans of a move are called, as the tests expect it.

/// The way of a move, from who made it to who saw it, in order; each span's parent is the one before. See docs/TRACING.md.
pub const WAY: [&str; 7] = [
    "fray.move",
    "fray.move.receive",
    "fray.move.queue",
    "fray.move.tick",
    "fray.move.encode",
    "fray.move.send",
    "fray.move.apply",
];
