//! A server for tiles.

use fray_server::{Server, config::Config};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = <Config as clap::Parser>::parse();
    tracing_subscriber::fmt().with_env_filter(&config.log).init();
    let app = Server::builder().game(fray_tiles::Tiles).config(config).build().await?;
    tracing::info!("tiles at http://{}/", app.listen_addr());
    Ok(app.run_until_signalled().await?)
}
