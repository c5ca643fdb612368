//! Where a recording begins, and where to read from. Messages of a subject are in the order of owners and ticks, so what is
//! sought is found in a few steps.

use super::message::{Meta, Stored};
use super::stream::Stream;
use crate::store::{Header, Reader, Record};
use std::io;

/// The newest message that begins a segment before `tick`, or the oldest that begins one.
pub(super) async fn begin(stream: &Stream, subject: &str, tick: u32) -> io::Result<Option<Stored>> {
    let Some((first, mut last)) = ends(stream, subject).await? else { return Ok(None) };
    let is_before = |meta: &Meta| meta.first_tick <= tick.max(1);
    // The newest owner that began not after the tick: a later one may have gone back.
    loop {
        let epoch = meta(&last).epoch;
        let (before, start) = if meta(&first).epoch >= epoch {
            (None, first.clone())
        } else {
            let is_earlier = |meta: &Meta| meta.epoch < epoch;
            let before = last_where(stream, first.clone(), last.sequence + 1, is_earlier).await?;
            let start = stream.next_one(subject, before.sequence + 1).await?;
            (Some(before), start.unwrap_or_else(|| last.clone()))
        };
        if is_before(&meta(&start)) {
            let found = last_where(stream, start, last.sequence + 1, is_before).await?;
            if let Some(begin) = segment(stream, &found).await? {
                return Ok(Some(begin));
            }
            break;
        }
        match before {
            Some(before) => last = before,
            None => break,
        }
    }
    oldest(stream, subject).await
}

/// The oldest message that begins a segment: what is before it is the rest of one whose beginning was let go.
pub(super) async fn oldest(stream: &Stream, subject: &str) -> io::Result<Option<Stored>> {
    let mut next = 1;
    loop {
        let some = stream.next(subject, next).await?;
        let Some(last) = some.last() else { return Ok(None) };
        next = last.sequence + 1;
        if let Some(begin) = some.into_iter().find(|message| meta(message).begins()) {
            return Ok(Some(begin));
        }
    }
}

/// The message that begins the segment which this one belongs to, if it is still there.
pub(super) async fn segment(stream: &Stream, message: &Stored) -> io::Result<Option<Stored>> {
    let sequence = meta(message).segment;
    if sequence == 0 {
        return Ok(meta(message).begins().then(|| message.clone()));
    }
    let found = stream.next_one(&message.subject, sequence).await?;
    Ok(found.filter(|found| {
        let (found, message) = (found.sequence, meta(found));
        found == sequence && message.begins()
    }))
}

/// What a segment begins with.
pub(super) fn header(begin: &Stored) -> Option<Header> {
    match Reader::new(begin.payload.as_ref()).next_record() {
        Ok(Some(Record::Header(header))) => Some(*header),
        _ => None,
    }
}

async fn ends(stream: &Stream, subject: &str) -> io::Result<Option<(Stored, Stored)>> {
    let Some(first) = stream.next_one(subject, 1).await? else { return Ok(None) };
    let last = stream.last_of_each(&[subject.to_owned()]).await?;
    Ok(last.into_iter().next().map(|last| (first, last)))
}

/// The last message below `end` of which this is true; it is true of `first`, and of no message after one of which it is not.
async fn last_where(
    stream: &Stream,
    first: Stored,
    mut end: u64,
    is_true: impl Fn(&Meta) -> bool,
) -> io::Result<Stored> {
    let mut last = first;
    while end - last.sequence > 1 {
        let middle = last.sequence + (end - last.sequence) / 2;
        match stream.next_one(&last.subject, middle).await? {
            Some(found) if found.sequence < end => {
                if is_true(&meta(&found)) {
                    last = found;
                } else {
                    end = middle;
                }
            }
            _ => end = middle,
        }
    }
    Ok(last)
}

/// Somebody else's message is before all of ours.
fn meta(message: &Stored) -> Meta {
    message.meta.unwrap_or_default()
}
