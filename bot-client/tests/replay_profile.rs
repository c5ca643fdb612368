//! Goal: a tick of a recording is profiled, and whoever asks for what is not there is told so. Method: the command on a real recording, and
//! on one of a game with a tick that is a thousand times as heavy as the others.

#![cfg(any(target_os = "linux", target_os = "macos"))]

#[path = "replay_support/burning.rs"]
mod burning;
mod replay_support;

use burning::Burning;
use clap::Parser;
use fray_bot::replay::{ReplayArgs, answer};
use fray_proto::v1;
use fray_proto::v1::replays_server::{Replays, ReplaysServer};
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::store::Record;
use futures_util::Stream;
use replay_support::{Fragile, Scratch, records, written};
use serde_json::Value;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Parts = Pin<Box<dyn Stream<Item = Result<v1::DownloadResponse, Status>> + Send>>;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ReplayArgs,
}

const GOLDEN: &[u8] = include_bytes!("../../server/tests/golden/arena-v1.fray");

/// A process can be sampled by one at a time.
fn sampling() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the arguments give: the exit code, and what is said.
fn say(line: &[&str]) -> (ExitCode, String) {
    let _one = sampling();
    let games: [Arc<dyn GameFactory>; 3] =
        [Arc::new(Arena::default()), Arc::new(Burning), Arc::new(Fragile)];
    let args = Line::parse_from(["replay"].iter().chain(line)).args;
    let mut out = Vec::new();
    let code = answer(&games, &args, &mut out, &CancellationToken::new());
    let code = code.unwrap_or_else(|error| {
        out.extend_from_slice(format!("{error:#}").as_bytes());
        ExitCode::from(2)
    });
    (code, String::from_utf8(out).expect("text"))
}

#[test]
fn a_tick_of_a_match_is_measured_in_its_parts_and_among_its_neighbours() {
    let scratch = Scratch::new("profile");
    let file = scratch.file("a.fray", GOLDEN);
    let line = [file.as_str(), "--at", "333", "--profile", "--profile-for", "300ms"];
    let (code, said) = say(&line);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    for part in [
        "arena, rules of version 1",
        "333 (00:16)",
        "moves",
        "neighbours (233 to 433)",
        "This tick takes",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert_eq!(
        said.contains("WARNING     this is a debug build"),
        cfg!(debug_assertions),
        "{said}"
    );

    let (_, said) = say(&[&line[..], &["--json"]].concat());
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let recorded = records(GOLDEN).into_iter().find_map(|record| match record {
        Record::Tick(tick) if tick.tick == 333 => Some(tick.inputs().count() as u64),
        _ => None,
    });
    let kinds = said["inputs"].as_object().expect("kinds").values();
    assert_eq!(Some(kinds.filter_map(Value::as_u64).sum()), recorded);
    let whole = said["alone"]["whole"]["p50_ns"].as_u64().expect("a time");
    let part = |name: &str| said["alone"][name]["p50_ns"].as_u64().expect("a time");
    assert!(part("step") > 0 && part("publish") > 0 && part("step") <= whole, "{said:#}");
    assert_eq!(said["in_turn"]["neighbours"], 200);
    assert_eq!((&said["has_hash"], &said["has_checkpoint"]), (&false.into(), &false.into()));
}

#[test]
fn hashes_and_checkpoints_are_where_the_room_took_them() {
    let scratch = Scratch::new("profile-log");
    let file = scratch.file("a.fray", GOLDEN);
    for (tick, has_hash, has_checkpoint) in [("340", true, false), ("400", true, true)] {
        let (_, said) = say(&[&file, "--at", tick, "--profile", "--profile-for", "1ms", "--json"]);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["has_hash"], has_hash, "{tick}");
        assert_eq!(said["has_checkpoint"], has_checkpoint, "{tick}");
        assert!(said["repetitions"].as_u64() >= Some(5), "however little time there is");
    }
}

#[test]
fn a_heavy_tick_and_the_function_that_makes_it_heavy_are_named() {
    let scratch = Scratch::new("profile-heavy");
    let file = scratch.file("a.fray", &Burning::recording());
    let folded = scratch.path("stacks.txt");
    let tick = Burning::HEAVY_TICK.to_string();
    let line =
        [&file, "--at", &tick, "--profile", "--profile-for", "1s", "--folded", &folded, "--json"];
    let (code, said) = say(&line);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let verdict = said["verdict"].as_str().expect("a verdict");
    assert!(verdict.starts_with("HEAVY"), "{said:#}");
    assert!(said["in_turn"]["ratio"].as_f64() > Some(20.0), "{said:#}");
    let profile = &said["profile"];
    assert!(profile["samples"].as_u64() > Some(0), "{said:#}");
    let samples = |count: &Value| count.as_u64().expect("a count");
    let of_the_step = samples(&profile["phases"]["step"]);
    assert!(
        of_the_step * 10 > samples(&profile["samples"]) * 8,
        "most of it is the step: {said:#}"
    );
    let stacks = std::fs::read_to_string(&folded).expect("stacks");
    let (mut all, mut burning) = (0, 0);
    for line in stacks.lines() {
        let (stack, samples) = line.rsplit_once(' ').expect("a count");
        let samples: u64 = samples.parse().expect("a number");
        let part = stack.split(';').next().unwrap_or_default();
        assert!(["inputs", "step", "publish", "log"].contains(&part), "{line}");
        all += samples;
        burning += if stack.contains("burn") { samples } else { 0 };
    }
    assert_eq!(Some(all), profile["samples"].as_u64());
    assert!(burning * 10 > all * 8, "most of it is burning:\n{stacks}");

    assert_eq!(scratch.names(), ["a.fray", "stacks.txt"], "nothing else is left");
    let (code, said) = say(&line);
    assert_eq!(code, ExitCode::from(2), "{said}");
    assert!(said.contains("is there already; --force"), "{said}");
    assert_eq!(say(&[&line[..], &["--force"]].concat()).0, ExitCode::SUCCESS);

    let (_, said) = say(&[&file, "--at", "20", "--profile", "--profile-for", "100ms", "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["in_turn"]["heaviest"][0]["tick"], Burning::HEAVY_TICK, "{said:#}");
}

#[test]
fn what_cannot_be_profiled_is_said() {
    let scratch = Scratch::new("profile-not");
    let file = scratch.file("a.fray", GOLDEN);
    let mut damaged = GOLDEN.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 4;
    let damaged = scratch.file("damaged.fray", &damaged);
    let newer = scratch.file(
        "newer.fray",
        &written(&records(GOLDEN), |record, out| {
            let Record::Header(header) = record else { return false };
            let mut header = header.clone();
            header.sim_version = 99;
            header.put(out);
            true
        }),
    );
    let panics = scratch.file("panics.fray", &Fragile::recording(true, true));
    for (line, wanted) in [
        ([file.as_str(), "0"], "tick 0 is not in it: it has the ticks 1 to 600"),
        ([&file, "601"], "tick 601 is not in it: it has the ticks 1 to 600"),
        ([&damaged, "590"], "DAMAGED at offset "),
        ([&newer, "100"], "arena with rules of version 99 is not known here"),
        ([&panics, "7"], "tick 7 cannot be measured: the rules panic in it, as recorded"),
    ] {
        let (code, said) = say(&[line[0], "--at", line[1], "--profile", "--profile-for", "1ms"]);
        assert_eq!(code, ExitCode::from(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
    // What is whole before the damage can be profiled.
    let (code, said) = say(&[&damaged, "--at", "100", "--profile", "--profile-for", "1ms"]);
    assert_eq!(code, ExitCode::SUCCESS, "{said}");
    for (lasts, is_good) in [("0s", false), ("61s", false), ("1ms", true)] {
        let (code, said) = say(&[&file, "--at", "9", "--profile", "--profile-for", lasts]);
        assert_eq!(code == ExitCode::SUCCESS, is_good, "{said}");
    }
}

#[test]
fn who_does_not_want_it_any_more_is_not_kept() {
    let scratch = Scratch::new("profile-stop");
    let file = scratch.file("a.fray", GOLDEN);
    let line = ["replay", &file, "--at", "333", "--profile", "--profile-for", "60s"];
    let args = Line::parse_from(line).args;
    let games: [Arc<dyn GameFactory>; 1] = [Arc::new(Arena::default())];
    let stop = CancellationToken::new();
    stop.cancel();
    let error = answer(&games, &args, &mut Vec::new(), &stop).expect_err("no answer");
    assert!(format!("{error:#}").contains("stopped"), "{error:#}");
}

/// Gives the golden recording away, in small pieces, and remembers what it was asked for.
struct Shelf(Mutex<Vec<v1::DownloadRequest>>);

#[tonic::async_trait]
impl Replays for &'static Shelf {
    async fn list(
        &self,
        _: Request<v1::ReplaysListRequest>,
    ) -> Result<Response<v1::ReplaysListResponse>, Status> {
        let recordings = ["golden", "other"]
            .map(|name| v1::Recording { name: name.into(), ..v1::Recording::default() });
        let recordings = recordings.into();
        Ok(Response::new(v1::ReplaysListResponse { recordings, ..Default::default() }))
    }

    type DownloadStream = Parts;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Parts>, Status> {
        let request = request.into_inner();
        let is_known = request.name == "golden" && request.code == "SECRET";
        self.0.lock().expect("a lock").push(request);
        if !is_known {
            return Err(Status::not_found("no such recording"));
        }
        let parts =
            GOLDEN.chunks(1000).map(|part| Ok(v1::DownloadResponse { data: part.to_vec().into() }));
        Ok(Response::new(Box::pin(futures_util::stream::iter(parts))))
    }

    async fn timeline(
        &self,
        _: Request<v1::TimelineRequest>,
    ) -> Result<Response<v1::TimelineResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn verify(
        &self,
        _: Request<Streaming<v1::VerifyRequest>>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tick_of_a_running_server_is_fetched_with_its_neighbours_alone() {
    let shelf: &'static Shelf = Box::leak(Box::new(Shelf(Mutex::default())));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = Server::builder().add_service(ReplaysServer::new(shelf));
    let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
    let asking = tokio::task::spawn_blocking(move || {
        let base = [url.as_str(), "--code", "SECRET"];
        let golden = [&base[..], &["--recording", "golden"]].concat();
        let profile = ["--at", "333", "--profile", "--profile-for", "1ms"];
        let (code, said) = say(&[&golden[..], &profile].concat());
        assert_eq!(code, ExitCode::SUCCESS, "{said}");
        assert!(said.contains("recording   golden") && said.contains("333 (00:16)"), "{said}");
        let (code, said) = say(&golden);
        assert_eq!(code, ExitCode::SUCCESS, "{said}");
        assert!(said.contains("SAME: 600 ticks"), "{said}");

        let (code, said) = say(&[&base[..], &profile].concat());
        assert_eq!(code, ExitCode::from(2), "{said}");
        assert!(said.contains("--recording says which one: golden, other"), "{said}");
        let (code, said) = say(&[&url, "--recording", "golden"]);
        assert_eq!(code, ExitCode::from(2), "{said}");
        assert!(said.contains("golden: NotFound: no such recording"), "{said}");
    });
    tokio::select! {
        served = serving => panic!("it goes on: {served:?}"),
        asked = asking => asked.expect("all is as it should be"),
    }
    let asked: Vec<_> =
        shelf.0.lock().expect("a lock").iter().map(|r| [r.from_tick, r.to_tick]).collect();
    assert_eq!(asked, [[233, 433], [0, 0], [0, 0]]);
}
