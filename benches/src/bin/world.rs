//! Fray with the ships of the benchmark.

use tikv_jemallocator::Jemalloc;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> anyhow::Result<()> {
    fray_bench::serve::serve(|| None)
}
