//! Processes and threads.

use core::sync::atomic::Ordering;

use linux_raw_sys::general as raw;
use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::table::{Arg, Entry};
use crate::process::thread::{self, CloneArguments};
use crate::process::{self, Thread, PARENT_PID};
use crate::{Errno, Result};

const CLONE: &[(u64, &str)] = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x1_0000, "CLONE_THREAD"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x8_0000, "CLONE_SETTLS"),
    (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"),
    (0x40_0000, "CLONE_DETACHED"),
    (0x80_0000, "CLONE_UNTRACED"),
    (0x100_0000, "CLONE_CHILD_SETTID"),
];

const WAIT: &[(u64, &str)] = &[
    (1, "WNOHANG"),
    (2, "WUNTRACED"),
    (4, "WEXITED"),
    (8, "WCONTINUED"),
    (0x0100_0000, "WNOWAIT"),
];

const THREADS_ONLY: &str =
    "Makes threads only (CLONE_VM, FS, FILES, SIGHAND and THREAD together); a new process gives EOPNOTSUPP, as ForkMode none asks for. EAGAIN when MaxThreads is reached.";
const NO_PROCESSES: &str = "EOPNOTSUPP: new processes are not supported (ForkMode none).";
const NO_CHILDREN: &str = "There are no children, so it fails with ECHILD.";
const ONE_PROCESS: &str = "There is one process.";

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(
        raw::__NR_clone,
        "clone",
        &[Arg::Flags(CLONE), Arg::Hex, Arg::Ptr, Arg::Ptr, Arg::Hex],
        clone,
    )
    .partial(THREADS_ONLY),
    Entry::full(raw::__NR_clone3, "clone3", &[Arg::Ptr, Arg::Uint], clone3).partial(THREADS_ONLY),
    Entry::full(raw::__NR_fork, "fork", &[], no_process).refused(NO_PROCESSES),
    Entry::full(raw::__NR_vfork, "vfork", &[], no_process).refused(NO_PROCESSES),
    Entry::full(
        raw::__NR_execve,
        "execve",
        &[Arg::Path, Arg::Ptr, Arg::Ptr],
        no_process,
    )
    .refused("EOPNOTSUPP: replacing the program is not supported."),
    Entry::full(
        raw::__NR_execveat,
        "execveat",
        &[Arg::DirFd, Arg::Path, Arg::Ptr, Arg::Ptr, Arg::Hex],
        no_process,
    )
    .refused("EOPNOTSUPP: replacing the program is not supported."),
    Entry::full(raw::__NR_exit, "exit", &[Arg::Int], exit),
    Entry::full(raw::__NR_exit_group, "exit_group", &[Arg::Int], exit_group),
    Entry::full(
        raw::__NR_wait4,
        "wait4",
        &[Arg::Int, Arg::Ptr, Arg::Flags(WAIT), Arg::Ptr],
        wait4,
    )
    .partial(NO_CHILDREN),
    Entry::full(
        raw::__NR_waitid,
        "waitid",
        &[Arg::Int, Arg::Int, Arg::Ptr, Arg::Flags(WAIT), Arg::Ptr],
        waitid,
    )
    .partial(NO_CHILDREN),
    Entry::full(raw::__NR_getpid, "getpid", &[], |t, _| {
        Ok(t.process.pid as u64)
    }),
    Entry::full(raw::__NR_gettid, "gettid", &[], |t, _| Ok(t.tid as u64)),
    Entry::full(raw::__NR_getppid, "getppid", &[], |_, _| {
        Ok(PARENT_PID as u64)
    })
    .partial("1: the parent is outside."),
    Entry::full(raw::__NR_getpgrp, "getpgrp", &[], |t, _| {
        Ok(t.process.group.lock().pgid as u64)
    }),
    Entry::full(raw::__NR_getpgid, "getpgid", &[Arg::Int], getpgid).partial(ONE_PROCESS),
    Entry::full(raw::__NR_setpgid, "setpgid", &[Arg::Int, Arg::Int], setpgid).partial(ONE_PROCESS),
    Entry::full(raw::__NR_getsid, "getsid", &[Arg::Int], getsid).partial(ONE_PROCESS),
    Entry::full(raw::__NR_setsid, "setsid", &[], setsid),
    Entry::full(
        raw::__NR_set_tid_address,
        "set_tid_address",
        &[Arg::Ptr],
        set_tid_address,
    ),
];

fn clone(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [flags, stack, parent_tid, child_tid, tls, _] = args;
    let arguments = CloneArguments {
        flags: flags & 0xffff_ffff,
        stack,
        tls,
        parent_tid,
        child_tid,
    };
    thread::clone(thread, arguments).map(u64::from)
}

/// `struct clone_args`, version 2.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn clone3(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [address, size, ..] = args;
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < raw::CLONE_ARGS_SIZE_VER0 as u64 {
        return Err(Errno::EINVAL);
    }
    let given = read_clone_args(address, size as usize)?;
    if given.flags & (raw::CLONE_DETACHED as u64 | 0xff) != 0
        || given.exit_signal & !0xff != 0
        || (given.stack == 0) != (given.stack_size == 0)
    {
        return Err(Errno::EINVAL);
    }
    if given.flags & raw::CLONE_THREAD as u64 != 0 && given.exit_signal != 0 {
        return Err(Errno::EINVAL);
    }
    if given.set_tid_size != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let arguments = CloneArguments {
        flags: given.flags,
        stack: given.stack.wrapping_add(given.stack_size),
        tls: given.tls,
        parent_tid: given.parent_tid,
        child_tid: given.child_tid,
    };
    thread::clone(thread, arguments).map(u64::from)
}

/// Reads the arguments; what a newer version has behind them must be zero (E2BIG).
fn read_clone_args(address: u64, size: usize) -> Result<CloneArgs> {
    let mut given = CloneArgs::default();
    let known = size.min(size_of::<CloneArgs>());
    let rest = user::read_vec(address + known as u64, size - known)?;
    if rest.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG);
    }
    user::copy_in(address, &mut given.as_mut_bytes()[..known])?;
    Ok(given)
}

fn no_process(_: &Thread, _: [u64; 6]) -> Result<u64> {
    Err(Errno::EOPNOTSUPP)
}

fn exit(_: &Thread, args: [u64; 6]) -> Result<u64> {
    thread::exit(args[0] as u8)
}

fn exit_group(_: &Thread, args: [u64; 6]) -> Result<u64> {
    process::end(args[0] as u8)
}

fn wait4(_: &Thread, args: [u64; 6]) -> Result<u64> {
    const KNOWN: u32 = raw::WNOHANG
        | raw::WUNTRACED
        | raw::WCONTINUED
        | raw::__WNOTHREAD
        | raw::__WALL
        | raw::__WCLONE;
    if args[2] as u32 & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    match args[0] as i32 {
        i32::MIN => Err(Errno::ESRCH),
        _ => Err(Errno::ECHILD),
    }
}

fn waitid(_: &Thread, args: [u64; 6]) -> Result<u64> {
    const WANTED: u32 = raw::WEXITED | raw::WSTOPPED | raw::WCONTINUED;
    const KNOWN: u32 =
        WANTED | raw::WNOHANG | raw::WNOWAIT | raw::__WNOTHREAD | raw::__WALL | raw::__WCLONE;
    let (kind, id, options) = (args[0] as u32, args[1] as i32, args[3] as u32);
    if options & !KNOWN != 0 || options & WANTED == 0 {
        return Err(Errno::EINVAL);
    }
    match kind {
        raw::P_ALL => Err(Errno::ECHILD),
        raw::P_PID if id > 0 => Err(Errno::ECHILD),
        raw::P_PGID if id >= 0 => Err(Errno::ECHILD),
        raw::P_PIDFD if id >= 0 => Err(Errno::EBADF),
        _ => Err(Errno::EINVAL),
    }
}

fn own(thread: &Thread, pid: u64) -> Result<()> {
    match pid as u32 {
        0 => Ok(()),
        id if thread.process.thread(id).is_some() => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

fn getpgid(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    own(thread, args[0])?;
    Ok(thread.process.group.lock().pgid as u64)
}

fn getsid(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    own(thread, args[0])?;
    Ok(thread.process.group.lock().sid as u64)
}

fn setpgid(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (pid, pgid) = (args[0] as i32, args[1] as i32);
    let own = thread.process.pid as i32;
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    if pid != 0 && pid != own {
        return Err(Errno::ESRCH);
    }
    // The first process leads its session, so its group is not to be changed (setpgid(2)).
    Err(Errno::EPERM)
}

fn setsid(_: &Thread, _: [u64; 6]) -> Result<u64> {
    // The first process leads its group already.
    Err(Errno::EPERM)
}

fn set_tid_address(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    thread.clear_child_tid.store(args[0], Ordering::Relaxed);
    Ok(thread.tid as u64)
}
