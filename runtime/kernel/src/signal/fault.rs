//! Faults of the application become signals.

use linux_raw_sys::general as raw;
use mystikos_abi::sgx::vector;
use mystikos_platform::exception::Trap;
use mystikos_platform::{control, fpu, user};

use super::info::SigInfo;
use super::send;
use crate::cpu::{self, Outcome};
use crate::mm::fault::{self, FaultKind};
use crate::process::thread;

/// The last fault of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultState {
    /// Vector.
    pub vector: u64,
    /// Error code of #PF and #GP.
    pub error: u64,
    /// Address of a #PF.
    pub address: u64,
}

/// EPCM faults: Linux programs know no such error.
const ERROR_SGX: u32 = 1 << 15;

/// Sends the signal of the fault to the calling thread, or does what its instruction asks for; an interrupt only makes
/// pending work happen.
pub fn handle(mut trap: Trap) {
    let claimed = || {
        let believed = trap.claimed_stack_fault && cpu::stack::faults(&control::regs());
        believed.then_some(vector::SS)
    };
    let Some(mut number) = trap.vector.or_else(claimed) else {
        return;
    };
    if number == vector::UD {
        let mut regs = control::regs();
        let outcome = cpu::undefined(&mut regs);
        control::set_regs(&regs);
        match outcome {
            Outcome::Done => return,
            Outcome::Fault(vector, error) => (number, trap.error) = (vector, error),
        }
    }
    trap.error &= !ERROR_SGX;
    let thread = thread::current();
    let Some(info) = signal_of(number, trap) else {
        return;
    };
    {
        let mut state = thread.signals.fault.lock();
        state.vector = number as u64;
        state.error = trap.error as u64;
        if number == vector::PF {
            state.address = trap.address;
        }
    }
    send::force(&thread, info);
}

fn signal_of(number: u8, trap: Trap) -> Option<SigInfo> {
    let rip = control::regs().rip;
    let info = match number {
        vector::DE => SigInfo::fault(raw::SIGFPE, raw::FPE_INTDIV, rip),
        vector::DB => SigInfo::fault(raw::SIGTRAP, debug_code(rip), rip),
        vector::BP => SigInfo::kernel(raw::SIGTRAP),
        vector::UD => SigInfo::fault(raw::SIGILL, raw::ILL_ILLOPN, rip),
        vector::PF => return page_fault(trap),
        vector::MF => return floating_point(x87_code(&state()), rip),
        vector::XM => return floating_point(sse_code(&state()), rip),
        vector::AC => SigInfo::fault(raw::SIGBUS, raw::BUS_ADRALN, 0),
        vector::NP | vector::SS => SigInfo::kernel(raw::SIGBUS),
        // #GP and whatever else a processor may come up with: no address is known.
        _ => SigInfo::kernel(raw::SIGSEGV),
    };
    Some(info)
}

/// INT1, or else a single step. (An enclave is not told of breakpoints in debug registers.)
fn debug_code(rip: u64) -> u32 {
    const INT1: u8 = 0xf1;
    const TF: u64 = 1 << 8;
    let stepping = control::regs().rflags & TF != 0;
    match user::read::<u8>(rip.wrapping_sub(1)) {
        Ok(INT1) if !stepping => raw::TRAP_BRKPT,
        _ => raw::TRAP_TRACE,
    }
}

/// The signal of a floating-point exception; `None` when no flag tells of one any more, as Linux has it.
fn floating_point(code: u32, rip: u64) -> Option<SigInfo> {
    (code != 0).then(|| SigInfo::fault(raw::SIGFPE, code, rip))
}

/// The signal of a page fault; `None` when the access only has to be made again.
fn page_fault(trap: Trap) -> Option<SigInfo> {
    if fault::resolve(trap.address, trap.error) {
        return None;
    }
    let (signal, code) = match FaultKind::of(trap.address, trap.error) {
        FaultKind::Unmapped => (raw::SIGSEGV, raw::SEGV_MAPERR),
        FaultKind::Protected => (raw::SIGSEGV, raw::SEGV_ACCERR),
        FaultKind::BeyondFile => (raw::SIGBUS, raw::BUS_ADRERR),
    };
    Some(SigInfo::fault(signal, code, trap.address))
}

/// Control word, status word and MXCSR of the application.
struct FloatState {
    fcw: u16,
    fsw: u16,
    mxcsr: u32,
}

fn state() -> FloatState {
    let mut area = fpu::Area::default();
    fpu::save(&mut area);
    FloatState {
        fcw: u16::from_le_bytes([area.0[0], area.0[1]]),
        fsw: u16::from_le_bytes([area.0[2], area.0[3]]),
        mxcsr: u32::from_le_bytes([area.0[24], area.0[25], area.0[26], area.0[27]]),
    }
}

fn x87_code(state: &FloatState) -> u32 {
    float_code((state.fsw & !state.fcw) as u32)
}

fn sse_code(state: &FloatState) -> u32 {
    float_code(state.mxcsr & !(state.mxcsr >> 7))
}

/// FPE_* for unmasked exception flags (SDM volume 1, 8.1.3.3 and 10.2.3), in Linux's order of preference.
fn float_code(flags: u32) -> u32 {
    const ORDER: [(u32, u32); 5] = [
        (0x01, raw::FPE_FLTINV),
        (0x04, raw::FPE_FLTDIV),
        (0x08, raw::FPE_FLTOVF),
        (0x12, raw::FPE_FLTUND),
        (0x20, raw::FPE_FLTRES),
    ];
    let found = ORDER.iter().find(|(bits, _)| flags & bits != 0);
    found.map_or(0, |(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmasked_exceptions_name_the_code() {
        let x87 = |fcw, fsw| x87_code(&FloatState { fcw, fsw, mxcsr: 0 });
        assert_eq!(x87(0x37b, 0x0004), raw::FPE_FLTDIV);
        assert_eq!(x87(0x37f, 0x0004), 0);
        let sse = |mxcsr| {
            sse_code(&FloatState {
                fcw: 0,
                fsw: 0,
                mxcsr,
            })
        };
        // Divide by zero flagged and unmasked; inexact flagged but masked.
        assert_eq!(sse(0x1f80 & !0x200 | 0x24), raw::FPE_FLTDIV);
        assert_eq!(sse(0x1f80 & !0x80 | 0x01), raw::FPE_FLTINV);
    }
}
