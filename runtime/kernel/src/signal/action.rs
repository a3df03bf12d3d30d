//! What a process does about a signal.

use linux_raw_sys::general as raw;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::set::{SigSet, MAX};

/// SIG_DFL.
pub const DEFAULT: u64 = 0;
/// SIG_IGN.
pub const IGNORE: u64 = 1;

/// The flags of sigaction(2) that are known here; others are dropped, as Linux does, so that programs can find out.
const FLAGS: u64 = (raw::SA_NOCLDSTOP
    | raw::SA_NOCLDWAIT
    | raw::SA_SIGINFO
    | raw::SA_RESTORER
    | raw::SA_ONSTACK
    | raw::SA_RESTART
    | raw::SA_NODEFER
    | raw::SA_RESETHAND) as u64;

/// `struct sigaction` as the kernel takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Action {
    /// Address of the handler, [`DEFAULT`] or [`IGNORE`].
    pub handler: u64,
    /// SA_*.
    pub flags: u64,
    /// Where the handler returns to, with SA_RESTORER.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: u64,
}

impl Action {
    /// As given by the application, without what is not known or cannot be masked.
    pub fn accepted(self) -> Action {
        Action {
            flags: self.flags & FLAGS,
            mask: SigSet(self.mask).blockable().0,
            ..self
        }
    }

    /// A flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag as u64 != 0
    }
}

/// What is to happen to a signal that is being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Ignore,
    /// The process ends as killed by it (with or without a core dump on Linux; there are none here).
    Terminate,
    /// The process would stop. Nothing could make it go on, so sending such a signal is refused and this is only met
    /// when the action was changed back while the signal was pending; then it is ignored.
    Stop,
    /// A handler is called.
    Handle(Action),
}

/// Actions of a process, by signal.
pub struct Actions([Action; MAX as usize]);

impl Default for Actions {
    fn default() -> Self {
        Actions([Action::default(); MAX as usize])
    }
}

impl Actions {
    /// The action for a signal.
    pub fn get(&self, signal: u32) -> Action {
        self.0[signal as usize - 1]
    }

    /// Sets the action for a signal.
    pub fn set(&mut self, signal: u32, action: Action) {
        self.0[signal as usize - 1] = action;
    }

    /// What is to happen to a signal now; SA_RESETHAND takes effect.
    pub fn deliver(&mut self, signal: u32) -> Outcome {
        let action = self.get(signal);
        match action.handler {
            IGNORE => Outcome::Ignore,
            DEFAULT if SigSet::DEFAULT_IGNORED.contains(signal) => Outcome::Ignore,
            DEFAULT if SigSet::DEFAULT_STOP.contains(signal) => Outcome::Stop,
            DEFAULT => Outcome::Terminate,
            _ => {
                if action.has(raw::SA_RESETHAND) {
                    self.0[signal as usize - 1].handler = DEFAULT;
                }
                Outcome::Handle(action)
            }
        }
    }

    /// Signals that are ignored, by choice or by default.
    pub fn ignored(&self) -> SigSet {
        self.select(|signal, action| match action.handler {
            IGNORE => true,
            DEFAULT => SigSet::DEFAULT_IGNORED.contains(signal),
            _ => false,
        })
    }

    /// Signals with a handler.
    pub fn caught(&self) -> SigSet {
        self.select(|_, action| !matches!(action.handler, IGNORE | DEFAULT))
    }

    fn select(&self, wanted: impl Fn(u32, &Action) -> bool) -> SigSet {
        (1..=MAX)
            .filter(|&signal| wanted(signal, &self.0[signal as usize - 1]))
            .fold(SigSet::EMPTY, |set, s| set.union(SigSet::of(s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(flags: u32) -> Action {
        Action {
            handler: 0x1000,
            flags: flags as u64,
            ..Action::default()
        }
    }

    #[test]
    fn default_actions_are_those_of_signal_7() {
        let mut actions = Actions::default();
        assert_eq!(actions.deliver(raw::SIGTERM), Outcome::Terminate);
        assert_eq!(actions.deliver(raw::SIGCHLD), Outcome::Ignore);
        assert_eq!(actions.deliver(raw::SIGTSTP), Outcome::Stop);
        assert_eq!(actions.deliver(64), Outcome::Terminate);
    }

    #[test]
    fn resethand_calls_the_handler_once() {
        let mut actions = Actions::default();
        actions.set(raw::SIGUSR1, handler(raw::SA_RESETHAND));
        assert!(matches!(actions.deliver(raw::SIGUSR1), Outcome::Handle(_)));
        assert_eq!(actions.deliver(raw::SIGUSR1), Outcome::Terminate);
    }

    #[test]
    fn ignored_and_caught_tell_the_sets() {
        let mut actions = Actions::default();
        actions.set(raw::SIGUSR1, handler(0));
        actions.set(
            raw::SIGINT,
            Action {
                handler: IGNORE,
                ..Action::default()
            },
        );
        actions.set(raw::SIGCHLD, handler(0));
        assert!(actions.ignored().contains(raw::SIGINT));
        assert!(!actions.ignored().contains(raw::SIGCHLD));
        assert_eq!(
            actions.caught(),
            SigSet::of(raw::SIGUSR1).union(SigSet::of(raw::SIGCHLD))
        );
    }

    #[test]
    fn unknown_flags_and_unblockable_signals_are_dropped() {
        let given = Action {
            handler: 0x1000,
            flags: 0x800 | raw::SA_RESTART as u64,
            restorer: 0,
            mask: u64::MAX,
        };
        let accepted = given.accepted();
        assert_eq!(accepted.flags, raw::SA_RESTART as u64);
        assert!(!SigSet(accepted.mask).contains(raw::SIGKILL));
    }
}
