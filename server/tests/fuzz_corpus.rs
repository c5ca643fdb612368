//! What the fuzz targets in `fuzz/` begin from: small inputs made by the real encoders, kept in `fuzz/corpus/TARGET/`.
//!
//! `FRAY_WRITE_CORPUS=1 cargo test -p fray-server --test fuzz_corpus` writes them again, beside what fuzzers found that is kept
//! there, too. What an input of a target is made of stands in the target.

mod support;

use bytes::{BufMut as _, BytesMut};
use fray_proto::v1::play_request::Message as Request;
use fray_proto::v1::{self, JoinRequest, PlayRequest, PlayResponse, TransferBegin};
use fray_server::game::arena::Arena;
use fray_server::game::{Controls, GameFactory, Profile, Setup, Steering};
use fray_server::store::sessions::{Presence, Session};
use fray_server::store::{Checkpoint, Header, Sessions};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Net, hello};

const TOTAL_BYTES_MAX: u64 = 1 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The names in a folder, without what begins with a dot.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("text"));
    names.filter(|name| !name.starts_with('.')).collect()
}

type Seeds = BTreeMap<String, Vec<u8>>;

/// Every target, with its seeds by their names.
async fn all() -> BTreeMap<&'static str, Seeds> {
    BTreeMap::from([
        ("recording", recording()),
        ("client_message", client_message()),
        ("tickets", tickets()),
        ("tokens", tokens()),
        ("update", update().await),
        ("world", world()),
        ("checkpoint", checkpoint()),
        ("websocket", websocket()),
        ("http2", http2()),
        ("records", records()),
    ])
}

#[tokio::test(start_paused = true)]
async fn every_fuzz_target_has_a_kept_corpus_that_is_small() {
    let (targets, corpus) = (folder().join("fuzz_targets"), folder().join("corpus"));
    let targets: BTreeSet<_> = names(&targets)
        .iter()
        .map(|name| name.strip_suffix(".rs").expect("a target").to_owned())
        .collect();
    let all = all().await;
    if std::env::var_os("FRAY_WRITE_CORPUS").is_some() {
        for (target, seeds) in &all {
            fs::create_dir_all(corpus.join(target)).expect("a folder");
            for (name, bytes) in seeds {
                fs::write(corpus.join(target).join(name), bytes).expect("written");
            }
        }
    }
    assert_eq!(targets, all.keys().map(|target| (*target).to_owned()).collect());
    assert_eq!(targets, names(&corpus));
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("a manifest");
    let mut total = 0;
    for (target, seeds) in all {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
        let kept = names(&corpus.join(target));
        let missing: Vec<_> = seeds.keys().filter(|name| !kept.contains(*name)).collect();
        assert!(missing.is_empty(), "{target}: {missing:?}; see the top of this file");
        // A format that has changed is refused at the door, and nothing behind it is tried any more. (Streams have keys and ids of their
        // own each time.)
        for (name, bytes) in seeds.iter().filter(|_| target != "update") {
            let is_same = fs::read(corpus.join(target).join(name)).expect("a file") == *bytes;
            assert!(is_same, "{target}/{name} is not what is made today: run `make corpus`");
        }
        let size =
            |name: &String| fs::metadata(corpus.join(target).join(name)).expect("a file").len();
        total += kept.iter().map(size).sum::<u64>();
    }
    assert!(total < TOTAL_BYTES_MAX, "{total} bytes");
}

// === What inputs are made of ===

fn named<const N: usize>(seeds: [(&str, Vec<u8>); N]) -> Seeds {
    seeds.into_iter().map(|(name, bytes)| (format!("seed-{name}"), bytes)).collect()
}

/// Behind these first bytes, which say what the rest is.
fn after(first: &[u8], rest: &[u8]) -> Vec<u8> {
    [first, rest].concat()
}

/// Each after its length.
fn parts<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.put_u16(part.as_ref().len() as u16);
        bytes.extend(part.as_ref());
    }
    bytes
}

/// As gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.put_u32(message.len() as u32);
    bytes.extend(message);
    bytes
}

fn requests() -> Vec<Vec<u8>> {
    let trace = v1::TraceContext { trace_id_high: 5, trace_id_low: 6, span_id: 7 };
    let messages = [
        Request::Hello(v1::Hello {
            player_name: "Ada".into(),
            room_id: "abc123".into(),
            ..hello()
        }),
        Request::Hello(v1::Hello {
            ticket: "a.b.c".into(),
            resume_token: "abc123.3.AAAA".into(),
            ..hello()
        }),
        Request::Move(v1::Move {
            sequence: 1,
            axis_x: -127,
            axis_y: 127,
            aim: Some(65_535),
            buttons: 1,
            target: Some(3),
            payload: vec![7; 9],
            seen_tick: 5,
            trace: Some(trace),
        }),
        Request::Move(v1::Move { sequence: 2, axis_x: 9, ..v1::Move::default() }),
        Request::Ping(v1::Ping { seen_tick: 6, echo: u64::MAX }),
        Request::Resync(v1::Resync { reason: 3, tick: 6, cell: Some(1) }),
        Request::Leave(v1::Leave {}),
    ];
    messages.map(|message| PlayRequest { message: Some(message) }.encode_to_vec()).into()
}

// === The targets ===

fn recording() -> Seeds {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut seeds = Seeds::new();
    for name in names(&golden) {
        let bytes = fs::read(golden.join(&name)).expect("a recording");
        for how in [0, 1] {
            seeds.insert(format!("seed-{how}-{name}"), after(&[how], &bytes));
        }
    }
    seeds
}

fn client_message() -> Seeds {
    let stream: Vec<u8> = requests().iter().flat_map(|message| framed(message)).collect();
    let mut seeds = named([
        ("whole", after(&[0], &stream)),
        ("bytes", after(&[1], &stream)),
        ("pieces", after(&[200], &stream)),
        ("cut-off", after(&[7], &stream[..stream.len() - 1])),
        ("compressed", after(&[0], &[1, 0, 0, 0, 0])),
        ("too-long", after(&[0], &[0, 0, 1, 0, 0])),
    ]);
    for (number, message) in requests().iter().enumerate() {
        seeds.insert(format!("seed-bare-{number}"), after(&[0], message));
    }
    seeds
}

fn tickets() -> Seeds {
    let head = r#"{"typ":"JWT","alg":"ES256","kid":"a"}"#;
    let claims = r#"{"iss":"fray","aud":"play","sub":"p-1","room":"abc123","route":"MTAuMC4wLjE6Nzc3Nw==","version":"1.0","iat":1,"exp":9999999999}"#;
    let peer = r#"{"iss":"fray","aud":"peer","sub":"00000000000000aa","to":"10.0.0.1:7779","iat":1,"exp":9999999999}"#;
    let mut seeds = named([
        ("sections", after(&[2], &parts([&[0, 3, 3, 0][..], &[0, 9, 2, b'x'], &[]]))),
        ("none", after(&[4], &parts([r#"{"alg":"none","kid":"a"}"#, claims]))),
        ("hs256", after(&[3], &parts([r#"{"alg":"HS256","kid":"a"}"#, claims]))),
        ("another-key", after(&[3], &parts([r#"{"alg":"ES256","kid":"b"}"#, claims]))),
        (
            "critical",
            after(&[3], &parts([r#"{"alg":"ES256","kid":"a","crit":["x"],"x":1}"#, claims])),
        ),
        ("removed-key", after(&[5], &parts([head, claims]))),
        ("own-ticket", after(&[6], claims.as_bytes())),
        ("own-peer", after(&[6], peer.as_bytes())),
        ("own-nothing", after(&[6], b"{}")),
        ("text", after(&[7], b"e30.e30.AAAA")),
    ]);
    for nth in 0..8_u8 {
        seeds.insert(format!("seed-as-it-is-{nth}"), vec![nth * 8]);
        seeds.insert(format!("seed-edited-{nth}"), vec![nth * 8, 0, 200, 3, 1, 0, 40, 2, b'A']);
    }
    seeds
}

fn tokens() -> Seeds {
    let claims =
        r#"{"iss":"https://id.example.com","aud":"fray","sub":"ada","exp":9999999999,"nbf":1}"#;
    let point = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let keys = format!(
        r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{point}","y":"{point}","kid":"k","use":"sig","alg":"ES256"}},
        {{"kty":"RSA","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri","e":"AQAB","kid":"k"}},{{"kty":"oct","k":"AAAA"}}]}}"#
    );
    let rsa = r#"{"keys":[{"kty":"RSA","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri","e":"AQAB","kid":"k"}]}"#;
    let pem = "-----BEGIN PRIVATE KEY-----\nMEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCAHBwcHBwcHBwcHBwcH\nBwcHBwcHBwcHBwcHBwcHBwcHBw==\n-----END PRIVATE KEY-----\n";
    let mut seeds = named([
        ("none", after(&[2], &parts([r#"{"alg":"none","kid":"k"}"#, claims]))),
        ("hs256", after(&[2], &parts([r#"{"alg":"HS256","kid":"k"}"#, claims]))),
        ("theirs", after(&[3], claims.as_bytes())),
        ("theirs-for-many", after(&[3], claims.replace(r#""fray""#, r#"["a","fray"]"#).as_bytes())),
        (
            "theirs-of-many",
            after(
                &[3],
                claims
                    .replace(r#""https://id.example.com""#, r#"["https://id.example.com"]"#)
                    .as_bytes(),
            ),
        ),
        ("keys", after(&[4], keys.as_bytes())),
        ("rsa-key", after(&[4], rsa.as_bytes())),
        ("resume", vec![5]),
        ("resume-edited", vec![5, 0, 9, 2, b'4']),
        ("resume-text", after(&[6], b"abc123.3.AAAAAAAAAAAAAAAAAAAAAA")),
        ("pem", after(&[7], &parts(["a", pem]))),
    ]);
    for nth in 0..4_u8 {
        seeds.insert(format!("seed-as-it-is-{nth}"), vec![nth * 8]);
    }
    seeds
}

/// What a server really sends.
async fn update() -> Seeds {
    let net = Net::new(&[]);
    let mut raw = net.raw().await;
    raw.send(Request::Hello(hello())).await;
    let mut stream = Vec::new();
    for sequence in 1..=12 {
        let message = raw.next().await.expect("no error").expect("not over");
        stream.push(framed(&PlayResponse { message: Some(message) }.encode_to_vec()));
        let steering =
            v1::Move { sequence, axis_x: 127, axis_y: 127, buttons: 1, ..v1::Move::default() };
        raw.send(Request::Move(steering)).await;
    }
    drop(raw);
    named([
        ("stream", stream.concat()),
        ("beginning", stream[..2].concat()),
        ("welcome", stream[0].clone()),
    ])
}

/// Any bytes are as good as any others.
fn world() -> Seeds {
    let mut state = 7_u32;
    let mut bytes = |count: usize| -> Vec<u8> {
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(count).collect()
    };
    named([("short", bytes(120)), ("long", bytes(1500)), ("longer", bytes(4000))])
}

fn header() -> Header {
    let game = Arena::default();
    Header {
        game: game.name().into(),
        sim_version: game.sim_version(),
        tick_rate_hz: 20,
        capacity: 8,
        room: "abc123".into(),
        room_name: "Room".into(),
        epoch: 3,
        first_tick: 8,
        ..Header::default()
    }
}

fn checkpoint() -> Seeds {
    let mut game = Arena::default().create(&Setup { seed: 7, tick_rate_hz: 20, capacity: 8 });
    let empty = game.checkpoint();
    for player in 1..=3 {
        game.join(player, &Profile { name: format!("P{player}"), hue: 9 });
    }
    for tick in 0..200 {
        for player in 1..=3 {
            let steering = Steering { axis_x: 60, axis_y: 127, aim: Some(tick * 300) };
            let controls = Controls { steering, buttons: 1, ..Controls::default() };
            let _ = game.apply(player, &controls);
        }
        game.step();
    }
    let state = game.checkpoint();
    let session = |player, presence| Session {
        player,
        player_id: format!("p-{player}"),
        profile: Profile { name: "Ada".into(), hue: 300 },
        entity: 2,
        token_hash: (player != 3).then_some([7; 32]),
        input_ack: 200,
        applied_count: 199,
        applied_hash: 1 << 31,
        presence,
    };
    let sessions = [
        session(1, Presence::Playing),
        session(2, Presence::Dropped { until_tick: 20 }),
        session(3, Presence::Reserved { until_tick: 10 }),
    ];
    let mut written = BytesMut::new();
    Sessions::put(7, 4, sessions.iter().map(Into::into), &mut written);
    let payload = &written[6..written.len() - 4];
    let mut room = BytesMut::new();
    header().put(&mut room);
    assert!(Checkpoint::put(7, game.state_hash(), &state, &mut room));
    room.extend_from_slice(&written);
    let begin = TransferBegin {
        room_id: "abc123".into(),
        epoch: 3,
        revision: 9,
        tick: 7,
        size_bytes: room.len() as u64,
        moves: vec![v1::WaitingMove {
            player: 1,
            r#move: Some(v1::Move { sequence: 201, axis_x: 5, ..v1::Move::default() }),
        }],
        barred: vec![v1::BarredPlayer {
            player_id: "p-9".into(),
            token_hash: vec![7; 32],
            until_tick: 99,
        }],
        restorations: vec![v1::Restoration { epoch: 2, age_ms: 1500 }],
    };
    named([
        ("state", after(&[0], &state)),
        ("state-empty", after(&[0], &empty)),
        ("sessions", after(&[1], payload)),
        ("records", after(&[2], &room)),
        ("offer", after(&[3], &parts([&begin.encode_to_vec()[..], &room]))),
    ])
}

fn websocket() -> Seeds {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let masked = |kind: u8, payload: &[u8]| {
        after(&[0x80 | kind, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload)
    };
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: fray.v1, ticket.a.b.c\r\n\r\n";
    let web = format!(
        "POST /fray.v1.Lobby/ListRooms HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 5\r\n\r\n{}",
        "\0\0\0\0\0"
    );
    let frames = [
        masked(2, &requests()[0]),
        masked(2, &requests()[3]),
        masked(9, b"ping"),
        masked(8, &[3, 232]),
    ];
    named([
        ("get-page", after(&[0, 0], get("/").as_bytes())),
        ("get-keys", after(&[0, 9], get("/.well-known/jwks.json").as_bytes())),
        ("get-events", after(&[0, 0], get("/rooms/abc123/events").as_bytes())),
        ("upgrade", after(&[0, 0], upgrade.as_bytes())),
        ("grpc-web", after(&[0, 0], web.as_bytes())),
        ("frames", after(&[1, 0], &frames.concat())),
        ("frames-cut", after(&[1, 3], &frames.concat())),
        ("text", after(&[1, 0], &masked(1, b"text"))),
        ("fragments", after(&[1, 0], &[&masked(2, b"a")[1..], &masked(0, b"b")].concat())),
        ("hello", after(&[2], &parts([&v1_hello()[..], &requests()[3], &requests()[4]]))),
        ("all", after(&[2], &parts(requests()))),
    ])
}

fn v1_hello() -> Vec<u8> {
    PlayRequest { message: Some(Request::Hello(hello())) }.encode_to_vec()
}

fn http2() -> Seeds {
    let join = JoinRequest {
        player_name: "Ada".into(),
        request_id: "r-1".into(),
        player_hue: Some(9),
        ..JoinRequest::default()
    };
    let stream: Vec<u8> = [v1_hello(), requests()[3].clone(), requests()[4].clone()]
        .iter()
        .flat_map(|m| framed(m))
        .collect();
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        after(&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload)
    };
    let mut head = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/fray.v1.Play/Play"),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        head.extend([0x40, name.len() as u8]);
        head.extend(name.as_bytes());
        head.push(value.len() as u8);
        head.extend(value.as_bytes());
    }
    let raw = [
        frame(4, 0, 0, &[0, 4, 0, 0, 0, 9]),
        frame(1, 4, 1, &head),
        frame(0, 0, 1, &framed(&v1_hello())),
        frame(8, 0, 1, &[0, 0, 9, 0]),
        frame(6, 0, 0, b"12345678"),
        frame(3, 0, 1, &[0, 0, 0, 8]),
        frame(7, 0, 0, &[0; 8]),
    ];
    let spectate = v1::WatchRequest::default().encode_to_vec();
    let seek = v1::WatchRequest {
        recording: "abc123".into(),
        speed_percent: 200,
        from_tick: 9,
        ..Default::default()
    };
    named([
        ("raw", after(&[0, 0], &raw.concat())),
        ("raw-cut", after(&[0, 5], &raw.concat())),
        ("play", after(&[1], &parts([after(&[0, 1], &stream)]))),
        ("play-open", after(&[1], &parts([after(&[0, 3], &stream)]))),
        ("join", after(&[1], &parts([after(&[1, 0], &join.encode_to_vec())]))),
        (
            "join-and-watch",
            after(&[1], &parts([after(&[1, 0], &join.encode_to_vec()), after(&[2, 2], &spectate)])),
        ),
        ("watch-past", after(&[1], &parts([after(&[2, 0], &seek.encode_to_vec())]))),
        ("each", after(&[1], &parts((0..11).map(|which| vec![which, 0])))),
        ("headers", after(&[1], &parts(with_headers(&join.encode_to_vec())))),
        ("headers-by-a-proxy", after(&[3], &parts(with_headers(&join.encode_to_vec())))),
    ])
}

/// Joins with a header more, each with another.
fn with_headers(join: &[u8]) -> Vec<Vec<u8>> {
    let values = [
        "Bearer a.b.c",
        "10S",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "a=b",
        "10.0.0.1, ::1",
        "gzip",
        "9",
        "r-2",
    ];
    let call = |(which, value): (usize, &str)| {
        [&[1, 4, which as u8, value.len() as u8], value.as_bytes(), join].concat()
    };
    values.into_iter().enumerate().map(call).collect()
}

fn records() -> Seeds {
    let room = r#"{"room":"abc123","owner":"00000000000000aa","epoch":3,"followers":["00000000000000bb"],"game":"arena","sim_version":1,"name":"Room","capacity":8,"code_hash":"00","lost":"OWNER_LOST","parked":true,"parked_whole":false}"#;
    let server = r#"{"instance":"00000000000000aa","name":"s","route":"10.0.0.1:7777","peer":"10.0.0.1:7779","release":"1.0","game":"arena","sim_version":1,"sim_versions":[1],"rooms_max":8,"room_capacity_max":8,"is_draining":false,"players":{"abc123":3},"voters":[{"instance":"00000000000000aa","votes":1}],"zone":"a","node":"n","renewal_age_ms":5}"#;
    let headers = [
        "Fray-Writer: 00000000000000ff",
        "Fray-Epoch: 3",
        "Fray-First-Tick: 1",
        "Fray-Last-Tick: 9",
        "Fray-Checkpoint: 1",
        "Fray-Part: 1/2",
        "Fray-Segment: 0",
        "Fray-Offset: 77",
        "Fray-Written-At-Ms: 1700000000000",
    ];
    let seated = v1::JoinResponse {
        ticket: "a.b.c".into(),
        player_id: "p-1".into(),
        room: Some(v1::Room {
            room_id: "abc123".into(),
            name: "Room".into(),
            players: 1,
            capacity: 8,
            ..v1::Room::default()
        }),
        ..v1::JoinResponse::default()
    };
    named([
        ("room", after(&[0], room.as_bytes())),
        ("servers", after(&[1], &parts([server, server]))),
        ("headers", after(&[2], &parts(headers))),
        ("seated", after(&[3], &seated.encode_to_vec())),
        ("numbers-of-a-room", after(&[4], &parts([[3], [1], [8]]))),
        ("numbers-of-a-room-beyond", after(&[4], &parts([[255; 8], [255; 8], [255; 8]]))),
        (
            "numbers-of-headers",
            after(&[5], &parts([[255], [3], [1], [9], [1], [2], [0], [77], [9]])),
        ),
        ("numbers-of-headers-beyond", after(&[5], &parts([[255; 8]; 9]))),
    ])
}
