//! What attackers leave behind: nothing that grows. Method: a server as a process of its own, over real sockets; the same attack again
//! and again, and what the process takes.

use crate::frames::{
    CONTINUATION, DATA, END_STREAM, Frame, HEADERS, NEWEST, Wire, frame, get, headers,
    initial_window, kept_header, message, ping, request, reset,
};
use crate::process::Process;
use crate::support::hello;
use fray_proto::v1::PlayRequest;
use fray_proto::v1::play_request::Message as Request;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const RESIDENT: &str = "process_resident_memory_bytes";
const FILES: &str = "process_open_fds";
/// Between one round and the next: allocators keep some, and it is not the same each time.
const GROWTH_BYTES_MAX: u64 = 12 << 20;
const CONNECTIONS: usize = 50;
const LIST: &str = "/fray.v1.Lobby/ListRooms";
const PLAY: &str = "/fray.v1.Play/Play";

async fn connected(server: &Process) -> Wire<TcpStream> {
    Wire::begun(TcpStream::connect(server.players).await.expect("open")).await
}

/// Many connections with many streams each, in all ways that a stream can be left.
async fn attack(server: &Process) {
    let hello = PlayRequest { message: Some(Request::Hello(hello())) }.encode_to_vec();
    let mut wires = Vec::new();
    for number in 0..CONNECTIONS {
        let mut wire = connected(server).await;
        // Half of them take nothing.
        wire.send(&initial_window(if number % 2 == 0 { 0 } else { 1 << 20 })).await;
        let mut begun = Vec::new();
        for stream in (1..200).step_by(2) {
            let path = ["/fray.v1.Play/Play", "/fray.v1.Lobby/Join"][stream as usize / 2 % 2];
            begun.extend(headers(stream, &request(path), 0));
            begun.extend(message(stream, &hello, 0));
        }
        begun.extend(
            (201..260).step_by(2).flat_map(|stream| headers(stream, &get("/"), END_STREAM)),
        );
        wire.send(&begun).await;
        wire.until(|said: &Frame| said.kind == HEADERS).await.expect("an answer begins");
        let given_up: Vec<u8> = (1..100).step_by(2).flat_map(reset).collect();
        wire.send(&given_up).await;
        wires.push(wire);
    }
    for wire in &mut wires {
        assert!(wire.answers().await);
    }
    for _ in 0..CONNECTIONS {
        floods(server).await;
    }
}

/// What ends a connection, and what only keeps it busy.
async fn floods(server: &Process) {
    let bomb = [request(LIST), kept_header("x", &[b'a'; 3900]), vec![NEWEST; 12_000]].concat();
    let half_a_message = frame(DATA, 0, 1, &[0, 0, 0, 0x3f, 0xff, 1, 2, 3]);
    let ends = [
        headers(1, &bomb, END_STREAM),
        [frame(HEADERS, 0, 1, &request(LIST)), frame(CONTINUATION, 0, 1, &[]).repeat(100)].concat(),
        (1..200)
            .step_by(2)
            .flat_map(|id| [headers(id, &request(LIST), 0), reset(id)].concat())
            .collect(),
    ];
    for flood in ends {
        let mut wire = connected(server).await;
        wire.send(&flood).await;
        assert!(wire.end().await.is_some());
    }
    let mut wire = connected(server).await;
    wire.send(&[headers(1, &request(PLAY), 0), half_a_message, ping().repeat(2000)].concat()).await;
    assert!(wire.answers().await);
    let mut socket = TcpStream::connect(server.players).await.expect("open");
    let _ = socket.write_all(&[0xff; 4096]).await;
    let _ = socket.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn attacks_leave_no_memory_no_files_and_no_streams_behind() {
    let server = Process::start(&[
        "--allow-guests",
        "--grace",
        "1s",
        "--room-ttl",
        "1s",
        // So long a seat is kept for who joined and never came.
        "--ticket-ttl",
        "2s",
        "--room-capacity",
        "500",
        "--record",
        "false",
    ]);
    let mut after = Vec::new();
    for _ in 0..6 {
        attack(&server).await;
        server.until("fray_connections", |count| count == 0).await;
        server.until("fray_players", |count| count == 0).await;
        server.until("fray_rooms", |count| count == 0).await;
        after.push((server.count(RESIDENT), server.count(FILES)));
    }
    // At first it grows to what an attack takes.
    let (first, last) = (after[2], after[5]);
    assert!(last.0 < first.0 + GROWTH_BYTES_MAX, "resident bytes after each round: {after:?}");
    assert!(last.1 <= first.1 + 2, "open files after each round: {after:?}");
    eprintln!("resident bytes and open files after each round: {after:?}");
}
