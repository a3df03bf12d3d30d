//! Facts about the system, and calls about the calling thread that belong nowhere else.

use core::sync::atomic::Ordering;

use linux_raw_sys::{general as raw, prctl as pr};
use mystikos_platform::{control, random, user};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::table::{Arg, Entry};
use crate::process::credentials::CAP_LAST;
use crate::process::thread::NAME_SIZE;
use crate::process::Thread;
use crate::{config, time, Errno, Result};

/// What uname(2) tells. The release is that of the Linux whose interface is followed; C libraries refuse to run on
/// releases that are too old for them (glibc 2.36: 3.2).
pub const RELEASE: &str = "5.15.0-myst";

/// Name of the system, as uname(2) tells it.
pub const SYSNAME: &str = "Linux";
/// Version of the kernel itself.
pub const VERSION: &str = concat!("#1 SMP mystikos ", env!("CARGO_PKG_VERSION"));
/// Machine.
pub const MACHINE: &str = "x86_64";

const RANDOM: &[(u64, &str)] = &[
    (1, "GRND_NONBLOCK"),
    (2, "GRND_RANDOM"),
    (4, "GRND_INSECURE"),
];

const ARCH: &[(u64, &str)] = &[
    (0x1001, "ARCH_SET_GS"),
    (0x1002, "ARCH_SET_FS"),
    (0x1003, "ARCH_GET_FS"),
    (0x1004, "ARCH_GET_GS"),
];

const OPTIONS: &[(u64, &str)] = &[
    (1, "PR_SET_PDEATHSIG"),
    (2, "PR_GET_PDEATHSIG"),
    (3, "PR_GET_DUMPABLE"),
    (4, "PR_SET_DUMPABLE"),
    (7, "PR_GET_KEEPCAPS"),
    (8, "PR_SET_KEEPCAPS"),
    (15, "PR_SET_NAME"),
    (16, "PR_GET_NAME"),
    (21, "PR_GET_SECCOMP"),
    (22, "PR_SET_SECCOMP"),
    (23, "PR_CAPBSET_READ"),
    (24, "PR_CAPBSET_DROP"),
    (29, "PR_SET_TIMERSLACK"),
    (30, "PR_GET_TIMERSLACK"),
    (36, "PR_SET_CHILD_SUBREAPER"),
    (37, "PR_GET_CHILD_SUBREAPER"),
    (38, "PR_SET_NO_NEW_PRIVS"),
    (39, "PR_GET_NO_NEW_PRIVS"),
    (41, "PR_SET_THP_DISABLE"),
    (42, "PR_GET_THP_DISABLE"),
    (0x5356_4d41, "PR_SET_VMA"),
];

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(raw::__NR_uname, "uname", &[Arg::Ptr], uname),
    Entry::full(raw::__NR_sysinfo, "sysinfo", &[Arg::Ptr], sysinfo)
        .partial("Memory is MemorySize, free memory what is not mapped; loads are zero."),
    Entry::full(
        raw::__NR_getrandom,
        "getrandom",
        &[Arg::BufOut, Arg::Uint, Arg::Flags(RANDOM)],
        getrandom,
    ),
    Entry::full(
        raw::__NR_prctl,
        "prctl",
        &[Arg::Enum(OPTIONS), Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex],
        prctl,
    )
    .partial("The options that programs use to look after themselves; EINVAL for others, as on a kernel without them."),
    Entry::full(
        raw::__NR_arch_prctl,
        "arch_prctl",
        &[Arg::Enum(ARCH), Arg::Hex],
        arch_prctl,
    )
    .partial("ARCH_SET_GS and ARCH_GET_GS give EPERM: GS is the kernel's."),
    Entry::full(
        raw::__NR_personality,
        "personality",
        &[Arg::Hex],
        personality,
    )
    .accepted("Kept and told; only PER_LINUX has a meaning here."),
    Entry::full(
        raw::__NR_ioprio_get,
        "ioprio_get",
        &[Arg::Int, Arg::Int],
        ioprio_get,
    )
    .partial("Always 0, no priority set."),
    Entry::full(
        raw::__NR_ioprio_set,
        "ioprio_set",
        &[Arg::Int, Arg::Int, Arg::Hex],
        ioprio_set,
    )
    .accepted("Scheduling of input and output is the host's."),
];

/// Bytes of each field of `struct new_utsname`.
const UTS_FIELD: usize = 65;

fn uname(_: &Thread, args: [u64; 6]) -> Result<u64> {
    let hostname = config::config().hostname.as_str();
    let fields = [SYSNAME, hostname, RELEASE, VERSION, MACHINE, "(none)"];
    let mut text = [0u8; 6 * UTS_FIELD];
    for (place, field) in text.chunks_mut(UTS_FIELD).zip(fields) {
        let size = field.len().min(UTS_FIELD - 1);
        place[..size].copy_from_slice(&field.as_bytes()[..size]);
    }
    user::copy_out(args[0], &text)?;
    Ok(0)
}

/// `struct sysinfo`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    total_ram: u64,
    free_ram: u64,
    shared_ram: u64,
    buffer_ram: u64,
    total_swap: u64,
    free_swap: u64,
    processes: u16,
    padding: [u16; 3],
    total_high: u64,
    free_high: u64,
    unit: u32,
    rest: u32,
}

fn sysinfo(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let memory = crate::mm::usage();
    let info = SysInfo {
        uptime: time::Clock::Steady(raw::CLOCK_BOOTTIME)
            .now()?
            .div_ceil(time::SECOND) as i64,
        total_ram: memory.total,
        free_ram: memory.free,
        shared_ram: memory.shared,
        processes: thread.process.threads.lock().len() as u16,
        unit: 1,
        ..SysInfo::default()
    };
    user::write(args[0], &info)?;
    Ok(0)
}

fn getrandom(_: &Thread, args: [u64; 6]) -> Result<u64> {
    let [address, size, flags, ..] = args;
    const KNOWN: u32 = raw::GRND_NONBLOCK | raw::GRND_RANDOM | raw::GRND_INSECURE;
    const EXCLUSIVE: u32 = raw::GRND_RANDOM | raw::GRND_INSECURE;
    let flags = flags as u32;
    if flags & !KNOWN != 0 || flags & EXCLUSIVE == EXCLUSIVE {
        return Err(Errno::EINVAL);
    }
    // INT_MAX at most, as Linux.
    let size = size.min(i32::MAX as u64);
    let mut done = 0;
    let mut chunk = [0u8; 256];
    while done < size {
        let n = (size - done).min(chunk.len() as u64) as usize;
        random::fill(&mut chunk[..n]);
        if let Err(errno) = user::copy_out(address + done, &chunk[..n]) {
            return if done > 0 { Ok(done) } else { Err(errno) };
        }
        done += n as u64;
        if control::is_pending() && done >= 256 && done < size {
            return Ok(done);
        }
    }
    Ok(done)
}

fn flag(value: u64) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

fn none(rest: &[u64]) -> Result<()> {
    match rest.iter().all(|&arg| arg == 0) {
        true => Ok(()),
        false => Err(Errno::EINVAL),
    }
}

fn prctl(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [option, arg, rest @ ..] = args;
    let rest = &rest[..3];
    let flags = &thread.process.flags;
    let relaxed = Ordering::Relaxed;
    match option as u32 {
        pr::PR_SET_NAME => {
            let mut name = [0; NAME_SIZE];
            read_name(arg, &mut name)?;
            *thread.name.lock() = name;
        }
        pr::PR_GET_NAME => {
            let name = *thread.name.lock();
            user::copy_out(arg, &name)?;
        }
        pr::PR_SET_PDEATHSIG => {
            if arg > crate::signal::set::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            flags.death_signal.store(arg as u32, relaxed);
        }
        pr::PR_GET_PDEATHSIG => user::write(arg, &flags.death_signal.load(relaxed))?,
        pr::PR_SET_DUMPABLE => flags.dumpable.store(flag(arg)? as u32, relaxed),
        pr::PR_GET_DUMPABLE => return Ok(flags.dumpable.load(relaxed) as u64),
        pr::PR_SET_KEEPCAPS => {
            thread.process.credentials.lock().keep_capabilities = flag(arg)?;
        }
        pr::PR_GET_KEEPCAPS => {
            return Ok(thread.process.credentials.lock().keep_capabilities as u64)
        }
        pr::PR_CAPBSET_READ => {
            return match arg <= CAP_LAST as u64 {
                true => Ok(1),
                false => Err(Errno::EINVAL),
            }
        }
        pr::PR_GET_SECCOMP => return Ok(0),
        pr::PR_SET_TIMERSLACK => {
            let slack = match arg as i64 {
                ..=0 => 50_000,
                _ => arg,
            };
            thread.timer_slack.store(slack, relaxed);
        }
        pr::PR_GET_TIMERSLACK => return Ok(thread.timer_slack.load(relaxed)),
        pr::PR_SET_CHILD_SUBREAPER => flags.subreaper.store(arg != 0, relaxed),
        pr::PR_GET_CHILD_SUBREAPER => {
            user::write(arg, &(flags.subreaper.load(relaxed) as u32))?;
        }
        pr::PR_SET_NO_NEW_PRIVS => {
            none(rest)?;
            if arg != 1 {
                return Err(Errno::EINVAL);
            }
            flags.no_new_privs.store(true, relaxed);
        }
        pr::PR_GET_NO_NEW_PRIVS => {
            none(&[arg])?;
            none(rest)?;
            return Ok(flags.no_new_privs.load(relaxed) as u64);
        }
        pr::PR_SET_THP_DISABLE => {
            none(rest)?;
            flags.huge_pages_disabled.store(arg != 0, relaxed);
        }
        pr::PR_GET_THP_DISABLE => {
            none(&[arg])?;
            none(rest)?;
            return Ok(flags.huge_pages_disabled.load(relaxed) as u64);
        }
        // Names of anonymous memory: EINVAL, as on a kernel built without CONFIG_ANON_VMA_NAME.
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// Reads a name up to its NUL, cut to the size.
fn read_name(address: u64, name: &mut [u8; NAME_SIZE]) -> Result<()> {
    for (i, place) in name[..NAME_SIZE - 1].iter_mut().enumerate() {
        *place = user::read::<u8>(address + i as u64)?;
        if *place == 0 {
            break;
        }
    }
    Ok(())
}

fn arch_prctl(_: &Thread, args: [u64; 6]) -> Result<u64> {
    const ARCH_SET_GS: u32 = 0x1001;
    const ARCH_SET_FS: u32 = 0x1002;
    const ARCH_GET_FS: u32 = 0x1003;
    const ARCH_GET_GS: u32 = 0x1004;
    match args[0] as u32 {
        ARCH_SET_FS if args[1] >= 1 << 47 => Err(Errno::EPERM),
        ARCH_SET_FS => {
            control::set_fs_base(args[1]);
            Ok(0)
        }
        ARCH_GET_FS => {
            user::write(args[1], &control::fs_base())?;
            Ok(0)
        }
        ARCH_SET_GS | ARCH_GET_GS => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

fn personality(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let current = &thread.process.flags.personality;
    let before = match args[0] as u32 {
        u32::MAX => current.load(Ordering::Relaxed),
        wanted => current.swap(wanted, Ordering::Relaxed),
    };
    Ok(before as u64)
}

fn ioprio_target(thread: &Thread, which: u64, who: u64) -> Result<()> {
    let who = who as u32;
    let found = match which as u32 {
        1 => who == 0 || thread.process.thread(who).is_some(),
        2 => who == 0 || who == thread.process.group.lock().pgid,
        3 => who == 0 || who == thread.process.credentials.lock().user.real,
        _ => return Err(Errno::EINVAL),
    };
    match found {
        true => Ok(()),
        false => Err(Errno::ESRCH),
    }
}

fn ioprio_get(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    ioprio_target(thread, args[0], args[1])?;
    Ok(0)
}

fn ioprio_set(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    const CLASS_SHIFT: u64 = 13;
    let (class, level) = (args[2] >> CLASS_SHIFT, args[2] & 0x1fff);
    if class > 3 || (matches!(class, 1 | 2) && level > 7) || (class == 0 && level != 0) {
        return Err(Errno::EINVAL);
    }
    ioprio_target(thread, args[0], args[1])?;
    Ok(0)
}
