//! Signals.

use linux_raw_sys::general as raw;
use mystikos_platform::{control, user};

use super::table::{Arg, Entry};
use crate::process::Thread;
use crate::signal::action::Action;
use crate::signal::frame::AltStack;
use crate::signal::info::SigInfo;
use crate::signal::set::{self, SigSet};
use crate::signal::{self, delivery, send, ERESTARTNOHAND};
use crate::time::{self, TimeSpec};
use crate::{Errno, Result};

const HOW: &[(u64, &str)] = &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")];

const STOP: &str = "Stopping is not supported, as nothing could continue the program: a signal that would stop it gives EOPNOTSUPP. There are no other processes to send to.";

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(
        raw::__NR_rt_sigaction,
        "rt_sigaction",
        &[Arg::Signal, Arg::Ptr, Arg::Ptr, Arg::Uint],
        rt_sigaction,
    ),
    Entry::full(
        raw::__NR_rt_sigprocmask,
        "rt_sigprocmask",
        &[Arg::Enum(HOW), Arg::Ptr, Arg::Ptr, Arg::Uint],
        rt_sigprocmask,
    ),
    Entry::full(raw::__NR_rt_sigreturn, "rt_sigreturn", &[], rt_sigreturn),
    Entry::full(
        raw::__NR_rt_sigpending,
        "rt_sigpending",
        &[Arg::Ptr, Arg::Uint],
        rt_sigpending,
    ),
    Entry::full(
        raw::__NR_rt_sigtimedwait,
        "rt_sigtimedwait",
        &[Arg::Ptr, Arg::Ptr, Arg::Ptr, Arg::Uint],
        rt_sigtimedwait,
    ),
    Entry::full(
        raw::__NR_rt_sigsuspend,
        "rt_sigsuspend",
        &[Arg::Ptr, Arg::Uint],
        rt_sigsuspend,
    ),
    Entry::full(
        raw::__NR_sigaltstack,
        "sigaltstack",
        &[Arg::Ptr, Arg::Ptr],
        sigaltstack,
    ),
    Entry::full(raw::__NR_pause, "pause", &[], pause),
    Entry::full(raw::__NR_kill, "kill", &[Arg::Int, Arg::Signal], kill).partial(STOP),
    Entry::full(raw::__NR_tkill, "tkill", &[Arg::Int, Arg::Signal], tkill).partial(STOP),
    Entry::full(
        raw::__NR_tgkill,
        "tgkill",
        &[Arg::Int, Arg::Int, Arg::Signal],
        tgkill,
    )
    .partial(STOP),
    Entry::full(
        raw::__NR_rt_sigqueueinfo,
        "rt_sigqueueinfo",
        &[Arg::Int, Arg::Signal, Arg::Ptr],
        rt_sigqueueinfo,
    )
    .partial(STOP),
    Entry::full(
        raw::__NR_rt_tgsigqueueinfo,
        "rt_tgsigqueueinfo",
        &[Arg::Int, Arg::Int, Arg::Signal, Arg::Ptr],
        rt_tgsigqueueinfo,
    )
    .partial(STOP),
];

const SET_SIZE: u64 = 8;

fn check_size(size: u64) -> Result<()> {
    match size {
        SET_SIZE => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

fn read_set(address: u64) -> Result<SigSet> {
    user::read::<u64>(address).map(SigSet)
}

fn rt_sigaction(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [signal, new, old, size, ..] = args;
    check_size(size)?;
    let new: Option<Action> = (new != 0).then(|| user::read(new)).transpose()?;
    let signal = set::number(signal)?;
    let before = match new {
        Some(_) if SigSet::UNBLOCKABLE.contains(signal) => return Err(Errno::EINVAL),
        Some(action) => signal::set_action(thread, signal, action),
        None => thread.process.signals.action(signal),
    };
    if old != 0 {
        user::write(old, &before)?;
    }
    Ok(0)
}

fn rt_sigprocmask(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [how, new, old, size, ..] = args;
    check_size(size)?;
    let before = thread.signals.mask();
    if new != 0 {
        let set = read_set(new)?;
        let mask = match how as u32 {
            raw::SIG_BLOCK => before.union(set),
            raw::SIG_UNBLOCK => before.without(set),
            raw::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        signal::set_mask(thread, mask);
        if !mask.without(before).is_empty() {
            send::hand_over(&thread.process, thread);
        }
    }
    if old != 0 {
        user::write(old, &before.0)?;
    }
    Ok(0)
}

fn rt_sigreturn(thread: &Thread, _: [u64; 6]) -> Result<u64> {
    delivery::sigreturn(thread)
}

fn rt_sigpending(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [address, size, ..] = args;
    if size > SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let pending = signal::pending_of(thread, thread.signals.mask());
    user::copy_out(address, &pending.0.to_ne_bytes()[..size as usize])?;
    Ok(0)
}

fn rt_sigtimedwait(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [wanted, info, timeout, size, ..] = args;
    check_size(size)?;
    let wanted = read_set(wanted)?;
    let deadline = match timeout {
        0 => None,
        _ => Some(time::after(user::read::<TimeSpec>(timeout)?.to_ns()?)),
    };
    let taken = signal::wait_for(thread, wanted, deadline)?;
    if info != 0 {
        user::write(info, &taken)?;
    }
    Ok(taken.signal() as u64)
}

fn rt_sigsuspend(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [mask, size, ..] = args;
    check_size(size)?;
    let mask = read_set(mask)?;
    signal::with_temporary_mask(thread, Some(mask), wait_for_signal)
}

fn pause(_: &Thread, _: [u64; 6]) -> Result<u64> {
    wait_for_signal()
}

fn wait_for_signal() -> Result<u64> {
    let _ = crate::process::wait::wait_until(&[], None, || None::<()>);
    Err(ERESTARTNOHAND)
}

fn sigaltstack(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [new, old, ..] = args;
    let sp = control::regs().rsp;
    let given: Option<AltStack> = (new != 0).then(|| user::read(new)).transpose()?;
    let before = *thread.signals.alt_stack.lock();
    if let Some(given) = given {
        if before.in_use(sp) {
            return Err(Errno::EPERM);
        }
        let accepted = AltStack::accepted(given)?;
        *thread.signals.alt_stack.lock() = accepted;
    }
    if old != 0 {
        user::write(old, &before.reported(sp))?;
    }
    Ok(0)
}

/// A signal number to be sent, 0 for none: EINVAL above the last.
fn sendable(signal: u64) -> Result<Option<u32>> {
    match signal as u32 {
        0 => Ok(None),
        _ => set::number(signal).map(Some),
    }
}

fn own_info(thread: &Thread, signal: u32, code: i32) -> SigInfo {
    let uid = thread.process.credentials.lock().user.real;
    SigInfo::sent(signal, code, thread.process.pid, uid)
}

/// The process that kill(2)'s first argument names: there is only the caller's.
fn is_own_process(thread: &Thread, pid: i32) -> bool {
    let own = thread.process.pid as i32;
    let group = thread.process.group.lock().pgid as i32;
    pid == own || pid == 0 || pid == group.wrapping_neg()
}

fn kill(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (pid, signal) = (args[0] as i32, args[1]);
    if pid == i32::MIN {
        return Err(Errno::ESRCH);
    }
    let signal = match is_own_process(thread, pid) {
        true => sendable(signal)?,
        // A thread's ID names its process.
        false if pid > 0 && thread.process.thread(pid as u32).is_some() => sendable(signal)?,
        false => {
            sendable(signal)?;
            return Err(Errno::ESRCH);
        }
    };
    if let Some(signal) = signal {
        let info = own_info(thread, signal, raw::SI_USER as i32);
        send::send_to_process(&thread.process, info)?;
    }
    Ok(0)
}

fn send_to_tid(thread: &Thread, tid: i32, signal: u64) -> Result<u64> {
    let target = u32::try_from(tid)
        .ok()
        .and_then(|t| thread.process.thread(t));
    let signal = sendable(signal)?;
    let target = target.ok_or(Errno::ESRCH)?;
    if let Some(signal) = signal {
        send::send_to_thread(&target, own_info(thread, signal, raw::SI_TKILL))?;
    }
    Ok(0)
}

fn tkill(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let tid = args[0] as i32;
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_tid(thread, tid, args[1])
}

fn tgkill(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (pid, tid) = (args[0] as i32, args[1] as i32);
    if pid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    if pid as u32 != thread.process.pid {
        sendable(args[2])?;
        return Err(Errno::ESRCH);
    }
    send_to_tid(thread, tid, args[2])
}

/// The information that came with a queued signal: the kernel's own codes cannot be used for other processes.
fn queued_info(thread: &Thread, pid: i32, signal: u64, address: u64) -> Result<SigInfo> {
    let mut info: SigInfo = user::read(address)?;
    info.signo = signal as i32;
    let forged = info.code >= 0 || info.code == raw::SI_TKILL;
    if forged && pid as u32 != thread.process.pid {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

fn rt_sigqueueinfo(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (pid, signal, address) = (args[0] as i32, args[1], args[2]);
    let info = queued_info(thread, pid, signal, address)?;
    let signal = sendable(signal)?;
    if pid as u32 != thread.process.pid {
        return Err(Errno::ESRCH);
    }
    if signal.is_some() {
        send::send_to_process(&thread.process, info)?;
    }
    Ok(0)
}

fn rt_tgsigqueueinfo(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (pid, tid, signal, address) = (args[0] as i32, args[1] as i32, args[2], args[3]);
    if pid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = queued_info(thread, pid, signal, address)?;
    let signal = sendable(signal)?;
    let target = thread.process.thread(tid as u32).ok_or(Errno::ESRCH)?;
    if pid as u32 != thread.process.pid {
        return Err(Errno::ESRCH);
    }
    if signal.is_some() {
        send::send_to_thread(&target, info)?;
    }
    Ok(0)
}
