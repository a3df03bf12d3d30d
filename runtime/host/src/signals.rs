//! Signals: those from outside that the application is told of, and what every target's handlers share.
//!
//! What a fault or an interrupt means is each target's own ([`crate::linux::exits`], [`crate::enclave`]).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linux_raw_sys::general as raw;
use mystikos_abi::hostcall::FORWARDED_SIGNALS;
use mystikos_abi::PAGE_SIZE;

use crate::sys::{self, signal_set, SignalHandler};
use crate::{failure, memory, threads};

/// Makes a thread enter the kernel (the highest real-time signal).
pub const INTERRUPT: u32 = 64;

/// Signals that faults raise; SIGSYS stands for a system call of the application.
const FAULTS: [u32; 6] = [
    raw::SIGSEGV,
    raw::SIGBUS,
    raw::SIGFPE,
    raw::SIGILL,
    raw::SIGTRAP,
    raw::SIGSYS,
];

/// A target's handlers, and the signals that are blocked while they run.
pub struct Handlers {
    /// Called for what an instruction raised.
    pub fault: SignalHandler,
    /// Called for [`INTERRUPT`].
    pub interrupt: SignalHandler,
    /// Blocked meanwhile.
    pub blocked: sys::SignalSet,
}

/// Installs the handlers; once for the process.
pub fn install(handlers: &Handlers) {
    for signal in FAULTS {
        sys::handle_signal(signal, handlers.fault, handlers.blocked);
    }
    sys::handle_signal(INTERRUPT, handlers.interrupt, handlers.blocked);
    // Writing to a closed pipe is an error number for the kernel, which decides about SIGPIPE itself.
    sys::ignore_signal(raw::SIGPIPE);
}

/// Forwarded signals that this process was started with as ignored, as a set.
pub fn ignored() -> u64 {
    FORWARDED_SIGNALS
        .iter()
        .filter(|&&signal| sys::is_ignored(signal))
        .fold(0, |set, &signal| set | signal_set(signal))
}

static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// Signals that arrived since the last call, as a set.
pub fn take() -> u64 {
    ARRIVED.swap(0, Ordering::SeqCst)
}

/// [`take`] would give something.
pub fn have_arrived() -> bool {
    ARRIVED.load(Ordering::SeqCst) != 0
}

/// Takes the forwarded signals in a thread of their own, so that no thread of the application is disturbed by them. All
/// threads made from now on have them blocked.
pub fn start_forwarding() {
    let set = FORWARDED_SIGNALS
        .iter()
        .fold(0, |set, &signal| set | signal_set(signal));
    sys::set_signal_mask(set);
    static TID: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
    const SIZE: usize = 16 * 1024;
    let started = memory::anonymous(SIZE).is_ok_and(|base| {
        // SAFETY: a fresh stack that belongs to this thread for ever.
        unsafe { sys::start_thread(base + SIZE as u64, &TID, forward, set) >= 0 }
    });
    if !started {
        failure::say(format_args!(
            "signals cannot be passed on: the host refuses a thread"
        ));
        sys::exit_group(failure::EXIT_STATUS);
    }
}

extern "C" fn forward(set: u64) {
    loop {
        let signal = sys::wait_signal(set);
        ARRIVED.fetch_or(signal_set(signal), Ordering::SeqCst);
        // A thread that is just starting or ending lets an interrupt pass without looking, so it is repeated until the
        // kernel has taken the signal.
        while ARRIVED.load(Ordering::SeqCst) != 0 {
            // Any live thread will do: the kernel chooses the one that gets the signal.
            if let Some((_, thread)) = threads::enclave().and_then(|e| e.live().next()) {
                thread.interrupt();
            }
            static NEVER: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
            sys::futex_wait(&NEVER, 0, Some(REPEAT_NS));
        }
    }
}

/// Nanoseconds between interrupts for a signal that has not been taken.
const REPEAT_NS: u64 = 2_000_000;

/// What a host thread keeps where its signal handlers find it: at the base of their stack.
pub struct Local {
    /// Number of the thread's block.
    pub slot: u64,
    /// It was to be interrupted while it was outside, where no asynchronous exit tells the kernel of it.
    pub interrupted: AtomicBool,
    /// Targets `sgx` and `sim`: their own part.
    pub enclave: crate::enclave::Local,
}

/// Bytes of a signal stack, with [`Local`] in its first page; it is aligned to them.
const STACK_SIZE: usize = 64 * 1024;
const _: () = assert!(size_of::<Local>() <= PAGE_SIZE as usize);

impl Local {
    /// Gives the calling thread an alternate signal stack with its local part.
    pub fn install(slot: u64) -> &'static Local {
        let Some(base) = aligned_stack() else {
            failure::say(format_args!("no memory for a signal stack"));
            sys::exit_group(failure::EXIT_STATUS)
        };
        let local = base as *mut Local;
        let own = Local {
            slot,
            interrupted: AtomicBool::new(false),
            enclave: crate::enclave::Local::default(),
        };
        // SAFETY: fresh pages, aligned and large enough; they stay until `uninstall`.
        let local = unsafe {
            local.write(own);
            &*local
        };
        sys::set_signal_stack(base + PAGE_SIZE, STACK_SIZE as u64 - PAGE_SIZE);
        local
    }

    /// That of the calling thread; in signal handlers only, which run on its stack.
    pub fn of_handler() -> &'static Local {
        let here = 0u8;
        let base = &raw const here as usize & !(STACK_SIZE - 1);
        // SAFETY: handlers run on the alternate stack (SA_ONSTACK), which every thread that can run one has from `install`.
        unsafe { &*(base as *const Local) }
    }

    /// Gives the stack back. No handler runs in this thread any more: all its signals are blocked, and it is about to end.
    pub fn uninstall(&'static self) {
        let base = self as *const Local as *mut core::ffi::c_void;
        // SAFETY: mapped by `install`, and not used again (see above).
        let _ = unsafe { rustix::mm::munmap(base, STACK_SIZE) };
    }
}

fn aligned_stack() -> Option<u64> {
    let start = memory::anonymous(2 * STACK_SIZE).ok()?;
    let base = start.next_multiple_of(STACK_SIZE as u64);
    let end = base + STACK_SIZE as u64;
    for (from, to) in [(start, base), (end, start + 2 * STACK_SIZE as u64)] {
        if to > from {
            // SAFETY: part of the mapping just made, not used by anything.
            let _ =
                unsafe { rustix::mm::munmap(from as *mut core::ffi::c_void, (to - from) as usize) };
        }
    }
    Some(base)
}
