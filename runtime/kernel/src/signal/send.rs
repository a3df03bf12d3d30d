//! How a signal gets to a thread.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use linux_raw_sys::general as raw;
use mystikos_platform::{control, host};

use super::info::SigInfo;
use super::set::SigSet;
use crate::process::{self, Process, Thread};
use crate::{Errno, Result};

/// Exit status of a program that a signal ended.
pub const fn death_status(signal: u32) -> u8 {
    128 + signal as u8
}

/// Sends a signal to one thread.
pub fn send_to_thread(thread: &Thread, info: SigInfo) -> Result<()> {
    let signal = info.signal();
    refuse_stop(&thread.process, signal)?;
    if signal == raw::SIGKILL {
        process::end(death_status(signal));
    }
    if is_dropped(thread, signal) {
        return Ok(());
    }
    thread.signals.pending.change(|q| q.push(info))?;
    notify(thread);
    thread.process.signals.arrival.wake_all();
    Ok(())
}

/// Sends a signal to the process as a whole: a thread that does not block it will take it.
pub fn send_to_process(process: &Process, info: SigInfo) -> Result<()> {
    let signal = info.signal();
    refuse_stop(process, signal)?;
    if signal == raw::SIGKILL {
        process::end(death_status(signal));
    }
    let threads = process.live_threads();
    if threads.iter().all(|t| is_dropped(t, signal)) {
        return Ok(());
    }
    process.signals.pending.change(|q| q.push(info))?;
    // The first thread is the one with the lowest ID: the main thread while it lives, as on Linux.
    let waiting = threads.iter().find(|t| t.signals.waits_for(signal));
    if let Some(thread) = waiting.or_else(|| threads.iter().find(|t| t.signals.wants(signal))) {
        notify(thread);
    }
    process.signals.arrival.wake_all();
    Ok(())
}

/// Sends a signal to the calling thread because of what it just did (SIGPIPE).
pub fn raise(thread: &Thread, signal: u32) {
    let uid = thread.process.credentials.lock().user.real;
    let info = SigInfo::sent(signal, raw::SI_USER as i32, thread.process.pid, uid);
    // A standard signal always finds room, and one that stops is not raised by the kernel.
    let _ = send_to_thread(thread, info);
}

/// A fault of the calling thread: the signal cannot be held back, so one that is blocked or ignored ends the program.
pub fn force(thread: &Thread, info: SigInfo) {
    let signal = info.signal();
    let blocked = thread.signals.mask().contains(signal);
    if blocked || thread.process.signals.ignored().contains(signal) {
        let action = super::action::Action::default();
        thread.process.signals.set_action(signal, action);
        let mask = thread.signals.mask().without(SigSet::of(signal));
        thread.signals.store_mask(mask);
    }
    if thread.signals.pending.change(|q| q.push(info)).is_err() {
        process::end(death_status(signal));
    }
    notify(thread);
}

/// Another thread has to take over what is pending for the process, because `gone` ends or blocks it now.
pub fn hand_over(process: &Process, gone: &Thread) {
    let pending = process.signals.pending();
    if pending.is_empty() {
        return;
    }
    let takes_some = |t: &&Arc<Thread>| !pending.without(t.signals.mask()).is_empty();
    let threads = process.live_threads();
    let mut others = threads.iter().filter(|t| t.tid != gone.tid);
    if let Some(thread) = others.find(takes_some) {
        notify(thread);
    }
}

/// Nothing outside could continue a stopped program, so it is not stopped: sending a signal that would stop it fails.
fn refuse_stop(process: &Process, signal: u32) -> Result<()> {
    if SigSet::DEFAULT_STOP.contains(signal) {
        let default = process.signals.action(signal).handler == super::action::DEFAULT;
        if signal == raw::SIGSTOP || default {
            return Err(Errno::EOPNOTSUPP);
        }
    }
    Ok(())
}

/// Linux drops an ignored signal when it is sent, unless it is blocked (its action may still change).
fn is_dropped(thread: &Thread, signal: u32) -> bool {
    let blocked = thread.signals.mask().contains(signal) || thread.signals.waits_for(signal);
    !blocked && thread.process.signals.ignored().contains(signal)
}

/// Makes a thread look at its pending signals, wherever it is.
fn notify(thread: &Thread) {
    control::set_pending(thread.slot);
    if thread.slot != control::slot() {
        host::interrupt(thread.slot);
    }
}

/// Takes the signals that the launcher passes on. Only asked for after the host has woken or interrupted somebody.
pub fn take_from_host(process: &Process) {
    static BUSY: AtomicBool = AtomicBool::new(false);
    if BUSY.swap(true, Ordering::Acquire) {
        return;
    }
    let mut signals = SigSet(host::take_signals());
    BUSY.store(false, Ordering::Release);
    while let Some(signal) = signals.first() {
        signals = signals.without(SigSet::of(signal));
        let info = SigInfo::sent(signal, raw::SI_USER as i32, 0, 0);
        // A standard signal always finds room; none of those passed on stops.
        let _ = send_to_process(process, info);
    }
}
