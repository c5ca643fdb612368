//! The machine's monotonic clock, which all processes share.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds; wraps after 71 minutes.
pub fn now_us() -> u32 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000) as u32
}

/// From one to the other, if it is less than half of what the clock holds.
pub fn since_us(then: u32, now: u32) -> u32 {
    now.wrapping_sub(then)
}
