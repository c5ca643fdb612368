//! A server as a process of its own, and what it says of itself.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use crate::support::flags::FREE_PORTS;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// It ends with the test.
pub struct Process {
    child: Child,
    pub players: SocketAddr,
    pub operators: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fray-server"))
            .args(FREE_PORTS)
            .args(flags)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut address = || {
            let line = lines.next().expect("a line").expect("text");
            let (_, rest) = line.split_once("http://").expect("an address");
            rest.split('/').next().and_then(|address| address.parse().ok()).expect("an address")
        };
        let (players, operators) = (address(), address());
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, players, operators }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> ExitStatus {
        self.child.wait().expect("ends")
    }

    /// A series of its metrics.
    pub fn count(&self, series: &str) -> u64 {
        let text = get(self.operators, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        value.parse::<f64>().expect("a number") as u64
    }

    /// Waits until a count is what it should be.
    pub async fn until(&self, series: &str, holds: impl Fn(u64) -> bool) {
        for _ in 0..3000 {
            if holds(self.count(series)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{series} is {}", self.count(series));
    }
}

/// A whole answer, its head with it.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("listening");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}
