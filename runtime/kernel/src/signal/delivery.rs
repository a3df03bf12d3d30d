//! What happens on the way back to the application.

use linux_raw_sys::general as raw;
use mystikos_platform::control::{self, UserRegs};
use mystikos_platform::fpu;

use super::action::{Action, Outcome};
use super::frame::{self, Setup, SS_AUTODISARM};
use super::info::SigInfo;
use super::set::SigSet;
use super::{is_restart, send};
use crate::process::{self, thread, Thread};
use crate::{Errno, Result};

/// Takes signals from the host, and delivers what is pending for the calling thread: ends the program, or builds a
/// signal frame on the application's stack and sets its registers to the handler.
pub fn work() {
    control::clear_pending();
    let thread = thread::current();
    send::take_from_host(&thread.process);
    let mut handled = false;
    while let Some((info, outcome)) = next(&thread) {
        crate::syscall::trace::signal(&thread, &info);
        match outcome {
            Outcome::Ignore | Outcome::Stop => {}
            Outcome::Terminate => process::end(send::death_status(info.signal())),
            Outcome::Handle(action) => {
                handled = true;
                if handle(&thread, &info, &action).is_err() {
                    no_stack(&thread, info.signal());
                }
            }
        }
    }
    if handled {
        return;
    }
    if let Some(mask) = thread.signals.take_saved_mask() {
        super::set_mask(&thread, mask);
    }
    if let Some(errno) = restart_wanted(&control::regs()) {
        crate::syscall::restart(errno);
    }
}

/// The next signal to be delivered, and what is to happen about it.
fn next(thread: &Thread) -> Option<(SigInfo, Outcome)> {
    let unblocked = SigSet(!thread.signals.mask().0);
    let info = super::take_pending(thread, unblocked)?;
    let signal = info.signal();
    let signals = &thread.process.signals;
    Some((info, signals.change_actions(|a| a.deliver(signal))))
}

/// The restart that the registers ask for: they come from an interrupted system call.
fn restart_wanted(regs: &UserRegs) -> Option<Errno> {
    if regs.orig_rax == u64::MAX {
        return None;
    }
    let result = regs.rax as i64;
    (-600..0)
        .contains(&result)
        .then(|| Errno::from_raw(-result))
        .filter(|errno| is_restart(*errno))
}

/// What an interrupted system call comes to when a handler runs: the call to be made again after it, if any. RAX is set
/// to EINTR otherwise.
fn settle(regs: &mut UserRegs, restarts: bool) -> Option<u64> {
    let errno = restart_wanted(regs)?;
    if errno == super::ERESTARTNOINTR || (errno == Errno::ERESTARTSYS && restarts) {
        return Some(regs.orig_rax);
    }
    regs.rax = (-Errno::EINTR.raw()) as u64;
    None
}

/// Calls a handler: its frame goes onto the stack, the registers become those of its first instruction.
fn handle(thread: &Thread, info: &SigInfo, action: &Action) -> Result<()> {
    let signals = &thread.signals;
    let mut regs = control::regs();
    let in_call = regs.orig_rax != u64::MAX;
    let restart = settle(&mut regs, action.has(raw::SA_RESTART));
    let mask = signals.take_saved_mask().unwrap_or(signals.mask());
    let alt_stack = *signals.alt_stack.lock();
    let restorer = match action.has(raw::SA_RESTORER) {
        true => action.restorer,
        false => crate::process::signal_return_address(),
    };
    let shown = match in_call {
        true => crate::syscall::shown_address(regs.rip, restart.is_some()),
        false => regs.rip,
    };
    let fault = *signals.fault.lock();
    let entry = Setup {
        regs: &regs,
        shown,
        restart,
        info,
        handler: action.handler,
        restorer,
        on_stack: action.has(raw::SA_ONSTACK),
        alt_stack,
        mask: mask.0,
        fault,
    }
    .build()?;

    fpu::reset();
    let xmm = control::regs().xmm;
    control::set_regs(&UserRegs { xmm, ..entry });
    if alt_stack.flags & SS_AUTODISARM != 0 {
        *signals.alt_stack.lock() = Default::default();
    }
    let own = match action.has(raw::SA_NODEFER) {
        true => SigSet::EMPTY,
        false => SigSet::of(info.signal()),
    };
    let during = signals.mask().union(SigSet(action.mask)).union(own);
    signals.store_mask(during);
    Ok(())
}

/// The frame cannot be written: SIGSEGV, which ends the program when it is SIGSEGV's own handler that has no stack.
fn no_stack(thread: &Thread, signal: u32) {
    if signal == raw::SIGSEGV {
        let action = Action::default();
        thread.process.signals.set_action(raw::SIGSEGV, action);
    }
    send::force(thread, SigInfo::kernel(raw::SIGSEGV));
}

/// rt_sigreturn(2): back to where the handler was called. Returns what RAX is to hold, or the restart to be done.
pub fn sigreturn(thread: &Thread) -> Result<u64> {
    let regs = control::regs();
    let Ok(back) = frame::read(regs.rsp, &regs) else {
        send::force(thread, SigInfo::kernel(raw::SIGSEGV));
        return Ok(regs.rax);
    };
    let xmm = control::regs().xmm;
    control::set_regs(&UserRegs { xmm, ..back.regs });
    super::set_mask(thread, SigSet(back.mask));
    if let Ok(stack) = frame::AltStack::accepted(frame::AltStack {
        flags: back.alt_stack.flags & !raw::SS_ONSTACK,
        ..back.alt_stack
    }) {
        if !thread.signals.alt_stack.lock().in_use(back.regs.rsp) {
            *thread.signals.alt_stack.lock() = stack;
        }
    }
    match back.restart {
        true => Err(Errno::ERESTARTSYS),
        false => Ok(back.regs.rax),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ERESTARTNOHAND, ERESTART_RESTARTBLOCK};
    use super::*;

    fn after(call: u64, errno: Errno) -> UserRegs {
        UserRegs {
            orig_rax: call,
            rax: (-errno.raw()) as u64,
            ..UserRegs::default()
        }
    }

    const EINTR: u64 = -4i64 as u64;

    #[test]
    fn a_restartable_call_is_made_again_only_with_sa_restart() {
        let mut regs = after(0, Errno::ERESTARTSYS);
        assert_eq!(settle(&mut regs, true), Some(0));
        assert_eq!(settle(&mut regs, false), None);
        assert_eq!(regs.rax, EINTR);
    }

    #[test]
    fn taking_a_lock_is_always_restarted() {
        let mut regs = after(202, super::super::ERESTARTNOINTR);
        assert_eq!(settle(&mut regs, false), Some(202));
    }

    #[test]
    fn waiting_for_signals_and_sleeping_never_restart_after_a_handler() {
        for errno in [ERESTARTNOHAND, ERESTART_RESTARTBLOCK] {
            let mut regs = after(34, errno);
            assert_eq!(settle(&mut regs, true), None);
            assert_eq!(regs.rax, EINTR);
        }
    }

    #[test]
    fn registers_of_interrupted_code_are_left_alone() {
        let mut regs = after(u64::MAX, Errno::ERESTARTSYS);
        assert_eq!(settle(&mut regs, true), None);
        assert_eq!(regs.rax, -512i64 as u64);
        let mut regs = after(0, Errno::EAGAIN);
        assert_eq!(settle(&mut regs, true), None);
        assert_eq!(regs.rax, -11i64 as u64);
    }
}
