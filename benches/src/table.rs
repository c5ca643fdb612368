//! What divan prints, as figures: it writes a table for people, and nothing else.

use serde::Serialize;
use std::collections::BTreeMap;

/// Of one bench: what is in the column of medians.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Of all its items.
    pub median_ns: f64,
    /// Of one of them, if it counts items.
    pub per_item_ns: Option<f64>,
    /// Calls for memory, for all items.
    pub allocations: f64,
}

/// Which of a line's cells is the median, behind fastest and slowest.
const MEDIAN: usize = 2;
/// Columns that the tree takes, for each level.
const INDENT: usize = 3;

/// All that are in the table, by their paths.
pub fn rows(table: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::<String, Row>::new();
    let mut path: Vec<&str> = Vec::new();
    // What the lines below are about.
    let mut heading = "";
    for line in table.lines() {
        let tree = line.find(|c: char| !"│├╰─ ".contains(c)).unwrap_or(line.len());
        let is_new = line[..tree].contains('─');
        let cells: Vec<&str> = line[tree..].split('│').map(str::trim).collect();
        let median = cells.get(MEDIAN).copied().unwrap_or_default();
        if is_new {
            let level = line[..tree].chars().count() / INDENT;
            path.truncate(level.saturating_sub(1));
            path.push(cells[0].split("  ").next().unwrap_or_default());
            heading = "";
            if let Some(median_ns) = ns(median) {
                rows.insert(path.join("/"), Row { median_ns, ..Row::default() });
            }
            continue;
        }
        let Some(row) = rows.get_mut(&path.join("/")) else { continue };
        if cells[0].ends_with(':') {
            heading = cells[0];
        } else if let Some(per_second) = items_per_s(median) {
            row.per_item_ns = Some(1e9 / per_second);
        } else if heading == "alloc:" {
            // Then come its bytes.
            row.allocations = median.parse().unwrap_or_default();
            heading = "";
        }
    }
    rows
}

fn ns(cell: &str) -> Option<f64> {
    let (number, unit) = cell.split_once(' ')?;
    let ns = match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * ns)
}

fn items_per_s(cell: &str) -> Option<f64> {
    let (number, unit) = cell.split_once(' ')?;
    let items = match unit {
        "item/s" => 1.0,
        "Kitem/s" => 1e3,
        "Mitem/s" => 1e6,
        "Gitem/s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * items)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Timer precision: 20 ns
micro                fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ decode                          │               │               │               │         │
│  ├─ Some           4.9 µs        │ 1.5 ms        │ 5 µs          │ 5.1 µs        │ 100     │ 100
│  │                 13 Mitem/s    │ 42 Kitem/s    │ 12.8 Mitem/s  │ 12 Mitem/s    │         │
│  │                 alloc:        │               │               │               │         │
│  │                   3           │ 9             │ 4             │ 4.1           │         │
│  │                   1.2 KB      │ 1.2 KB        │ 1.2 KB        │ 1.2 KB        │         │
│  │                 dealloc:      │               │               │               │         │
│  │                   7           │ 7             │ 7             │ 7             │         │
│  ╰─ All            4.9 µs        │ 1.5 ms        │ 6 ns          │ 5.1 µs        │ 100     │ 100
╰─ receive           4.9 µs        │ 1.5 ms        │ 1.5 ms        │ 5.1 µs        │ 100     │ 100
";

    #[test]
    fn medians_and_what_is_below_them_are_found() {
        let rows = rows(TABLE);
        let some = Row { median_ns: 5e3, per_item_ns: Some(1e9 / 12.8e6), allocations: 4.0 };
        let names: Vec<&String> = rows.keys().collect();
        assert_eq!(names, ["decode/All", "decode/Some", "receive"]);
        assert_eq!(rows["decode/Some"], some);
        assert_eq!(rows["decode/All"], Row { median_ns: 6.0, ..Row::default() });
        assert_eq!(rows["receive"], Row { median_ns: 1.5e6, ..Row::default() });
    }
}
