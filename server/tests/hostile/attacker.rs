//! Who attacks, and who must not notice.

use crate::frames::Wire;
use crate::support::{Net, Player, hello_with_ticket};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

thread_local! {
    /// Panics of whatever task: what serves a connection may swallow its own. All tasks of a test run on its thread, and those of other
    /// tests do not.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// A server under attack, and a player on a connection of its own.
pub struct Scene {
    pub net: Net,
    is_over: Arc<AtomicBool>,
    player: JoinSet<Player>,
}

/// How many ticks the player sees after all is over.
const TICKS_AFTERWARDS: usize = 40;

impl Scene {
    pub async fn new(flags: &[&str]) -> Self {
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                PANICS.set(PANICS.get() + 1);
                usual(panic);
            }));
        });
        let net = Net::new(flags);
        let ticket = net.ticket("Ada").await;
        let mut ada = net.open(hello_with_ticket(&ticket)).await.expect("seated");
        ada.update().await.expect("goes on").expect("an update");
        let is_over = Arc::new(AtomicBool::new(false));
        let mut player = JoinSet::new();
        let over = Arc::clone(&is_over);
        player.spawn(async move {
            let mut left = TICKS_AFTERWARDS;
            while left > 0 {
                if over.load(Ordering::Relaxed) {
                    left -= 1;
                }
                ada.update().await.expect("goes on").expect("an update");
                if ada.updates.len() % 10 == 0 {
                    ada.steer((ada.updates.len() % 100) as i32, 0).await;
                }
            }
            ada
        });
        Self { net, is_over, player }
    }

    /// A connection that has begun.
    pub async fn wire(&self) -> Wire<DuplexStream> {
        Wire::begun(self.net.pipe()).await
    }

    /// A series of the server's metrics.
    pub fn count(&self, series: &str) -> u64 {
        let text = self.net.parts.sessions().metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        value.parse::<f64>().expect("a number") as u64
    }

    pub fn ended(&self, how: &str) -> u64 {
        self.count(&format!("fray_connections_ended_total{{reason=\"{how}\"}}"))
    }

    pub fn refused(&self, reason: &str) -> u64 {
        self.count(&format!("fray_refusals_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until a count is what it should be: connections end a little after their peers heard of it.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..6000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to be: {what}\n{}", self.net.parts.sessions().metrics.render());
    }

    /// All attackers are gone: nobody but the player is left, and the player lost no update, whatever happened.
    pub async fn stays_as_before(mut self) {
        self.until("the player's connection and stream alone are left", |scene| {
            // Its own, and those by which it joined.
            scene.count("fray_players") == 1 && scene.count("fray_connections") <= 2
        })
        .await;
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.player.join_next().await.expect("a task");
        let mut ada = ended.expect("the player's stream went on");
        let skipped: Vec<_> = ada.updates.iter().filter(|(_, span)| *span != 1).collect();
        assert!(skipped.is_empty(), "every tick came by itself, but for {skipped:?}");
        ada.until_all_is_acked().await;
        assert_eq!(PANICS.get(), 0, "nothing panicked");
    }
}

/// Lets virtual time go on: ticks are made between two steps of an attack.
pub async fn breath() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
