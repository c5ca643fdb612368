//! Goal: the chart is a running fleet within a minute, and nothing that a platform does to it by will (rollouts, drains, scaling,
//! upgrades) costs a player anything; what happens against its will costs what the README says, and players are told.
//! Method: a real cluster, the chart as it is, players in a pod of it, and the verbs of kubectl and helm.
//!
//! `scripts/test-cluster.sh` (`make test-cluster`) runs it, and says what it needs. Scenes go on when one has failed; the test fails at
//! the end.

#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "nobody but this test uses its modules"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "there is no runtime: one command after the other, by the real clock"
)]

mod apart;
mod by_will;
mod crashes;
mod fleet;
mod installs;
mod kube;
mod load;
mod nodes;
mod paths;
mod scenes;
mod settings;
#[path = "../jaeger_support/spans.rs"]
mod spans;
mod undo;

use scenes::Stage;
use settings::Settings;

#[test]
fn a_fleet_on_a_real_cluster() {
    let Some(settings) = Settings::of_environment() else {
        eprintln!(
            "SKIPPED: a fleet on a real cluster: nobody asked for it; `make test-cluster` does"
        );
        return;
    };
    let mut stage = Stage::new(settings);
    installs::scenes(&mut stage);
    by_will::scenes(&mut stage);
    crashes::scenes(&mut stage);
    apart::scenes(&mut stage);
    paths::scenes(&mut stage);
    stage.close();
}
