//! Goal: players who share a connection, as those behind an edge do, cannot hurt each other. Method: one connection in memory with
//! all of them, in virtual time.

mod support;

use fray_proto::v1;
use fray_proto::v1::play_request::Message as Request;
use std::time::Duration;
use support::{Net, Raw, hello_with_ticket};
use tokio::time::{sleep, timeout};

/// As many as an edge puts on a connection.
const STREAMS: &str = "100";
const LIARS: usize = 40;
/// Small, so that an update fills it soon.
const STREAM_WINDOW_BYTES: u32 = 4096;

/// Says that it saw everything.
fn lie() -> Request {
    Request::Ping(v1::Ping { seen_tick: u32::MAX, echo: 0 })
}

#[tokio::test(start_paused = true)]
async fn who_sends_and_does_not_read_costs_nobody_else_the_connection() {
    let net = Net::new(&["--streams-per-connection-max", STREAMS]);
    let channel = net.connect_with(STREAM_WINDOW_BYTES).await;
    let hello = hello_with_ticket(&net.ticket("Ada").await);
    let mut ada = net.open_over(channel.clone(), hello).await.expect("seated");
    let mut liars = Vec::new();
    for index in 0..LIARS {
        let hello = hello_with_ticket(&net.ticket(&format!("Liar {index}")).await);
        let mut liar = Raw::over(channel.clone()).await;
        liar.send(Request::Hello(hello)).await;
        liar.next().await.expect("answered").expect("welcomed");
        liars.push(liar);
    }
    // The server writes to them until nothing more fits.
    for _ in 0..100 {
        for liar in &mut liars {
            liar.send(lie()).await;
        }
        for _ in 0..4 {
            ada.update().await.expect("goes on").expect("an update");
        }
    }
    // What HTTP/2 lets them send besides; each message is a frame.
    for mut liar in liars {
        net.spawn_client(async move {
            for _ in 0..2000 {
                let sent = timeout(Duration::from_secs(5), liar.send(lie())).await;
                if sent.is_err() {
                    break;
                }
                // Messages that are ready together go into one frame.
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_secs(60)).await;
            drop(liar);
        });
    }
    let since = ada.updates.len();
    while ada.updates.len() < since + 400 {
        ada.update().await.expect("the connection lives").expect("an update");
    }
}
