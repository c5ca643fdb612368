//! The system's allocator, counted: how often, how many bytes, how many of them are still held. Every so many calls it keeps where
//! the call came from.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// More places than this are not kept.
const SAMPLES_MAX: usize = 20_000;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static REALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED_BYTES: AtomicU64 = AtomicU64::new(0);
static SAMPLE_EVERY: AtomicU64 = AtomicU64::new(0);
static UNTIL_SAMPLE: AtomicU64 = AtomicU64::new(0);
static SAMPLES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

thread_local! {
    /// This thread is noting where a call came from: what that takes does not count.
    static IS_NOTING: Cell<bool> = const { Cell::new(false) };
}

/// The allocator.
#[derive(Debug)]
pub struct Counting;

/// What all threads have taken since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls for new memory.
    pub allocations: u64,
    /// Calls for another size of what was there.
    pub reallocations: u64,
    /// Bytes asked for; of another size, all of it.
    pub bytes: u64,
    /// Bytes that are held now.
    pub live_bytes: u64,
}

/// What there is so far.
pub fn counts() -> Counts {
    let bytes = BYTES.load(Relaxed);
    Counts {
        allocations: ALLOCATIONS.load(Relaxed),
        reallocations: REALLOCATIONS.load(Relaxed),
        bytes,
        live_bytes: bytes.saturating_sub(FREED_BYTES.load(Relaxed)),
    }
}

/// From now on keeps where every so-manieth call came from; 0: none.
pub fn sample_every(calls: u64) {
    UNTIL_SAMPLE.store(calls, Relaxed);
    SAMPLE_EVERY.store(calls, Relaxed);
}

/// Where calls came from.
pub fn take_samples() -> Vec<Backtrace> {
    std::mem::take(&mut *SAMPLES.lock().unwrap_or_else(PoisonError::into_inner))
}

fn count(calls: &AtomicU64, bytes: usize) {
    if SAMPLE_EVERY.load(Relaxed) > 0 {
        if IS_NOTING.get() {
            // It is freed again as what nobody asked for.
            BYTES.fetch_add(bytes as u64, Relaxed);
            return;
        }
        sample();
    }
    calls.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

#[cold]
fn sample() {
    if UNTIL_SAMPLE.fetch_sub(1, Relaxed) != 1 {
        return;
    }
    UNTIL_SAMPLE.store(SAMPLE_EVERY.load(Relaxed), Relaxed);
    IS_NOTING.set(true);
    let place = Backtrace::force_capture();
    {
        let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < SAMPLES_MAX {
            samples.push(place);
        }
    }
    IS_NOTING.set(false);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&REALLOCATIONS, size);
        FREED_BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        FREED_BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static HEAP: Counting = Counting;

    #[test]
    fn what_is_taken_is_counted_and_what_is_given_back_is_not_held() {
        let before = counts();
        let taken = std::hint::black_box(vec![1_u8; 5 << 20]);
        let held = counts();
        drop(taken);
        let after = counts();
        assert!(held.allocations > before.allocations);
        assert!(held.bytes - before.bytes >= 5 << 20);
        assert!(held.live_bytes >= before.live_bytes + (4 << 20), "{before:?} {held:?}");
        assert!(after.live_bytes + (4 << 20) <= held.live_bytes, "{held:?} {after:?}");
        sample_every(1);
        drop(std::hint::black_box(vec![1_u8; 100]));
        sample_every(0);
        let samples = take_samples();
        assert!(samples.iter().any(|place| place.to_string().contains("is_taken_is_counted")));
    }
}
