//! Counters, timers and signals as files.

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::table::{Arg, Entry, Support};
use super::{install, poll};
use crate::fs::event::EventFd;
use crate::fs::file::OpenFile;
use crate::fs::signalfd::SignalFd;
use crate::fs::timerfd::{Setting, TimerFd};
use crate::process::Thread;
use crate::{time, Errno, Result};

const O_RDWR: u32 = 2;
const O_NONBLOCK: u32 = 0o4000;
const O_CLOEXEC: u32 = 0o2000000;
const EFD_SEMAPHORE: u32 = 1;

const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
const CLOCK_BOOTTIME: u32 = 7;
const CLOCK_REALTIME_ALARM: u32 = 8;
const CLOCK_BOOTTIME_ALARM: u32 = 9;

const TIMER_ABSTIME: u32 = 1;
const TIMER_CANCEL_ON_SET: u32 = 2;

/// Arguments of the calls with flags that are those of open(2).
const FLAGS: Arg = Arg::Flags(&[
    (O_NONBLOCK as u64, "O_NONBLOCK"),
    (O_CLOEXEC as u64, "O_CLOEXEC"),
]);

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 284,
        name: "eventfd",
        args: &[Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| eventfd(thread, args[0] as u32, 0),
    },
    Entry {
        number: 290,
        name: "eventfd2",
        args: &[
            Arg::Uint,
            Arg::Flags(&[
                (EFD_SEMAPHORE as u64, "EFD_SEMAPHORE"),
                (O_NONBLOCK as u64, "EFD_NONBLOCK"),
                (O_CLOEXEC as u64, "EFD_CLOEXEC"),
            ]),
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| eventfd(thread, args[0] as u32, args[1] as u32),
    },
    Entry {
        number: 283,
        name: "timerfd_create",
        args: &[Arg::Int, FLAGS],
        support: Support::Partial,
        note: "clocks that wake a sleeping machine are refused with EPERM, as without CAP_WAKE_ALARM",
        handler: timerfd_create,
    },
    Entry {
        number: 286,
        name: "timerfd_settime",
        args: &[
            Arg::Fd,
            Arg::Flags(&[
                (TIMER_ABSTIME as u64, "TFD_TIMER_ABSTIME"),
                (TIMER_CANCEL_ON_SET as u64, "TFD_TIMER_CANCEL_ON_SET"),
            ]),
            Arg::Ptr,
            Arg::Ptr,
        ],
        support: Support::Partial,
        note: "a timer that is set does not follow steps of the host's wall clock, and is never cancelled by one",
        handler: timerfd_settime,
    },
    Entry {
        number: 287,
        name: "timerfd_gettime",
        args: &[Arg::Fd, Arg::Ptr],
        support: Support::Full,
        note: "",
        handler: timerfd_gettime,
    },
    Entry {
        number: 282,
        name: "signalfd",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| signalfd(thread, args, 0),
    },
    Entry {
        number: 289,
        name: "signalfd4",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint, FLAGS],
        support: Support::Full,
        note: "",
        handler: |thread, args| signalfd(thread, args, args[3] as u32),
    },
];

fn eventfd(thread: &Thread, count: u32, flags: u32) -> Result<u64> {
    if flags & !(EFD_SEMAPHORE | O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let event = EventFd::new(count, flags & EFD_SEMAPHORE != 0);
    let description = OpenFile::new(event, O_RDWR | flags & O_NONBLOCK);
    install::one(thread, description, flags & O_CLOEXEC != 0)
}

fn timerfd_create(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (clock, flags) = (args[0] as u32, args[1] as u32);
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    match clock {
        CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME => {}
        CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    let description = OpenFile::new(TimerFd::new(clock), O_RDWR | flags & O_NONBLOCK);
    install::one(thread, description, flags & O_CLOEXEC != 0)
}

/// `struct itimerspec`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct TimerSpec {
    interval: [i64; 2],
    value: [i64; 2],
}

const SECOND: u64 = 1_000_000_000;

fn nanoseconds([seconds, nanoseconds]: [i64; 2]) -> Result<u64> {
    let seconds = u64::try_from(seconds).map_err(|_| Errno::EINVAL)?;
    match u64::try_from(nanoseconds) {
        Ok(nanoseconds) if nanoseconds < SECOND => {
            Ok(seconds.saturating_mul(SECOND).saturating_add(nanoseconds))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn timespec(nanoseconds: u64) -> [i64; 2] {
    [(nanoseconds / SECOND) as i64, (nanoseconds % SECOND) as i64]
}

impl TimerSpec {
    fn of(setting: Setting) -> TimerSpec {
        TimerSpec {
            interval: timespec(setting.interval),
            value: timespec(setting.value),
        }
    }
}

fn timerfd_settime(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [fd, flags, new, old, ..] = args;
    let flags = flags as u32;
    let new: TimerSpec = user::read(new)?;
    if flags & !(TIMER_ABSTIME | TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut setting = Setting {
        value: nanoseconds(new.value)?,
        interval: nanoseconds(new.interval)?,
    };

    let before = with_timer(thread, fd, |timer| {
        if flags & TIMER_ABSTIME != 0 && setting.value > 0 {
            // A time that is over expires at once.
            setting.value = setting.value.saturating_sub(now(timer.clock)).max(1);
        }
        timer.set(setting)
    })?;

    if old != 0 {
        user::write(old, &TimerSpec::of(before))?;
    }
    Ok(0)
}

fn timerfd_gettime(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let setting = with_timer(thread, args[0], TimerFd::setting)?;
    user::write(args[1], &TimerSpec::of(setting))?;
    Ok(0)
}

// Time of a clock in nanoseconds.
fn now(clock: u32) -> u64 {
    match clock {
        CLOCK_REALTIME => time::realtime(),
        _ => time::monotonic(),
    }
}

fn with_timer<R>(thread: &Thread, fd: u64, act: impl FnOnce(&TimerFd) -> R) -> Result<R> {
    let description = thread.process.files.read().usable(fd as i32)?;
    let timer = description.file.as_any().downcast_ref::<TimerFd>();
    timer.map(act).ok_or(Errno::EINVAL)
}

fn signalfd(thread: &Thread, args: [u64; 6], flags: u32) -> Result<u64> {
    let fd = args[0] as i32;
    if args[2] != 8 {
        return Err(Errno::EINVAL);
    }
    // Unlike other calls with a mask this one needs it.
    let wanted = match poll::read_mask(args[1], args[2])? {
        Some(wanted) => wanted,
        None => return Err(Errno::EFAULT),
    };
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }

    if fd == -1 {
        let signals = SignalFd::new(thread.process.clone(), wanted);
        let description = OpenFile::new(signals, O_RDWR | flags & O_NONBLOCK);
        return install::one(thread, description, flags & O_CLOEXEC != 0);
    }
    let description = thread.process.files.read().usable(fd)?;
    let signals = description.file.as_any().downcast_ref::<SignalFd>();
    signals.ok_or(Errno::EINVAL)?.set_wanted(wanted);
    Ok(fd as u64)
}
