//! Goal: every section is there, nothing in the page comes from elsewhere, and nothing that a server, a room or a file
//! says becomes anything but text.

use super::*;
use crate::swarm::columns::Columns;
use crate::swarm::conditions::{Conditions, ServerTold};
use crate::swarm::series::Series;
use crate::swarm::{Limits, Report};
use std::time::Duration;

const HOSTILE: &str = "</title><script>alert(1)</script><img src=x onerror='a()'>\" onload=\"a()";

fn run(seconds: u32) -> Report {
    let mut series = Series::default();
    for second in 0..seconds {
        let bucket = series.at(second);
        for n in 0..20 {
            let late = Duration::from_micros(u64::from(second * 37 % 400 + n * 13));
            bucket.update_gap.record(Duration::from_millis(50) + late);
            bucket.move_to_ack.record(Duration::from_millis(30) + late);
            bucket.tick_to_receive.record(late);
            bucket.staleness.record(Duration::from_millis(50) + late);
        }
        bucket.counters.updates = 1200;
        bucket.counters.update_bytes = 300_000;
        bucket.counters.moves = 300;
        bucket.playing_sum = 60;
        bucket.looks = 1;
        bucket.happenings.drops = u64::from(second % 3);
    }
    let mut report = Report {
        players: 60,
        players_wanted: 60,
        duration_s: f64::from(seconds),
        updates: 1,
        series: Columns::of(&series),
        ..Report::default()
    };
    report.judge(&Limits::default());
    report
}

fn hostile() -> Report {
    let mut report = run(5);
    report.errors.insert(HOSTILE.to_owned(), 3);
    report.error_examples.insert(HOSTILE.to_owned(), HOSTILE.to_owned());
    report.conditions = Conditions {
        flags: HOSTILE.to_owned(),
        transport: HOSTILE.to_owned(),
        started_at: HOSTILE.to_owned(),
        server: Some(ServerTold {
            name: HOSTILE.to_owned(),
            game: HOSTILE.to_owned(),
            rooms: [HOSTILE.to_owned()].into(),
            ..ServerTold::default()
        }),
        ..Conditions::default()
    };
    report.conditions.machine.cpu = Some(HOSTILE.to_owned());
    report
}

fn page_of(report: &Report) -> String {
    render(&RunFile::of(report), None)
}

#[test]
fn a_hostile_name_stays_text() {
    let now = RunFile::of(&hostile());
    let mut json = serde_json::to_value(hostile()).expect("it is plain data");
    json["verdict"] = serde_json::json!([{"what": HOSTILE, "passed": false}, HOSTILE, 5]);
    json["conditions"]["machine"]["kernel"] = serde_json::json!({ HOSTILE: HOSTILE });
    let file = RunFile::parse(&json.to_string()).expect("a report");
    for page in [render(&now, None), render(&now, Some(&file)), render(&file, Some(&now))] {
        for dangerous in ["<script", "<img", "onload=\"", "onerror='"] {
            assert!(!page.contains(dangerous), "{dangerous}");
        }
        assert_eq!(page.matches("</title>").count(), page.matches("<title>").count());
        assert!(page.contains("&lt;script&gt;alert(1)"));
    }
}

#[test]
fn the_page_asks_nobody_for_anything_and_runs_nothing() {
    let page = page_of(&run(30));
    assert!(page.contains("default-src 'none'; style-src 'sha256-"));
    for elsewhere in ["http://", "https://", "//", "url(", "@import", "<script", " style=", " src="]
    {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn the_policy_allows_the_style_that_is_in_the_page() {
    let page = page_of(&run(3));
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
    let hash = STANDARD.encode(Sha256::digest(style.expect("there is one")));
    assert!(page.contains(&format!("style-src 'sha256-{hash}'")));
}

#[test]
fn a_run_of_nothing_is_a_page_as_well() {
    let page = page_of(&Report::default());
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}

#[test]
fn faults_are_marked_in_the_lanes_and_in_every_chart() {
    let mut report = run(20);
    assert!(!page_of(&report).contains("class=\"fault\""));
    report.series.marks.get_mut("desyncs").expect("all marks are there")[7] = 2;
    let page = page_of(&report);
    assert_eq!(page.matches("class=\"fault\"").count(), 9);
    assert!(page.contains("0:07: 2 × desyncs"), "the mark tells when, how many and what");
}

#[test]
fn a_comparison_shows_both_and_the_difference() {
    let (mut now, mut before) = (run(20), run(10));
    (now.bytes_per_update, before.bytes_per_update) = (Some(300.0), Some(200.0));
    let page = render(&RunFile::of(&now), Some(&RunFile::of(&before)));
    assert!(page.contains("+50.0 % worse"));
    assert_eq!(page.matches("<path class=\"earlier\"").count(), 9);
}

#[test]
fn a_week_is_no_bigger_than_ten_minutes() {
    let minutes = page_of(&run(600)).len();
    assert!(minutes < 1_500_000, "{minutes} bytes");
    assert!(page_of(&run(7 * 24 * 3600 / 50)).len() < minutes * 11 / 10);
}

#[test]
fn all_that_is_shown_is_in_the_json() {
    let json = serde_json::to_value(hostile()).expect("it is plain data");
    for pointer in TOTALS.iter().map(|total| total.pointer).chain(tables::condition_pointers()) {
        assert!(json.pointer(pointer).is_some(), "{pointer}");
    }
}
