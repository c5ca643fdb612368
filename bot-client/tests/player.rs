//! Goal: a player does what the connection says: the same wish again, another ticket with its token, an end that is told.
//! Method: the real player, in virtual time, on a room in memory whose calls and streams fail as a script says.

mod support;

use fray_bot::client::transport::{Answer, Link, Message, Server};
use fray_bot::client::{Ended, Event, Options, Player};
use fray_bot::swarm::{self, Plan, Report};
use fray_proto::v1;
use futures_util::{StreamExt as _, stream};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use support::room::{Faults, encode};
use support::server::FakeServer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

fn end(code: Code, reason: &str) -> Ended {
    Ended { code, reason: reason.to_owned(), message: String::new() }
}

/// What becomes of a stream.
enum Stream {
    Lasts,
    /// Ends so after this many messages.
    Ends(usize, Ended),
    /// After this many messages the room has moved, and this opens a stream there; then it ends so.
    Redirects(usize, &'static str, Ended),
    /// Opens, and says nothing.
    IsSilent,
}

#[derive(Default)]
struct Script {
    /// Refusals of the next calls of `Join`; afterwards they work.
    refusals: VecDeque<Ended>,
    streams: VecDeque<Stream>,
    joins: Vec<v1::JoinRequest>,
    /// The tickets of the streams.
    opened: Vec<String>,
}

#[derive(Clone)]
struct Scripted {
    room: FakeServer,
    script: Arc<Mutex<Script>>,
}

impl Scripted {
    fn new(refusals: Vec<Ended>, streams: Vec<Stream>) -> Self {
        let script =
            Script { refusals: refusals.into(), streams: streams.into(), ..Script::default() };
        Self { room: FakeServer::new(Faults::default()), script: Arc::new(Mutex::new(script)) }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics while it holds the script")
    }
}

impl Server for Scripted {
    fn join(&self, request: v1::JoinRequest) -> Answer<v1::JoinResponse> {
        let refusal = {
            let mut script = self.script();
            script.joins.push(request.clone());
            script.refusals.pop_front()
        };
        match refusal {
            Some(ended) => Box::pin(async { Err(ended) }),
            None => self.room.join(request),
        }
    }

    fn play(&self, ticket: &str) -> Answer<Link> {
        let next = {
            let mut script = self.script();
            script.opened.push(ticket.to_owned());
            script.streams.pop_front()
        };
        let link = self.room.play(ticket);
        Box::pin(async move {
            let link = link.await?;
            let messages = match next {
                None | Some(Stream::Lasts) => link.messages,
                Some(Stream::Ends(after, ended)) => {
                    let end = stream::once(async { Err(ended) });
                    link.messages.take(after).chain(end).boxed()
                }
                Some(Stream::Redirects(after, ticket, ended)) => {
                    let redirect =
                        v1::Redirect { ticket: ticket.to_owned(), ..v1::Redirect::default() };
                    let message = Some(v1::play_response::Message::Redirect(redirect));
                    let bytes = encode(&v1::PlayResponse { message });
                    let last = [Ok(Message { bytes, framing: 5 }), Err(ended)];
                    link.messages.take(after).chain(stream::iter(last)).boxed()
                }
                Some(Stream::IsSilent) => stream::pending().boxed(),
            };
            Ok(Link { messages, ..link })
        })
    }
}

/// The player's events up to the `count`th welcome, or its end.
async fn until_welcomed(
    server: &Scripted,
    player: &mut Player,
    count: usize,
) -> Result<Vec<Event>, Ended> {
    let mut events = Vec::new();
    let plays = async {
        let mut welcomes = 0;
        while welcomes < count {
            let event = player.next().await?.expect("it does not leave");
            welcomes += usize::from(matches!(event, Event::Welcomed { .. }));
            if !matches!(event, Event::Updated(_)) {
                events.push(event);
            }
        }
        Ok(())
    };
    tokio::select! {
        result = plays => result.map(|()| events),
        () = server.room.run() => unreachable!("it ticks for ever"),
    }
}

fn player(server: &Scripted) -> Player {
    Player::new(Arc::new(server.clone()), v1::JoinRequest::default(), Options::default())
}

#[tokio::test(start_paused = true)]
async fn a_join_that_nobody_answers_is_repeated_as_the_same_wish() {
    let away = end(Code::Unavailable, "DIRECTORY_AWAY");
    let server = Scripted::new(vec![away.clone(), away], vec![]);
    let mut player = player(&server);
    let events = until_welcomed(&server, &mut player, 1).await.expect("it gets in");
    assert!(matches!(events[0], Event::AttemptFailed(_)), "{events:?}");
    let script = server.script();
    let ids: Vec<_> = script.joins.iter().map(|join| join.request_id.as_str()).collect();
    assert_eq!(ids, [ids[0]; 3]);
    assert!(ids[0].len() == 32 && ids[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn a_player_on_the_wrong_server_gets_another_ticket_and_is_the_same() {
    let wrong = end(Code::FailedPrecondition, "WRONG_SERVER");
    let server = Scripted::new(vec![], vec![Stream::Ends(5, wrong), Stream::Lasts]);
    let mut player = player(&server);
    let events = until_welcomed(&server, &mut player, 2).await.expect("it comes back");
    assert!(matches!(events.last(), Some(Event::Welcomed { resumed: true })), "{events:?}");
    let script = server.script();
    assert_eq!(script.joins.len(), 2);
    assert_eq!(script.joins[1].resume_token, "token-1");
    assert_ne!(script.joins[1].request_id, script.joins[0].request_id);
}

#[tokio::test(start_paused = true)]
async fn a_player_whose_room_moves_is_on_the_new_server_at_once() {
    for end in [end(Code::Unavailable, "ROOM_MOVED"), end(Code::Internal, "")] {
        let server = Scripted::new(vec![], vec![Stream::Redirects(5, "there", end), Stream::Lasts]);
        let mut player = player(&server);
        until_welcomed(&server, &mut player, 1).await.expect("it gets in");
        let mut lost_at = None;
        let gap = async {
            loop {
                match player.next().await.expect("it plays").expect("it does not leave") {
                    Event::Moved(_) => lost_at = Some(Instant::now()),
                    Event::Disconnected(_) | Event::AttemptFailed(_) => panic!("it only moved"),
                    Event::Welcomed { resumed } => {
                        assert!(resumed);
                        return lost_at.expect("first the stream ends").elapsed();
                    }
                    _ => {}
                }
            }
        };
        let gap = tokio::select! {
            gap = gap => gap,
            () = server.room.run() => unreachable!("it ticks for ever"),
        };
        assert_eq!(gap, Duration::ZERO);
        let script = server.script();
        assert_eq!((script.joins.len(), script.opened.len()), (1, 2));
        assert_eq!((script.opened[0].as_str(), script.opened[1].as_str()), ("ticket-1", "there"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_whose_room_moves_without_a_redirect_asks_where_to_at_once() {
    let moved = end(Code::Unavailable, "ROOM_MOVED");
    let server = Scripted::new(vec![], vec![Stream::Ends(5, moved), Stream::Lasts]);
    let mut player = player(&server);
    let events = until_welcomed(&server, &mut player, 2).await.expect("it comes back");
    assert!(events.iter().any(|event| matches!(event, Event::Moved(_))), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Disconnected(_))), "{events:?}");
    let script = server.script();
    assert_eq!((script.joins.len(), script.joins[1].resume_token.as_str()), (2, "token-1"));
}

#[tokio::test(start_paused = true)]
async fn a_player_that_is_cut_off_while_it_is_sent_on_goes_there_afterwards() {
    let moved = end(Code::Unavailable, "ROOM_MOVED");
    let server = Scripted::new(vec![], vec![Stream::Redirects(5, "there", moved)]);
    let mut player = player(&server);
    let plays = async {
        while !matches!(player.next().await, Ok(Some(Event::Redirected(_)))) {}
        player.cut_off(Duration::from_millis(300));
        let cut_at = Instant::now();
        while !matches!(player.next().await, Ok(Some(Event::Welcomed { resumed: true }))) {}
        cut_at.elapsed()
    };
    let away = tokio::select! {
        away = plays => away,
        () = server.room.run() => unreachable!("it ticks for ever"),
    };
    assert_eq!(away.as_millis(), 300);
    assert_eq!(server.script().opened, ["ticket-1", "there"]);
}

#[tokio::test(start_paused = true)]
async fn bots_whose_room_moves_are_neither_disconnected_nor_in_error() {
    let moved = end(Code::Unavailable, "ROOM_MOVED");
    let mut streams: Vec<_> =
        (0..3).map(|_| Stream::Redirects(40, "there", moved.clone())).collect();
    streams.push(Stream::Ends(40, moved));
    let server = Scripted::new(vec![], streams);
    let report = swarm_of_four(&server).await;
    assert_eq!((report.players, report.redirects, report.resumes), (4, 4, 4), "{report}");
    assert_eq!((report.disconnects, report.sessions_lost, report.sessions_anew), (0, 0, 0));
    assert!(report.errors.is_empty() && report.violations == 0, "{report}");
    assert_eq!((report.redirect_gap_ms.count, report.largest_gap_ms.count), (4, 4), "{report}");
    // An update comes with every tick, and with the first one on the new stream.
    assert!(report.redirect_gap_ms.max <= 151.0 && report.resume_ms.count == 0, "{report}");
    assert!(report.largest_gap_ms.max >= report.redirect_gap_ms.max, "{report}");
    assert_eq!((report.lost_moves, report.duplicate_moves, report.identity_changes), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn bots_that_are_set_back_with_their_room_say_by_how_much() {
    let broken = end(Code::Unavailable, "");
    let streams = (0..4).map(|_| Stream::Ends(40, broken.clone())).collect();
    let server = Scripted::new(vec![], streams);
    // Whoever comes back hears so; nothing is gone, for the room is the same.
    server.room.room().restored_age_ms = Some(7000);
    let report = swarm_of_four(&server).await;
    assert_eq!((report.resumes, report.set_back_sessions), (4, 4), "{report}");
    assert_eq!((report.disconnects, report.redirects, report.lost_moves), (4, 0, 0), "{report}");
    assert!((report.set_back_age_s.max - 7.0).abs() < 0.01, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_is_opened_again_with_the_same_ticket() {
    let cut = end(Code::Internal, "");
    let server = Scripted::new(vec![], vec![Stream::Ends(5, cut), Stream::Lasts]);
    let mut player = player(&server);
    until_welcomed(&server, &mut player, 2).await.expect("it comes back");
    let script = server.script();
    assert_eq!((script.joins.len(), script.opened.len()), (1, 2));
    assert_eq!(script.opened[0], script.opened[1]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_welcome_is_given_up_for_another() {
    let server = Scripted::new(vec![], vec![Stream::IsSilent, Stream::Lasts]);
    let mut player = player(&server);
    let began = Instant::now();
    let events = until_welcomed(&server, &mut player, 1).await.expect("it gets in");
    assert!(events.iter().any(|event| matches!(event, Event::AttemptFailed(_))), "{events:?}");
    let took = began.elapsed();
    assert!((10..12).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_lost_is_told_as_such() {
    let leaves = end(Code::Unavailable, "LEASE_LOST");
    let unknown = end(Code::Unavailable, "OWNER_UNREACHABLE");
    let lost = end(Code::NotFound, "ROOM_LOST");
    let server = Scripted::new(vec![], vec![Stream::Ends(5, leaves)]);
    let mut player = player(&server);
    until_welcomed(&server, &mut player, 1).await.expect("it gets in");
    server.script().refusals = [unknown.clone(), unknown, lost].into();
    let ended = until_welcomed(&server, &mut player, 1).await.expect_err("the room is gone");
    assert_eq!(ended.label(), "NOT_FOUND/ROOM_LOST");
    assert!(player.next().await.expect("it was told").is_none());
}

/// Four bots for 20 s.
async fn swarm_of_four(server: &Scripted) -> Report {
    let plan = Plan {
        players: 4,
        duration: Some(Duration::from_secs(20)),
        ramp: Duration::from_millis(100),
        ..Plan::default()
    };
    let given = server.clone();
    tokio::select! {
        report = swarm::run(plan, CancellationToken::new(), move |_, _| Arc::new(given.clone()), |_| {}) => report,
        () = server.room.run() => unreachable!("it ticks for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn bots_whose_room_is_gone_join_anew_and_it_is_counted() {
    let gone = end(Code::Aborted, "ROOM_ENDED");
    let streams = (0..4).map(|_| Stream::Ends(40, gone.clone())).collect();
    let server = Scripted::new(vec![], streams);
    let report = swarm_of_four(&server).await;
    assert_eq!((report.players, report.sessions_lost), (4, 4), "{report}");
    assert_eq!(report.sessions_anew, 4, "{report}");
    // Finding another room takes 0.2 to 2 s, and that is what a player waits.
    assert!(report.largest_gap_ms.count == 4 && report.largest_gap_ms.p50 >= 200.0, "{report}");
    assert_eq!(report.errors.get("ABORTED/ROOM_ENDED"), Some(&4), "{report}");
    assert_eq!(server.script().joins.len(), 8);
    assert!(server.script().joins[4..].iter().all(|join| join.resume_token.is_empty()));
    // They played on: 4 players for about 18 of 20 s.
    assert!(report.updates > 4 * 20 * 16, "{report}");
}
