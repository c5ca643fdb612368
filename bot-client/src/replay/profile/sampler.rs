//! Looks at the stacks of the process while it computes, some hundred times a second.

#[cfg(any(target_os = "linux", target_os = "macos"))]
use super::stacks::Frame;
use super::stacks::Stack;

pub(super) use system::{Sampler, start};

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod system {
    use super::{Frame, Stack};
    use pprof::{ProfilerGuard, ProfilerGuardBuilder};

    /// How often is asked for, a second; a system whose clock is coarser (often 250 Hz) looks less often. Not a round number: it
    /// must not keep time with what it looks at.
    const SAMPLES_HZ: i32 = 997;

    /// Looks until it is asked what it saw.
    pub(in super::super) struct Sampler(ProfilerGuard<'static>);

    /// Begins; an error is why it cannot.
    pub(in super::super) fn start() -> Result<Sampler, String> {
        // Where the stack is just being walked, it must not be walked again.
        let guard = ProfilerGuardBuilder::default().frequency(SAMPLES_HZ).blocklist(&["libgcc"]);
        guard.build().map(Sampler).map_err(|error| format!("no samples: {error}"))
    }

    impl Sampler {
        /// What was seen, in all threads.
        pub(in super::super) fn finish(self) -> Result<Vec<Stack>, String> {
            let report = self.0.report().build();
            drop(self.0);
            let report = report.map_err(|error| format!("no samples: {error}"))?;
            Ok(report
                .data
                .iter()
                .map(|(seen, count)| {
                    // Of functions that were inlined into one another, samples are told apart by the outer one alone.
                    let frames = seen.frames.iter().rev().filter_map(|frame| frame.last());
                    let frames = frames.map(frame).collect();
                    Stack { frames, samples: u64::try_from(*count).unwrap_or(0) }
                })
                .collect())
        }
    }

    fn frame(symbol: &pprof::Symbol) -> Frame {
        let file = symbol.filename.as_ref().map(|file| file.to_string_lossy().into_owned());
        Frame { name: symbol.name(), file }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod system {
    use super::Stack;

    /// There is none.
    pub(in super::super) enum Sampler {}

    /// There is none.
    pub(in super::super) fn start() -> Result<Sampler, String> {
        Err("no samples: they are taken on Linux and macOS only".to_owned())
    }

    impl Sampler {
        /// There is none.
        pub(in super::super) fn finish(self) -> Result<Vec<Stack>, String> {
            match self {}
        }
    }
}
