//! Faults and interrupts as asynchronous enclave exits, on the `linux` target.
//!
//! A signal handler plays the processor: it stores the interrupted registers in the SSA frame, enters the kernel's
//! exception entry (CSSA = 1), and resumes from the frame as the kernel left it. Extended state stays in the signal frame.

use linux_raw_sys::general as raw;
use mystikos_abi::hostcall::exit;
use mystikos_abi::sgx::{vector, ExInfo, GprSgx, EXITINFO_VALID};
use mystikos_abi::{block, PAGE_SIZE};

use crate::faults::Exception;
use crate::signals::{Handlers, Local, INTERRUPT};
use crate::sys::{self, Context, Registers};
use crate::{conduct, failure, threads};

/// The handlers of this target.
pub const HANDLERS: Handlers = Handlers {
    fault: on_fault,
    interrupt: on_interrupt,
    blocked: sys::signal_set(INTERRUPT),
};

/// Hardware type of an exception in EXITINFO, and the software type that #BP has.
const EXIT_TYPE_HARDWARE: u32 = 3 << 8;
const EXIT_TYPE_SOFTWARE: u32 = 6 << 8;

extern "C" fn on_interrupt(_: i32, _: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    // SAFETY: the host kernel passes a pointer to the signal frame.
    let context = unsafe { &mut *context };
    if sys::own_code().contains(&context.registers.rip) {
        threads::interrupted_outside(Local::of_handler());
        return;
    }
    exit_asynchronously(&mut context.registers, 0, 0, 0);
}

extern "C" fn on_fault(signal: i32, info: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    // SAFETY: the host kernel passes pointers to the signal frame.
    let (exception, registers) = unsafe {
        let exception = Exception::of(signal, info, context);
        (exception, &mut (*context).registers)
    };
    let kind = match exception.vector {
        vector::BP => EXIT_TYPE_SOFTWARE,
        _ => EXIT_TYPE_HARDWARE,
    };
    exit_asynchronously(
        registers,
        EXITINFO_VALID | kind | u32::from(exception.vector),
        exception.error,
        exception.address,
    );
}

/// AEX, the kernel's exception handler, and ERESUME.
fn exit_asynchronously(registers: &mut Registers, exitinfo: u32, error: u32, address: u64) {
    let enclave = threads::enclave();
    let gs = sys::gs_base();
    let inside = enclave.and_then(|enclave| Some((enclave, enclave.slot_of(gs)?)));
    let (Some((enclave, _)), false) = (inside, sys::own_code().contains(&registers.rip)) else {
        // The launcher itself: an interrupt has nothing to do here, a fault is its own defect.
        if exitinfo != 0 && !sys::own_code().contains(&registers.rip) {
            failure::gs_base_changed();
        }
        if exitinfo != 0 {
            failure::launcher_failed(registers.rip, exitinfo & 0xff, address);
        }
        return;
    };
    let tcs = gs - block::THREAD_OFFSET;
    let frame = tcs + block::SSA_OFFSET + block::SSA_FRAME_PAGES as u64 * PAGE_SIZE;
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
        if exitinfo != 0 && conduct::tells_nothing() {
            return;
        }
        let mut left = super::enter(tcs, 1, 0, 0);
        while left.reason == exit::RESUME && conduct::tells_again() {
            left = super::enter(tcs, 1, 0, 0);
        }
        left
    };
    match left.reason {
        exit::RESUME => {
            // SAFETY: as above.
            let gpr = unsafe { (gpr_address as *const GprSgx).read() };
            resume(registers, &gpr);
        }
        _ => {
            let at = left.a.wrapping_sub(enclave.memory.base);
            failure::kernel_failed(at, exitinfo & 0xff, left.b);
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
