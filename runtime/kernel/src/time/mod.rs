//! Clocks and timers.
//!
//! * [`timers`]: interval timers, and the kernel thread that waits for all timers.
//! * [`posix`]: what timer_create(2) makes.
//!
//! Time is the host's to tell. Clocks that cannot be set never go backwards whatever the host says.

pub mod posix;
pub mod timers;

use core::sync::atomic::Ordering;

use linux_raw_sys::general as raw;
use mystikos_platform::host;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::process::{thread, Thread};
use crate::{Errno, Result};

pub use mystikos_platform::clock::SECOND;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimeSpec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, below a second.
    pub nanoseconds: i64,
}

impl TimeSpec {
    /// From nanoseconds.
    pub fn from_ns(ns: u64) -> Self {
        TimeSpec {
            seconds: (ns / SECOND) as i64,
            nanoseconds: (ns % SECOND) as i64,
        }
    }

    /// In nanoseconds, at most some 292 years; EINVAL for what is not a time.
    pub fn to_ns(self) -> Result<u64> {
        let nanoseconds = u64::try_from(self.nanoseconds).map_err(|_| Errno::EINVAL)?;
        let seconds = u64::try_from(self.seconds).map_err(|_| Errno::EINVAL)?;
        if nanoseconds >= SECOND {
            return Err(Errno::EINVAL);
        }
        let ns = seconds.saturating_mul(SECOND).saturating_add(nanoseconds);
        Ok(ns.min(i64::MAX as u64))
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct TimeVal {
    /// Seconds.
    pub seconds: i64,
    /// Microseconds, below a second.
    pub microseconds: i64,
}

impl TimeVal {
    /// From nanoseconds, rounded down.
    pub fn from_ns(ns: u64) -> Self {
        TimeVal {
            seconds: (ns / SECOND) as i64,
            microseconds: (ns % SECOND / 1000) as i64,
        }
    }

    /// In nanoseconds; EINVAL for what is not a time.
    pub fn to_ns(self) -> Result<u64> {
        if !(0..1_000_000).contains(&self.microseconds) {
            return Err(Errno::EINVAL);
        }
        TimeSpec {
            seconds: self.seconds,
            nanoseconds: self.microseconds * 1000,
        }
        .to_ns()
    }
}

/// Nanoseconds of CLOCK_MONOTONIC; stands still when the host does not tell it.
pub fn monotonic() -> u64 {
    host::clock_gettime(raw::CLOCK_MONOTONIC).unwrap_or_else(|_| host::latest(raw::CLOCK_MONOTONIC))
}

/// Nanoseconds of CLOCK_REALTIME, since 1970.
pub fn realtime() -> u64 {
    host::clock_gettime(raw::CLOCK_REALTIME).unwrap_or(0)
}

/// A clock as applications name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Wall-clock time, exact or coarse, or TAI: by the host's number.
    Wall(u32),
    /// Time since some start, raw, coarse or with suspension: by the host's number.
    Steady(u32),
    /// CPU time of the process.
    ProcessCpu,
    /// CPU time of the calling thread.
    ThreadCpu,
}

/// CPUCLOCK_* of the numbers that clock_getcpuclockid(3) makes.
const CPUCLOCK_THREAD: u32 = 4;
const CPUCLOCK_MAX: u32 = 3;

impl Clock {
    /// The clock of a number; EINVAL when there is none. CPU clocks of other threads are not known here.
    pub fn of(number: u64, thread: &Thread) -> Result<Clock> {
        match number as u32 {
            n @ (raw::CLOCK_REALTIME
            | raw::CLOCK_REALTIME_COARSE
            | raw::CLOCK_TAI
            | raw::CLOCK_REALTIME_ALARM) => Ok(Clock::Wall(n)),
            n @ (raw::CLOCK_MONOTONIC
            | raw::CLOCK_MONOTONIC_RAW
            | raw::CLOCK_MONOTONIC_COARSE
            | raw::CLOCK_BOOTTIME
            | raw::CLOCK_BOOTTIME_ALARM) => Ok(Clock::Steady(n)),
            raw::CLOCK_PROCESS_CPUTIME_ID => Ok(Clock::ProcessCpu),
            raw::CLOCK_THREAD_CPUTIME_ID => Ok(Clock::ThreadCpu),
            n if n as i32 >= 0 => Err(Errno::EINVAL),
            n => {
                let id = !((n as i32) >> 3) as u32;
                if n & 3 >= CPUCLOCK_MAX {
                    return Err(Errno::EINVAL);
                }
                match n & CPUCLOCK_THREAD {
                    0 if id == 0 || id == thread.process.pid => Ok(Clock::ProcessCpu),
                    CPUCLOCK_THREAD if id == 0 || id == thread.tid => Ok(Clock::ThreadCpu),
                    _ => Err(Errno::EINVAL),
                }
            }
        }
    }

    /// The number by which the host knows it.
    fn host_number(self) -> u32 {
        match self {
            Clock::Wall(raw::CLOCK_REALTIME_ALARM) => raw::CLOCK_REALTIME,
            Clock::Steady(raw::CLOCK_BOOTTIME_ALARM) => raw::CLOCK_BOOTTIME,
            Clock::Wall(n) | Clock::Steady(n) => n,
            Clock::ProcessCpu => raw::CLOCK_PROCESS_CPUTIME_ID,
            Clock::ThreadCpu => raw::CLOCK_THREAD_CPUTIME_ID,
        }
    }

    /// Nanoseconds now.
    pub fn now(self) -> Result<u64> {
        match self {
            Clock::Steady(raw::CLOCK_MONOTONIC) => Ok(monotonic()),
            Clock::ThreadCpu => {
                let now = host::clock_gettime(self.host_number())?;
                let spent = &thread::current().cpu_time;
                Ok(spent.fetch_max(now, Ordering::Relaxed).max(now))
            }
            clock => host::clock_gettime(clock.host_number()),
        }
    }

    /// Resolution in nanoseconds.
    pub fn resolution(self) -> Result<u64> {
        host::clock_getres(self.host_number())
    }

    /// It does not run with the wall, so that no monotonic deadline stands for a time of it.
    pub fn is_cpu(self) -> bool {
        matches!(self, Clock::ProcessCpu | Clock::ThreadCpu)
    }

    /// The monotonic deadline for a time of this clock, absolute or from now on. EOPNOTSUPP for CPU clocks.
    pub fn deadline(self, time: u64, absolute: bool) -> Result<u64> {
        if self.is_cpu() {
            return Err(Errno::EOPNOTSUPP);
        }
        let now = monotonic();
        let left = match absolute {
            true => time.saturating_sub(self.now()?),
            false => time,
        };
        Ok(now.saturating_add(left))
    }
}

/// The monotonic deadline `ns` nanoseconds from now.
pub fn after(ns: u64) -> u64 {
    monotonic().saturating_add(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_checked_and_bounded() {
        let spec = |seconds, nanoseconds| {
            TimeSpec {
                seconds,
                nanoseconds,
            }
            .to_ns()
        };
        assert_eq!(spec(1, 5), Ok(SECOND + 5));
        assert_eq!(spec(0, 1_000_000_000), Err(Errno::EINVAL));
        assert_eq!(spec(0, -1), Err(Errno::EINVAL));
        assert_eq!(spec(-1, 0), Err(Errno::EINVAL));
        assert_eq!(spec(i64::MAX, 0), Ok(i64::MAX as u64));
        let val = TimeVal {
            seconds: 1,
            microseconds: 1_000_000,
        };
        assert_eq!(val.to_ns(), Err(Errno::EINVAL));
        assert_eq!(TimeSpec::from_ns(2 * SECOND + 7).nanoseconds, 7);
    }
}
