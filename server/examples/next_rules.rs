//! The arena with rules of the next version, for tests of an upgrade: rooms of one version cannot go on by the rules of
//! another. This server makes rooms of the next version, and plays on those of the present one that come to it: as a release
//! should whose rules are new.
//!
//! `scripts/test-cluster.sh` makes an image of it.

use clap::Parser as _;
use fray_server::Server;
use fray_server::config::Config;
use fray_server::game::arena::Arena;
use fray_server::game::{Game, GameFactory, RestoreError, Setup};

/// The arena, but for its version.
struct NextArena(Arena);

impl GameFactory for NextArena {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn sim_version(&self) -> u32 {
        self.0.sim_version() + 1
    }

    fn configuration(&self) -> String {
        self.0.configuration()
    }

    fn create(&self, setup: &Setup) -> Box<dyn Game> {
        self.0.create(setup)
    }

    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        self.0.restore(checkpoint)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    fray_server::tls::install_provider();
    let config = Config::parse();
    tracing_subscriber::fmt().with_env_filter(&config.log).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let game = NextArena(Arena::default());
        let builder = Server::builder().game(game).also(Arena::default());
        let app = builder.config(config).build().await?;
        app.run_until_signalled().await
    });
    runtime.shutdown_background();
    Ok(ended?)
}
