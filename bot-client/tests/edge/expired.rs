//! Tickets that have expired: they open nothing any more, and end no session.

use crate::fleet::by_ticket_relayed;
use crate::gate::{Gate, doors_of, moves, new_room, opened, route_of, until};
use crate::nats::Nats;
use crate::servers::Fleet;
use crate::tickets::{now_s, read};
use fray_bot::client::transport::Server;
use fray_bot::client::{Controls, Counters, Event, Options, Player};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Code;

/// Clocks of edge and servers may differ by so much: a ticket is good for that much longer.
const LEEWAY_S: u64 = 5;
/// Moves before the stream breaks; moves that are written then, but of whose acknowledgement nothing is heard; moves that never
/// leave; and moves afterwards.
const MOVES: [i32; 4] = [10, 4, 4, 10];

fn steer(player: &mut Player, count: i32) {
    for axis_x in 1..=count {
        let controls = Controls { axis_x: -axis_x, axis_y: 100, ..Controls::default() };
        player.steer(controls).expect("room for it");
    }
}

fn moves_received(fleet: &Fleet) -> u64 {
    fleet.servers.iter().map(|server| server.telemetry.metrics.moves_received.get()).sum()
}

/// The player makes moves that reach the server, hears nothing of that, makes some more, and then its stream is cut.
async fn breaks_off(player: &mut Player, fleet: &Fleet, away: Duration) {
    let received = moves_received(fleet) + u64::try_from(MOVES[1]).expect("a few");
    player.set_reading(false);
    steer(player, MOVES[1]);
    while moves_received(fleet) < received {
        // It only writes.
        let _ = timeout(Duration::from_millis(20), player.next()).await;
    }
    // Long enough for a tick that applies them, most likely. It is right without, too.
    sleep(Duration::from_millis(150)).await;
    assert_eq!(player.session().unacknowledged(), MOVES[1].unsigned_abs() as usize);
    steer(player, MOVES[2]);
    player.cut_off(away);
    player.set_reading(true);
}

async fn comes_back(player: &mut Player) -> Counters {
    let before = player.session().welcome().expect("welcomed").clone();
    until(player, "its stream", |_, event| matches!(event, Event::Welcomed { .. })).await;
    let after = player.session().welcome().expect("welcomed");
    assert!(after.resumed);
    assert_eq!(
        (&after.player_id, after.player, after.entity, &after.server, &after.resume_token),
        (&before.player_id, before.player, before.entity, &before.server, &before.resume_token)
    );
    moves(player, MOVES[3]).await;
    // By its own count, and by the server's.
    player.cut_off(Duration::ZERO);
    until(player, "its stream", |_, event| matches!(event, Event::Welcomed { .. })).await;
    let all = MOVES.iter().sum::<i32>().unsigned_abs();
    assert_eq!(player.session().welcome().expect("welcomed").applied_count, all);
    until(player, "an update", |_, event| matches!(event, Event::Updated(_))).await;
    player.session_mut().take_counters()
}

/// Over gRPC and over a WebSocket, through TLS. What was under way when the stream broke is applied once: what the server had taken
/// in, what it had not, and what had not left the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_ticket_expired_long_ago_goes_on_as_the_same_player() {
    let Some(nats) = Nats::start() else { return };
    let fleet = Fleet::at_nats(&nats.url(), &[&["--ticket-ttl", "2s"][..]; 2]).await;
    let Some(gate) = Gate::before(&fleet.addresses(), |_| ()).await else { return };
    let mut players = Vec::new();
    for (door, name) in gate.doors().into_iter().zip(["by gRPC", "by WebSocket"]) {
        let joined = Player::join(door, new_room(name, false), Options::default()).await;
        players.push(joined.expect("a seat"));
    }
    for player in &mut players {
        moves(player, MOVES[0]).await;
    }
    let ticket = |player: &Player| player.seat().expect("a seat").ticket.clone();
    let old: Vec<String> = players.iter().map(ticket).collect();
    let expires = |ticket: &String| read(ticket)["exp"].as_u64().expect("a time");
    let expired_at = old.iter().map(expires).max().expect("two") + LEEWAY_S + 2;
    let away = Duration::from_secs(expired_at.saturating_sub(now_s()).max(1));
    for player in &mut players {
        breaks_off(player, &fleet, away).await;
    }
    sleep(away).await;

    // At the edge, at the room's own server, and at the other one.
    for ticket in &old {
        let ways = fleet.addresses().into_iter().flat_map(doors_of).chain(gate.doors());
        let ways: Vec<Arc<dyn Server>> = ways.collect();
        for (at, way) in ways.iter().enumerate() {
            let refused = opened(way.as_ref(), ticket).await.expect_err("it has expired");
            assert_eq!(refused.code, Code::Unauthenticated, "{at}: {refused}");
            // The edge has its own words.
            let reason = if at < 2 * fleet.servers.len() { "TICKET_INVALID" } else { "" };
            assert_eq!(refused.reason, reason, "{at}: {refused}");
        }
    }

    let counted = join_all(players.iter_mut().map(comes_back)).await;
    for (player, old) in players.iter().zip(&old) {
        let new = ticket(player);
        assert!(new != *old && expires(&new) > expires(old), "Join gave it another ticket");
        assert_eq!(route_of(&new), route_of(old), "for the same room");
    }
    for counters in counted {
        assert!(!counters.has_faults(), "{counters:?}");
        assert_eq!(counters.moves, u64::from(MOVES.iter().sum::<i32>().unsigned_abs()));
        assert!(counters.checksums > 0, "{counters:?}");
    }
    let relayed: Vec<u64> = fleet.servers.iter().map(by_ticket_relayed).collect();
    assert_eq!(relayed, [0; 2], "every stream at its owner");
    drop(players);
    fleet.stop().await;
}
