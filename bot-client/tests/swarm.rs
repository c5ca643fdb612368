//! Goal: a swarm finds nothing on a correct server, and every fault on one that has it; and its times are honest.
//! Method: the whole swarm plays on a server in memory, on a clock that only moves when everybody waits.

mod support;

use fray_bot::client::Ended;
use fray_bot::swarm::{self, Limits, Plan, Report, RunFile, page};
use std::sync::Arc;
use std::time::Duration;
use support::room::Faults;
use support::server::FakeServer;
use tokio_util::sync::CancellationToken;
use tonic::Code;

fn plan(players: usize) -> Plan {
    Plan {
        players,
        ramp: Duration::from_secs(1),
        duration: Some(Duration::from_secs(30)),
        ..Plan::default()
    }
}

async fn run(server: FakeServer, plan: Plan) -> Report {
    run_until(server, plan, CancellationToken::new()).await
}

async fn run_until(server: FakeServer, plan: Plan, stop: CancellationToken) -> Report {
    let way = Arc::new(server.clone());
    tokio::select! {
        report = swarm::run(plan, stop, |_, _| way.clone(), |_| ()) => report,
        () = server.run() => unreachable!("it ticks for ever"),
    }
}

fn failures(report: &Report) -> Vec<String> {
    Limits::default().failures(report)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_on_a_correct_server() {
    let report = run(FakeServer::new(Faults::default()), plan(8)).await;
    assert_eq!(failures(&report), [""; 0]);
    assert_eq!((report.players, report.disconnects, report.errors.len()), (8, 0, 0));
    assert!(report.updates > 8 * 20 * 29, "{report}");
    assert!(report.moves > 8 * 29, "{report}");
    assert!(report.checksums > report.updates, "{report}");
    assert!((report.update_gap_ms.max - 50.0).abs() < 2.0, "{report}");
    assert!(report.tick_to_receive_ms.max < 2.0, "{report}");
    assert!(report.move_to_ack_ms.max < 52.0, "{report}");
    assert!(report.bytes_per_entity_tick.is_some_and(|bytes| bytes > 1.0), "{report}");
}

#[tokio::test(start_paused = true)]
async fn players_that_drop_come_back_as_themselves() {
    let report = run(FakeServer::new(Faults::default()), Plan { churn: 1.0, ..plan(8) }).await;
    assert_eq!(failures(&report), [""; 0]);
    assert!(report.drops > 30 && report.resumes == report.drops, "{report}");
    assert!(report.resume_ms.count > 30 && report.resume_ms.max < 60.0, "{report}");
    assert!(report.update_gap_ms.max < 52.0, "{report}");
    assert_eq!(report.disconnects, 0);
}

#[tokio::test(start_paused = true)]
async fn points_that_vanish_with_a_resumption_are_found() {
    let faults = Faults { points_lost_on_resume: 1, ..Faults::default() };
    let report = run(FakeServer::new(faults), Plan { churn: 1.0, ..plan(4) }).await;
    assert!(report.identity_changes > 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn coming_back_as_somebody_else_is_found() {
    let faults = Faults { forget_players: true, ..Faults::default() };
    let report = run(FakeServer::new(faults), Plan { churn: 1.0, ..plan(4) }).await;
    assert!(report.identity_changes > 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn readers_that_stall_go_on_moving_and_are_reported_apart() {
    let report = run(FakeServer::new(Faults::default()), Plan { stall: 0.25, ..plan(8) }).await;
    assert_eq!(failures(&report), [""; 0]);
    assert_eq!(report.stalled.players, 2);
    assert!(report.stalled.moves > 40, "{report}");
    assert!((report.update_gap_ms.max - 50.0).abs() < 2.0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn players_of_a_room_see_one_world() {
    let compared = Plan { compares_worlds: true, ..plan(6) };
    let report = run(FakeServer::new(Faults::default()), compared).await;
    assert_eq!(failures(&report), [""; 0]);
    let worlds = report.worlds.expect("they were compared");
    assert_eq!(worlds.updates, report.updates);
    assert_eq!((worlds.conflicts, worlds.rolled_back_ticks), (0, 0), "{worlds:?}");
    let report = run(FakeServer::new(Faults::default()), plan(2)).await;
    assert!(report.worlds.is_none(), "nobody asked for it");
}

#[tokio::test(start_paused = true)]
async fn a_room_on_two_servers_fails_the_run_though_each_of_them_is_right() {
    let servers = [0, 1].map(|_| FakeServer::new(Faults::default()));
    let ways = servers.clone().map(Arc::new);
    let compared = Plan { compares_worlds: true, ..plan(4) };
    let report = tokio::select! {
        report = swarm::run(compared, CancellationToken::new(), |n, _| ways[n % 2].clone(), |_| ()) => report,
        () = async { tokio::join!(servers[0].run(), servers[1].run()); } => unreachable!("they tick for ever"),
    };
    assert_eq!((report.desyncs, report.lost_moves), (0, 0), "{report}");
    let worlds = report.worlds.as_ref().expect("they were compared");
    assert!(worlds.conflicts > 0 && !worlds.examples.is_empty(), "{report}");
    assert!(failures(&report).iter().any(|failure| failure.contains("two things")), "{report}");
}

#[tokio::test(start_paused = true)]
async fn every_fault_fails_the_run() {
    type Count = fn(&Report) -> u64;
    let faulty: [(Faults, &str, Count); 4] = [
        (Faults { flip_bit_at: Some(200), ..Faults::default() }, "a flipped bit", |report| {
            report.desyncs + report.broken_updates
        }),
        (Faults { shift_silently_at: Some(200), ..Faults::default() }, "a desync", |report| {
            report.desyncs
        }),
        (Faults { drop_move: Some(9), ..Faults::default() }, "a lost move", |report| {
            report.lost_moves
        }),
        (Faults { double_move: Some(9), ..Faults::default() }, "a doubled move", |report| {
            report.duplicate_moves
        }),
    ];
    for (faults, what, count) in faulty {
        let report = run(FakeServer::new(faults), plan(2)).await;
        assert!(count(&report) > 0, "{what} was not found as what it is: {report}");
        assert!(!failures(&report).is_empty(), "{what} does not fail the run: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_server_is_charged_for_every_tick_that_it_owed() {
    let pause = Some((Duration::from_secs(10), Duration::from_secs(12)));
    let mut server = FakeServer::new(Faults::default());
    server.pause = pause;
    let report = run(server, plan(1)).await;
    // 40 of about 600 ticks were late, by 2000, 1950, … ms: a naive measure would see one late sample.
    let late = report.tick_to_receive_ms;
    assert!((late.max - 2000.0).abs() < 60.0, "{report}");
    assert!((1600.0..1900.0).contains(&late.p99), "{report}");
    let gap = report.update_gap_ms;
    assert!((gap.max - 2000.0).abs() < 60.0 && gap.p99 > 1500.0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_run_without_an_end_stops_when_told_and_everybody_leaves() {
    let stop = CancellationToken::new();
    let endless = Plan { duration: None, ..plan(4) };
    let server = FakeServer::new(Faults::default());
    let stopper = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = run_until(server.clone(), endless, stop.clone()) => report,
        () = stopper => unreachable!("it waits for ever"),
    };
    assert_eq!(failures(&report), [""; 0]);
    assert!(report.duration_s < 122.0, "{report}");
    assert_eq!(report.unresolved_moves, 0);
}

#[tokio::test(start_paused = true)]
async fn a_steady_rate_is_kept() {
    let report =
        run(FakeServer::new(Faults::default()), Plan { rate_hz: Some(10.0), ..plan(2) }).await;
    assert_eq!(failures(&report), [""; 0]);
    let per_second = report.moves as f64 / 2.0 / 30.5;
    assert!((9.5..10.5).contains(&per_second), "{per_second}/s: {report}");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_counted_by_status_and_nobody_playing_is_a_failure() {
    let refuse = Some(Ended {
        code: Code::ResourceExhausted,
        reason: "ROOM_FULL".into(),
        message: "full".into(),
    });
    let mut server = FakeServer::new(Faults::default());
    server.refuse = refuse;
    let report = run(server, plan(3)).await;
    assert_eq!(report.errors.get("RESOURCE_EXHAUSTED/ROOM_FULL"), Some(&3));
    assert_eq!(failures(&report).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missed_limit_fails_the_run() {
    let report = run(FakeServer::new(Faults::default()), plan(2)).await;
    let kept = Limits { max_p99_gap_ms: Some(60.0), min_players: Some(2), ..Limits::default() };
    assert_eq!(kept.failures(&report), [""; 0]);
    let missed = Limits { max_p99_gap_ms: Some(10.0), min_players: Some(3), ..Limits::default() };
    assert_eq!(missed.failures(&report).len(), 2);
}

#[test]
fn the_report_has_the_promised_fields() {
    let json = serde_json::to_value(Report::default()).expect("it is plain data");
    for field in [
        "players",
        "updates",
        "update_gap_ms",
        "tick_to_receive_ms",
        "move_to_ack_ms",
        "bytes_per_update",
        "bytes_per_entity_tick",
        "desyncs",
        "lost_moves",
        "duplicate_moves",
        "resumes",
        "disconnects",
        "errors",
        "sessions_lost",
        "notices",
        "worlds",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
    for quantile in ["p50", "p99", "max"] {
        assert!(json["update_gap_ms"].get(quantile).is_some(), "{quantile}");
    }
}

/// What the JSON of a report has, read back as `--compare` reads it.
fn read_back(report: &Report) -> RunFile {
    let json = serde_json::to_string(report).expect("it is plain data");
    RunFile::parse(&json).expect("a report's own JSON")
}

#[tokio::test(start_paused = true)]
async fn the_series_hold_the_whole_run_and_no_more() {
    let report = run(FakeServer::new(Faults::default()), Plan { churn: 0.5, ..plan(8) }).await;
    let series = &report.series;
    assert_eq!(series.bucket_s, 1);
    assert!((31..=33).contains(&series.len()), "{} s", series.len());
    let sum = |column: &[u64]| column.iter().sum::<u64>();
    assert_eq!(sum(&series.updates), report.updates);
    assert_eq!(sum(&series.bytes), report.update_bytes);
    assert_eq!(sum(&series.moves), report.moves);
    assert_eq!(sum(&series.update_gap_ms.count), report.update_gap_ms.count);
    assert_eq!(sum(&series.move_to_ack_ms.count), report.move_to_ack_ms.count);
    assert_eq!(sum(&series.tick_to_receive_ms.count), report.tick_to_receive_ms.count);
    assert_eq!(sum(&series.staleness_ms.count), report.staleness_ms.count);
    assert_eq!(report.staleness_ms.count, report.update_gap_ms.count);
    assert_eq!(sum(&series.marks["drops"]), report.drops);
    assert_eq!(sum(&series.marks["resumes"]), report.resumes);
    assert_eq!(series.players[15], Some(8.0));
    for name in ["update_gap_ms", "move_to_ack_ms", "tick_to_receive_ms", "staleness_ms"] {
        assert!(report.histograms[name].sum() > 500, "{name}");
    }
    let read = read_back(&report);
    assert_eq!(read.series(), series);
    assert_eq!(read.number("/update_gap_ms/p99"), Some(report.update_gap_ms.p99));
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_seen_in_the_seconds_in_which_it_was() {
    let mut server = FakeServer::new(Faults::default());
    server.pause = Some((Duration::from_secs(10), Duration::from_secs(12)));
    // Longer than arrivals wait to be judged: some are judged while it plays on, some at the end.
    let long = Plan { duration: Some(Duration::from_secs(70)), ..plan(2) };
    let series = run(server, long).await.series;
    // Everything that the server owed came in second 12, and is told there.
    for columns in [&series.update_gap_ms, &series.tick_to_receive_ms, &series.staleness_ms] {
        let max = |second: usize| columns.max[second].unwrap_or(0.0);
        assert!(max(12) > 1900.0, "{:?}", columns.max);
        assert!((0..10).chain(14..71).all(|second| max(second) < 100.0), "{:?}", columns.max);
        assert!((14..70).all(|second| columns.count[second] >= 39), "{:?}", columns.count);
    }
    assert_eq!(series.updates[11], 0);
    assert_eq!(series.marks["hangs"].iter().sum::<u64>(), 2);
    assert_eq!(series.marks["hangs"][12], 2);
}

#[tokio::test(start_paused = true)]
async fn the_page_of_a_run_has_every_section() {
    let mut report = run(FakeServer::new(Faults::default()), Plan { churn: 0.5, ..plan(4) }).await;
    assert_eq!(report.judge(&Limits::default()), [""; 0]);
    let now = read_back(&report);
    let page = page::render(&now, Some(&now));
    for section in [
        "summary",
        "timeline",
        "times",
        "load",
        "distribution",
        "totals",
        "limits",
        "errors",
        "conditions",
        "method",
    ] {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    for chart in ["Update gap", "Move latency", "Tick to receipt", "Staleness", "Bytes per second"]
    {
        assert!(page.contains(&format!("aria-label=\"{chart} over time\"")), "{chart}");
    }
    assert!(page.contains("dropped on purpose") && page.contains("passed: "));
    assert!(!page.contains("class=\"fault\"") && !page.contains("NaN"));
}

#[tokio::test(start_paused = true)]
async fn the_page_of_a_run_with_errors_marks_them() {
    let faults = Faults { drop_move: Some(9), flip_bit_at: Some(200), ..Faults::default() };
    let mut report = run(FakeServer::new(faults), plan(2)).await;
    let failures = report.judge(&Limits::default());
    assert!(failures.iter().any(|failure| failure.contains("lost moves")), "{failures:?}");
    assert!(report.series.marks["move_faults"].iter().sum::<u64>() > 0);
    let desyncs = report.desyncs + report.broken_updates;
    assert_eq!(report.series.marks["desyncs"].iter().sum::<u64>(), desyncs);
    let page = page::render(&read_back(&report), None);
    assert!(page.contains("class=\"fault\"") && page.contains("failed: "));
    assert!(page.contains("× moves lost, doubled, altered</title>"));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_marked_when_they_happened() {
    let mut server = FakeServer::new(Faults::default());
    let message = "<script>".repeat(1000);
    let full = Ended { code: Code::ResourceExhausted, reason: "ROOM_FULL".into(), message };
    server.refuse = Some(full);
    let report = run(server, plan(3)).await;
    assert_eq!(report.series.marks["errors"].iter().sum::<u64>(), 3);
    let page = page::render(&read_back(&report), None);
    assert!(page.contains("RESOURCE_EXHAUSTED/ROOM_FULL") && !page.contains("<script"));
}
