//! How often a session may have a stream anew: each begins with all that its player sees.

/// At once.
const AT_ONCE_MAX: u32 = 20;
/// And how many a second from then on. Whoever changes networks, or has another tab take over, needs fewer.
const PER_S: u32 = 1;

/// What a session has had lately.
#[derive(Debug, Default)]
pub(super) struct Resumes {
    spent: u32,
    counted_tick: u32,
}

impl Resumes {
    /// Whether it may have another now; if so, that is counted.
    pub(super) fn take(&mut self, tick: u32, tick_rate_hz: u32) -> bool {
        let each_ticks = (tick_rate_hz / PER_S).max(1);
        let returned = tick.saturating_sub(self.counted_tick) / each_ticks;
        if returned > 0 {
            self.spent = self.spent.saturating_sub(returned);
            self.counted_tick = tick;
        }
        let may = self.spent < AT_ONCE_MAX;
        self.spent += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_had_at_once_and_so_many_a_second() {
        let mut resumes = Resumes::default();
        assert!((0..AT_ONCE_MAX).all(|_| resumes.take(100, 20)));
        assert!(!resumes.take(100, 20) && !resumes.take(119, 20));
        assert!(resumes.take(120, 20) && !resumes.take(120, 20), "one came back");
        // However long it was quiet, no more come together; and time does not go back.
        assert!((0..AT_ONCE_MAX).all(|_| resumes.take(1_000_000, 20)));
        assert!(!resumes.take(1_000_000, 20) && !resumes.take(5, 20));
    }
}
