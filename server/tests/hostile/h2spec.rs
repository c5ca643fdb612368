//! h2spec, a suite of others for HTTP/2, against the players' port.

use crate::process::Process;
use crate::program::program;
use std::process::Command;

/// What fails, and why that is as it should be.
const FAILS: [&str; 1] = [
    // The port speaks HTTP/1.1, too: whoever begins with neither is told so with `400 Bad Request` before the connection is closed;
    // h2spec would have it closed without a word.
    "× 2: Sends invalid connection preface",
];
/// What may fail: an answer may come before the request is whole, and here often does, since nobody reads what `POST /` carries. Then the
/// stream is over before it shows that the request's length is wrong, or that its trailers are none.
const MAY_FAIL: [&str; 4] = [
    "× 1: Sends a second HEADERS frame without the END_STREAM flag",
    "× 3: Sends a HEADERS frame that contains a pseudo-header field as trailers",
    "× 1: Sends a HEADERS frame with the \"content-length\" header field which does not equal the DATA frame payload length",
    "× 2: Sends a HEADERS frame with the \"content-length\" header field which does not equal the sum of the multiple DATA frames payload length",
];
/// As many as this version of it has.
const TESTS: &str = "146 tests, ";

#[test]
fn the_players_port_speaks_http2_as_h2spec_reads_it() {
    let Some(h2spec) = program("h2spec") else { return };
    let server = Process::start(&[]);
    let output = Command::new(h2spec)
        .args(["--host", "127.0.0.1", "--port", &server.players.port().to_string()])
        .args(["--timeout", "3", "--strict"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines().skip_while(|line| !line.starts_with("Failures:"));
    let failed: Vec<&str> =
        lines.by_ref().filter(|line| line.contains('×')).map(str::trim).collect();
    let unexpected = |test: &&str| !FAILS.contains(test) && !MAY_FAIL.contains(test);
    assert!(!failed.iter().any(unexpected), "{said}");
    assert!(FAILS.iter().all(|test| failed.contains(test)), "{said}");
    assert!(said.contains(TESTS) && said.contains(", 0 skipped, "), "it ran to its end: {said}");
    let _ = server.count("fray_connections");
}
