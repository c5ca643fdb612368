//! Fray with the ships of the benchmark.

use clap::Parser;
use fray_bench::{pin, ships::Ships};
use fray_server::{Server, config::Config};

#[derive(Parser)]
struct Args {
    /// Which core it runs on.
    #[arg(long)]
    core: usize,
    /// The server's own flags.
    #[arg(last = true)]
    flags: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    pin(args.core)?;
    let config = Config::parse_from(std::iter::once("world".to_owned()).chain(args.flags));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let app = Server::builder().game(Ships).config(config).build().await?;
        println!("{}", app.listen_addr());
        Ok(app.run_until_signalled().await?)
    })
}
