//! Interval timers (setitimer(2), alarm(2)), and the kernel thread that waits for them and for POSIX timers.
//!
//! Nothing interrupts a program at a given time, so a thread of the kernel sleeps until the next timer is due and then
//! sends the signals. It is started with the first timer and takes one of the MaxThreads thread blocks.
//!
//! CPU time cannot be waited for. Timers on it are looked at when they can be due at the earliest, all CPUs being busy,
//! but not more often than every [`CPU_GRAIN`].

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use linux_raw_sys::general as raw;
use mystikos_platform::host;
use mystikos_platform::sync::Mutex;

use super::posix::PosixTimers;
use super::{monotonic, Clock};
use crate::process::thread::NewThread;
use crate::process::{self, slots, Process, Thread};
use crate::signal::info::SigInfo;
use crate::signal::send;
use crate::Result;

/// How exactly CPU time is measured out (a jiffy).
const CPU_GRAIN: u64 = 4_000_000;

/// Interval timers by the numbers that setitimer(2) gives them: REAL, VIRTUAL, PROF.
pub const KINDS: usize = 3;
const SIGNALS: [u32; KINDS] = [raw::SIGALRM, raw::SIGVTALRM, raw::SIGPROF];

/// Where time stands on the two time lines that timers run on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Monotonic clock.
    pub monotonic: u64,
    /// CPU time of the process.
    pub cpu: u64,
}

impl Now {
    /// Asks the clocks; the CPU clock only if somebody is interested.
    pub fn ask(cpu: bool) -> Now {
        Now {
            monotonic: monotonic(),
            cpu: match cpu {
                true => Clock::ProcessCpu.now().unwrap_or(0),
                false => 0,
            },
        }
    }

    /// On one of the two time lines.
    pub fn on(&self, cpu: bool) -> u64 {
        match cpu {
            true => self.cpu,
            false => self.monotonic,
        }
    }

    /// When to look again at a timer that is due at `expiry` on its time line.
    pub fn look_again(&self, expiry: u64, cpu: bool, cpus: u64) -> u64 {
        match cpu {
            false => expiry,
            true => {
                let earliest = expiry.saturating_sub(self.cpu) / cpus.max(1);
                self.monotonic.saturating_add(earliest.max(CPU_GRAIN))
            }
        }
    }
}

/// When a timer is due next, and how often after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Time of the next expiry; 0 when the timer is not armed.
    pub expiry: u64,
    /// Nanoseconds from expiry to expiry; 0 for a single one.
    pub interval: u64,
}

impl Schedule {
    /// What is left until the next expiry; 0 when not armed, and never 0 when armed.
    pub fn left(&self, now: u64) -> u64 {
        match self.expiry {
            0 => 0,
            expiry => expiry.saturating_sub(now).max(1),
        }
    }

    /// If it is due: goes on to its next expiry after `now`, and tells how many were passed over.
    pub fn expire(&mut self, now: u64) -> Option<u64> {
        if self.expiry == 0 || self.expiry > now {
            return None;
        }
        if self.interval == 0 {
            self.expiry = 0;
            return Some(0);
        }
        let missed = (now - self.expiry) / self.interval;
        let passed = self.interval.saturating_mul(missed.saturating_add(1));
        self.expiry = self.expiry.saturating_add(passed);
        Some(missed)
    }
}

/// The timers of a process.
#[derive(Default)]
pub struct Timers {
    intervals: Mutex<[Schedule; KINDS]>,
    /// Those of timer_create(2).
    pub posix: Mutex<PosixTimers>,
}

fn runs_on_cpu(kind: usize) -> bool {
    kind != raw::ITIMER_REAL as usize
}

impl Timers {
    /// What is left of an interval timer, and its interval.
    pub fn interval(&self, kind: usize) -> Schedule {
        let now = Now::ask(runs_on_cpu(kind)).on(runs_on_cpu(kind));
        remaining(self.intervals.lock()[kind], now)
    }

    /// Sets an interval timer to `first` nanoseconds from now (0: off), and tells what was left. EAGAIN when there is no
    /// thread block for the thread that waits.
    pub fn set_interval(&self, kind: usize, first: u64, interval: u64) -> Result<Schedule> {
        if first != 0 {
            start_waiting()?;
        }
        let now = Now::ask(runs_on_cpu(kind)).on(runs_on_cpu(kind));
        let new = Schedule {
            expiry: match first {
                0 => 0,
                first => now.saturating_add(first).max(1),
            },
            interval,
        };
        let before = core::mem::replace(&mut self.intervals.lock()[kind], new);
        look_again();
        Ok(remaining(before, now))
    }

    /// Interval timers that are due: their signals, and when to look again.
    fn expire_intervals(&self, now: Now, cpus: u64) -> (Vec<u32>, Option<u64>) {
        let mut due = Vec::new();
        let mut next = None;
        for (kind, schedule) in self.intervals.lock().iter_mut().enumerate() {
            let cpu = runs_on_cpu(kind);
            if schedule.expire(now.on(cpu)).is_some() {
                due.push(SIGNALS[kind]);
            }
            if schedule.expiry != 0 {
                next = earlier(next, Some(now.look_again(schedule.expiry, cpu, cpus)));
            }
        }
        (due, next)
    }

    fn uses_cpu(&self) -> bool {
        let intervals = self.intervals.lock();
        let interval = (0..KINDS).any(|kind| runs_on_cpu(kind) && intervals[kind].expiry != 0);
        interval || self.posix.lock().uses_cpu()
    }
}

fn remaining(schedule: Schedule, now: u64) -> Schedule {
    Schedule {
        expiry: schedule.left(now),
        interval: schedule.interval,
    }
}

/// The earlier of two times that may be.
pub fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

/// Slot of the waiting thread plus one; 0 before it is started, [`STARTING`] meanwhile.
static WAITER: AtomicUsize = AtomicUsize::new(0);
const STARTING: usize = usize::MAX;

/// Starts the thread that waits for timers, if it is not there yet.
pub fn start_waiting() -> Result<()> {
    loop {
        match WAITER.compare_exchange(0, STARTING, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => break,
            Err(STARTING) => host::yield_now(),
            Err(_) => return Ok(()),
        }
    }
    let started = slots::reserve()
        .and_then(|slot| slots::start(slot, NewThread::Kernel(wait_for_timers)).map(|()| slot));
    let state = started.map_or(0, |slot| slot + 1);
    WAITER.store(state, Ordering::SeqCst);
    started.map(drop)
}

/// A timer was changed: the thread that waits looks again.
pub fn look_again() {
    match WAITER.load(Ordering::SeqCst) {
        0 | STARTING => {}
        waiter => host::wake(waiter - 1),
    }
}

fn wait_for_timers() -> ! {
    loop {
        let next = process::first().and_then(|process| expire(process));
        let left = next.map(|next| next.saturating_sub(monotonic()));
        if left != Some(0) {
            host::wait(left);
        }
    }
}

/// Sends the signals of all timers that are due; returns when to look again.
fn expire(process: &Process) -> Option<u64> {
    let timers = &process.timers;
    let now = Now::ask(timers.uses_cpu());
    let cpus = process::cpu_count() as u64;
    let (due, next) = timers.expire_intervals(now, cpus);
    for signal in due {
        // A standard signal always finds room; these do not stop.
        let _ = send::send_to_process(process, SigInfo::kernel(signal));
    }
    let ignored = process.signals.ignored();
    let (due, next_posix) = timers.posix.lock().expire(now, cpus, ignored);
    for expiry in due {
        let target: Option<alloc::sync::Arc<Thread>> =
            expiry.thread.and_then(|tid| process.thread(tid));
        let sent = match (expiry.thread, target) {
            (None, _) => send::send_to_process(process, expiry.info),
            (Some(_), Some(thread)) => send::send_to_thread(&thread, expiry.info),
            // The thread has ended: nobody is told.
            (Some(_), None) => Ok(()),
        };
        if sent.is_err() {
            timers.posix.lock().not_sent(&expiry.info);
        }
    }
    earlier(next, next_posix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_timer_expires_once() {
        let mut schedule = Schedule {
            expiry: 100,
            interval: 0,
        };
        assert_eq!(schedule.expire(99), None);
        assert_eq!(schedule.expire(100), Some(0));
        assert_eq!(schedule.expire(1000), None);
    }

    #[test]
    fn an_interval_timer_keeps_its_beat_and_counts_what_it_missed() {
        let mut schedule = Schedule {
            expiry: 100,
            interval: 10,
        };
        assert_eq!(schedule.expire(100), Some(0));
        assert_eq!(schedule.expiry, 110);
        assert_eq!(schedule.expire(145), Some(3));
        assert_eq!(schedule.expiry, 150);
    }

    #[test]
    fn an_armed_timer_never_tells_that_nothing_is_left() {
        let schedule = Schedule {
            expiry: 100,
            interval: 0,
        };
        assert_eq!(schedule.left(40), 60);
        assert_eq!(schedule.left(200), 1);
        assert_eq!(Schedule::default().left(200), 0);
    }

    #[test]
    fn cpu_time_is_looked_at_when_it_can_be_over_at_the_earliest() {
        let now = Now {
            monotonic: 1000,
            cpu: 0,
        };
        assert_eq!(now.look_again(5000, false, 4), 5000);
        assert_eq!(now.look_again(400_000_000, true, 4), 1000 + 100_000_000);
        assert_eq!(now.look_again(1, true, 4), 1000 + CPU_GRAIN);
    }

    #[test]
    fn intervals_that_are_due_name_their_signals() {
        let timers = Timers::default();
        timers.intervals.lock()[0] = Schedule {
            expiry: 50,
            interval: 0,
        };
        timers.intervals.lock()[2] = Schedule {
            expiry: 10,
            interval: 5,
        };
        let now = Now {
            monotonic: 60,
            cpu: 12,
        };
        let (due, next) = timers.expire_intervals(now, 1);
        assert_eq!(due, [raw::SIGALRM, raw::SIGPROF]);
        assert_eq!(next, Some(60 + CPU_GRAIN));
    }
}
