//! CPUID outside the enclave: the machine's own, with SGX added.

use std::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};
use std::io;

use libc::user_regs_struct;
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::Processor;

use crate::driver::Machine;
use crate::ptrace::{self, Tid};

use super::Tracer;

/// The instruction.
pub(super) const CPUID: [u8; 2] = [0x0f, 0xa2];
/// Extended features that the software SGX knows: x87, SSE, AVX, AVX-512.
const XFRM: u64 = 0xe7;

impl Tracer {
    /// A CPUID that faulted.
    pub(super) fn on_cpuid(&mut self, tid: Tid, mut regs: user_regs_struct) -> io::Result<()> {
        let answer = cpuid(&self.machine, regs.rax as u32, regs.rcx as u32);
        regs.rax = answer.eax.into();
        regs.rbx = answer.ebx.into();
        regs.rcx = answer.ecx.into();
        regs.rdx = answer.edx.into();
        regs.rip += CPUID.len() as u64;
        ptrace::set_registers(tid, &regs)?;
        self.resume(tid, 0)
    }
}

/// XCR0 as far as enclaves can use it here.
pub fn xcr0() -> u64 {
    // SAFETY: Linux enables XSAVE wherever the processor has it, and the tracer needs it.
    unsafe { _xgetbv(0) & XFRM }
}

/// What CPUID tells on the machine that is played.
pub fn cpuid(machine: &Machine, leaf: u32, subleaf: u32) -> CpuidResult {
    let own = __cpuid_count(leaf, subleaf);
    match (leaf, subleaf) {
        (0, _) => CpuidResult {
            eax: own.eax.max(0x12),
            ..own
        },
        // SGX in EBX, SGX_LC in ECX.
        (7, 0) => CpuidResult {
            ebx: own.ebx | 1 << 2,
            ecx: own.ecx | 1 << 30,
            ..own
        },
        (0x12, 0) => capabilities(&machine.processor, machine.sgx2),
        (0x12, 1) => CpuidResult {
            eax: machine.processor.attributes as u32,
            ebx: (machine.processor.attributes >> 32) as u32,
            ecx: machine.processor.xcr0 as u32,
            edx: (machine.processor.xcr0 >> 32) as u32,
        },
        (0x12, 2) => section(machine.epc_pages * PAGE_SIZE),
        (0x12, _) => CpuidResult {
            eax: 0,
            ebx: 0,
            ecx: 0,
            edx: 0,
        },
        _ => own,
    }
}

fn capabilities(processor: &Processor, sgx2: bool) -> CpuidResult {
    CpuidResult {
        eax: 1 | u32::from(sgx2) << 1,
        ebx: processor.miscselect,
        ecx: 0,
        edx: u32::from(processor.max_size_64) << 8 | u32::from(processor.max_size_32),
    }
}

/// An EPC section with confidentiality and integrity.
fn section(size: u64) -> CpuidResult {
    const PHYSICAL: u64 = 0x10_0000_0000;
    CpuidResult {
        eax: PHYSICAL as u32 | 1,
        ebx: (PHYSICAL >> 32) as u32,
        ecx: size as u32 & 0xffff_f000 | 1,
        edx: (size >> 32) as u32,
    }
}
