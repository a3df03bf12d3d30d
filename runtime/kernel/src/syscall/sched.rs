//! Scheduling: it is the host's; what can be asked is answered as for an ordinary process.

use alloc::sync::Arc;

use linux_raw_sys::general as raw;
use mystikos_platform::{host, user};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::table::{Arg, Entry};
use crate::process::affinity::CpuSet;
use crate::process::{self, Thread};
use crate::{Errno, Result};

const POLICIES: &[(u64, &str)] = &[
    (0, "SCHED_OTHER"),
    (1, "SCHED_FIFO"),
    (2, "SCHED_RR"),
    (3, "SCHED_BATCH"),
    (5, "SCHED_IDLE"),
    (6, "SCHED_DEADLINE"),
];

const ORDINARY: &str =
    "SCHED_OTHER, SCHED_BATCH and SCHED_IDLE are accepted without effect; real-time policies give EPERM.";

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(raw::__NR_sched_yield, "sched_yield", &[], sched_yield),
    Entry::full(
        raw::__NR_sched_getaffinity,
        "sched_getaffinity",
        &[Arg::Int, Arg::Uint, Arg::Ptr],
        sched_getaffinity,
    )
    .partial("The CPUs of the machine, as many as MaxAffinityCPUs and --max-affinity-cpus allow."),
    Entry::full(
        raw::__NR_sched_setaffinity,
        "sched_setaffinity",
        &[Arg::Int, Arg::Uint, Arg::Ptr],
        sched_setaffinity,
    )
    .accepted("The mask is checked, kept and told; where threads run is the host's to decide."),
    Entry::full(
        raw::__NR_sched_getscheduler,
        "sched_getscheduler",
        &[Arg::Int],
        sched_getscheduler,
    )
    .partial("Always SCHED_OTHER."),
    Entry::full(
        raw::__NR_sched_setscheduler,
        "sched_setscheduler",
        &[Arg::Int, Arg::Enum(POLICIES), Arg::Ptr],
        sched_setscheduler,
    )
    .partial(ORDINARY),
    Entry::full(
        raw::__NR_sched_getparam,
        "sched_getparam",
        &[Arg::Int, Arg::Ptr],
        sched_getparam,
    ),
    Entry::full(
        raw::__NR_sched_setparam,
        "sched_setparam",
        &[Arg::Int, Arg::Ptr],
        sched_setparam,
    ),
    Entry::full(
        raw::__NR_sched_get_priority_max,
        "sched_get_priority_max",
        &[Arg::Enum(POLICIES)],
        |_, args| priorities(args[0]).map(|(_, max)| max),
    ),
    Entry::full(
        raw::__NR_sched_get_priority_min,
        "sched_get_priority_min",
        &[Arg::Enum(POLICIES)],
        |_, args| priorities(args[0]).map(|(min, _)| min),
    ),
    Entry::full(
        raw::__NR_sched_rr_get_interval,
        "sched_rr_get_interval",
        &[Arg::Int, Arg::Ptr],
        sched_rr_get_interval,
    )
    .partial("Always 4 ms."),
    Entry::full(
        raw::__NR_sched_getattr,
        "sched_getattr",
        &[Arg::Int, Arg::Ptr, Arg::Uint, Arg::Hex],
        sched_getattr,
    ),
    Entry::full(
        raw::__NR_sched_setattr,
        "sched_setattr",
        &[Arg::Int, Arg::Ptr, Arg::Hex],
        sched_setattr,
    )
    .partial(ORDINARY),
    Entry::full(
        raw::__NR_getcpu,
        "getcpu",
        &[Arg::Ptr, Arg::Ptr, Arg::Ptr],
        getcpu,
    )
    .partial("As the host says, folded into the CPUs that sched_getaffinity tells; node 0."),
];

fn sched_yield(_: &Thread, _: [u64; 6]) -> Result<u64> {
    host::yield_now();
    Ok(0)
}

/// The thread that a call names; 0 is the caller. EINVAL for negative numbers, ESRCH when there is none.
fn named(thread: &Thread, tid: u64) -> Result<()> {
    match tid as i32 {
        0 => Ok(()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => thread
            .process
            .thread(tid as u32)
            .map(drop)
            .ok_or(Errno::ESRCH),
    }
}

/// The thread that an affinity call names.
fn affine(thread: &Thread, tid: u64) -> Result<Arc<Thread>> {
    let tid = match tid as u32 {
        0 => thread.tid,
        tid => tid,
    };
    thread.process.thread(tid).ok_or(Errno::ESRCH)
}

fn sched_getaffinity(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let cpus = process::cpu_count();
    let size = CpuSet::size(cpus);
    let room = args[1] as u32 as usize;
    if room < size || !room.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let chosen = *affine(thread, args[0])?.affinity.lock();
    let set = chosen.unwrap_or(CpuSet::first(cpus));
    user::copy_out(args[2], &set.0[..size])?;
    Ok(size as u64)
}

fn sched_setaffinity(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let cpus = process::cpu_count();
    let mut wanted = CpuSet::EMPTY;
    let given = (args[1] as u32 as usize).min(CpuSet::size(cpus));
    user::copy_in(args[2], &mut wanted.0[..given])?;
    let target = affine(thread, args[0])?;
    let chosen = wanted.within(&CpuSet::first(cpus))?;
    *target.affinity.lock() = Some(chosen);
    Ok(0)
}

fn sched_getscheduler(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    named(thread, args[0])?;
    Ok(raw::SCHED_NORMAL as u64)
}

/// Lowest and highest priority of a policy.
fn priorities(policy: u64) -> Result<(u64, u64)> {
    match policy as u32 {
        raw::SCHED_FIFO | raw::SCHED_RR => Ok((1, 99)),
        raw::SCHED_NORMAL | raw::SCHED_BATCH | raw::SCHED_IDLE | raw::SCHED_DEADLINE => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

/// Checks a policy with its priority.
fn accept(policy: u32, priority: i32) -> Result<u64> {
    match policy {
        raw::SCHED_NORMAL | raw::SCHED_BATCH | raw::SCHED_IDLE => match priority {
            0 => Ok(0),
            _ => Err(Errno::EINVAL),
        },
        raw::SCHED_FIFO | raw::SCHED_RR => match priority {
            1..=99 => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        },
        raw::SCHED_DEADLINE => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

const RESET_ON_FORK: u32 = 0x4000_0000;

fn sched_setscheduler(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let policy = args[1] as i32;
    if policy < 0 || args[2] == 0 {
        return Err(Errno::EINVAL);
    }
    if (args[0] as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = user::read(args[2])?;
    named(thread, args[0])?;
    accept(policy as u32 & !RESET_ON_FORK, priority)
}

fn sched_getparam(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    if args[1] == 0 {
        return Err(Errno::EINVAL);
    }
    named(thread, args[0])?;
    user::write(args[1], &0i32)?;
    Ok(0)
}

fn sched_setparam(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    if args[1] == 0 || (args[0] as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = user::read(args[1])?;
    named(thread, args[0])?;
    accept(raw::SCHED_NORMAL, priority)
}

fn sched_rr_get_interval(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    named(thread, args[0])?;
    user::write(args[1], &crate::time::TimeSpec::from_ns(4_000_000))?;
    Ok(0)
}

/// `struct sched_attr`, first version.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const ATTRIBUTES_SIZE: u32 = size_of::<Attributes>() as u32;

fn sched_getattr(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [tid, address, size, flags, ..] = args;
    let size = size as u32;
    if address == 0 || !(ATTRIBUTES_SIZE..=4096).contains(&size) || flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    named(thread, tid)?;
    let attributes = Attributes {
        size: ATTRIBUTES_SIZE,
        nice: *thread.process.nice.lock(),
        ..Attributes::default()
    };
    user::write(address, &attributes)?;
    Ok(0)
}

fn sched_setattr(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [tid, address, flags, ..] = args;
    if address == 0 || (tid as i32) < 0 || flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let size: u32 = user::read(address)?;
    if size != 0 && !(ATTRIBUTES_SIZE..=4096).contains(&size) {
        return Err(Errno::E2BIG);
    }
    let attributes: Attributes = user::read(address)?;
    named(thread, tid)?;
    accept(attributes.policy, attributes.priority as i32)
}

fn getcpu(_: &Thread, args: [u64; 6]) -> Result<u64> {
    if args[0] != 0 {
        user::write(args[0], &host::getcpu(process::cpu_count()))?;
    }
    if args[1] != 0 {
        user::write(args[1], &0u32)?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_needs_a_privilege_and_ordinary_policies_have_no_priority() {
        assert_eq!(accept(raw::SCHED_FIFO, 50), Err(Errno::EPERM));
        assert_eq!(accept(raw::SCHED_FIFO, 0), Err(Errno::EINVAL));
        assert_eq!(accept(raw::SCHED_NORMAL, 1), Err(Errno::EINVAL));
        assert_eq!(accept(raw::SCHED_BATCH, 0), Ok(0));
        assert_eq!(accept(7, 0), Err(Errno::EINVAL));
    }
}
