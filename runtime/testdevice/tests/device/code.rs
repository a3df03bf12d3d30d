//! Code of the test enclave, and the way into it.

use std::arch::{asm, global_asm};

/// What the code does, by RDI; further arguments are in RSI and RDX. It exits with results in RDI, RSI and RDX.
#[allow(missing_docs)]
pub mod command {
    /// Exits with RDI = RSI + RDX.
    pub const ADD: u64 = 0;
    pub const UD2: u64 = 1;
    /// Reads a word at RSI.
    pub const READ: u64 = 2;
    /// Writes RDX at RSI.
    pub const WRITE: u64 = 3;
    /// SYSCALL, with RAX = RSI.
    pub const SYSCALL: u64 = 4;
    pub const CPUID: u64 = 5;
    pub const INT3: u64 = 6;
    /// Divides by 0.
    pub const DIVIDE: u64 = 7;
    /// Waits until the word at RSI, which may be outside, is not 0; then exits with general registers, an XMM register and
    /// the FS base as they were set before, in sum.
    pub const SPIN: u64 = 8;
    /// ENCLU: RAX = RSI, RBX, RCX, RDX from the three words at RDX. Exits with RAX and RFLAGS.
    pub const ENCLU: u64 = 9;
    /// Jumps to RSI.
    pub const JUMP: u64 = 10;
    /// Counts RSI down to 0, and exits with the steps taken.
    pub const COUNT: u64 = 11;
    /// Exits with the bases of FS and GS, and RSP.
    pub const BASES: u64 = 12;
    /// INT 0x80, with RAX = RSI.
    pub const INT80: u64 = 13;
    /// Adds RDX to RIP in the first SSA frame, at RSI; exits with EXITINFO, and EXINFO's address and error code.
    pub const SKIP: u64 = 14;
}

global_asm!(
    ".p2align 4",
    "test_enclave_code:",
    // RCX is where to exit to. (Of the registers that callers do not keep, SYSCALL changes RCX and R11.)
    "mov r15, rcx",
    "lea r10, [rip + 90f]",
    "movsxd r9, dword ptr [r10 + rdi * 4]",
    "add r10, r9",
    "jmp r10",
    "90:",
    ".long 10f - 90b, 11f - 90b, 12f - 90b, 13f - 90b, 14f - 90b, 15f - 90b, 16f - 90b, 17f - 90b",
    ".long 18f - 90b, 19f - 90b, 20f - 90b, 21f - 90b, 22f - 90b, 23f - 90b, 24f - 90b",
    // ADD
    "10: lea rdi, [rsi + rdx]",
    "99: mov rbx, r15",
    "mov eax, 4",
    ".byte 0x0f, 0x01, 0xd7",
    "ud2",
    // UD2
    "11: ud2",
    "jmp 99b",
    // READ
    "12: mov rdi, [rsi]",
    "jmp 99b",
    // WRITE
    "13: mov [rsi], rdx",
    "jmp 99b",
    // SYSCALL
    "14: mov rax, rsi",
    "syscall",
    "mov rdi, rax",
    "jmp 99b",
    // CPUID
    "15: xor eax, eax",
    "cpuid",
    "jmp 99b",
    // INT3
    "16: int3",
    "jmp 99b",
    // DIVIDE
    "17: xor ecx, ecx",
    "mov eax, 1",
    "cdq",
    "div ecx",
    "jmp 99b",
    // SPIN
    "18: mov r8, 0x0101010101010101",
    "mov r9, 0x0202020202020202",
    "mov r10, 0x0404040404040404",
    "movq xmm5, r8",
    "mov r12, 0x1010101010101010",
    "mov r13, 0x2020202020202020",
    "1: cmp qword ptr [rsi], 0",
    "je 1b",
    "movq rdi, xmm5",
    "add rdi, r8",
    "add rdi, r9",
    "add rdi, r10",
    "add rdi, r12",
    "add rdi, r13",
    "rdfsbase rsi",
    "jmp 99b",
    // ENCLU
    "19: mov rax, rsi",
    "mov rbx, [rdx]",
    "mov rcx, [rdx + 8]",
    "mov rdx, [rdx + 16]",
    ".byte 0x0f, 0x01, 0xd7",
    "pushfq",
    "pop rsi",
    "mov rdi, rax",
    "jmp 99b",
    // JUMP
    "20: jmp rsi",
    // COUNT
    "21: xor edi, edi",
    "2: inc rdi",
    "dec rsi",
    "jnz 2b",
    "jmp 99b",
    // BASES
    "22: rdfsbase rdi",
    "rdgsbase rsi",
    "mov rdx, rsp",
    "jmp 99b",
    // INT80
    "23: mov rax, rsi",
    "int 0x80",
    "mov rdi, rax",
    "jmp 99b",
    // SKIP: GPRSGX is at the end of the frame.
    "24: add qword ptr [rsi + 4096 - 184 + 136], rdx",
    "mov edi, dword ptr [rsi + 4096 - 184 + 160]",
    "mov edx, dword ptr [rsi + 4096 - 184 - 8]",
    "mov rsi, [rsi + 4096 - 184 - 16]",
    "jmp 99b",
    "test_enclave_code_end:",
);

extern "C" {
    static test_enclave_code: u8;
    static test_enclave_code_end: u8;
}

/// The bytes, which can lie anywhere.
pub fn bytes() -> &'static [u8] {
    let (start, end) = (
        &raw const test_enclave_code,
        &raw const test_enclave_code_end,
    );
    // SAFETY: both symbols belong to the same piece of assembly, which is constant.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// `struct sgx_enclave_run`.
#[repr(C)]
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Run {
    pub tcs: u64,
    pub function: u32,
    pub vector: u16,
    pub error: u16,
    pub address: u64,
    pub handler: u64,
    pub data: u64,
    pub reserved: [u64; 27],
}

impl Run {
    /// For a TCS, without a handler.
    pub fn new(tcs: u64) -> Run {
        Run {
            tcs,
            function: 0,
            vector: 0,
            error: 0,
            address: 0,
            handler: 0,
            data: 0,
            reserved: [0; 27],
        }
    }
}

/// What `__vdso_sgx_enter_enclave` returned, and left in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Left {
    pub result: i32,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
}

/// Calls the function at `entry`, which is `__vdso_sgx_enter_enclave`.
pub fn enter(entry: u64, function: u32, [rdi, rsi, rdx]: [u64; 3], run: &mut Run) -> Left {
    let (result, out_rdi, out_rsi, out_rdx): (u64, u64, u64, u64);
    // SAFETY: the function's own calling convention; what the enclave may change is declared.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "mov rbp, rsp",
            "and rsp, -16",
            "sub rsp, 8",
            "push r10",
            "call r11",
            "mov rsp, rbp",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            inlateout("rdi") rdi => out_rdi,
            inlateout("rsi") rsi => out_rsi,
            inlateout("rdx") rdx => out_rdx,
            inlateout("rcx") u64::from(function) => _,
            inlateout("r10") run as *mut Run => _,
            inlateout("r11") entry => _,
            lateout("rax") result,
            lateout("r8") _, lateout("r9") _, lateout("r14") _, lateout("r15") _,
            lateout("xmm0") _, lateout("xmm1") _, lateout("xmm2") _, lateout("xmm3") _,
            lateout("xmm4") _, lateout("xmm5") _, lateout("xmm6") _, lateout("xmm7") _,
            lateout("xmm8") _, lateout("xmm9") _, lateout("xmm10") _, lateout("xmm11") _,
            lateout("xmm12") _, lateout("xmm13") _, lateout("xmm14") _, lateout("xmm15") _,
        );
    }
    Left {
        result: result as i32,
        rdi: out_rdi,
        rsi: out_rsi,
        rdx: out_rdx,
    }
}
