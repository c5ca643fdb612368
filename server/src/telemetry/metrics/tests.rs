use super::*;

fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
    metrics.render().lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

#[test]
fn a_slow_tick_leads_to_its_trace() {
    let metrics = Metrics::default();
    let ms = Duration::from_millis;
    metrics.tick_made(ms(1), ms(0), 0, None);
    metrics.tick_made(ms(70), ms(3), 0, TraceContext::new(TRACE, 1));
    let with_exemplar = |start| {
        let mut lines = lines(&metrics, start);
        lines.retain(|line| line.contains(" # {"));
        lines
    };
    let slow = with_exemplar("fray_tick_duration_seconds_bucket");
    assert_eq!(slow.len(), 1, "in the bucket of the tick that has a trace: {slow:?}");
    let expected = "fray_tick_duration_seconds_bucket{le=\"0.1\"} 2 \
                    # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.07 ";
    assert!(slow[0].starts_with(expected), "{}", slow[0]);
    assert_eq!(with_exemplar("fray_tick_lateness_seconds_bucket{le=\"0.005\"}").len(), 1);
}

#[test]
fn a_move_that_waited_long_leads_to_its_trace() {
    let metrics = Metrics::default();
    let wait = |ms, trace| Wait { took: Duration::from_millis(ms), trace };
    let waits = [wait(4, None), wait(400, TraceContext::new(TRACE, 1)), wait(4, None)];
    metrics.moves_drained(&waits, 3);
    let slow = lines(&metrics, "fray_move_wait_seconds_bucket{le=\"0.5\"} 3 # {trace_id=\"4bf9");
    assert_eq!(slow.len(), 1, "{}", metrics.render());
    assert_eq!(lines(&metrics, "fray_move_wait_seconds_count"), ["fray_move_wait_seconds_count 3"]);
    assert_eq!(lines(&metrics, "fray_move_queue_depth_sum"), ["fray_move_queue_depth_sum 3.0"]);
}

#[test]
fn distances_are_told_in_seconds() {
    let metrics = Metrics::default();
    metrics.client_is_behind(5, 20);
    assert_eq!(lines(&metrics, "fray_staleness_seconds_sum"), ["fray_staleness_seconds_sum 0.25"]);
}

#[test]
fn a_call_counts_when_it_begins_and_once_when_it_ends() {
    let metrics = Metrics::default();
    let open = metrics.rpc.begin("a", true);
    let other = metrics.rpc.begin("a", true);
    assert_eq!(lines(&metrics, "fray_rpc_in_flight{rpc_method=\"a\"} 2").len(), 1);
    open.end(5);
    drop(other);
    metrics.rpc.begin("stream", false).end(0);
    metrics.rpc.begin("stream", false).end(99);
    for line in [
        "fray_rpc_in_flight{rpc_method=\"a\"} 0",
        "fray_rpc_started_total{rpc_method=\"a\"} 2",
        "fray_rpc_finished_total{rpc_method=\"a\",grpc_status=\"NOT_FOUND\"} 1",
        "fray_rpc_finished_total{rpc_method=\"a\",grpc_status=\"CANCELLED\"} 1",
        "fray_rpc_duration_seconds_count{rpc_method=\"a\"} 2",
        "fray_rpc_finished_total{rpc_method=\"stream\",grpc_status=\"OK\"} 1",
        "fray_rpc_finished_total{rpc_method=\"stream\",grpc_status=\"UNKNOWN\"} 1",
    ] {
        assert_eq!(lines(&metrics, line).len(), 1, "{line} in\n{}", metrics.render());
    }
    assert!(lines(&metrics, "fray_rpc_duration_seconds_count{rpc_method=\"stream\"").is_empty());
}

#[test]
fn health_is_read_when_somebody_asks() {
    let health = Arc::new(Health::default());
    let metrics = Metrics::new(&health);
    assert_eq!(lines(&metrics, "fray_ready"), ["fray_ready 0"]);
    health.bound();
    assert_eq!(lines(&metrics, "fray_ready"), ["fray_ready 1"]);
    health.draining();
    assert_eq!(lines(&metrics, "fray_draining"), ["fray_draining 1"]);
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_told_of_in_the_usual_names() {
    let metrics = Metrics::default();
    let value = |name: &str| -> f64 {
        let line = lines(&metrics, &format!("{name} ")).pop().expect(name);
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_threads") >= 1.0);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_cpu_seconds_total") >= 0.0);
    let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let age = now.as_secs_f64() - value("process_start_time_seconds");
    // A test's process is young; the clock that says when the system started may be set while it runs.
    assert!((-60.0..86_400.0).contains(&age), "started {age} s ago");
}

#[test]
fn known_series_are_there_from_the_start() {
    let metrics = Metrics::default();
    assert_eq!(lines(&metrics, "fray_incidents_total{reason=\"panic\"} 0").len(), 1);
    assert_eq!(lines(&metrics, "fray_streams_total").len(), 5);
}

#[test]
fn faults_of_the_server_and_reasons_that_were_told_have_series_before_they_happen() {
    let metrics = Metrics::default();
    metrics.rpc.expect("a");
    for status in ["OK", "UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"] {
        let line =
            format!("fray_rpc_finished_total{{rpc_method=\"a\",grpc_status=\"{status}\"}} 0");
        assert_eq!(lines(&metrics, &line).len(), 1, "{line}");
    }
    metrics.expect_refusals(["ROOM_FULL"]);
    metrics.expect_resyncs(["BASE_MISMATCH"]);
    assert_eq!(lines(&metrics, "fray_refusals_total{reason=\"ROOM_FULL\"} 0").len(), 1);
    assert_eq!(lines(&metrics, "fray_resyncs_total{reason=\"BASE_MISMATCH\"} 0").len(), 1);
}

#[test]
fn ticks_are_late_when_the_next_one_was_due_whatever_the_rate() {
    let ms = Duration::from_millis;
    for (tick_rate_hz, just_in_time) in [(10, 100), (20, 50), (50, 20)] {
        let metrics = Metrics::default();
        metrics.set_tick_rate(tick_rate_hz);
        metrics.tick_made(ms(1), ms(0), 0, None);
        metrics.tick_made(ms(1), ms(just_in_time), 0, None);
        metrics.tick_made(ms(1), ms(just_in_time + 1), 3, None);
        assert_eq!(lines(&metrics, "fray_ticks_total"), ["fray_ticks_total 3"]);
        assert_eq!(lines(&metrics, "fray_ticks_late_total"), ["fray_ticks_late_total 1"]);
        assert_eq!(lines(&metrics, "fray_ticks_skipped_total"), ["fray_ticks_skipped_total 3"]);
    }
}

#[test]
fn clients_are_stale_beyond_half_of_the_window() {
    let metrics = Metrics::default();
    metrics.set_staleness_window(Duration::from_secs(2));
    metrics.client_is_behind(20, 20);
    assert_eq!(lines(&metrics, "fray_clients_stale_total"), ["fray_clients_stale_total 0"]);
    metrics.client_is_behind(21, 20);
    assert_eq!(lines(&metrics, "fray_clients_stale_total"), ["fray_clients_stale_total 1"]);
}
