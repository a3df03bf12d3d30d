//! Resource limits and usage, priorities.

use linux_raw_sys::general as raw;
use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::table::{Arg, Entry};
use crate::process::limits::Limit;
use crate::process::Thread;
use crate::time::{Clock, TimeVal};
use crate::{Errno, Result};

const RESOURCES: &[(u64, &str)] = &[
    (0, "RLIMIT_CPU"),
    (1, "RLIMIT_FSIZE"),
    (2, "RLIMIT_DATA"),
    (3, "RLIMIT_STACK"),
    (4, "RLIMIT_CORE"),
    (5, "RLIMIT_RSS"),
    (6, "RLIMIT_NPROC"),
    (7, "RLIMIT_NOFILE"),
    (8, "RLIMIT_MEMLOCK"),
    (9, "RLIMIT_AS"),
    (10, "RLIMIT_LOCKS"),
    (11, "RLIMIT_SIGPENDING"),
    (12, "RLIMIT_MSGQUEUE"),
    (13, "RLIMIT_NICE"),
    (14, "RLIMIT_RTPRIO"),
    (15, "RLIMIT_RTTIME"),
];

const WHO: &[(u64, &str)] = &[
    (0, "RUSAGE_SELF"),
    (1, "RUSAGE_THREAD"),
    (0xffff_ffff, "RUSAGE_CHILDREN"),
];

const PRIORITY: &[(u64, &str)] = &[(0, "PRIO_PROCESS"), (1, "PRIO_PGRP"), (2, "PRIO_USER")];

const KEPT: &str = "Limits are kept and told; the number of threads, of signals and of descriptors has its own fixed bound. RLIMIT_STACK is ThreadStackSize at the start, which C libraries use for the stacks of threads.";

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(
        raw::__NR_getrlimit,
        "getrlimit",
        &[Arg::Enum(RESOURCES), Arg::Ptr],
        getrlimit,
    ),
    Entry::full(
        raw::__NR_setrlimit,
        "setrlimit",
        &[Arg::Enum(RESOURCES), Arg::Ptr],
        setrlimit,
    )
    .partial(KEPT),
    Entry::full(
        raw::__NR_prlimit64,
        "prlimit64",
        &[Arg::Int, Arg::Enum(RESOURCES), Arg::Ptr, Arg::Ptr],
        prlimit64,
    )
    .partial(KEPT),
    Entry::full(
        raw::__NR_getrusage,
        "getrusage",
        &[Arg::Enum(WHO), Arg::Ptr],
        getrusage,
    )
    .partial("All CPU time counts as user time; everything else is zero."),
    Entry::full(
        raw::__NR_getpriority,
        "getpriority",
        &[Arg::Enum(PRIORITY), Arg::Int],
        getpriority,
    ),
    Entry::full(
        raw::__NR_setpriority,
        "setpriority",
        &[Arg::Enum(PRIORITY), Arg::Int, Arg::Int],
        setpriority,
    )
    .accepted("The nice value is kept and told; scheduling is the host's."),
];

/// CAP_SYS_NICE, CAP_SYS_RESOURCE.
const CAP_SYS_NICE: u32 = 23;
const CAP_SYS_RESOURCE: u32 = 24;

fn change(thread: &Thread, resource: u64, limit: Limit) -> Result<()> {
    let privileged = thread.process.credentials.lock().has(CAP_SYS_RESOURCE);
    let resource = resource & 0xffff_ffff;
    let mut limits = thread.process.limits.lock();
    limits.set(resource, limit, privileged)?;
    if resource == u64::from(raw::RLIMIT_NOFILE) {
        thread.process.files.write().set_limit(limit.current);
    }
    Ok(())
}

fn get(thread: &Thread, resource: u64) -> Result<Limit> {
    thread.process.limits.lock().get(resource & 0xffff_ffff)
}

fn getrlimit(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    user::write(args[1], &get(thread, args[0])?)?;
    Ok(0)
}

fn setrlimit(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let limit = user::read(args[1])?;
    change(thread, args[0], limit)?;
    Ok(0)
}

fn prlimit64(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [pid, resource, new, old, ..] = args;
    let new: Option<Limit> = (new != 0).then(|| user::read(new)).transpose()?;
    let pid = pid as u32;
    if pid != 0 && thread.process.thread(pid).is_none() {
        return Err(Errno::ESRCH);
    }
    let before = get(thread, resource)?;
    if let Some(limit) = new {
        change(thread, resource, limit)?;
    }
    if old != 0 {
        user::write(old, &before)?;
    }
    Ok(0)
}

/// `struct rusage`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Usage {
    user: TimeVal,
    system: TimeVal,
    rest: [i64; 14],
}

fn getrusage(_: &Thread, args: [u64; 6]) -> Result<u64> {
    let time = match args[0] as i32 {
        0 => Clock::ProcessCpu.now()?,
        1 => Clock::ThreadCpu.now()?,
        -1 => 0,
        _ => return Err(Errno::EINVAL),
    };
    let usage = Usage {
        user: TimeVal::from_ns(time),
        ..Usage::default()
    };
    user::write(args[1], &usage)?;
    Ok(0)
}

/// Whether getpriority(2) and setpriority(2) name the caller's process.
fn names_own(thread: &Thread, which: u64, who: u64) -> Result<()> {
    let who = who as u32;
    let own = match which as u32 {
        raw::PRIO_PROCESS => who == 0 || thread.process.thread(who).is_some(),
        raw::PRIO_PGRP => who == 0 || who == thread.process.group.lock().pgid,
        raw::PRIO_USER => who == 0 || who == thread.process.credentials.lock().user.real,
        _ => return Err(Errno::EINVAL),
    };
    match own {
        true => Ok(()),
        false => Err(Errno::ESRCH),
    }
}

fn getpriority(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    names_own(thread, args[0], args[1])?;
    Ok((20 - *thread.process.nice.lock()) as u64)
}

fn setpriority(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    names_own(thread, args[0], args[1])?;
    let nice = (args[2] as i32).clamp(-20, 19);
    let mut current = thread.process.nice.lock();
    if nice < *current && !thread.process.credentials.lock().has(CAP_SYS_NICE) {
        return Err(Errno::EACCES);
    }
    *current = nice;
    Ok(0)
}
