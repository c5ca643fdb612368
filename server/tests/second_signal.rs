//! The process, told twice to end: the first signal means in order, the second at once.

#[path = "support/flags.rs"]
mod flags;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

#[test]
fn a_second_signal_does_not_wait_for_the_collector() {
    // It takes connections, and says nothing on them.
    let collector = TcpListener::bind("127.0.0.1:0").expect("bound");
    let endpoint = format!("http://{}", collector.local_addr().expect("an address"));
    let mut server = Command::new(env!("CARGO_BIN_EXE_fray-server"))
        .args(flags::FREE_PORTS)
        .args(["--otlp-endpoint", &endpoint, "--shutdown-timeout", "5min"])
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(server.stderr.take().expect("piped")).lines();
    let mut line_with = |what: &str| {
        let mut lines = lines.by_ref().map(|line| line.expect("text"));
        lines.find(|line| line.contains(what)).expect("a line")
    };
    let line = line_with("play at http://");
    let (_, address) = line.split_once("http://").expect("an address");
    let (address, _) = address.split_once('/').expect("an address");

    // A call that the server waits for: its body never comes.
    let mut call = TcpStream::connect(address).expect("listening");
    let head = "POST /fray.v1.Lobby/Join HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web+proto\r\n\
        content-length: 100\r\nexpect: 100-continue\r\n\r\n";
    call.write_all(head.as_bytes()).expect("sent");
    let mut answer = [0; 12];
    call.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 100");
    let id = server.id().to_string();
    let signal = || {
        let killed = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(killed.success());
    };
    signal();
    line_with("no streams are left");
    signal();
    let last: Vec<_> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(last, ["fray-server: a second signal: ended at once"]);
    assert_eq!(server.wait().expect("ends").code(), Some(1));
}
