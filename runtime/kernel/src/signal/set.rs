//! Signal numbers and sets of signals.

use linux_raw_sys::general as raw;

use crate::{Errno, Result};

/// Highest signal number.
pub const MAX: u32 = 64;
/// First real-time signal, as the kernel counts them.
pub const RTMIN: u32 = 32;

/// A set of signals: bit N-1 stands for signal N (`sigset_t` of the kernel).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// SIGKILL and SIGSTOP, which can be neither blocked nor caught.
    pub const UNBLOCKABLE: SigSet = SigSet(bit(raw::SIGKILL) | bit(raw::SIGSTOP));
    /// Signals whose default action is to be ignored.
    pub const DEFAULT_IGNORED: SigSet =
        SigSet(bit(raw::SIGCHLD) | bit(raw::SIGCONT) | bit(raw::SIGURG) | bit(raw::SIGWINCH));
    /// Signals whose default action stops the process.
    pub const DEFAULT_STOP: SigSet =
        SigSet(bit(raw::SIGSTOP) | bit(raw::SIGTSTP) | bit(raw::SIGTTIN) | bit(raw::SIGTTOU));
    /// Signals that a fault of the thread itself raises; they are delivered before others.
    pub const SYNCHRONOUS: SigSet = SigSet(
        bit(raw::SIGSEGV)
            | bit(raw::SIGBUS)
            | bit(raw::SIGILL)
            | bit(raw::SIGTRAP)
            | bit(raw::SIGFPE)
            | bit(raw::SIGSYS),
    );

    /// Only this signal.
    pub const fn of(signal: u32) -> SigSet {
        SigSet(bit(signal))
    }

    /// The signal is in the set.
    pub const fn contains(self, signal: u32) -> bool {
        self.0 & bit(signal) != 0
    }

    /// Both sets together.
    pub const fn union(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    /// What is in both.
    pub const fn intersection(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }

    /// This set without the other.
    pub const fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// No signal is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As a mask: SIGKILL and SIGSTOP silently left out, as sigprocmask(2) does.
    pub const fn blockable(self) -> SigSet {
        self.without(SigSet::UNBLOCKABLE)
    }

    /// The signal to be delivered first: one that a fault raised, else the lowest number.
    pub fn first(self) -> Option<u32> {
        let urgent = self.intersection(SigSet::SYNCHRONOUS);
        let bits = if urgent.is_empty() { self.0 } else { urgent.0 };
        (bits != 0).then(|| bits.trailing_zeros() + 1)
    }
}

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// A signal number given by the application: 1…64, else EINVAL.
pub fn number(value: u64) -> Result<u32> {
    match value as u32 {
        signal @ 1..=MAX => Ok(signal),
        _ => Err(Errno::EINVAL),
    }
}

/// Name of a signal, such as `SIGINT`; real-time signals by their distance from SIGRTMIN as libc counts them.
pub fn name(signal: u32) -> alloc::borrow::Cow<'static, str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    match signal {
        1..=31 => NAMES[signal as usize - 1].into(),
        32 => "SIGRTMIN".into(),
        33..=MAX => alloc::format!("SIGRT_{}", signal - RTMIN).into(),
        _ => alloc::format!("{signal}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_before_lower_numbers() {
        let set = SigSet::of(raw::SIGINT).union(SigSet::of(raw::SIGSEGV));
        assert_eq!(set.first(), Some(raw::SIGSEGV));
        assert_eq!(SigSet(0b10_0010).first(), Some(2));
        assert_eq!(SigSet::EMPTY.first(), None);
        assert_eq!(SigSet::of(64).first(), Some(64));
    }

    #[test]
    fn kill_and_stop_cannot_be_blocked() {
        let all = SigSet(u64::MAX).blockable();
        assert!(!all.contains(raw::SIGKILL) && !all.contains(raw::SIGSTOP));
        assert!(all.contains(raw::SIGINT) && all.contains(64));
    }

    #[test]
    fn numbers_outside_the_range_are_invalid() {
        assert_eq!(number(0), Err(Errno::EINVAL));
        assert_eq!(number(65), Err(Errno::EINVAL));
        assert_eq!(number(64), Ok(64));
    }
}
