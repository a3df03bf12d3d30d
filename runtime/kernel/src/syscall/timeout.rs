//! How long a call may wait, in the forms that system calls are told it.

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{signal, time, Errno, Result};

const SECOND: u64 = 1_000_000_000;

/// `struct timespec`, and `struct timeval` when `fraction` counts microseconds.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Time {
    seconds: i64,
    fraction: i64,
}

/// Where and how the time that is left is to be told at the end.
#[derive(Clone, Copy)]
struct Report {
    address: u64,
    nanoseconds_per_fraction: u64,
}

/// A limit for waiting.
pub struct Timeout {
    /// Monotonic nanoseconds; `None` waits for ever.
    deadline: Option<u64>,
    zero: bool,
    report: Option<Report>,
}

impl Timeout {
    /// As poll(2) and epoll_wait(2) are told it: negative waits for ever.
    pub fn milliseconds(timeout: i32) -> Timeout {
        match u64::try_from(timeout) {
            Ok(timeout) => Timeout::relative(timeout * 1_000_000),
            Err(_) => Timeout::forever(),
        }
    }

    /// A `struct timespec` in application memory; a null pointer waits for ever.
    pub fn timespec(address: u64) -> Result<Timeout> {
        Timeout::read(address, 1, Some)
    }

    /// A `struct timeval` in application memory as select(2) takes it: any number of microseconds that is not negative.
    pub fn timeval(address: u64) -> Result<Timeout> {
        Timeout::read(address, 1000, |time| {
            Some(Time {
                seconds: time.seconds.checked_add(time.fraction / 1_000_000)?,
                fraction: time.fraction % 1_000_000 * 1000,
            })
        })
    }

    fn read(
        address: u64,
        nanoseconds_per_fraction: u64,
        normalise: impl FnOnce(Time) -> Option<Time>,
    ) -> Result<Timeout> {
        if address == 0 {
            return Ok(Timeout::forever());
        }
        let time = normalise(user::read(address)?).ok_or(Errno::EINVAL)?;
        let duration = duration(time).ok_or(Errno::EINVAL)?;
        let report = Report {
            address,
            nanoseconds_per_fraction,
        };
        Ok(Timeout {
            report: Some(report),
            ..Timeout::relative(duration)
        })
    }

    fn forever() -> Timeout {
        Timeout {
            deadline: None,
            zero: false,
            report: None,
        }
    }

    fn relative(duration: u64) -> Timeout {
        Timeout {
            // Looking only does not need the clock.
            deadline: (duration > 0).then(|| time::monotonic().saturating_add(duration)),
            zero: duration == 0,
            report: None,
        }
    }

    /// Only look, do not wait.
    pub fn is_zero(&self) -> bool {
        self.zero
    }

    /// When waiting ends (monotonic nanoseconds).
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Tells the application how much time is left, as select and ppoll do; if that is not possible the call is not
    /// restarted, because it would wait too long.
    pub fn write_back(&self, result: Result<u64>) -> Result<u64> {
        let (Some(report), Some(deadline)) = (self.report, self.deadline) else {
            return result;
        };
        let left = deadline.saturating_sub(time::monotonic());
        let time = Time {
            seconds: (left / SECOND) as i64,
            fraction: (left % SECOND / report.nanoseconds_per_fraction) as i64,
        };
        match user::write(report.address, &time) {
            Err(_) if result == Err(signal::ERESTARTNOHAND) => Err(Errno::EINTR),
            _ => result,
        }
    }
}

// Nanoseconds, as many as there can be; `None` when the fraction is out of range or the time is negative.
fn duration(time: Time) -> Option<u64> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let fraction = u64::try_from(time.fraction).ok().filter(|&f| f < SECOND)?;
    Some(seconds.saturating_mul(SECOND).saturating_add(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_of_range_are_refused() {
        let time = |seconds, fraction| duration(Time { seconds, fraction });
        assert_eq!(time(1, 5), Some(1_000_000_005));
        assert_eq!(time(-1, 0), None);
        assert_eq!(time(0, -1), None);
        assert_eq!(time(0, 1_000_000_000), None);
        assert_eq!(time(i64::MAX, 0), Some(u64::MAX));
    }
}
