//! Time as the host tells it, as far as it can be checked: whether it is a time at all, and that clocks that only run
//! forwards do so, in all threads together. How fast they run is the host's to decide.

use core::sync::atomic::{AtomicU64, Ordering};

use linux_raw_sys::general as raw;

use crate::Errno;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// No clock tells more nanoseconds (KTIME_MAX; some 292 years), so that sums of two times do not overflow.
const LATEST_MAX: u64 = i64::MAX as u64;

/// One word for each clock that the host knows.
const CLOCKS: usize = raw::CLOCK_TAI as usize + 1;

/// The latest time that was told of each clock.
static LATEST: Latest = Latest::new();

/// The latest time told, for clocks that never go backwards.
pub(crate) struct Latest([AtomicU64; CLOCKS]);

impl Latest {
    const fn new() -> Self {
        Latest([const { AtomicU64::new(0) }; CLOCKS])
    }

    /// The time of a clock, given what the host says it is: not before what was told.
    fn tell(&self, clock: u32, time: u64) -> u64 {
        match self.0.get(clock as usize) {
            Some(latest) if only_runs_forwards(clock) => {
                latest.fetch_max(time, Ordering::Relaxed).max(time)
            }
            _ => time,
        }
    }

    fn told(&self, clock: u32) -> u64 {
        let latest = self.0.get(clock as usize);
        latest.map_or(0, |latest| latest.load(Ordering::Relaxed))
    }
}

/// The clock cannot be set, and is the same for all threads.
fn only_runs_forwards(clock: u32) -> bool {
    matches!(
        clock,
        raw::CLOCK_MONOTONIC
            | raw::CLOCK_MONOTONIC_RAW
            | raw::CLOCK_MONOTONIC_COARSE
            | raw::CLOCK_BOOTTIME
            | raw::CLOCK_PROCESS_CPUTIME_ID
    )
}

/// The time of a clock in nanoseconds, from the seconds and nanoseconds that the host answers with.
pub(crate) fn checked(clock: u32, seconds: u64, nanoseconds: u64) -> Result<u64, Errno> {
    duration(seconds, nanoseconds).map(|time| LATEST.tell(clock, time))
}

/// The latest time that [`checked`] gave for a clock that only runs forwards.
pub(crate) fn latest(clock: u32) -> u64 {
    LATEST.told(clock)
}

/// The resolution of a clock in nanoseconds: more than nothing, at most a second.
pub(crate) fn resolution(seconds: u64, nanoseconds: u64) -> Result<u64, Errno> {
    match duration(seconds, nanoseconds)? {
        resolution @ 1..=SECOND => Ok(resolution),
        _ => Err(Errno::EIO),
    }
}

fn duration(seconds: u64, nanoseconds: u64) -> Result<u64, Errno> {
    if nanoseconds >= SECOND {
        return Err(Errno::EIO);
    }
    // A negative number of seconds is a huge one here.
    seconds
        .checked_mul(SECOND)
        .and_then(|ns| ns.checked_add(nanoseconds))
        .filter(|&ns| ns <= LATEST_MAX)
        .ok_or(Errno::EIO)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn clocks_that_cannot_be_set_never_go_backwards() {
        let latest = Latest::new();
        for clock in [
            raw::CLOCK_MONOTONIC,
            raw::CLOCK_MONOTONIC_RAW,
            raw::CLOCK_MONOTONIC_COARSE,
            raw::CLOCK_BOOTTIME,
            raw::CLOCK_PROCESS_CPUTIME_ID,
        ] {
            assert_eq!(latest.tell(clock, 5), 5);
            assert_eq!(latest.tell(clock, 3), 5);
            assert_eq!(latest.tell(clock, 7), 7);
            assert_eq!(latest.told(clock), 7);
        }
    }

    #[test]
    fn clocks_that_can_be_set_or_are_a_threads_own_do() {
        let latest = Latest::new();
        for clock in [
            raw::CLOCK_REALTIME,
            raw::CLOCK_TAI,
            raw::CLOCK_THREAD_CPUTIME_ID,
            4711,
        ] {
            assert_eq!(latest.tell(clock, 5), 5);
            assert_eq!(latest.tell(clock, 3), 3);
        }
    }

    #[test]
    fn a_clock_goes_forwards_for_all_threads_together() {
        let latest = Latest::new();
        let clock = raw::CLOCK_MONOTONIC;
        std::thread::scope(|scope| {
            for start in 0..4u64 {
                let latest = &latest;
                scope.spawn(move || {
                    let mut last = 0;
                    for step in 0..1000 {
                        // Some of the times are before the last one.
                        let now = latest.tell(clock, start + (step * 7919) % 1009);
                        assert!(now >= last);
                        assert!(latest.told(clock) >= now);
                        last = now;
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_no_time_is_refused() {
        assert_eq!(duration(1, 5), Ok(SECOND + 5));
        assert_eq!(duration(0, SECOND), Err(Errno::EIO));
        assert_eq!(duration(0, u64::MAX), Err(Errno::EIO));
        assert_eq!(duration(-1i64 as u64, 0), Err(Errno::EIO));
        assert_eq!(duration(u64::MAX / SECOND + 1, 0), Err(Errno::EIO));
        assert_eq!(
            duration(i64::MAX as u64 / SECOND, 854_775_807),
            Ok(LATEST_MAX)
        );
        assert_eq!(
            duration(i64::MAX as u64 / SECOND, 854_775_808),
            Err(Errno::EIO)
        );
    }

    #[test]
    fn a_resolution_is_neither_nothing_nor_more_than_a_second() {
        assert_eq!(resolution(0, 1), Ok(1));
        assert_eq!(resolution(1, 0), Ok(SECOND));
        assert_eq!(resolution(0, 0), Err(Errno::EIO));
        assert_eq!(resolution(1, 1), Err(Errno::EIO));
    }
}
