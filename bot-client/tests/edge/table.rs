//! The edge's table is complete, and the guide shows it as it is.

use fray_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;

/// Services for servers and operators: nothing of them may be reached from outside.
const INTERNAL: [&str; 2] = ["fray.v1.Peer", "fray.v1.Admin"];

fn text(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of each row: `key: value`.
fn rows() -> Vec<Vec<(String, String)>> {
    let table = text("helm/edge-routes.yaml");
    let rows = table.lines().filter_map(|line| line.strip_prefix("- { ")?.strip_suffix(" }"));
    let cell = |cell: &str| {
        let (key, value) = cell.split_once(": ").expect("key: value");
        (key.trim().to_owned(), value.trim().trim_matches('"').to_owned())
    };
    rows.map(|row| row.split(", ").map(cell).collect()).collect()
}

fn paths() -> BTreeSet<String> {
    rows().into_iter().map(|row| row[0].1.clone()).collect()
}

/// Every RPC as `/package.Service/Method`, and its service.
fn rpcs() -> Vec<(String, String)> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    let mut rpcs = Vec::new();
    for file in set.file {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            let path = |method: &str| format!("/{service_name}/{method}");
            rpcs.extend(service.method.iter().map(|m| (service_name.clone(), path(m.name()))));
        }
    }
    rpcs
}

#[test]
fn every_call_of_the_protocol_is_in_the_table_unless_it_is_internal() {
    let paths = paths();
    assert!(rpcs().len() > 8, "the descriptors were read");
    for (service, path) in rpcs() {
        let is_internal = INTERNAL.contains(&service.as_str());
        assert_eq!(paths.contains(&path), !is_internal, "{path}");
    }
    for path in ["/", "/replay", "/ws", "/rooms/{id}/events", "/.well-known/jwks.json", "/healthz"]
    {
        assert!(paths.contains(path), "{path}");
    }
    let known: BTreeSet<_> = rpcs().into_iter().map(|(_, path)| path).collect();
    for path in paths.iter().filter(|path| path.starts_with("/fray.v1.")) {
        assert!(known.contains(path), "{path} is no call any more");
    }
}

#[test]
fn what_goes_by_ticket_is_never_retried_and_what_does_not_never_goes_to_an_owner() {
    for row in rows() {
        let of = |key: &str| row.iter().find(|cell| cell.0 == key).map(|cell| cell.1.as_str());
        let goes_to_owner = of("to").is_some_and(|to| to.starts_with("owner"));
        assert_eq!(goes_to_owner, of("ticket") == Some("required"), "{row:?}");
        assert!(!goes_to_owner || of("retry") == Some("never"), "{row:?}");
    }
}

#[test]
fn the_guide_shows_the_table_as_it_is() {
    let guide = text("envoy/README.md");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    let shown: Vec<_> = guide.lines().filter(|line| line.starts_with("| `/")).map(cells).collect();
    let mut expected = Vec::new();
    for row in rows() {
        let only = row.iter().find(|cell| cell.0 == "only").map(|cell| cell.1.clone());
        let mut cells: Vec<String> =
            row.into_iter().filter(|cell| cell.0 != "only").map(|cell| cell.1).collect();
        cells.push(only.map_or(String::new(), |value| format!("only with `edge.{value}")));
        expected.push(cells);
    }
    assert_eq!(shown, expected);
}
