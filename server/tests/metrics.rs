//! What `/metrics` says: names, help, labels, and the calls that it counts.

mod support;

use fray_proto::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::{Net, hello, hello_with_token};

/// A metric as it is rendered or documented: its type, and its labels but for those of histograms' buckets.
type Known = BTreeMap<String, (String, BTreeSet<String>)>;

fn render(net: &Net) -> String {
    net.parts.sessions().metrics.render()
}

/// The value of the one sample that begins so.
fn value(net: &Net, sample: &str) -> f64 {
    let text = render(net);
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    line.split(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Lets virtual time go on until a sample has this value: tasks that were dropped end when they are next awake.
async fn until(net: &Net, sample: &str, wanted: f64) {
    for _ in 0..1000 {
        if render(net).lines().any(|line| line == format!("{sample} {wanted}")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sample} never was {wanted} in\n{}", render(net));
}

/// The series name of a metric family: counters and infos have a suffix.
fn exposed(family: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{family}_total"),
        "info" => format!("{family}_info"),
        _ => family.to_owned(),
    }
}

/// `name{a="1",b="2"} 3` as name and label names.
fn sample(line: &str) -> (&str, Vec<&str>) {
    let name = line.split(['{', ' ']).next().expect("a name");
    let labels = line[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let labels = labels.map_or("", |(labels, _)| labels);
    (name, labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect())
}

fn rendered(text: &str) -> Known {
    let mut known = Known::new();
    for line in text.lines() {
        if let Some((family, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            known.insert(exposed(family, kind), (kind.to_owned(), BTreeSet::new()));
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = sample(line);
        let of_histogram = ["_bucket", "_sum", "_count"];
        let family = of_histogram.iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = family.filter(|family| known.contains_key(*family)).unwrap_or(name);
        let (_, known) = known.get_mut(family).unwrap_or_else(|| panic!("{name} has no type"));
        known.extend(labels.into_iter().filter(|label| *label != "le").map(str::to_owned));
    }
    known
}

/// The rows of the table in `docs/METRICS.md`.
fn documented() -> Known {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
    let text = std::fs::read_to_string(path).expect("the table");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("four cells: {row}") };
        assert!(!meaning.is_empty(), "{row}");
        let kind = kind.trim_end_matches([' ', '†']).to_owned();
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        (name.trim_matches('`').to_owned(), (kind, labels))
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn the_table_of_metrics_is_what_a_server_says() {
    let net = Net::new(&[]);
    let metrics = &net.parts.sessions().metrics;
    // What has a series only once it happened.
    metrics.rpc.begin("fray.v1.Lobby/Join", true).end(0);
    let mut documented = documented();
    if !cfg!(target_os = "linux") {
        documented.retain(|name, _| !name.starts_with("process_"));
    }
    assert_eq!(rendered(&metrics.render()), documented);
}

#[tokio::test(start_paused = true)]
async fn every_metric_has_help_and_its_unit_and_the_text_ends() {
    let net = Net::new(&[]);
    let text = render(&net);
    assert!(text.ends_with("# EOF\n"));
    let mut families = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(family), Some(help)) => {
                assert!(help.len() > 5, "{line}");
                assert!(families.insert(family.to_owned()), "twice: {line}");
            }
            (Some("#"), Some("TYPE"), Some(family), Some(kind)) => {
                assert!(families.contains(family), "help comes first: {line}");
                assert_ne!(kind, "unknown", "{line}");
            }
            (Some("#"), Some("UNIT"), Some(family), Some(unit)) => {
                assert!(family.ends_with(&format!("_{unit}")), "{line}");
            }
            _ => {}
        }
    }
    for family in families {
        let times = ["duration", "wait", "lateness", "staleness", "period", "busy"];
        let more = ["lease_age", "room_move", "restored_age"];
        let has_time = times
            .iter()
            .chain(&more)
            .any(|word| family.contains(word) && !family.contains("waiting"));
        assert_eq!(
            family.ends_with("_seconds"),
            has_time || family.contains("start_time") || family.contains("cpu"),
            "{family}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_label_is_a_player_or_a_room() {
    let net = Net::new(&["--allow-guests"]);
    let names = ["Alexandria", "Bartholomew"];
    let mut series = Vec::new();
    for name in names {
        let mut player = net.player(name).await;
        player.steer(100, 0).await;
        player.until_all_is_acked().await;
        let text = render(&net);
        let ids = [player.welcome.player_id.as_str(), &player.welcome.resume_token];
        let room = player.welcome.room.as_ref().expect("a room");
        for said in names.iter().chain(&ids).chain(&[room.room_id.as_str(), room.name.as_str()]) {
            assert!(!text.contains(said), "{said} in\n{text}");
        }
        player.leave().await.expect("left");
        series.push(text.lines().filter(|line| !line.starts_with('#')).count());
    }
    // The second leaves no series that the first had not left.
    assert!(series[1] <= series[0] + 3, "{series:?}: only calls that had not ended before");
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_with_the_status_that_ended_them() {
    let net = Net::new(&["--allow-guests"]);
    let mut lobby = net.lobby().await;
    lobby.list_rooms(v1::ListRoomsRequest::default()).await.expect("listed");
    let unknown = v1::join_request::Room::RoomId("nowhere".into());
    let request = v1::JoinRequest { room: Some(unknown), ..Default::default() };
    lobby.join(request).await.expect_err("no such room");

    // A stream that ends as it should, one that is refused, and one that is cut off.
    let mut leaves = net.open(hello()).await.expect("seated");
    assert!(
        (value(&net, "fray_rpc_in_flight{rpc_method=\"fray.v1.Play/Play\"}") - 1.0).abs() < 0.1
    );
    leaves.leave().await.expect("left");
    net.open(hello_with_token("stale")).await.err().expect("refused");
    drop(net.open(hello()).await.expect("seated"));

    let finished = |method: &str, status: &str| {
        format!("fray_rpc_finished_total{{rpc_method=\"{method}\",grpc_status=\"{status}\"}}")
    };
    until(&net, &finished("fray.v1.Lobby/ListRooms", "OK"), 1.0).await;
    until(&net, &finished("fray.v1.Lobby/Join", "NOT_FOUND"), 1.0).await;
    until(&net, &finished("fray.v1.Play/Play", "OK"), 1.0).await;
    until(&net, &finished("fray.v1.Play/Play", "NOT_FOUND"), 1.0).await;
    until(&net, &finished("fray.v1.Play/Play", "CANCELLED"), 1.0).await;
    until(&net, "fray_rpc_in_flight{rpc_method=\"fray.v1.Play/Play\"}", 0.0).await;
    until(&net, "fray_rpc_started_total{rpc_method=\"fray.v1.Play/Play\"}", 3.0).await;
    until(&net, "fray_rpc_duration_seconds_count{rpc_method=\"fray.v1.Lobby/Join\"}", 1.0).await;
    let of_streams = "fray_rpc_duration_seconds_count{rpc_method=\"fray.v1.Play/Play\"}";
    assert!(!render(&net).contains(of_streams), "streams have no duration");
}

#[tokio::test(start_paused = true)]
async fn what_may_go_wrong_has_series_before_it_does() {
    let net = Net::new(&[]);
    for sample in [
        "fray_rpc_finished_total{rpc_method=\"fray.v1.Lobby/Join\",grpc_status=\"INTERNAL\"}",
        "fray_rpc_finished_total{rpc_method=\"fray.v1.Replays/Verify\",grpc_status=\"DATA_LOSS\"}",
        "fray_rpc_finished_total{rpc_method=\"websocket\",grpc_status=\"UNKNOWN\"}",
        "fray_refusals_total{reason=\"ROOM_FULL\"}",
        "fray_refusals_total{reason=\"INTERNAL\"}",
        "fray_refusals_total{reason=\"ORIGIN_FORBIDDEN\"}",
        "fray_resyncs_total{reason=\"REASON_CHECKSUM_MISMATCH\"}",
        "fray_resyncs_total{reason=\"REASON_MALFORMED\"}",
    ] {
        assert!(value(&net, sample).abs() < 0.1, "{sample}");
    }
}

#[tokio::test(start_paused = true)]
async fn methods_that_do_not_exist_are_one_series() {
    let net = Net::new(&[]);
    for path in ["/fray.v1.Lobby/Nothing", "/made.up/One", "/made.up/Two"] {
        let mut client = tonic::client::Grpc::new(net.connect().await);
        client.ready().await.expect("ready");
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = client.unary(tonic::Request::new(()), path, codec).await.expect_err("no");
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
    let ended = "fray_rpc_finished_total{rpc_method=\"other\",grpc_status=\"UNIMPLEMENTED\"}";
    until(&net, ended, 3.0).await;
    assert!(!render(&net).contains("made.up"));
}

#[tokio::test(start_paused = true)]
async fn what_is_encoded_once_is_used_by_all_who_see_it() {
    let net = Net::new(&["--allow-guests"]);
    let mut players = Vec::new();
    for _ in 0..8 {
        players.push(net.open(hello()).await.expect("seated"));
    }
    for _ in 0..60 {
        for player in &mut players {
            player.update().await.expect("goes on");
        }
    }
    let encoded = value(&net, "fray_cells_encoded_bytes_total");
    let spliced = value(&net, "fray_cells_spliced_bytes_total");
    let written = value(&net, "fray_update_bytes_total");
    assert!(encoded > 0.0 && spliced > 2.0 * encoded, "{encoded} bytes encoded, {spliced} spliced");
    assert!(spliced < written, "cells are a part of updates");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_acknowledges_nothing_is_seen_to_be_stale() {
    let net = Net::new(&["--allow-guests"]);
    let stale = "fray_staleness_seconds_bucket{le=\"0.75\"}";
    let all = "fray_staleness_seconds_count";
    let mut player = net.open(hello()).await.expect("seated");
    player.until("5 s", |player| player.updates.len() > 100).await;
    let well = value(&net, all);
    assert!(well >= 4.0 && (value(&net, stale) - well).abs() < 0.1, "{well} times, never stale");
    player.acks_updates = false;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Room for what was on its way.
    assert!(value(&net, all) - value(&net, stale) >= 3.0, "{}", render(&net));
}

#[tokio::test(start_paused = true)]
async fn moves_that_wait_are_seen() {
    let net = Net::new(&["--allow-guests"]);
    let mut player = net.open(hello()).await.expect("seated");
    for axis in 0..30 {
        player.steer(axis, 0).await;
    }
    player.until_all_is_acked().await;
    // A tick is noted after its frame is out.
    until(&net, "fray_move_wait_seconds_count", 30.0).await;
    // 8 are applied in a tick: the last of 30 wait for three ticks more.
    assert!(value(&net, "fray_move_wait_seconds_sum") > 0.5, "{}", render(&net));
    let deep = value(&net, "fray_move_queue_depth_count")
        - value(&net, "fray_move_queue_depth_bucket{le=\"16.0\"}");
    assert!(deep >= 1.0, "{}", render(&net));
}
