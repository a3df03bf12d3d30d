//! Signals that are sent to the device are meant for the program.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::ptrace::Tid;

const FORWARDED: [i32; 7] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTERM,
    libc::SIGWINCH,
];

static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Sends such signals on to `program`. Those of the terminal reach it by themselves.
pub fn forward_to(program: Tid) -> io::Result<()> {
    extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel passes a siginfo_t; kill takes two numbers.
        unsafe {
            if (*info).si_code <= 0 {
                libc::kill(PROGRAM.load(Ordering::SeqCst), signal);
            }
        }
    }
    PROGRAM.store(program, Ordering::SeqCst);
    for signal in FORWARDED {
        // SAFETY: a handler that only sends a signal; a structure of numbers.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            if libc::sigaction(signal, &action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}
