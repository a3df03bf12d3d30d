//! The time that files are stamped with.

use super::inode::Time;

/// Now, in nanoseconds since the epoch.
#[cfg(not(test))]
pub fn now() -> Time {
    Time::from(crate::time::realtime())
}

/// Hosted tests have no host to ask for the time: it stands still.
#[cfg(test)]
pub fn now() -> Time {
    1_000_000_000
}
