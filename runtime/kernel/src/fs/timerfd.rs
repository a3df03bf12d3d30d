//! Timers as files (timerfd_create(2)).
//!
//! Nothing happens when a timer expires: whoever looks at the file finds out then, and whoever sleeps for it sleeps no
//! longer than until the next expiry ([`File::unqueued`]).

use alloc::sync::Arc;
use core::any::Any;

use mystikos_platform::sync::Mutex;

use super::anonymous;
use super::file::{File, OpenFile, Readiness, Stat, Unqueued};
use super::io::{Sink, Source};
use super::poll::wait_unqueued;
use crate::process::wait::WaitQueue;
use crate::{time, Errno, Result};

/// When a timer expires (nanoseconds): the time until the first expiry, 0 for never, and between later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Time until the next expiry.
    pub value: u64,
    /// Time between later ones, 0 for none.
    pub interval: u64,
}

/// A timer. As on Linux one with an interval stops at an expiry until somebody reads it or asks about it; what came in
/// between is counted then.
#[derive(Debug, Default)]
struct Timer {
    /// Next expiry, or the one that has not been read yet (monotonic).
    deadline: Option<u64>,
    interval: u64,
    /// Expiries to be read.
    ticks: u64,
    /// `deadline` has passed and counts in `ticks`.
    expired: bool,
}

impl Timer {
    fn set(&mut self, now: u64, setting: Setting) {
        *self = Timer {
            deadline: (setting.value > 0).then(|| now.saturating_add(setting.value)),
            interval: setting.interval,
            ..Timer::default()
        };
    }

    // Sees whether the deadline has passed; true when it just did.
    fn look(&mut self, now: u64) -> bool {
        let passed = !self.expired && self.deadline.is_some_and(|deadline| deadline <= now);
        if passed {
            self.expired = true;
            self.ticks += 1;
        }
        passed
    }

    // Sets a timer that expired going again; returns how many more expiries there were.
    fn forward(&mut self, now: u64) -> u64 {
        let (Some(deadline), true) = (self.deadline, self.expired) else {
            return 0;
        };
        self.expired = false;
        if self.interval == 0 {
            self.deadline = None;
            return 0;
        }
        let more = (now - deadline) / self.interval;
        self.deadline = Some(deadline + (more + 1) * self.interval);
        more
    }

    fn take(&mut self, now: u64) -> Option<u64> {
        self.look(now);
        if self.ticks == 0 {
            return None;
        }
        let ticks = self.ticks + self.forward(now);
        self.ticks = 0;
        Some(ticks)
    }

    fn setting(&self, now: u64) -> Setting {
        Setting {
            value: self.deadline.map_or(0, |at| at.saturating_sub(now)),
            interval: self.interval,
        }
    }

    fn next(&self) -> Option<u64> {
        self.deadline.filter(|_| !self.expired)
    }
}

/// A timer as a file.
pub struct TimerFd {
    /// CLOCK_* that absolute times are told in.
    pub clock: u32,
    timer: Mutex<Timer>,
    queue: WaitQueue,
}

impl TimerFd {
    /// A timer that is not set.
    pub fn new(clock: u32) -> Arc<TimerFd> {
        Arc::new(TimerFd {
            clock,
            timer: Mutex::new(Timer::default()),
            queue: WaitQueue::new(),
        })
    }

    /// Sets the timer; returns what was left of the setting before.
    pub fn set(&self, setting: Setting) -> Setting {
        let now = time::monotonic();
        let before = {
            let mut timer = self.timer.lock();
            timer.look(now);
            if timer.interval > 0 {
                timer.forward(now);
            }
            let before = timer.setting(now);
            timer.set(now, setting);
            before
        };
        // Who sleeps for the timer has to sleep for another time.
        self.queue.wake_all();
        self.look();
        before
    }

    /// What is left until the next expiry.
    pub fn setting(&self) -> Setting {
        let now = time::monotonic();
        let mut timer = self.timer.lock();
        timer.look(now);
        if timer.interval > 0 {
            let more = timer.forward(now);
            timer.ticks += more;
        }
        timer.setting(now)
    }

    // Sees whether the timer has expired, and tells those who wait for it.
    fn look(&self) -> bool {
        let (expired, readable) = {
            let mut timer = self.timer.lock();
            // The clock is asked only when it matters.
            let expired = timer.next().is_some() && timer.look(time::monotonic());
            (expired, timer.ticks > 0)
        };
        if expired {
            self.queue.wake(Readiness::IN);
        }
        readable
    }
}

impl File for TimerFd {
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::stat())
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let take = || self.timer.lock().take(time::monotonic());
        let ticks = match take() {
            Some(ticks) => ticks,
            None if description.is_nonblocking() => return Err(Errno::EAGAIN),
            None => {
                let next = || self.unqueued(Readiness::IN).unwrap_or_default();
                wait_unqueued(&[&self.queue], None, next, take)?
            }
        };
        match sink.put(&ticks.to_ne_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    fn write(&self, _description: &OpenFile, _source: &mut dyn Source) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    fn seek(&self, _description: &OpenFile, _offset: i64, _whence: u32) -> Result<u64> {
        // Without a position, but no error.
        Ok(0)
    }

    fn readiness(&self) -> Readiness {
        match self.look() {
            true => Readiness::IN,
            false => Readiness::empty(),
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn unqueued(&self, _events: Readiness) -> Option<Unqueued> {
        Some(Unqueued {
            deadline: self.timer.lock().next(),
            ..Unqueued::default()
        })
    }

    fn refresh(&self) {
        self.look();
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("timerfd")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(value: u64, interval: u64) -> Timer {
        let mut timer = Timer::default();
        timer.set(1000, Setting { value, interval });
        timer
    }

    #[test]
    fn a_timer_without_interval_expires_once() {
        let mut timer = timer(10, 0);
        assert_eq!(timer.take(1009), None);
        assert_eq!(timer.next(), Some(1010));
        assert_eq!(timer.take(1010), Some(1));
        assert_eq!((timer.take(5000), timer.next()), (None, None));
        assert_eq!(timer.setting(5000), Setting::default());
    }

    #[test]
    fn missed_expiries_are_counted_when_read() {
        let mut timer = timer(10, 100);
        assert!(timer.look(1010));
        assert!(!timer.look(1500), "it expires once until it is read");
        assert_eq!(timer.next(), None);
        assert_eq!(timer.take(1500), Some(5));
        assert_eq!(timer.next(), Some(1510));
    }

    #[test]
    fn asking_for_the_time_left_keeps_what_is_to_be_read() {
        let mut timer = timer(10, 100);
        timer.look(1250);
        let more = timer.forward(1250);
        timer.ticks += more;
        let expected = Setting {
            value: 60,
            interval: 100,
        };
        assert_eq!(timer.setting(1250), expected);
        assert_eq!(timer.take(1250), Some(3));
    }

    #[test]
    fn times_beyond_the_end_of_counting_never_come() {
        let mut timer = timer(u64::MAX, 1);
        assert_eq!(timer.take(u64::MAX - 1), None);
    }
}
