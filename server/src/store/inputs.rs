//! The bytes of a tick's inputs and marks.

use super::bytes::{
    Malformed, put_bytes, put_short_text, put_varint, take_bytes, take_text, take_u8, take_u16,
    take_u32,
};
use crate::game::{Controls, Input, Mark, MarkKind, Profile, Steering};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The longest name, mark or payload.
const TEXT_BYTES_MAX: usize = 1024;

/// A room of 10,000 players, each with its moves and its comings and goings, stays below this.
const INPUTS_PER_TICK_MAX: u32 = 1 << 17;

const JOIN: u8 = 0;
const LEAVE: u8 = 1;
const DROPPED: u8 = 2;
const RETURNED: u8 = 3;
const CONTROLS: u8 = 4;
/// The low bits of an input's first byte are its kind, the rest is the player, if it fits.
const KIND_BITS: u32 = 3;
const PLAYER_FOLLOWS: u32 = 31;

const AXIS_X: u8 = 1;
const AXIS_Y: u8 = 2;
const AIM: u8 = 4;
const BUTTONS: u8 = 8;
const TARGET: u8 = 16;
const PAYLOAD: u8 = 32;

/// An [`Input`] that is only looked at.
#[derive(Clone, Copy, Debug)]
pub enum InputRef<'a> {
    /// [`Input::Join`].
    Join(u32, &'a Profile),
    /// [`Input::Leave`].
    Leave(u32),
    /// [`Input::Connected`].
    Connected(u32, bool),
    /// [`Input::Controls`].
    Controls(u32, &'a Controls),
}

impl<'a> From<&'a Input> for InputRef<'a> {
    fn from(input: &'a Input) -> Self {
        match input {
            Input::Join { player, profile } => Self::Join(*player, profile),
            Input::Leave { player } => Self::Leave(*player),
            Input::Connected { player, connected } => Self::Connected(*player, *connected),
            Input::Controls { player, controls } => Self::Controls(*player, controls),
        }
    }
}

pub(super) fn put_input(out: &mut BytesMut, input: InputRef<'_>) {
    let mut head = |kind: u8, player: u32| {
        let short = player.min(PLAYER_FOLLOWS);
        out.put_u8(kind | (short << KIND_BITS) as u8);
        if short == PLAYER_FOLLOWS {
            put_varint(out, u64::from(player));
        }
    };
    match input {
        InputRef::Join(player, profile) => {
            head(JOIN, player);
            put_varint(out, u64::from(profile.hue));
            put_short_text(out, &profile.name, TEXT_BYTES_MAX);
        }
        InputRef::Leave(player) => head(LEAVE, player),
        InputRef::Connected(player, false) => head(DROPPED, player),
        InputRef::Connected(player, true) => head(RETURNED, player),
        InputRef::Controls(player, controls) => {
            head(CONTROLS, player);
            put_controls(out, controls);
        }
    }
}

fn put_controls(out: &mut BytesMut, controls: &Controls) {
    let Steering { axis_x, axis_y, aim } = controls.steering;
    let mask = if axis_x != 0 { AXIS_X } else { 0 }
        | if axis_y != 0 { AXIS_Y } else { 0 }
        | if aim.is_some() { AIM } else { 0 }
        | if controls.buttons != 0 { BUTTONS } else { 0 }
        | if controls.target.is_some() { TARGET } else { 0 }
        | if controls.payload.is_empty() { 0 } else { PAYLOAD };
    out.put_u8(mask);
    for axis in [axis_x, axis_y] {
        if axis != 0 {
            // Axes are -127 to 127.
            out.put_i8(axis as i8);
        }
    }
    if let Some(aim) = aim {
        out.put_u16_le(aim);
    }
    if controls.buttons != 0 {
        put_varint(out, u64::from(controls.buttons));
    }
    if let Some(target) = controls.target {
        put_varint(out, u64::from(target));
    }
    if !controls.payload.is_empty() {
        put_bytes(out, &controls.payload);
    }
}

fn take_input(from: &mut Bytes) -> Result<Input, Malformed> {
    let head = take_u8(from)?;
    let short = u32::from(head >> KIND_BITS);
    let player = if short == PLAYER_FOLLOWS { take_u32(from)? } else { short };
    Ok(match head & ((1 << KIND_BITS) - 1) {
        JOIN => {
            let hue =
                u16::try_from(take_u32(from)?).map_err(|_| Malformed("a hue is too large"))?;
            Input::Join { player, profile: Profile { hue, name: take_text(from, TEXT_BYTES_MAX)? } }
        }
        LEAVE => Input::Leave { player },
        DROPPED => Input::Connected { player, connected: false },
        RETURNED => Input::Connected { player, connected: true },
        CONTROLS => Input::Controls { player, controls: take_controls(from)? },
        _ => return Err(Malformed("an unknown input")),
    })
}

fn take_controls(from: &mut Bytes) -> Result<Controls, Malformed> {
    let mask = take_u8(from)?;
    if mask & !(AXIS_X | AXIS_Y | AIM | BUTTONS | TARGET | PAYLOAD) != 0 {
        return Err(Malformed("an unknown part of a move"));
    }
    let has = |part: u8| mask & part != 0;
    let mut axis = |part: u8| {
        if !has(part) {
            return Ok(0);
        }
        match take_u8(from)? as i8 {
            i8::MIN => Err(Malformed("an axis is out of range")),
            axis => Ok(i32::from(axis)),
        }
    };
    let (axis_x, axis_y) = (axis(AXIS_X)?, axis(AXIS_Y)?);
    let aim = has(AIM).then(|| take_u16(from)).transpose()?;
    Ok(Controls {
        steering: Steering { axis_x, axis_y, aim },
        buttons: if has(BUTTONS) { take_u32(from)? } else { 0 },
        target: has(TARGET).then(|| take_u32(from)).transpose()?,
        payload: if has(PAYLOAD) {
            take_bytes(from, TEXT_BYTES_MAX)?.as_ref().into()
        } else {
            [].into()
        },
    })
}

pub(super) fn put_mark(out: &mut BytesMut, mark: &Mark) {
    out.put_u8(match mark.kind {
        MarkKind::Other => 0,
        MarkKind::Kill => 1,
        MarkKind::Round => 2,
    });
    put_varint(out, u64::from(mark.player));
    put_varint(out, u64::from(mark.other));
    put_short_text(out, &mark.text, TEXT_BYTES_MAX);
}

fn take_mark(from: &mut Bytes) -> Result<Mark, Malformed> {
    let kind = match take_u8(from)? {
        1 => MarkKind::Kill,
        2 => MarkKind::Round,
        _ => MarkKind::Other,
    };
    let (player, other) = (take_u32(from)?, take_u32(from)?);
    Ok(Mark { kind, player, other, text: take_text(from, TEXT_BYTES_MAX)? })
}

/// Whether all of these can be read: afterwards [`inputs`] and [`marks`] leave out nothing.
pub(super) fn check(mut inputs: Bytes, mut marks: Bytes) -> Result<(), Malformed> {
    let mut count = 0;
    while inputs.has_remaining() {
        take_input(&mut inputs)?;
        count += 1;
        if count > INPUTS_PER_TICK_MAX {
            return Err(Malformed("more inputs than a tick can have"));
        }
    }
    while marks.has_remaining() {
        take_mark(&mut marks)?;
    }
    Ok(())
}

/// One after the other, so that a tick of many inputs takes no more memory than its bytes.
pub(super) fn inputs(mut from: Bytes) -> impl Iterator<Item = Input> {
    std::iter::from_fn(move || from.has_remaining().then(|| take_input(&mut from).ok()).flatten())
}

pub(super) fn marks(mut from: Bytes) -> impl Iterator<Item = Mark> {
    std::iter::from_fn(move || from.has_remaining().then(|| take_mark(&mut from).ok()).flatten())
}
