//! Between the messages of the wire and our own types: each parsed once, here.

use crate::game::{Controls, Steering};
use crate::room::barred::BARRED_MAX;
use crate::room::travel::{BarredPlayer, RESTORATIONS_MAX, Restoration};
use crate::room::{Move, RoomId, RoomInfo};
use crate::session::Error;
use crate::session::arriving::Offer;
use crate::session::directory::{ListedRoom, Revision, Seated};
use crate::session::lobby::{JoinSpec, RoomChoice};
pub use crate::session::message::INCOMING_BYTES_MAX;
use crate::session::message::{Hello, Incoming, Outgoing, Welcome};
use bytes::{BufMut as _, Bytes, BytesMut};
use fray_proto::update::GRPC_PREFIX_BYTES;
use fray_proto::v1;
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most bytes of a game's own part of a move.
const MOVE_PAYLOAD_BYTES_MAX: usize = 64;

/// What another server is asked for.
pub fn join_request(spec: JoinSpec) -> v1::JoinRequest {
    use v1::join_request::Room;
    v1::JoinRequest {
        request_id: spec.request_id,
        player_name: spec.player_name,
        player_hue: spec.player_hue.map(u32::from),
        resume_token: spec.resume_token.unwrap_or_default(),
        id_token: spec.id_token.unwrap_or_default(),
        spectate: spec.spectate,
        room: match spec.room {
            RoomChoice::Any => None,
            RoomChoice::Id(id) => Some(Room::RoomId(id)),
            RoomChoice::Code(code) => Some(Room::Code(code)),
            RoomChoice::New(new) => Some(Room::Create(v1::CreateRoom {
                name: new.name,
                private: new.private,
                capacity: new.capacity,
            })),
        },
    }
}

/// What another server answered; `None` if that cannot be.
pub fn seated(answer: v1::JoinResponse) -> Option<Seated> {
    let room = answer.room?;
    Some(Seated {
        ticket: answer.ticket,
        player_id: answer.player_id,
        room: ListedRoom {
            id: RoomId::parse(&room.room_id)?,
            name: room.name,
            game: room.game,
            players: room.players,
            capacity: room.capacity,
            is_private: room.private,
            code: (!room.code.is_empty()).then_some(room.code),
        },
    })
}

/// Asks another server for a room's events.
pub fn events_request(room_id: String) -> Bytes {
    v1::EventsRequest { room_id }.encode_to_vec().into()
}

/// What another server tells of a room; `None` if it cannot be read.
pub fn events_piece(message: Bytes) -> Option<Bytes> {
    v1::EventsResponse::decode(message).ok().map(|message| message.piece)
}

/// A client's message.
pub fn incoming(message: Bytes) -> Result<Incoming, Error> {
    const INVALID_ARGUMENT: i32 = 3;
    let request = v1::PlayRequest::decode(message)
        .map_err(|_| Error::Transport(INVALID_ARGUMENT, "the message cannot be decoded".into()))?;
    request.try_into()
}

impl TryFrom<v1::PlayRequest> for Incoming {
    type Error = Error;

    fn try_from(request: v1::PlayRequest) -> Result<Self, Error> {
        use v1::play_request::Message;
        Ok(match request.message {
            Some(Message::Hello(hello)) => Self::Hello(hello.into()),
            Some(Message::Move(message)) => Self::Move {
                sequence: message.sequence,
                seen_tick: message.seen_tick,
                trace: message.trace.as_ref().and_then(v1::TraceContext::parse),
                controls: message.try_into()?,
            },
            Some(Message::Ping(ping)) => Self::Ping { seen_tick: ping.seen_tick, echo: ping.echo },
            Some(Message::Leave(_)) => Self::Leave,
            Some(Message::Resync(resync)) => Self::Resync {
                reason: resync_reason(resync.reason),
                is_desync: resync.reason() == v1::resync::Reason::ChecksumMismatch,
                tick: resync.tick,
                cell: resync.cell,
            },
            None => Self::Unknown,
        })
    }
}

/// For the metrics; reasons of newer clients are one.
fn resync_reason(reason: i32) -> &'static str {
    use v1::resync::Reason;
    match Reason::try_from(reason) {
        Ok(known) => known.as_str_name(),
        Err(_) => Reason::Unspecified.as_str_name(),
    }
}

/// All that the metrics may be told, so that they are there from the start.
pub fn resync_reasons() -> impl Iterator<Item = &'static str> {
    let known = (0..).map_while(|number| v1::resync::Reason::try_from(number).ok());
    known.map(|reason| reason.as_str_name())
}

impl From<v1::Hello> for Hello {
    fn from(hello: v1::Hello) -> Self {
        let given = |text: String| (!text.is_empty()).then_some(text);
        Self {
            protocol_version: hello.protocol_version,
            ticket: given(hello.ticket),
            resume_token: given(hello.resume_token),
            player_name: hello.player_name,
            room_id: given(hello.room_id),
        }
    }
}

impl TryFrom<v1::Move> for Controls {
    type Error = Error;

    fn try_from(message: v1::Move) -> Result<Self, Error> {
        let invalid = |field, problem| Error::Invalid { field, problem };
        let axes = -127..=127;
        if !axes.contains(&message.axis_x) {
            return Err(invalid("move.axis_x", "not in -127 to 127"));
        }
        if !axes.contains(&message.axis_y) {
            return Err(invalid("move.axis_y", "not in -127 to 127"));
        }
        if message.sequence == 0 {
            return Err(invalid("move.sequence", "the first move is number 1"));
        }
        if message.payload.len() > MOVE_PAYLOAD_BYTES_MAX {
            return Err(invalid("move.payload", "longer than 64 bytes"));
        }
        let aim = message.aim.map(u16::try_from).transpose();
        Ok(Self {
            steering: Steering {
                axis_x: message.axis_x,
                axis_y: message.axis_y,
                aim: aim.map_err(|_| invalid("move.aim", "not in 0 to 65535"))?,
            },
            buttons: message.buttons,
            target: message.target,
            payload: payload(message.payload),
        })
    }
}

/// Of no bytes, as nearly always, it takes no memory.
fn payload(bytes: Vec<u8>) -> Arc<[u8]> {
    if bytes.is_empty() { Arc::default() } else { bytes.into() }
}

/// A room as those see it who are not in it.
pub fn room(info: &RoomInfo) -> v1::Room {
    v1::Room {
        room_id: info.id.to_string(),
        name: info.name.clone(),
        game: info.game.to_owned(),
        players: info.players(),
        capacity: info.capacity,
        private: info.code.is_some(),
        code: String::new(),
    }
}

/// A room as those see it who are in it.
pub fn own_room(info: &RoomInfo) -> v1::Room {
    v1::Room { code: info.code.clone().unwrap_or_default(), ..room(info) }
}

impl From<ListedRoom> for v1::Room {
    fn from(room: ListedRoom) -> Self {
        Self {
            room_id: room.id.into(),
            name: room.name,
            game: room.game,
            players: room.players,
            capacity: room.capacity,
            private: room.is_private,
            code: room.code.unwrap_or_default(),
        }
    }
}

impl From<Welcome> for v1::Welcome {
    fn from(welcome: Welcome) -> Self {
        let motion = |(kind, motion): (u32, crate::game::Motion)| v1::Motion {
            kind,
            turn_rate: motion.turn_rate as u32,
            acceleration: motion.acceleration as u32,
            speed_max: motion.speed_max as u32,
            drag_shift: motion.drag_shift,
            launch_speed: motion.launch_speed as u32,
            launch_distance: motion.launch_distance as u32,
        };
        let constants = Self {
            protocol_min: fray_proto::PROTOCOL_VERSION,
            protocol_max: fray_proto::PROTOCOL_VERSION,
            game: welcome.room.game.to_owned(),
            sim_version: welcome.room.sim_version,
            tick_rate_hz: welcome.tick_rate_hz,
            world: Some(v1::World {
                position_bits: welcome.world.position_bits,
                cell_bits: welcome.world.cell_bits,
                unit_bits: welcome.world.unit_bits,
            }),
            motions: welcome.motions.iter().map(motion).collect(),
            epoch: welcome.epoch,
            first_tick: welcome.first_tick,
            staleness_window_ms: welcome.staleness_window_ms,
            heartbeat_ms: welcome.heartbeat_ms,
            idle_timeout_ms: welcome.idle_timeout_ms,
            grace_ms: welcome.grace_ms,
            server: welcome.server,
            server_version: welcome.release,
            restored_age_ms: welcome.restored.map(whole_ms),
            ..Self::default()
        };
        match welcome.player {
            None => Self { room: Some(room(&welcome.room)), ..constants },
            Some(player) => Self {
                room: Some(own_room(&welcome.room)),
                player_id: player.player_id,
                player: player.player,
                entity: player.entity,
                last_applied_sequence: player.ack.input_ack,
                applied_count: player.ack.applied_count,
                applied_hash: player.ack.applied_hash,
                resume_token: player.resume_token,
                resumed: player.resumed,
                ..constants
            },
        }
    }
}

/// What goes before a room's bytes on its way to another server.
pub fn transfer_begin(offer: &Offer) -> v1::TransferBegin {
    let waiting = |(player, waiting): &(u32, Move)| {
        let Controls { steering, buttons, target, payload } = &waiting.controls;
        v1::WaitingMove {
            player: *player,
            r#move: Some(v1::Move {
                sequence: waiting.sequence,
                axis_x: steering.axis_x,
                axis_y: steering.axis_y,
                aim: steering.aim.map(u32::from),
                buttons: *buttons,
                target: *target,
                payload: payload.to_vec(),
                ..v1::Move::default()
            }),
        }
    };
    let restoration = |restoration: &Restoration| v1::Restoration {
        epoch: restoration.epoch,
        age_ms: whole_ms(restoration.age),
    };
    let barred = |barred: &BarredPlayer| v1::BarredPlayer {
        player_id: barred.player_id.clone(),
        token_hash: barred.token_hash.map(Vec::from).unwrap_or_default(),
        until_tick: barred.until_tick,
    };
    v1::TransferBegin {
        room_id: offer.room.to_string(),
        epoch: offer.epoch,
        revision: offer.revision.0,
        tick: offer.tick,
        size_bytes: offer.bytes.len() as u64,
        moves: offer.moves.iter().map(waiting).collect(),
        barred: offer.barred.iter().map(barred).collect(),
        restorations: offer.restorations.iter().map(restoration).collect(),
    }
}

/// A room that comes from another server.
pub fn offer(begin: v1::TransferBegin, bytes: Bytes) -> Result<Offer, Error> {
    let invalid = |field| Error::Invalid { field, problem: "it cannot be" };
    let now = Instant::now();
    let waiting = |waiting: v1::WaitingMove| {
        let content = waiting.r#move.ok_or_else(|| invalid("moves.move"))?;
        let (player, sequence) = (waiting.player, content.sequence);
        let controls = content.try_into()?;
        Ok((player, Move { sequence, controls, arrived: now, trace: None }))
    };
    let barred = |barred: v1::BarredPlayer| {
        let hash = barred.token_hash;
        let token_hash = if hash.is_empty() {
            None
        } else {
            Some(hash.try_into().map_err(|_| invalid("barred.token_hash"))?)
        };
        let (player_id, until_tick) = (barred.player_id, barred.until_tick);
        Ok(BarredPlayer { player_id, token_hash, until_tick })
    };
    if begin.barred.len() > BARRED_MAX {
        return Err(invalid("barred"));
    }
    if begin.restorations.len() > RESTORATIONS_MAX {
        return Err(invalid("restorations"));
    }
    let restoration = |restoration: v1::Restoration| Restoration {
        epoch: restoration.epoch,
        age: Duration::from_millis(restoration.age_ms),
    };
    Ok(Offer {
        room: RoomId::parse(&begin.room_id).ok_or_else(|| invalid("room_id"))?,
        epoch: begin.epoch,
        revision: Revision(begin.revision),
        tick: begin.tick,
        bytes,
        moves: begin.moves.into_iter().map(waiting).collect::<Result<_, Error>>()?,
        barred: begin.barred.into_iter().map(barred).collect::<Result<_, Error>>()?,
        restorations: begin.restorations.into_iter().map(restoration).collect(),
    })
}

/// A `PlayResponse` as gRPC frames it. Without its first [`GRPC_PREFIX_BYTES`] it is the bare message.
pub fn frame_play(outgoing: Outgoing) -> Bytes {
    use v1::play_response::Message;
    let message = match outgoing {
        Outgoing::Update(framed) => return framed,
        Outgoing::Passed(message) => return framed(&message),
        Outgoing::Welcome(welcome) => Message::Welcome((*welcome).into()),
        Outgoing::Pong { echo, tick } => Message::Pong(v1::Pong { echo, tick }),
        Outgoing::ShuttingDown => Message::Notice(shutting_down()),
        Outgoing::Frozen(frozen) => Message::Notice(stands_still(frozen)),
        Outgoing::Moving => Message::Notice(moves()),
        Outgoing::Restored(age) => Message::Notice(restored(age)),
        Outgoing::Redirect(redirect) => Message::Redirect(v1::Redirect {
            ticket: redirect.ticket,
            expires_in_s: u32::try_from(redirect.expires_in.as_secs()).unwrap_or(u32::MAX),
            epoch: redirect.epoch,
            first_tick: redirect.first_tick,
        }),
    };
    frame(&v1::PlayResponse { message: Some(message) })
}

/// A `WatchResponse` as gRPC frames it; `None` for what spectators are not told.
pub fn frame_watch(outgoing: Outgoing) -> Option<Bytes> {
    use v1::watch_response::Message;
    let message = match outgoing {
        Outgoing::Update(framed) => return Some(framed),
        Outgoing::Passed(message) => return Some(framed(&message)),
        Outgoing::Welcome(welcome) => Message::Welcome((*welcome).into()),
        Outgoing::ShuttingDown => Message::Notice(shutting_down()),
        Outgoing::Frozen(frozen) => Message::Notice(stands_still(frozen)),
        Outgoing::Moving => Message::Notice(moves()),
        Outgoing::Restored(age) => Message::Notice(restored(age)),
        // Spectators have tickets of another kind, and ask for them.
        Outgoing::Pong { .. } | Outgoing::Redirect(_) => return None,
    };
    Some(frame(&v1::WatchResponse { message: Some(message) }))
}

fn shutting_down() -> v1::Notice {
    v1::Notice {
        kind: v1::notice::Kind::ShuttingDown.into(),
        text: "The server is shutting down.".into(),
        in_ms: 0,
    }
}

fn stands_still(frozen: bool) -> v1::Notice {
    use v1::notice::Kind;
    let (kind, text) = if frozen {
        (Kind::RoomFrozen, "The room stands still: its server is cut off from the others.")
    } else {
        (Kind::RoomResumed, "The room goes on.")
    };
    v1::Notice { kind: kind.into(), text: text.into(), in_ms: 0 }
}

fn moves() -> v1::Notice {
    v1::Notice {
        kind: v1::notice::Kind::RoomMoving.into(),
        text: "The room moves to another server.".into(),
        in_ms: 0,
    }
}

fn restored(age: Duration) -> v1::Notice {
    let text = format!(
        "The room's server was lost. The room was restored to {} s ago.",
        age.as_secs().max(1)
    );
    v1::Notice { kind: v1::notice::Kind::RoomRestored.into(), text, in_ms: 0 }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn frame(message: &impl prost::Message) -> Bytes {
    framed(&message.encode_to_vec())
}

fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(GRPC_PREFIX_BYTES + message.len());
    out.put_u8(0);
    out.put_u32(message.len() as u32);
    out.extend_from_slice(message);
    out.freeze()
}
