//! When a new server may own rooms: not before every edge can reach it, or there was time enough to learn of it.
//!
//! A ticket names its room's server, and whichever edge the player comes through must know that address. Edges learn of new
//! servers from DNS, each with some delay. An edge that has asked for this server's health knows it.

use super::endpoints::{Endpoints, EndpointsView};
use crate::telemetry::Health;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often those who asked are looked at; nobody waits for less.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a server waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Each edge has asked for its health.
    ByAll,
    /// There are no edges.
    ThereAreNone,
    /// They had time enough, whatever they know.
    InTime,
}

/// Whether this server may take rooms: `None`, not yet. `waited`: since nothing else has kept it from that.
pub fn judge(
    endpoints: &Endpoints,
    callers: &BTreeSet<IpAddr>,
    waited: Duration,
    wait: Duration,
) -> Option<Known> {
    if waited >= wait {
        return Some(Known::InTime);
    }
    match &endpoints.edges {
        // That there were none some time ago says nothing: they may have come since.
        Some(edges) if edges.is_empty() => {
            endpoints.edges_are_current.then_some(Known::ThereAreNone)
        }
        Some(edges) => {
            (endpoints.edges_are_current && edges.is_subset(callers)).then_some(Known::ByAll)
        }
        None => None,
    }
}

/// Waits until [`judge`] says so, at most for `wait` from when nothing else keeps this server from taking rooms; then it does
/// take them.
pub async fn run(
    health: Arc<Health>,
    endpoints: EndpointsView,
    wait: Duration,
    stop: CancellationToken,
) {
    let mut since = None;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        if stop.run_until_cancelled(looks.tick()).await.is_none() || health.is_draining() {
            return;
        }
        if !health.could_take_rooms() && since.is_none() {
            continue;
        }
        let since: Instant = *since.get_or_insert_with(Instant::now);
        let now = endpoints.now();
        if let Some(known) = judge(&now, &health.callers(), since.elapsed(), wait) {
            let edges = now.edges.as_ref().map(BTreeSet::len);
            let unheard = now.edges.as_ref().map_or(0, |edges| {
                let callers = health.callers();
                edges.iter().filter(|edge| !callers.contains(edge)).count()
            });
            let waited_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(why = ?known, edges, unheard, waited_ms, "this server takes rooms from now on");
            return health.set_awaits_edges(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;
    use tokio_util::task::TaskTracker;

    const WAIT: Duration = Duration::from_secs(35);

    fn edges(last_bytes: &[u8]) -> BTreeSet<IpAddr> {
        last_bytes.iter().map(|&byte| IpAddr::from([10, 0, 1, byte])).collect()
    }

    fn known(last_bytes: &[u8]) -> Endpoints {
        let edges = Some(edges(last_bytes));
        Endpoints { edges, edges_are_current: true, ..Endpoints::default() }
    }

    #[test]
    fn every_edge_must_have_asked() {
        let judge = |callers: &[u8]| judge(&known(&[1, 2]), &edges(callers), Duration::ZERO, WAIT);
        assert_eq!(judge(&[]), None);
        assert_eq!(judge(&[1]), None);
        assert_eq!(judge(&[1, 9]), None, "others do not count");
        assert_eq!(judge(&[1, 2, 9]), Some(Known::ByAll));
    }

    #[test]
    fn without_edges_there_is_nothing_to_wait_for_if_that_is_certain() {
        let judge = |endpoints| judge(&endpoints, &edges(&[1]), Duration::ZERO, WAIT);
        assert_eq!(judge(known(&[])), Some(Known::ThereAreNone));
        assert_eq!(judge(Endpoints { edges_are_current: false, ..known(&[]) }), None);
        assert_eq!(judge(Endpoints::default()), None, "nothing is known");
    }

    #[test]
    fn no_server_waits_longer_than_it_is_told() {
        let judge = |waited| judge(&known(&[1]), &edges(&[]), waited, WAIT);
        assert_eq!(judge(WAIT.saturating_sub(Duration::from_millis(1))), None);
        assert_eq!(judge(WAIT), Some(Known::InTime));
    }

    fn waiting(endpoints: &EndpointsView) -> Arc<Health> {
        let health = Arc::new(Health::default());
        health.set_awaits_edges(true);
        let run = run(Arc::clone(&health), endpoints.clone(), WAIT, CancellationToken::new());
        TaskTracker::new().spawn(run);
        health
    }

    async fn is_ready_after(health: &Health, time: Duration) -> bool {
        tokio::time::sleep(time).await;
        health.takes_rooms()
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_ready_once_its_last_edge_has_asked() {
        let endpoints = watch::Sender::new(Arc::new(known(&[1, 2])));
        let health = waiting(&EndpointsView::new(endpoints.subscribe()));
        health.bound();
        health.note_caller([10, 0, 1, 1].into());
        assert!(!is_ready_after(&health, Duration::from_secs(1)).await);
        endpoints.send_replace(Arc::new(known(&[1, 2, 3])));
        health.note_caller([10, 0, 1, 2].into());
        assert!(!is_ready_after(&health, Duration::from_secs(1)).await, "there is another");
        health.note_caller([10, 0, 1, 3].into());
        assert!(is_ready_after(&health, Duration::from_secs(1)).await);
        endpoints.send_replace(Arc::new(known(&[1, 2, 3, 4])));
        assert!(is_ready_after(&health, 2 * WAIT).await, "it does not wait again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_counts_from_when_nothing_else_keeps_a_server_from_rooms() {
        let health = waiting(&EndpointsView::default());
        assert!(!is_ready_after(&health, 2 * WAIT).await, "it is not bound");
        health.bound();
        assert!(!is_ready_after(&health, WAIT.saturating_sub(Duration::from_secs(1))).await);
        assert!(is_ready_after(&health, Duration::from_secs(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_while_it_waits_takes_no_rooms_any_more() {
        let health = waiting(&EndpointsView::default());
        health.bound();
        health.draining();
        assert!(!is_ready_after(&health, 2 * WAIT).await);
        assert!(health.awaits_edges());
    }
}
