//! Faults and interrupts as asynchronous enclave exits, and signals from outside.
//!
//! A signal handler plays the processor: it stores the interrupted registers in the SSA frame, enters the kernel's
//! exception entry (CSSA = 1), and resumes from the frame as the kernel left it. Extended state stays in the signal frame.

use core::sync::atomic::{AtomicU64, Ordering};

use linux_raw_sys::general as raw;
use mystikos_abi::hostcall::{exit, FORWARDED_SIGNALS};
use mystikos_abi::sgx::{vector, ExInfo, GprSgx, EXITINFO_VALID};
use mystikos_abi::{block, PAGE_SIZE};

use crate::sys::{self, signal_set, Context, Registers};
use crate::{failure, threads};

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

/// Hardware type of an exception in EXITINFO, and the software type that #BP has.
const EXIT_TYPE_HARDWARE: u32 = 3 << 8;
const EXIT_TYPE_SOFTWARE: u32 = 6 << 8;

/// Installs the handlers; once for the process.
pub fn install() {
    for signal in FAULTS {
        sys::handle_signal(signal, on_fault, signal_set(INTERRUPT));
    }
    sys::handle_signal(INTERRUPT, on_interrupt, signal_set(INTERRUPT));
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
    let started = threads::stack_pages(SIZE).is_some_and(|base| {
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

/// Gives the calling thread an alternate signal stack; returns its base.
pub fn set_stack(size: usize) -> u64 {
    match threads::stack_pages(size) {
        Some(base) => {
            sys::set_signal_stack(base, size as u64);
            base
        }
        None => {
            failure::say(format_args!("no memory for a signal stack"));
            sys::exit_group(failure::EXIT_STATUS)
        }
    }
}

/// Gives the stack of [`set_stack`] back; no handler runs in this thread any more.
pub fn drop_stack(base: u64, size: usize) {
    // SAFETY: mapped by `set_stack`; all signals are blocked in this thread, which is about to end.
    let _ = unsafe { rustix::mm::munmap(base as *mut core::ffi::c_void, size) };
}

extern "C" fn on_interrupt(_: i32, _: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    // SAFETY: the host kernel passes a pointer to the signal frame.
    let context = unsafe { &mut *context };
    if sys::own_code().contains(&context.registers.rip) {
        threads::interrupted_outside(sys::gs_base());
        return;
    }
    exit_asynchronously(&mut context.registers, 0, 0, 0);
}

extern "C" fn on_fault(signal: i32, info: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    // SAFETY: the host kernel passes pointers to the signal frame. The first three words of siginfo_t are signal number, errno and code.
    let (code, registers) = unsafe { (*info.cast::<[i32; 3]>(), &mut (*context).registers) };
    // Sent by a process and not raised by an instruction: as without a handler.
    if code[2] <= 0 {
        failure::say(format_args!(
            "ended by signal {signal} from another process"
        ));
        sys::exit_group(128 + signal);
    }
    let (number, kind) = match signal as u32 {
        raw::SIGSYS => {
            // The instruction has been passed; in an enclave #UD would be raised at it.
            registers.rip -= 2;
            (vector::UD, EXIT_TYPE_HARDWARE)
        }
        raw::SIGTRAP if registers.trap == vector::BP as u64 => (vector::BP, EXIT_TYPE_SOFTWARE),
        _ => (registers.trap as u8, EXIT_TYPE_HARDWARE),
    };
    // In an enclave there is no way into another mode: the jump itself raises #GP.
    let left_64_bit_mode = registers.segments & 0xffff != sys::USER_CS;
    let number = if left_64_bit_mode {
        registers.segments = registers.segments & !0xffff | sys::USER_CS;
        vector::GP
    } else {
        number
    };
    let exitinfo = EXITINFO_VALID | kind | number as u32;
    let (error, address) = (registers.error as u32, registers.cr2);
    exit_asynchronously(
        registers,
        exitinfo,
        error,
        if number == vector::PF { address } else { 0 },
    );
}

/// AEX, the kernel's exception handler, and ERESUME.
fn exit_asynchronously(registers: &mut Registers, exitinfo: u32, error: u32, address: u64) {
    let enclave = threads::enclave();
    let gs = sys::gs_base();
    let inside = enclave.and_then(|enclave| Some((enclave, enclave.slot_of(gs)?)));
    let (Some((enclave, slot)), false) = (inside, sys::own_code().contains(&registers.rip)) else {
        // The launcher itself: an interrupt has nothing to do here, a fault is its own defect.
        if exitinfo != 0 && !sys::own_code().contains(&registers.rip) {
            failure::say(format_args!(
                "the application cannot go on at {:#x}: it changed the GS base, which is the kernel's",
                registers.rip
            ));
            sys::exit_group(failure::EXIT_STATUS);
        }
        if exitinfo != 0 {
            failure::say(format_args!(
                "the launcher failed at {:#x} (vector {}, address {address:#x})",
                registers.rip.wrapping_sub(sys::own_code().start),
                exitinfo & 0xff
            ));
            sys::exit_group(failure::EXIT_STATUS);
        }
        return;
    };
    let frame =
        gs - block::THREAD_OFFSET + block::SSA_OFFSET + block::SSA_FRAME_PAGES as u64 * PAGE_SIZE;
    let gpr_address = frame - size_of::<GprSgx>() as u64;
    // SAFETY: the SSA frame of this thread's block, mapped and used by nobody else while the thread is in here.
    let left = unsafe {
        let exinfo = (gpr_address - size_of::<ExInfo>() as u64) as *mut ExInfo;
        exinfo.write(ExInfo {
            maddr: address,
            errcd: error,
            reserved: 0,
        });
        (gpr_address as *mut GprSgx).write(saved(registers, exitinfo));
        threads::enter(enclave, slot, 1, 0, 0)
    };
    match left.reason {
        exit::RESUME => {
            // SAFETY: as above.
            let gpr = unsafe { (gpr_address as *const GprSgx).read() };
            resume(registers, &gpr);
        }
        _ => {
            failure::say(format_args!(
                "the kernel failed at {:#x} (vector {}, address {:#x}); please report this",
                left.a.wrapping_sub(enclave.memory.base),
                exitinfo & 0xff,
                left.b
            ));
            sys::exit_group(failure::EXIT_STATUS);
        }
    }
}

fn saved(r: &Registers, exitinfo: u32) -> GprSgx {
    GprSgx {
        rax: r.rax,
        rcx: r.rcx,
        rdx: r.rdx,
        rbx: r.rbx,
        rsp: r.rsp,
        rbp: r.rbp,
        rsi: r.rsi,
        rdi: r.rdi,
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        rflags: r.rflags,
        rip: r.rip,
        exitinfo,
        ..GprSgx::default()
    }
}

fn resume(r: &mut Registers, gpr: &GprSgx) {
    r.rax = gpr.rax;
    r.rcx = gpr.rcx;
    r.rdx = gpr.rdx;
    r.rbx = gpr.rbx;
    r.rsp = gpr.rsp;
    r.rbp = gpr.rbp;
    r.rsi = gpr.rsi;
    r.rdi = gpr.rdi;
    r.r8 = gpr.r8;
    r.r9 = gpr.r9;
    r.r10 = gpr.r10;
    r.r11 = gpr.r11;
    r.r12 = gpr.r12;
    r.r13 = gpr.r13;
    r.r14 = gpr.r14;
    r.r15 = gpr.r15;
    r.rflags = gpr.rflags;
    r.rip = gpr.rip;
}
