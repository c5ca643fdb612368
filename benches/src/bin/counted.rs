//! The same as `world`, and counts what it takes from the heap. With `FRAY_HEAP_SAMPLE` in its environment it says at each line
//! that it reads where every so-manieth call since the last one came from.

use fray_bench::serve::{Heap, serve};
use fray_bench_heap::{Counting, counts, sample_every, take_samples};
use std::backtrace::Backtrace;
use std::collections::BTreeMap;

/// Of who calls whom, so many are said.
const CALLERS: usize = 4;
const PLACES_SAID: usize = 25;
/// Whose frames say nothing about why memory is wanted: they are in these folders.
const PLUMBING: [&str; 4] = ["/rustc/", "/library/", "benches/heap/", "bin/counted.rs"];
/// A place is said with so many of the folders that it is in.
const FOLDERS: usize = 3;

#[global_allocator]
static HEAP: Counting = Counting;

fn main() -> anyhow::Result<()> {
    let every = std::env::var("FRAY_HEAP_SAMPLE").ok().and_then(|calls| calls.parse().ok());
    serve(move || {
        let heap = counts();
        if let Some(every) = every {
            sample_every(0);
            say(&take_samples());
            sample_every(every);
        }
        let fray_bench_heap::Counts { allocations, reallocations, bytes, live_bytes } = heap;
        Some(Heap { allocations, reallocations, bytes, live_bytes })
    })
}

fn say(samples: &[Backtrace]) {
    let mut places = BTreeMap::<String, usize>::new();
    for sample in samples {
        *places.entry(place(&sample.to_string())).or_default() += 1;
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (place, count) in places.iter().take(PLACES_SAID) {
        eprintln!("{:5.1} %  {place}", *count as f64 * 100.0 / samples.len() as f64);
    }
}

/// The innermost callers that are not the standard library's, and where each stands.
fn place(backtrace: &str) -> String {
    let mut lines = backtrace.lines().map(str::trim).peekable();
    let mut callers = Vec::new();
    while let Some(line) = lines.next() {
        let Some(at) = lines.next_if(|next| next.starts_with("at ")) else { continue };
        if callers.len() == CALLERS || PLUMBING.iter().any(|plumbing| at.contains(plumbing)) {
            continue;
        }
        let (_, name) = line.split_once(": ").unwrap_or_default();
        let name = name.split_once('<').map_or(name, |(name, _)| name);
        let from = at.rmatch_indices('/').nth(FOLDERS).map_or(0, |(slash, _)| slash + 1);
        let (at, _) = at[from..].rsplit_once(':').unwrap_or((at, ""));
        callers.push(format!("{name} {at}"));
    }
    callers.join(" < ")
}
