//! Lists, time lines, downloads.

use super::support::Net;
use super::support::recorded::{Recorded, store_of};
use super::{RECORDED, download, is, net, verified, verify, whole};
use bytes::BytesMut;
use fray_proto::v1::verify_response::Verdict;
use fray_proto::v1::{self, ReplaysListRequest, TimelineRequest, marker::Kind};
use fray_server::game::Profile;
use fray_server::replay;
use fray_server::store::{Checkpoint, Chunk, EndReason, InputRef, MemoryStore, Store, TickDraft};
use std::sync::Arc;
use tonic::Code;
use tonic_types::StatusExt as _;

/// Recordings of nothing much, opened one after the other.
fn many(count: u64) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(64 << 20));
    let mut small = Recorded::finished("small", 3);
    for index in 0..count {
        small.header.room = format!("room-{index}");
        small.header.started_at_ms = 1000 + index / 2;
        small.header.code = if index == 3 { "SECRET22".into() } else { String::new() };
        drop(small.write(store.as_ref()));
    }
    store
}

#[tokio::test(start_paused = true)]
async fn recordings_are_listed_newest_first_in_pages_and_private_ones_are_not() {
    let net = Net::with_recordings(many(8), 0);
    let mut replays = net.replays().await;
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ReplaysListRequest { page_size: 3, page_token };
        let page = replays.list(request).await.expect("listed").into_inner();
        assert!(page.recordings.len() <= 3);
        names.extend(page.recordings.into_iter().map(|recording| recording.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["room-7", "room-6", "room-5", "room-4", "room-2", "room-1", "room-0"]);
    for wrong in [
        ReplaysListRequest { page_token: "!".into(), ..Default::default() },
        ReplaysListRequest { page_token: "5-UPPER".into(), ..Default::default() },
        ReplaysListRequest { page_size: -1, ..Default::default() },
    ] {
        let refused = replays.list(wrong).await.expect_err("refused");
        is(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_says_what_is_known_of_a_recording() {
    let net = net();
    let listed = net.replays().await.list(ReplaysListRequest::default()).await;
    let listed = listed.expect("listed").into_inner().recordings;
    let [one] = listed.as_slice() else { panic!("one recording") };
    assert_eq!((one.name.as_str(), one.room_name.as_str()), ("past", "The past"));
    assert_eq!((one.game.as_str(), one.tick_rate_hz), ("arena", 20));
    assert_eq!((one.first_tick, one.last_tick, one.running), (1, 400, false));
    assert_eq!((one.started_at_ms, one.epoch), (1000, 1));
    assert!(one.size_bytes > 1000);
}

#[tokio::test(start_paused = true)]
async fn a_time_line_has_everybody_who_came_and_what_the_game_marked() {
    let net = net();
    let mut replays = net.replays().await;
    let request = TimelineRequest { name: "past".into(), ..Default::default() };
    let line = replays.timeline(request.clone()).await.expect("a time line").into_inner();
    assert_eq!(line.recording.expect("which").last_tick, 400);
    let joined: Vec<_> = line.markers.iter().filter(|m| m.kind() == Kind::Joined).collect();
    let expected = &RECORDED.joins;
    assert_eq!(joined.iter().map(|m| (m.tick, m.player)).collect::<Vec<_>>(), *expected);
    assert_eq!(joined[0].text, format!("pilot {}", joined[0].player));
    assert!(line.markers.is_sorted_by_key(|marker| marker.tick));

    let after_tick = joined[1].tick;
    let later = TimelineRequest { after_tick, ..request };
    let later = replays.timeline(later).await.expect("a time line").into_inner();
    let expected: Vec<_> =
        line.markers.iter().filter(|marker| marker.tick > after_tick).cloned().collect();
    assert_eq!(later.markers, expected);
}

/// A log in which so many players join in each tick.
fn crowd(joins_per_tick: u32, ticks: u32) -> Arc<MemoryStore> {
    let recorded = Recorded::new("crowd", 20);
    let mut records = BytesMut::new();
    Checkpoint::put(0, 0, b"never played", &mut records);
    let mut draft = TickDraft::default();
    let profile = Profile { name: "x".into(), hue: 1 };
    for tick in 1..=ticks {
        for index in 0..joins_per_tick {
            draft.input(InputRef::Join(tick * joins_per_tick + index, &profile));
        }
        draft.finish(tick, None, false, &mut records);
    }
    let store = Arc::new(MemoryStore::new(64 << 20));
    let mut writer = store.writer(recorded.header.clone()).expect("a writer");
    let records = records.freeze();
    let chunk =
        Chunk { records, has_checkpoint: true, first_tick: 1, last_tick: ticks, has_end: false };
    writer.append(chunk).expect("taken");
    store
}

#[tokio::test(start_paused = true)]
async fn a_long_time_line_comes_in_parts_and_nothing_is_missed_between_them() {
    let net = Net::with_recordings(crowd(7, 3000), 0);
    let mut replays = net.replays().await;
    let mut request = TimelineRequest { name: "crowd".into(), ..Default::default() };
    let mut players = Vec::new();
    loop {
        let line = replays.timeline(request.clone()).await.expect("a time line").into_inner();
        assert!(line.markers.len() <= 10_000);
        let Some(last) = line.markers.last() else { break };
        request.after_tick = last.tick;
        players.extend(line.markers.iter().map(|marker| marker.player));
    }
    assert_eq!(players, (7..7 + 21_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_download_is_the_whole_recording_and_verifies() {
    let net = net();
    let file = download(&net, whole("past")).await.expect("fetched");
    let report = verified(&file);
    assert_eq!(report.verdict, replay::Verdict::Same { panicked: None });
    assert_eq!((report.ticks, report.last_tick), (400, 400));
    assert_eq!(report.end, Some(EndReason::RoomOver));
    let answer = verify(&net, &file).await.expect("an answer");
    assert_eq!(answer.verdict(), Verdict::Same);
    assert!(!answer.incomplete);
    assert_eq!((answer.first_tick, answer.last_tick), (1, 400));
    assert_eq!(answer.hashes_compared, report.hashes_compared);
    assert!(answer.hashes_compared >= 40);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_recording_is_a_recording() {
    let net = net();
    for (from_tick, to_tick, first, last) in [
        (150, 222, 101, 222),
        (1, 1, 1, 1),
        (0, 99, 1, 99),
        (100, 100, 101, 100),
        (399, 0, 301, 400),
    ] {
        let request = v1::DownloadRequest { from_tick, to_tick, ..whole("past") };
        let file = download(&net, request).await.expect("fetched");
        let report = verified(&file);
        assert_eq!(report.verdict, replay::Verdict::Same { panicked: None });
        let header = report.header.expect("a header");
        assert_eq!((header.first_tick, report.last_tick), (first, last), "{from_tick}..{to_tick}");
        assert!(report.end.is_some(), "{from_tick}..{to_tick}");
    }
    let wrong = v1::DownloadRequest { from_tick: 5, to_tick: 4, ..whole("past") };
    is(
        &download(&net, wrong).await.expect_err("refused"),
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
}

#[tokio::test(start_paused = true)]
async fn a_private_rooms_recording_needs_its_code_and_leaves_without_it() {
    let mut recorded = Recorded::new("den", 20);
    recorded.header.code = "ABCD2345".into();
    recorded.play(30);
    let net = Net::with_recordings(store_of(&[&recorded]), 0);
    let mut replays = net.replays().await;
    let unknown = download(&net, whole("nowhere")).await.expect_err("unknown");
    is(&unknown, Code::NotFound, "RECORDING_NOT_FOUND");
    for code in ["", "abcd", "ABCD2346"] {
        let fetched = v1::DownloadRequest { code: code.into(), ..whole("den") };
        let refused = download(&net, fetched).await.expect_err("refused");
        assert_eq!((refused.code(), refused.message()), (unknown.code(), unknown.message()));
        assert_eq!(refused.details(), unknown.details());
        let line = TimelineRequest { name: "den".into(), code: code.into(), after_tick: 0 };
        let refused = replays.timeline(line).await.expect_err("refused");
        assert_eq!((refused.message(), refused.details()), (unknown.message(), unknown.details()));
    }
    let line = TimelineRequest { name: "den".into(), code: "abcd2345".into(), after_tick: 0 };
    replays.timeline(line).await.expect("a time line");
    let fetched = v1::DownloadRequest { code: "abcd2345".into(), ..whole("den") };
    let file = download(&net, fetched).await.expect("fetched");
    assert!(!file.windows(8).any(|part| part == b"ABCD2345"), "the code stays here");
}

#[tokio::test(start_paused = true)]
async fn names_that_cannot_be_are_malformed() {
    let net = net();
    for name in ["", "../x", "A", "a/b", &"x".repeat(65)] {
        let refused = download(&net, whole(name)).await.expect_err("refused");
        is(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        let line = TimelineRequest { name: name.into(), ..Default::default() };
        let refused = net.replays().await.timeline(line).await.expect_err("refused");
        is(&refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        let info = refused.get_details_error_info().expect("details");
        assert_eq!(info.metadata.get("field").map(String::as_str), Some("name"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_damage_is_data_loss_and_says_where() {
    let store = Arc::new(MemoryStore::new(64 << 20));
    let mut writer = store.writer(RECORDED.header.clone()).expect("a writer");
    for (index, chunk) in RECORDED.chunks.iter().enumerate() {
        let mut chunk = chunk.clone();
        if index == 2 {
            let mut bytes = chunk.records.to_vec();
            bytes[40] ^= 1;
            chunk.records = bytes.into();
        }
        writer.append(chunk).expect("taken");
    }
    let net = Net::with_recordings(store, 0);
    let damaged = download(&net, whole("past")).await.expect_err("damaged");
    is(&damaged, Code::DataLoss, "RECORDING_DAMAGED");
    let info = damaged.get_details_error_info().expect("details");
    let offset: u64 = info.metadata["offset"].parse().expect("a number");
    assert!(offset > 100);
    let line = TimelineRequest { name: "past".into(), ..Default::default() };
    let damaged = net.replays().await.timeline(line).await.expect_err("damaged");
    is(&damaged, Code::DataLoss, "RECORDING_DAMAGED");
}
