//! Which exception a signal stands for.
//!
//! ptrace shows neither trap number nor error code: the kernel puts them into signal frames only. So they are derived: the
//! vector from signal and si_code, and what a page fault was about from the instruction.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, Register,
};
use libc::user_regs_struct;
use mystikos_abi::sgx::{pfec, vector};
use mystikos_sgx::{Access, Exception};

/// SYS_USER_DISPATCH: a system call that Syscall User Dispatch refused.
const SYS_USER_DISPATCH: i32 = 2;
const FPE_INTDIV: i32 = 1;
const FPE_INTOVF: i32 = 2;
/// SI_KERNEL: a fault without an address, such as #GP.
const SI_KERNEL: i32 = 0x80;

/// Vectors that the enclave is not told of, but that end a stay in it.
const VECTOR_OF: u8 = 4;
const VECTOR_NP: u8 = 11;
const VECTOR_SS: u8 = 12;
const VECTOR_CP: u8 = 21;

/// What a signal tells.
#[derive(Clone, Copy, Debug)]
pub struct SignalInfo {
    /// Its number.
    pub signal: i32,
    /// si_code.
    pub code: i32,
    /// si_addr.
    pub address: u64,
}

/// The exception behind a signal; `None` if a process or a timer sent it.
///
/// `code` are the bytes that can be executed at RIP, as far as they are known.
pub fn exception(info: SignalInfo, regs: &user_regs_struct, code: &[u8]) -> Option<Exception> {
    if info.code <= 0 {
        return None;
    }
    let instruction = decode(regs.rip, code);
    let plain = |vector| Exception {
        vector,
        code: 0,
        address: 0,
    };
    Some(match (info.signal, info.code) {
        // SEGV_BNDERR
        (libc::SIGSEGV, 3) => plain(vector::BR),
        // SEGV_CPERR
        (libc::SIGSEGV, 10) => plain(VECTOR_CP),
        (libc::SIGSEGV, SI_KERNEL) if instruction.is_some_and(|i| is_illegal(&i)) => {
            plain(vector::UD)
        }
        (libc::SIGSEGV, SI_KERNEL) => plain(vector::GP),
        (libc::SIGSEGV, _) | (libc::SIGBUS, libc::BUS_ADRERR) => {
            let kind = match access(regs, instruction.as_ref(), info.address) {
                Access::Read => 0,
                Access::Write => pfec::W,
                Access::Execute => pfec::I,
            };
            Exception {
                vector: vector::PF,
                code: pfec::U | kind,
                address: info.address,
            }
        }
        (libc::SIGBUS, libc::BUS_ADRALN) => plain(vector::AC),
        (libc::SIGBUS, SI_KERNEL) if regs.ss != 0 => plain(VECTOR_SS),
        (libc::SIGBUS, _) => plain(VECTOR_NP),
        (libc::SIGFPE, FPE_INTDIV) => plain(vector::DE),
        (libc::SIGFPE, FPE_INTOVF) => plain(VECTOR_OF),
        (libc::SIGFPE, _) if instruction.is_some_and(|i| is_x87(&i)) => plain(vector::MF),
        (libc::SIGFPE, _) => plain(vector::XM),
        (libc::SIGTRAP, SI_KERNEL) => plain(vector::BP),
        (libc::SIGTRAP, _) => plain(vector::DB),
        (libc::SIGILL, _) => plain(vector::UD),
        (libc::SIGSYS, SYS_USER_DISPATCH) => plain(vector::UD),
        _ => return None,
    })
}

/// The kind of access that an error code of a page fault tells.
pub fn access_of(code: u32) -> Access {
    if code & pfec::I != 0 {
        Access::Execute
    } else if code & pfec::W != 0 {
        Access::Write
    } else {
        Access::Read
    }
}

fn decode(rip: u64, code: &[u8]) -> Option<Instruction> {
    let mut decoder = Decoder::with_ip(64, code, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Instructions that raise #GP in user mode, and #UD in an enclave (SDM volume 3D, 35.6.1 and 36.7).
fn is_illegal(instruction: &Instruction) -> bool {
    use Mnemonic::{
        Cpuid, Getsec, In, Insb, Insd, Insw, Iret, Iretd, Iretq, Out, Outsb, Outsd, Outsw, Rdpmc,
        Sgdt, Sidt, Sldt, Smsw, Str, Vmcall,
    };
    let far = matches!(
        instruction.flow_control(),
        FlowControl::Interrupt
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::IndirectBranch
            | FlowControl::Return
    ) && (instruction.mnemonic() == Mnemonic::Int
        || instruction.is_jmp_far_indirect()
        || instruction.is_call_far_indirect()
        || is_far_return(instruction));
    far || matches!(
        instruction.mnemonic(),
        Cpuid
            | Getsec
            | In
            | Insb
            | Insd
            | Insw
            | Iret
            | Iretd
            | Iretq
            | Out
            | Outsb
            | Outsd
            | Outsw
            | Rdpmc
            | Sgdt
            | Sidt
            | Sldt
            | Smsw
            | Str
            | Vmcall
    )
}

fn is_far_return(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Retfw
            | Code::Retfd
            | Code::Retfq
            | Code::Retfw_imm16
            | Code::Retfd_imm16
            | Code::Retfq_imm16
    )
}

/// x87 and MMX instructions, and WAIT, raise #MF; SSE and AVX ones #XM.
fn is_x87(instruction: &Instruction) -> bool {
    use iced_x86::CpuidFeature::{FPU, FPU287, FPU387, MMX};
    instruction
        .cpuid_features()
        .iter()
        .any(|feature| matches!(feature, FPU | FPU287 | FPU387 | MMX))
}

/// What the instruction wanted at `address`. Without an instruction, it was to be fetched from there.
fn access(regs: &user_regs_struct, instruction: Option<&Instruction>, address: u64) -> Access {
    let Some(instruction) = instruction else {
        return Access::Execute;
    };
    let mut factory = InstructionInfoFactory::new();
    let writes = factory
        .info(instruction)
        .used_memory()
        .iter()
        .any(|memory| {
            let wants_to_write = matches!(
                memory.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            );
            // Instructions such as XSAVE do not tell a size.
            let size = match memory.memory_size().size() as u64 {
                0 => 16384,
                size => size,
            };
            let elements = if memory.index().is_vector_register() {
                16
            } else {
                1
            };
            wants_to_write
                && (0..elements).any(|element| {
                    memory
                        .virtual_address(element, |register, element, _| {
                            value(regs, register, element)
                        })
                        .is_some_and(|start| address.wrapping_sub(start) < size)
                })
        });
    if writes {
        Access::Write
    } else {
        Access::Read
    }
}

/// A register that an address is made of; elements of vectors are not known, so that a scatter counts as a read.
fn value(regs: &user_regs_struct, register: Register, _element: usize) -> Option<u64> {
    let full = match register.full_register() {
        Register::RAX => regs.rax,
        Register::RBX => regs.rbx,
        Register::RCX => regs.rcx,
        Register::RDX => regs.rdx,
        Register::RSI => regs.rsi,
        Register::RDI => regs.rdi,
        Register::RBP => regs.rbp,
        Register::RSP => regs.rsp,
        Register::R8 => regs.r8,
        Register::R9 => regs.r9,
        Register::R10 => regs.r10,
        Register::R11 => regs.r11,
        Register::R12 => regs.r12,
        Register::R13 => regs.r13,
        Register::R14 => regs.r14,
        Register::R15 => regs.r15,
        Register::FS => regs.fs_base,
        Register::GS => regs.gs_base,
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    };
    let mask = match register.size() {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    };
    let shift = if matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    ) {
        8
    } else {
        0
    };
    Some(if register.is_segment_register() {
        full
    } else {
        full >> shift & mask
    })
}
