//! Interval timers and POSIX timers.

use linux_raw_sys::general as raw;
use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::clock::{CLOCKS, TIMER_FLAGS};
use super::table::{Arg, Entry};
use crate::process::Thread;
use crate::signal::set;
use crate::time::posix::Notification;
use crate::time::timers::{self, Now, Schedule, KINDS};
use crate::time::{self, Clock, TimeSpec, TimeVal};
use crate::{Errno, Result};

const WHICH: &[(u64, &str)] = &[
    (0, "ITIMER_REAL"),
    (1, "ITIMER_VIRTUAL"),
    (2, "ITIMER_PROF"),
];

const SLOT: &str =
    "The first timer takes one of the MaxThreads thread blocks, or fails with EAGAIN.";
const SLOT_CPU: &str = "The first timer takes one of the MaxThreads thread blocks, or fails with EAGAIN. ITIMER_VIRTUAL and ITIMER_PROF both count all CPU time of the process.";
const SLOT_CLOCK: &str = "The first timer takes one of the MaxThreads thread blocks, or fails with EAGAIN. CPU time of the process can be measured, that of a thread gives EOPNOTSUPP; a timer on the wall clock does not notice when that clock is set.";

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(
        raw::__NR_getitimer,
        "getitimer",
        &[Arg::Enum(WHICH), Arg::Ptr],
        getitimer,
    ),
    Entry::full(
        raw::__NR_setitimer,
        "setitimer",
        &[Arg::Enum(WHICH), Arg::Ptr, Arg::Ptr],
        setitimer,
    )
    .partial(SLOT_CPU),
    Entry::full(raw::__NR_alarm, "alarm", &[Arg::Uint], alarm).partial(SLOT),
    Entry::full(
        raw::__NR_timer_create,
        "timer_create",
        &[Arg::Enum(CLOCKS), Arg::Ptr, Arg::Ptr],
        timer_create,
    )
    .partial(SLOT_CLOCK),
    Entry::full(
        raw::__NR_timer_settime,
        "timer_settime",
        &[Arg::Int, Arg::Flags(TIMER_FLAGS), Arg::Ptr, Arg::Ptr],
        timer_settime,
    ),
    Entry::full(
        raw::__NR_timer_gettime,
        "timer_gettime",
        &[Arg::Int, Arg::Ptr],
        timer_gettime,
    ),
    Entry::full(
        raw::__NR_timer_getoverrun,
        "timer_getoverrun",
        &[Arg::Int],
        timer_getoverrun,
    ),
    Entry::full(
        raw::__NR_timer_delete,
        "timer_delete",
        &[Arg::Int],
        timer_delete,
    ),
];

/// `struct itimerval`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct IntervalVal {
    interval: TimeVal,
    value: TimeVal,
}

impl IntervalVal {
    fn of(schedule: Schedule) -> Self {
        // Rounded up, so that an armed timer never seems to be off.
        let up = |ns: u64| TimeVal::from_ns(ns.saturating_add(999));
        IntervalVal {
            interval: up(schedule.interval),
            value: up(schedule.expiry),
        }
    }
}

fn kind(which: u64) -> Result<usize> {
    match which as u32 as usize {
        kind if kind < KINDS => Ok(kind),
        _ => Err(Errno::EINVAL),
    }
}

fn getitimer(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let schedule = thread.process.timers.interval(kind(args[0])?);
    user::write(args[1], &IntervalVal::of(schedule))?;
    Ok(0)
}

fn setitimer(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let new: IntervalVal = match args[1] {
        // As Linux does: nothing given means to switch it off.
        0 => IntervalVal::default(),
        address => user::read(address)?,
    };
    let (first, interval) = (new.value.to_ns()?, new.interval.to_ns()?);
    let kind = kind(args[0])?;
    let before = thread.process.timers.set_interval(kind, first, interval)?;
    if args[2] != 0 {
        user::write(args[2], &IntervalVal::of(before))?;
    }
    Ok(0)
}

fn alarm(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let first = (args[0] as u32 as u64) * time::SECOND;
    let real = raw::ITIMER_REAL as usize;
    let before = thread.process.timers.set_interval(real, first, 0)?;
    let seconds = (before.expiry + time::SECOND / 2) / time::SECOND;
    Ok(match before.expiry {
        0 => 0,
        _ => seconds.max(1),
    })
}

/// `struct sigevent`: value, signal, notification, thread ID.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct SigEvent {
    value: u64,
    signal: i32,
    notify: i32,
    tid: i32,
    rest: [i32; 11],
}

fn notification(thread: &Thread, address: u64) -> Result<Notification> {
    if address == 0 {
        return Ok(Notification {
            signal: Some(raw::SIGALRM),
            thread: None,
            value: None,
        });
    }
    let event: SigEvent = user::read(address)?;
    let signal = || set::number(event.signal as u32 as u64).map(Some);
    let (signal, target) = match event.notify as u32 {
        raw::SIGEV_NONE => (None, None),
        raw::SIGEV_SIGNAL | raw::SIGEV_THREAD => (signal()?, None),
        raw::SIGEV_THREAD_ID => {
            let tid = event.tid as u32;
            thread.process.thread(tid).ok_or(Errno::EINVAL)?;
            (signal()?, Some(tid))
        }
        _ => return Err(Errno::EINVAL),
    };
    Ok(Notification {
        signal,
        thread: target,
        value: Some(event.value),
    })
}

fn timer_create(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [clock, event, id_address, ..] = args;
    let clock = match Clock::of(clock, thread)? {
        Clock::ThreadCpu => return Err(Errno::EOPNOTSUPP),
        Clock::Steady(raw::CLOCK_MONOTONIC_RAW | raw::CLOCK_MONOTONIC_COARSE)
        | Clock::Wall(raw::CLOCK_REALTIME_COARSE) => return Err(Errno::EOPNOTSUPP),
        clock => clock,
    };
    let notification = notification(thread, event)?;
    timers::start_waiting()?;
    let timers = &thread.process.timers.posix;
    let id = timers.lock().create(clock, notification)?;
    if let Err(errno) = user::write(id_address, &id) {
        timers.lock().delete(id)?;
        return Err(errno);
    }
    Ok(0)
}

/// `struct itimerspec`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct IntervalSpec {
    interval: TimeSpec,
    value: TimeSpec,
}

impl IntervalSpec {
    fn of(schedule: Schedule) -> Self {
        IntervalSpec {
            interval: TimeSpec::from_ns(schedule.interval),
            value: TimeSpec::from_ns(schedule.expiry),
        }
    }
}

fn timer_settime(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [id, flags, new, old, ..] = args;
    if new == 0 {
        return Err(Errno::EINVAL);
    }
    let new: IntervalSpec = user::read(new)?;
    let (first, interval) = (new.value.to_ns()?, new.interval.to_ns()?);
    let id = id as u32;
    let timers = &thread.process.timers.posix;
    let clock = timers.lock().clock(id)?;
    let absolute = flags as u32 & raw::TIMER_ABSTIME != 0;
    let now = Now::ask(clock.is_cpu());
    let expiry = match (first, clock.is_cpu(), absolute) {
        (0, ..) => 0,
        (first, true, true) => first,
        (first, true, false) => now.cpu.saturating_add(first),
        (first, false, _) => clock.deadline(first, absolute)?,
    };
    let before = timers.lock().set(id, Schedule { expiry, interval }, now)?;
    timers::look_again();
    if old != 0 {
        user::write(old, &IntervalSpec::of(before))?;
    }
    Ok(0)
}

fn timer_gettime(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let timers = &thread.process.timers.posix;
    let cpu = timers.lock().clock(args[0] as u32)?.is_cpu();
    let now = Now::ask(cpu);
    let schedule = timers.lock().get(args[0] as u32, now)?;
    user::write(args[1], &IntervalSpec::of(schedule))?;
    Ok(0)
}

fn timer_getoverrun(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    thread.process.timers.posix.lock().overrun(args[0] as u32)
}

fn timer_delete(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    thread.process.timers.posix.lock().delete(args[0] as u32)?;
    Ok(0)
}
