//! Resource limits.

use linux_raw_sys::general as raw;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::config::Config;
use crate::fs::fd::FD_MAX;
use crate::signal::queue;
use crate::{Errno, Result};

/// RLIM_INFINITY.
pub const INFINITY: u64 = u64::MAX;
/// Number of resources.
pub const COUNT: usize = 16;

/// `struct rlimit64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Limit {
    /// Soft limit.
    pub current: u64,
    /// Hard limit.
    pub maximum: u64,
}

impl Limit {
    const fn both(value: u64) -> Self {
        Limit {
            current: value,
            maximum: value,
        }
    }
}

/// The limits of the process.
#[derive(Clone, Debug)]
pub struct Limits([Limit; COUNT]);

impl Limits {
    /// What really limits the program is told; the rest is unlimited, as nothing here enforces it.
    ///
    /// RLIMIT_STACK is what C libraries take as the default size of a thread's stack: ThreadStackSize, or
    /// MainStackSize where that is not set.
    pub fn new(config: &Config) -> Self {
        let mut limits = Limits([Limit::both(INFINITY); COUNT]);
        let stack = match config.thread_stack_size {
            0 => config.main_stack_size,
            size => size,
        };
        limits.0[raw::RLIMIT_STACK as usize] = Limit {
            current: stack,
            maximum: INFINITY,
        };
        limits.0[raw::RLIMIT_NOFILE as usize] = Limit::both(FD_MAX as u64);
        limits.0[raw::RLIMIT_NPROC as usize] = Limit::both(config.max_threads);
        limits.0[raw::RLIMIT_SIGPENDING as usize] = Limit::both(queue::LIMIT as u64);
        limits.0[raw::RLIMIT_AS as usize] = Limit::both(INFINITY);
        limits.0[raw::RLIMIT_CORE as usize] = Limit::both(0);
        limits.0[raw::RLIMIT_MSGQUEUE as usize] = Limit::both(0);
        limits.0[raw::RLIMIT_NICE as usize] = Limit::both(0);
        limits.0[raw::RLIMIT_RTPRIO as usize] = Limit::both(0);
        limits
    }

    /// The limit of a resource; EINVAL when there is no such resource.
    pub fn get(&self, resource: u64) -> Result<Limit> {
        let index = usize::try_from(resource).map_err(|_| Errno::EINVAL)?;
        self.0.get(index).copied().ok_or(Errno::EINVAL)
    }

    /// Sets a limit. `privileged`: the hard limit may be raised (CAP_SYS_RESOURCE).
    pub fn set(&mut self, resource: u64, limit: Limit, privileged: bool) -> Result<()> {
        let before = self.get(resource)?;
        if limit.current > limit.maximum {
            return Err(Errno::EINVAL);
        }
        let beyond_table = resource == raw::RLIMIT_NOFILE as u64 && limit.maximum > FD_MAX as u64;
        if beyond_table || (limit.maximum > before.maximum && !privileged) {
            return Err(Errno::EPERM);
        }
        self.0[resource as usize] = limit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(thread_stack_size: u64) -> Limits {
        Limits::new(&Config {
            main_stack_size: 1536 << 10,
            thread_stack_size,
            max_threads: 128,
            ..Config::default()
        })
    }

    const STACK: u64 = raw::RLIMIT_STACK as u64;
    const NOFILE: u64 = raw::RLIMIT_NOFILE as u64;

    #[test]
    fn the_stack_limit_tells_the_default_stack_size_of_threads() {
        assert_eq!(limits(0).get(STACK).unwrap().current, 1536 << 10);
        assert_eq!(limits(1 << 20).get(STACK).unwrap().current, 1 << 20);
    }

    #[test]
    fn a_hard_limit_is_raised_only_with_privilege_and_never_beyond_the_table() {
        let mut l = limits(0);
        l.set(NOFILE, Limit::both(100), false).unwrap();
        assert_eq!(l.set(NOFILE, Limit::both(200), false), Err(Errno::EPERM));
        assert_eq!(l.set(NOFILE, Limit::both(200), true), Ok(()));
        let far = Limit::both(FD_MAX as u64 + 1);
        assert_eq!(l.set(NOFILE, far, true), Err(Errno::EPERM));
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_and_an_unknown_resource_are_invalid() {
        let mut l = limits(0);
        let crossed = Limit {
            current: 2,
            maximum: 1,
        };
        assert_eq!(l.set(NOFILE, crossed, true), Err(Errno::EINVAL));
        assert_eq!(l.get(16), Err(Errno::EINVAL));
    }
}
