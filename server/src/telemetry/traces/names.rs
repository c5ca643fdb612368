//! What spans and their attributes are called. The table in `docs/TRACING.md` says what they mean; a test compares the two.
//!
//! Where OpenTelemetry's semantic conventions have a name it is used (`rpc.*`); what is Fray's own begins with `fray.`.

macro_rules! names {
    ($list:ident: $($constant:ident = $name:literal;)*) => {
        $(#[doc = concat!("`", $name, "`")] pub const $constant: &str = $name;)*
        /// All of them.
        pub const $list: &[&str] = &[$($name),*];
    };
}

names! { SPANS:
    MOVE = "fray.move";
    MOVE_RECEIVE = "fray.move.receive";
    MOVE_QUEUE = "fray.move.queue";
    MOVE_TICK = "fray.move.tick";
    MOVE_ENCODE = "fray.move.encode";
    MOVE_SEND = "fray.move.send";
    MOVE_APPLY = "fray.move.apply";
    TICK = "fray.tick";
    TICK_DRAIN = "fray.tick.drain";
    TICK_STEP = "fray.tick.step";
    TICK_REPLICATE = "fray.tick.replicate";
    TICK_PUBLISH = "fray.tick.publish";
    SESSION = "fray.session";
    SESSION_JOIN = "fray.session.join";
    SESSION_RESUME = "fray.session.resume";
    SESSION_TAKEOVER = "fray.session.takeover";
    SHUTDOWN = "fray.shutdown";
}

names! { ATTRIBUTES:
    ROOM = "fray.room";
    RECORDING = "fray.recording";
    TICK_NUMBER = "fray.tick.number";
    TICK_LATENESS_MS = "fray.tick.lateness_ms";
    TICK_IS_LATE = "fray.tick.late";
    TICKS_SKIPPED = "fray.tick.skipped";
    TICK_MOVES = "fray.tick.moves";
    TICK_ENTITIES = "fray.tick.entities";
    TICK_PLAYERS = "fray.tick.players";
    PLAYER = "fray.player";
    MOVER = "fray.mover";
    SEQUENCE = "fray.move.sequence";
    MOVE_REFUSED = "fray.move.refused";
    STREAMS = "fray.streams";
    DOOR = "fray.door";
    REASON = "fray.reason";
    EVENTS_DROPPED = "fray.session.events_dropped";
    RPC_SYSTEM = "rpc.system.name";
    RPC_METHOD = "rpc.method";
    RPC_STATUS = "rpc.response.status_code";
}

names! { EVENTS:
    RESYNC = "fray.resync";
    DESYNC = "fray.desync";
    HELD_BACK = "fray.held_back";
    LEAVE = "fray.leave";
}
