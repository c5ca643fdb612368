//! Fray with the ships of the benchmark.

fn main() -> anyhow::Result<()> {
    fray_bench::serve::serve(|| None)
}
