//! What timer_create(2) makes.
//!
//! A timer has at most one signal pending. While it has, its expiries are not waited for; they are counted as overruns
//! when the signal is taken, and the timer goes on from there.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use linux_raw_sys::general as raw;

use super::timers::{earlier, look_again, Now, Schedule};
use super::Clock;
use crate::process::Process;
use crate::signal::info::SigInfo;
use crate::signal::queue;
use crate::signal::set::SigSet;
use crate::{Errno, Result};

/// DELAYTIMER_MAX.
const OVERRUN_MAX: u64 = i32::MAX as u64;

/// Shortest interval that is kept while nobody is told of the expiries.
const IDLE_INTERVAL: u64 = 1_000_000;

/// How the program is told of an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The signal; `None` for SIGEV_NONE.
    pub signal: Option<u32>,
    /// The thread to get it; `None` for the process.
    pub thread: Option<u32>,
    /// si_value; `None` for the timer's ID.
    pub value: Option<u64>,
}

/// One timer.
#[derive(Clone, Copy, Debug)]
struct Timer {
    clock: Clock,
    notification: Notification,
    schedule: Schedule,
    /// Its signal is pending.
    pending: bool,
    /// Expiries that were passed over before the signal that is pending was sent.
    missed: u64,
    /// Overruns of the signal taken last.
    overrun: u64,
}

/// The timers of a process by their IDs.
#[derive(Default)]
pub struct PosixTimers {
    timers: BTreeMap<u32, Timer>,
}

/// A signal to be sent.
#[derive(Debug)]
pub struct Expiry {
    /// The thread to get it, if not the process.
    pub thread: Option<u32>,
    /// What is sent.
    pub info: SigInfo,
}

impl PosixTimers {
    /// Makes a timer; EAGAIN when there are too many.
    pub fn create(&mut self, clock: Clock, notification: Notification) -> Result<u32> {
        if self.timers.len() >= queue::LIMIT {
            return Err(Errno::EAGAIN);
        }
        let free = (0..).find(|id| !self.timers.contains_key(id));
        let id = free.ok_or(Errno::EAGAIN)?;
        let timer = Timer {
            clock,
            notification,
            schedule: Schedule::default(),
            pending: false,
            missed: 0,
            overrun: 0,
        };
        self.timers.insert(id, timer);
        Ok(id)
    }

    /// Removes a timer.
    pub fn delete(&mut self, id: u32) -> Result<()> {
        self.timers.remove(&id).map(drop).ok_or(Errno::EINVAL)
    }

    /// The clock of a timer.
    pub fn clock(&self, id: u32) -> Result<Clock> {
        self.timers.get(&id).map(|t| t.clock).ok_or(Errno::EINVAL)
    }

    /// Arms a timer for a time on its time line, or disarms it; what was left before.
    pub fn set(&mut self, id: u32, schedule: Schedule, now: Now) -> Result<Schedule> {
        let timer = self.timers.get_mut(&id).ok_or(Errno::EINVAL)?;
        let before = timer.left(now);
        timer.schedule = schedule;
        timer.pending = false;
        timer.missed = 0;
        timer.overrun = 0;
        Ok(before)
    }

    /// What is left of a timer, and its interval.
    pub fn get(&self, id: u32, now: Now) -> Result<Schedule> {
        let timer = self.timers.get(&id).ok_or(Errno::EINVAL)?;
        Ok(timer.left(now))
    }

    /// Overruns of the signal that was taken last.
    pub fn overrun(&self, id: u32) -> Result<u64> {
        let timer = self.timers.get(&id).ok_or(Errno::EINVAL)?;
        Ok(timer.overrun.min(OVERRUN_MAX))
    }

    /// A timer on CPU time is armed.
    pub fn uses_cpu(&self) -> bool {
        let armed = |t: &Timer| t.clock.is_cpu() && t.schedule.expiry != 0;
        self.timers.values().any(armed)
    }

    /// Timers that are due, and when to look again. A signal that is ignored is not queued, so its timer just goes on.
    pub fn expire(&mut self, now: Now, cpus: u64, ignored: SigSet) -> (Vec<Expiry>, Option<u64>) {
        let mut due = Vec::new();
        let mut next = None;
        for (&id, timer) in &mut self.timers {
            let cpu = timer.clock.is_cpu();
            if timer.pending {
                continue;
            }
            if let Some(missed) = timer.schedule.expire(now.on(cpu)) {
                match timer.notification.signal {
                    Some(signal) if !ignored.contains(signal) => {
                        timer.pending = true;
                        timer.missed = missed;
                        let value = timer.notification.value.unwrap_or(id as u64);
                        due.push(Expiry {
                            thread: timer.notification.thread,
                            info: SigInfo::timer(signal, id, 0, value),
                        });
                        continue;
                    }
                    _ => timer.idle(now.on(cpu)),
                }
            }
            if timer.schedule.expiry != 0 {
                next = earlier(next, Some(now.look_again(timer.schedule.expiry, cpu, cpus)));
            }
        }
        (due, next)
    }

    /// The signal of an expiry found no room; it counts as taken.
    pub fn not_sent(&mut self, info: &SigInfo) {
        if let Some(timer) = self.timers.get_mut(&info.timer_id()) {
            timer.pending = false;
        }
    }

    /// A signal was taken: how many expiries it stands for besides the first. `None` when it is of no timer.
    fn taken(&mut self, info: &SigInfo, now: Now) -> Option<u64> {
        let timer = self.timers.get_mut(&info.timer_id())?;
        if !timer.pending {
            return None;
        }
        timer.pending = false;
        // The expiry after the one that was told may be past, too.
        let later = match timer.schedule.expire(now.on(timer.clock.is_cpu())) {
            Some(missed) => missed.saturating_add(1),
            None => 0,
        };
        timer.overrun = timer.missed.saturating_add(later);
        timer.missed = 0;
        Some(timer.overrun.min(OVERRUN_MAX))
    }
}

impl Timer {
    fn left(&self, now: Now) -> Schedule {
        let now = now.on(self.clock.is_cpu());
        let mut schedule = self.schedule;
        if schedule.interval != 0 {
            // An interval timer whose signal is pending stands at an expiry that may be past.
            schedule.expire(now);
        }
        let none = self.notification.signal.is_none();
        Schedule {
            expiry: match schedule.left(now) {
                // A timer that tells nobody shows that it is over.
                1 if none && schedule.expiry <= now => 0,
                left => left,
            },
            interval: schedule.interval,
        }
    }

    /// Nobody is told of the expiries: not worth waking up for each of very many.
    fn idle(&mut self, now: u64) {
        if self.schedule.expiry != 0 {
            self.schedule.expiry = self.schedule.expiry.max(now.saturating_add(IDLE_INTERVAL));
        }
    }
}

/// A signal was taken out of its queue: if it is a timer's, its overruns are told in it and the timer goes on.
pub fn collected(process: &Process, info: &mut SigInfo) {
    if info.code != raw::SI_TIMER {
        return;
    }
    let now = Now::ask(process.timers.posix.lock().uses_cpu());
    let overrun = process.timers.posix.lock().taken(info, now);
    if let Some(overrun) = overrun {
        *info = SigInfo::timer(info.signal(), info.timer_id(), overrun as u32, info.value());
        look_again();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELL: Notification = Notification {
        signal: Some(40),
        thread: None,
        value: Some(7),
    };

    fn at(monotonic: u64) -> Now {
        Now { monotonic, cpu: 0 }
    }

    fn armed(notification: Notification, expiry: u64, interval: u64) -> (PosixTimers, u32) {
        let mut timers = PosixTimers::default();
        let clock = Clock::Steady(raw::CLOCK_MONOTONIC);
        let id = timers.create(clock, notification).unwrap();
        let schedule = Schedule { expiry, interval };
        timers.set(id, schedule, at(0)).unwrap();
        (timers, id)
    }

    #[test]
    fn expiries_while_the_signal_is_pending_are_overruns() {
        let (mut timers, id) = armed(TELL, 100, 10);
        let (due, next) = timers.expire(at(105), 1, SigSet::EMPTY);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].info.value(), next), (7, None));
        assert!(timers.expire(at(128), 1, SigSet::EMPTY).0.is_empty());
        assert_eq!(timers.taken(&due[0].info, at(134)), Some(3));
        assert_eq!(timers.overrun(id), Ok(3));
        assert_eq!(timers.get(id, at(134)).unwrap().expiry, 6);
        let (due, _) = timers.expire(at(140), 1, SigSet::EMPTY);
        assert_eq!(timers.taken(&due[0].info, at(141)), Some(0));
    }

    #[test]
    fn an_ignored_signal_does_not_hold_its_timer_up() {
        let (mut timers, id) = armed(TELL, 100, 1);
        let (due, next) = timers.expire(at(100), 1, SigSet::of(40));
        assert!(due.is_empty());
        assert_eq!(next, Some(100 + IDLE_INTERVAL));
        assert_eq!(timers.overrun(id), Ok(0));
    }

    #[test]
    fn a_timer_that_tells_nobody_is_over_without_a_trace() {
        let silent = Notification {
            signal: None,
            ..TELL
        };
        let (mut timers, id) = armed(silent, 100, 0);
        assert_eq!(timers.get(id, at(60)).unwrap().expiry, 40);
        assert!(timers.expire(at(101), 1, SigSet::EMPTY).0.is_empty());
        assert_eq!(timers.get(id, at(101)).unwrap().expiry, 0);
    }

    #[test]
    fn ids_are_reused_and_unknown_ones_are_invalid() {
        let (mut timers, id) = armed(TELL, 1, 0);
        timers.delete(id).unwrap();
        assert_eq!(timers.delete(id), Err(Errno::EINVAL));
        let clock = Clock::ProcessCpu;
        assert_eq!(timers.create(clock, TELL), Ok(id));
    }
}
