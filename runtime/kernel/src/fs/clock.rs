//! The time that files are stamped with.

use super::inode::Time;

/// Now, in nanoseconds since the epoch.
#[cfg(not(test))]
pub fn now() -> Time {
    match mystikos_platform::host::clock_gettime(0) {
        Ok((seconds, nanoseconds)) => Time::from(seconds) * 1_000_000_000 + Time::from(nanoseconds),
        Err(_) => 0,
    }
}

/// Hosted tests have no host to ask for the time: it stands still.
#[cfg(test)]
pub fn now() -> Time {
    1_000_000_000
}
