//! Which exception a signal stands for.
//!
//! ptrace shows neither trap number nor error code: the kernel puts them into signal frames only. So they are derived: the
//! vector from signal and si_code, and what a page fault was about from the instruction.

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
};
use libc::user_regs_struct;
use mystikos_abi::sgx::{pfec, vector};
use mystikos_sgx::{Access, Exception};

// si_code, where libc does not name it.
const SEGV_BNDERR: i32 = 3;
const SEGV_CPERR: i32 = 10;
const FPE_INTDIV: i32 = 1;
/// A system call that Syscall User Dispatch refused.
const SYS_USER_DISPATCH: i32 = 2;
/// A fault without an address, such as #GP.
const SI_KERNEL: i32 = 0x80;

// Vectors that the enclave is not told of, but that end a stay in it.
const VECTOR_OF: u8 = 4;
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

/// The bytes around RIP.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// Those that can be executed from there on, as far as they are known.
    pub at: &'a [u8],
    /// The two before, if they can be read.
    pub before: Option<[u8; 2]>,
}

/// An exception, and the bytes by which RIP has passed the instruction that raises it in an enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Raised {
    pub exception: Exception,
    pub passed: u64,
}

/// The exception behind a signal; `None` if a process or a timer sent it.
pub fn exception(info: SignalInfo, regs: &user_regs_struct, code: Code<'_>) -> Option<Raised> {
    if info.code <= 0 {
        return None;
    }
    // INT n and SYSCALL raise #UD in an enclave, at the instruction. Here INT 3 and INT 4 are traps.
    let behind_int = |vector| info.code == SI_KERNEL && code.before == Some([0xcd, vector]);
    let passed = match info.signal {
        libc::SIGTRAP => behind_int(vector::BP),
        libc::SIGSEGV => behind_int(VECTOR_OF),
        libc::SIGSYS => info.code == SYS_USER_DISPATCH,
        _ => false,
    };
    if passed {
        return Some(Raised {
            exception: plain(vector::UD),
            passed: 2,
        });
    }
    let exception = at_instruction(info, regs, decode(regs.rip, code.at))?;
    Some(Raised {
        exception,
        passed: 0,
    })
}

fn at_instruction(
    info: SignalInfo,
    regs: &user_regs_struct,
    instruction: Option<Instruction>,
) -> Option<Exception> {
    Some(match (info.signal, info.code) {
        (libc::SIGSEGV, SEGV_BNDERR) => plain(vector::BR),
        (libc::SIGSEGV, SEGV_CPERR) => plain(VECTOR_CP),
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
        // A stack address that cannot be. (#NP raises it as well, but only for segments that no program has.)
        (libc::SIGBUS, _) => plain(VECTOR_SS),
        (libc::SIGFPE, FPE_INTDIV) => plain(vector::DE),
        (libc::SIGFPE, _) if instruction.is_some_and(|i| is_x87(&i)) => plain(vector::MF),
        (libc::SIGFPE, _) => plain(vector::XM),
        (libc::SIGTRAP, SI_KERNEL) => plain(vector::BP),
        (libc::SIGTRAP, _) => plain(vector::DB),
        (libc::SIGILL, _) => plain(vector::UD),
        _ => return None,
    })
}

/// An exception without error code and address.
fn plain(vector: u8) -> Exception {
    Exception {
        vector,
        code: 0,
        address: 0,
    }
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

/// Instructions that are #UD in an enclave, among those that raise #GP in user mode (SDM volume 3D, 35.6.1).
fn is_illegal(instruction: &Instruction) -> bool {
    const FAR_RETURNS: [iced_x86::Code; 6] = [
        iced_x86::Code::Retfw,
        iced_x86::Code::Retfd,
        iced_x86::Code::Retfq,
        iced_x86::Code::Retfw_imm16,
        iced_x86::Code::Retfd_imm16,
        iced_x86::Code::Retfq_imm16,
    ];
    use Mnemonic as M;
    const ILLEGAL: [Mnemonic; 21] = [
        M::Cpuid,
        M::Getsec,
        M::In,
        M::Insb,
        M::Insd,
        M::Insw,
        M::Int,
        M::Iret,
        M::Iretd,
        M::Iretq,
        M::Out,
        M::Outsb,
        M::Outsd,
        M::Outsw,
        M::Rdpmc,
        M::Sgdt,
        M::Sidt,
        M::Sldt,
        M::Smsw,
        M::Str,
        M::Vmcall,
    ];
    ILLEGAL.contains(&instruction.mnemonic())
        || FAR_RETURNS.contains(&instruction.code())
        || instruction.is_jmp_far_indirect()
        || instruction.is_call_far_indirect()
}

/// x87 and MMX instructions, and WAIT, raise #MF; SSE and AVX ones #XM.
fn is_x87(instruction: &Instruction) -> bool {
    use iced_x86::CpuidFeature::{FPU, FPU287, FPU387, MMX};
    let x87 = [FPU, FPU287, FPU387, MMX];
    instruction.mnemonic() == Mnemonic::Wait
        || instruction
            .cpuid_features()
            .iter()
            .any(|feature| x87.contains(feature))
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

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 0x10_0000;

    fn regs() -> user_regs_struct {
        // SAFETY: a structure of numbers.
        let mut regs: user_regs_struct = unsafe { std::mem::zeroed() };
        regs.rip = 0x40_0000;
        regs.rbx = ADDRESS - 0x10;
        regs.rcx = 2;
        regs.rsp = ADDRESS + 8;
        regs.rdi = ADDRESS;
        regs.rsi = 0x20_0000;
        regs.fs_base = ADDRESS - 0x28;
        regs
    }

    fn of(signal: i32, code: i32, bytes: &[u8]) -> Option<(u8, u32)> {
        let info = SignalInfo {
            signal,
            code,
            address: ADDRESS,
        };
        let code = Code {
            at: bytes,
            before: None,
        };
        let raised = exception(info, &regs(), code)?;
        assert_eq!(raised.passed, if signal == libc::SIGSYS { 2 } else { 0 });
        Some((raised.exception.vector, raised.exception.code))
    }

    #[test]
    fn a_page_fault_tells_what_the_instruction_wanted_there() {
        let (read, write, execute) = ((14, 4), (14, 6), (14, 0x14));
        let instructions: [(&str, &[u8], _); 15] = [
            ("mov rax, [rbx + 16]", &[0x48, 0x8b, 0x43, 0x10], read),
            ("mov [rbx + 16], rax", &[0x48, 0x89, 0x43, 0x10], write),
            ("add [rbx + 16], rax", &[0x48, 0x01, 0x43, 0x10], write),
            ("cmp [rbx + 16], rax", &[0x48, 0x39, 0x43, 0x10], read),
            ("mov [rbx + rcx*8], al", &[0x88, 0x04, 0xcb], write),
            ("push rax", &[0x50], write),
            ("call [rsi]", &[0xff, 0x16], write),
            ("pop rax", &[0x58], read),
            (
                "mov rax, fs:[40]",
                &[0x64, 0x48, 0x8b, 4, 0x25, 0x28, 0, 0, 0],
                read,
            ),
            (
                "mov fs:[40], rax",
                &[0x64, 0x48, 0x89, 4, 0x25, 0x28, 0, 0, 0],
                write,
            ),
            ("rep movsb", &[0xf3, 0xa4], write),
            (
                "lock cmpxchg [rbx + 16], rcx",
                &[0xf0, 0x48, 0x0f, 0xb1, 0x4b, 0x10],
                write,
            ),
            ("movaps [rbx + 16], xmm0", &[0x0f, 0x29, 0x43, 0x10], write),
            ("xsave [rdi]", &[0x0f, 0xae, 0x27], write),
            ("nothing that can be executed", &[], execute),
        ];
        for (name, bytes, expected) in instructions {
            let told = of(libc::SIGSEGV, 2, bytes);
            // The stack grows down: what is pushed lies below RSP.
            assert_eq!(told, Some(expected), "{name}");
        }
    }

    #[test]
    fn the_source_of_a_copy_is_read() {
        let info = SignalInfo {
            signal: libc::SIGSEGV,
            code: 1,
            address: 0x20_0000,
        };
        let code = Code {
            at: &[0xf3, 0xa4],
            before: None,
        };
        let told = exception(info, &regs(), code).unwrap().exception;
        assert_eq!((told.vector, told.code, told.address), (14, 4, 0x20_0000));
    }

    #[test]
    fn instructions_that_are_illegal_in_an_enclave_are_undefined_there() {
        let instructions: [(&str, &[u8]); 7] = [
            ("cpuid", &[0x0f, 0xa2]),
            ("int 0x2e", &[0xcd, 0x2e]),
            ("in al, dx", &[0xec]),
            ("rdpmc", &[0x0f, 0x33]),
            ("iretq", &[0x48, 0xcf]),
            ("retf", &[0xcb]),
            ("jmp far [rdi]", &[0xff, 0x2f]),
        ];
        for (name, bytes) in instructions {
            assert_eq!(of(libc::SIGSEGV, SI_KERNEL, bytes), Some((6, 0)), "{name}");
        }
        let hlt = [0xf4];
        assert_eq!(of(libc::SIGSEGV, SI_KERNEL, &hlt), Some((13, 0)));
    }

    #[test]
    fn int_3_and_int_4_are_undefined_at_the_instruction() {
        for (signal, vector) in [(libc::SIGTRAP, 3), (libc::SIGSEGV, 4)] {
            let info = SignalInfo {
                signal,
                code: SI_KERNEL,
                address: 0,
            };
            let code = Code {
                at: &[0x90],
                before: Some([0xcd, vector]),
            };
            let told = exception(info, &regs(), code).unwrap();
            assert_eq!((told.exception.vector, told.passed), (6, 2));
            let int3 = Code {
                at: &[0x90],
                before: Some([0x90, 0xcc]),
            };
            assert_eq!(exception(info, &regs(), int3).unwrap().passed, 0);
        }
    }

    #[test]
    fn floating_point_exceptions_are_told_apart_by_the_instruction() {
        for (name, bytes, vector) in [
            ("fwait", &[0x9b][..], 16),
            ("fadd st, st(1)", &[0xd8, 0xc1], 16),
            ("paddb mm0, mm1", &[0x0f, 0xfc, 0xc1], 16),
            ("divss xmm0, xmm1", &[0xf3, 0x0f, 0x5e, 0xc1], 19),
            ("vdivps ymm0, ymm1, ymm2", &[0xc5, 0xf4, 0x5e, 0xc2], 19),
        ] {
            assert_eq!(of(libc::SIGFPE, 3, bytes), Some((vector, 0)), "{name}");
        }
        assert_eq!(of(libc::SIGFPE, FPE_INTDIV, &[0xf7, 0xf1]), Some((0, 0)));
    }

    #[test]
    fn traps_and_alignment() {
        assert_eq!(of(libc::SIGTRAP, SI_KERNEL, &[0x90]), Some((3, 0)));
        assert_eq!(of(libc::SIGTRAP, 2, &[0x90]), Some((1, 0)));
        assert_eq!(of(libc::SIGBUS, libc::BUS_ADRALN, &[0x90]), Some((17, 0)));
        assert_eq!(of(libc::SIGILL, 2, &[0x0f, 0x0b]), Some((6, 0)));
        assert_eq!(of(libc::SIGSYS, SYS_USER_DISPATCH, &[0x90]), Some((6, 0)));
    }

    #[test]
    fn what_a_process_sent_is_no_exception() {
        for signal in [libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP] {
            assert_eq!(of(signal, libc::SI_USER, &[0x90]), None);
            assert_eq!(of(signal, libc::SI_TKILL, &[0x90]), None);
        }
        assert_eq!(of(libc::SIGUSR1, SI_KERNEL, &[0x90]), None);
    }
}
