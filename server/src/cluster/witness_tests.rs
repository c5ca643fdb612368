use super::*;
use crate::cluster::memory::MemoryDirectory;
use crate::cluster::records;
use crate::session::directory::{ServerRecord, Voter};
use tokio::time::advance;

/// Servers that share a directory, and what the first sees of the others.
struct Fleet {
    servers: Vec<MemoryDirectory>,
    witness: Witness,
    renewal_age_ms: u64,
}

impl Fleet {
    fn new(count: usize) -> Self {
        let first = MemoryDirectory::alone();
        let mut servers: Vec<_> = (1..count).map(|_| first.another()).collect();
        servers.insert(0, first);
        Self { servers, witness: Witness::new(Instant::now()), renewal_age_ms: 1000 }
    }

    fn id(&self, server: usize) -> InstanceId {
        self.servers[server].me().clone()
    }

    async fn renew(&self, server: usize, electorate: &[usize]) {
        let record = ServerRecord {
            electorate: electorate
                .iter()
                .map(|&member| Voter { instance: self.id(member), votes: 1 })
                .collect(),
            renewal_age_ms: self.renewal_age_ms,
            ..records::server(self.id(server))
        };
        self.servers[server].announce(record).await.expect("announced");
    }

    /// So many seconds in which only these renew.
    async fn pass(&mut self, seconds: u64, renewing: &[usize]) {
        for _ in 0..2 * seconds {
            for &server in renewing {
                self.renew(server, &[server]).await;
            }
            advance(Duration::from_millis(500)).await;
            self.look();
        }
    }

    fn look(&mut self) {
        self.witness.look(&self.servers[0], Instant::now());
    }

    fn gone_for(&self, server: usize) -> Duration {
        self.witness.gone_for(&self.id(server), &self.servers[0], Instant::now())
    }

    fn silent_for(&self, server: usize) -> Duration {
        self.witness.silent_for(&self.id(server), &self.servers[0], Instant::now())
    }
}

/// The last server has said that it would ask these, and is silent; the others renew or do not.
async fn last_is_gone(count: usize, electorate: &[usize], renewing: &[usize]) -> bool {
    let mut fleet = Fleet::new(count);
    for server in 0..count {
        fleet.renew(server, &[server]).await;
    }
    fleet.renew(count - 1, electorate).await;
    fleet.look();
    fleet.pass(20, renewing).await;
    assert_eq!(fleet.silent_for(count - 1), Duration::from_secs(20));
    fleet.gone_for(count - 1) >= CLAIM_AFTER
}

#[tokio::test(start_paused = true)]
async fn silence_is_proof_if_half_of_those_whom_it_would_ask_are_there() {
    assert!(last_is_gone(2, &[0, 1], &[0]).await);
    assert!(!last_is_gone(3, &[0, 1, 2], &[0]).await, "two may play on together");
    assert!(last_is_gone(3, &[0, 1, 2], &[0, 1]).await);
    assert!(last_is_gone(4, &[0, 1, 2, 3], &[0, 1]).await);
    assert!(!last_is_gone(4, &[0, 1, 2, 3], &[1]).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_it_would_not_ask_proves_nothing_however_many_they_are() {
    assert!(!last_is_gone(6, &[5], &[0, 1, 2, 3, 4]).await, "it was alone");
    assert!(!last_is_gone(6, &[3, 4, 5], &[0, 1, 2]).await, "newcomers");
    assert!(last_is_gone(6, &[3, 4, 5], &[0, 3, 4]).await);
    assert!(!last_is_gone(2, &[], &[0]).await, "nobody knows whom it would ask");
    // It does not count for itself, as if it had renewed just now.
    assert!(!last_is_gone(3, &[1, 2], &[0]).await);
}

#[tokio::test(start_paused = true)]
async fn who_has_missed_a_renewal_or_just_come_is_not_steady_for_a_while() {
    let mut fleet = Fleet::new(3);
    fleet.renew(1, &[0, 1, 2]).await;
    fleet.renew(2, &[2]).await;
    fleet.pass(20, &[0, 2]).await;
    assert!(fleet.gone_for(1) >= CLAIM_AFTER);
    fleet.pass(3, &[0]).await;
    assert_eq!(fleet.gone_for(1), Duration::ZERO, "it may have said that it does not reach it");
    fleet.pass(7, &[0, 2]).await;
    assert_eq!(fleet.gone_for(1), Duration::ZERO);
    fleet.pass(2, &[0, 2]).await;
    assert!(fleet.gone_for(1) >= CLAIM_AFTER);

    // Its record goes and comes: what was in between is not known.
    fleet.servers[2].withdraw().await.expect("withdrawn");
    fleet.look();
    assert_eq!(fleet.gone_for(1), Duration::ZERO, "without a record, nothing is known of it");
    fleet.pass(7, &[0, 2]).await;
    assert_eq!(fleet.gone_for(1), Duration::ZERO);
    fleet.pass(2, &[0, 2]).await;
    assert!(fleet.gone_for(1) >= CLAIM_AFTER);
}

#[tokio::test(start_paused = true)]
async fn nor_is_who_renews_and_is_not_answered() {
    let mut fleet = Fleet::new(3);
    fleet.renew(1, &[0, 1, 2]).await;
    fleet.pass(20, &[0, 2]).await;
    assert!(fleet.gone_for(1) >= CLAIM_AFTER);
    // What it writes comes through; it may have said that it does not reach the directory.
    fleet.renewal_age_ms = 2250;
    fleet.renew(2, &[2]).await;
    fleet.look();
    assert_eq!(fleet.gone_for(1), Duration::ZERO);
    fleet.renewal_age_ms = 1000;
    fleet.pass(7, &[0, 2]).await;
    assert_eq!(fleet.gone_for(1), Duration::ZERO);
    fleet.pass(2, &[0, 2]).await;
    assert!(fleet.gone_for(1) >= CLAIM_AFTER);
}

#[tokio::test(start_paused = true)]
async fn that_the_record_of_a_server_with_rooms_is_not_there_is_proof_after_a_while() {
    let mut fleet = Fleet::new(2);
    let record = records::room("abc", fleet.id(1), 1);
    fleet.servers[1].create(record).await.expect("created");
    // It said that it would ask nobody but itself: as long as that is there, nobody can tell.
    fleet.renew(1, &[1]).await;
    fleet.pass(60, &[0]).await;
    assert_eq!(fleet.gone_for(1), Duration::ZERO);
    fleet.servers[1].withdraw().await.expect("withdrawn");
    fleet.look();
    fleet.pass(7, &[0]).await;
    assert!(fleet.gone_for(1) < CLAIM_AFTER);
    fleet.pass(1, &[0]).await;
    assert_eq!(fleet.gone_for(1), CLAIM_AFTER);
}
