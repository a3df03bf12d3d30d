//! Clocks and sleeping.

use core::sync::atomic::Ordering;

use linux_raw_sys::general as raw;
use mystikos_platform::user;

use super::table::{Arg, Entry};
use crate::process::{wait, Thread};
use crate::signal::ERESTART_RESTARTBLOCK;
use crate::time::{self, Clock, TimeSpec, TimeVal};
use crate::{Errno, Result};

/// Names of clocks.
pub const CLOCKS: &[(u64, &str)] = &[
    (0, "CLOCK_REALTIME"),
    (1, "CLOCK_MONOTONIC"),
    (2, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, "CLOCK_THREAD_CPUTIME_ID"),
    (4, "CLOCK_MONOTONIC_RAW"),
    (5, "CLOCK_REALTIME_COARSE"),
    (6, "CLOCK_MONOTONIC_COARSE"),
    (7, "CLOCK_BOOTTIME"),
    (8, "CLOCK_REALTIME_ALARM"),
    (9, "CLOCK_BOOTTIME_ALARM"),
    (11, "CLOCK_TAI"),
];

/// Names of the flags of clock_nanosleep and timer_settime.
pub const TIMER_FLAGS: &[(u64, &str)] = &[(1, "TIMER_ABSTIME")];

const OTHER_THREADS: &str = "CPU clocks of other threads give EINVAL.";
const NOT_SETTABLE: &str = "EPERM: the clock is the host's.";

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(
        raw::__NR_clock_gettime,
        "clock_gettime",
        &[Arg::Enum(CLOCKS), Arg::Ptr],
        clock_gettime,
    )
    .partial(OTHER_THREADS),
    Entry::full(
        raw::__NR_clock_getres,
        "clock_getres",
        &[Arg::Enum(CLOCKS), Arg::Ptr],
        clock_getres,
    )
    .partial(OTHER_THREADS),
    Entry::full(
        raw::__NR_clock_settime,
        "clock_settime",
        &[Arg::Enum(CLOCKS), Arg::Ptr],
        clock_settime,
    )
    .refused(NOT_SETTABLE),
    Entry::full(
        raw::__NR_settimeofday,
        "settimeofday",
        &[Arg::Ptr, Arg::Ptr],
        not_settable,
    )
    .refused(NOT_SETTABLE),
    Entry::full(raw::__NR_adjtimex, "adjtimex", &[Arg::Ptr], not_settable)
        .refused(NOT_SETTABLE),
    Entry::full(
        raw::__NR_clock_adjtime,
        "clock_adjtime",
        &[Arg::Enum(CLOCKS), Arg::Ptr],
        not_settable,
    )
    .refused(NOT_SETTABLE),
    Entry::full(
        raw::__NR_clock_nanosleep,
        "clock_nanosleep",
        &[
            Arg::Enum(CLOCKS),
            Arg::Flags(TIMER_FLAGS),
            Arg::Ptr,
            Arg::Ptr,
        ],
        clock_nanosleep,
    )
    .partial("CLOCK_PROCESS_CPUTIME_ID gives EOPNOTSUPP. A sleep until a time of the wall clock does not notice when that clock is set."),
    Entry::full(
        raw::__NR_nanosleep,
        "nanosleep",
        &[Arg::Ptr, Arg::Ptr],
        nanosleep,
    ),
    Entry::full(
        raw::__NR_restart_syscall,
        "restart_syscall",
        &[],
        restart_syscall,
    ),
    Entry::full(
        raw::__NR_gettimeofday,
        "gettimeofday",
        &[Arg::Ptr, Arg::Ptr],
        gettimeofday,
    ),
    Entry::full(raw::__NR_time, "time", &[Arg::Ptr], time_of_day),
    Entry::full(raw::__NR_times, "times", &[Arg::Ptr], times)
        .partial("All CPU time counts as user time; there are no children."),
];

fn clock_gettime(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let now = Clock::of(args[0], thread)?.now()?;
    user::write(args[1], &TimeSpec::from_ns(now))?;
    Ok(0)
}

fn clock_getres(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let resolution = Clock::of(args[0], thread)?.resolution()?;
    if args[1] != 0 {
        user::write(args[1], &TimeSpec::from_ns(resolution))?;
    }
    Ok(0)
}

fn clock_settime(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let clock = Clock::of(args[0], thread)?;
    user::read::<TimeSpec>(args[1])?.to_ns()?;
    match clock {
        Clock::Wall(raw::CLOCK_REALTIME) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

fn not_settable(_: &Thread, _: [u64; 6]) -> Result<u64> {
    Err(Errno::EPERM)
}

fn nanosleep(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let ns = user::read::<TimeSpec>(args[0])?.to_ns()?;
    sleep(thread, time::after(ns), args[1])
}

fn clock_nanosleep(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [clock, flags, request, remaining, ..] = args;
    let clock = Clock::of(clock, thread)?;
    match clock {
        Clock::ThreadCpu => return Err(Errno::EINVAL),
        Clock::Steady(raw::CLOCK_MONOTONIC_RAW | raw::CLOCK_MONOTONIC_COARSE)
        | Clock::Wall(raw::CLOCK_REALTIME_COARSE) => return Err(Errno::EOPNOTSUPP),
        _ => {}
    }
    let ns = user::read::<TimeSpec>(request)?.to_ns()?;
    let absolute = flags as u32 & raw::TIMER_ABSTIME != 0;
    let deadline = clock.deadline(ns, absolute)?;
    match absolute {
        // Restarted, if no handler runs, with the same time.
        true => match wait::sleep_until(deadline) {
            Err(_) => Err(crate::signal::ERESTARTNOHAND),
            Ok(()) => Ok(0),
        },
        false => sleep(thread, deadline, remaining),
    }
}

/// Sleeps until a deadline; when a signal comes, what is left is written to `remaining` (unless that is 0).
fn sleep(thread: &Thread, deadline: u64, remaining: u64) -> Result<u64> {
    if wait::sleep_until(deadline).is_ok() {
        return Ok(0);
    }
    let left = deadline.saturating_sub(time::monotonic());
    if left == 0 {
        return Ok(0);
    }
    if remaining != 0 {
        user::write(remaining, &TimeSpec::from_ns(left))?;
    }
    thread.restart_deadline.store(deadline, Ordering::Relaxed);
    Err(ERESTART_RESTARTBLOCK)
}

/// Goes on with a sleep that a signal without a handler interrupted.
fn restart_syscall(thread: &Thread, _: [u64; 6]) -> Result<u64> {
    match thread.restart_deadline.load(Ordering::Relaxed) {
        0 => Err(Errno::EINTR),
        deadline => sleep(thread, deadline, 0),
    }
}

fn gettimeofday(_: &Thread, args: [u64; 6]) -> Result<u64> {
    if args[0] != 0 {
        user::write(args[0], &TimeVal::from_ns(time::realtime()))?;
    }
    if args[1] != 0 {
        // struct timezone: UTC, no daylight saving.
        user::write(args[1], &[0i32; 2])?;
    }
    Ok(0)
}

fn time_of_day(_: &Thread, args: [u64; 6]) -> Result<u64> {
    let seconds = time::realtime() / time::SECOND;
    if args[0] != 0 {
        user::write(args[0], &seconds)?;
    }
    Ok(seconds)
}

/// Nanoseconds of a clock tick as times(2) counts them.
const TICK: u64 = time::SECOND / 100;

fn times(_: &Thread, args: [u64; 6]) -> Result<u64> {
    let ticks = Clock::ProcessCpu.now()? / TICK;
    if args[0] != 0 {
        user::write(args[0], &[ticks, 0, 0, 0])?;
    }
    Ok(time::monotonic() / TICK)
}
