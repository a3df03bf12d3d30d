//! Entered by EENTER and left by EEXIT: what an enclave must do there that the `linux` target need not.
//!
//! Nothing but the measured pages is trusted at the first entry: the kernel's `.bss`, the control pages and all registers hold
//! what the host likes. So the first thread clears them before anything else reads them ([`STATE`] is in the measured
//! `.data`), and threads that come too early are sent back. Later on:
//!
//! * on entry, flags and extended state are set to known values (DF, AC, MXCSR, x87 control word; SDM volume 1, 13.6);
//! * on exit, extended state is stored and cleared, and no general register keeps what it held;
//! * CSSA = 2 is an exception in the exception entry. There is no third level: NSSA is 3, so EENTER refuses it.

use core::arch::global_asm;
use core::mem::offset_of;

use mystikos_abi::hostcall::exit;
use mystikos_abi::package::Parameters;
use mystikos_abi::sgx::{GprSgx, EXITINFO_VALID};
use mystikos_abi::{block, sgx, PAGE_SIZE};

use crate::control::Control;
use crate::fpu;

/// How far the enclave has come: 0, then one of the following. Measured, and changed by the kernel only.
#[no_mangle]
#[link_section = ".data.myst"]
pub(crate) static mut STATE: u32 = 0;
/// The first thread is clearing what the host may have filled.
const CLEARING: u32 = 1;
/// The first thread is bringing the kernel up.
const BOOTING: u32 = 2;
/// Other threads may enter.
pub(crate) const READY: u32 = 3;
/// The kernel has stopped itself: nobody may enter any more.
const STOPPED: u32 = 4;

/// Nonzero once the kernel was entered by EENTER.
#[no_mangle]
#[link_section = ".data.myst"]
pub(crate) static mut IN_ENCLAVE: u32 = 0;

/// The kernel runs in an enclave (`sgx` and `sim` targets), and not in a plain process (`linux` target).
pub fn in_enclave() -> bool {
    // SAFETY: written once, by the first instructions of the first thread.
    unsafe { (&raw const IN_ENCLAVE).read() != 0 }
}

/// No thread enters any more. A host that goes on in spite of the message finds nothing to go on with.
#[cfg(feature = "image")]
pub(crate) fn stop() {
    // SAFETY: a word that the entry reads; all writers but the first thread's start write the same.
    unsafe { (&raw mut STATE).write_volatile(STOPPED) };
}

/// An XSAVE area that makes XRSTOR initialise every component: x87 control word and MXCSR at their defaults.
#[repr(C, align(64))]
struct Initial([u8; 576]);

static INITIAL: Initial = {
    let mut area = [0; 576];
    area[0] = 0x7f;
    area[1] = 0x03;
    area[24] = 0x80;
    area[25] = 0x1f;
    Initial(area)
};

const FRAME_SIZE: u64 = block::SSA_FRAME_PAGES as u64 * PAGE_SIZE;
/// From the control page down to the GPRSGX of the second SSA frame.
const SECOND_GPR: u64 = block::THREAD_OFFSET - block::SSA_OFFSET - 2 * FRAME_SIZE
    + core::mem::size_of::<GprSgx>() as u64;

#[cfg(feature = "image")]
global_asm!(
    ".pushsection .text.myst_enclave, \"ax\", @progbits",
    // EENTER's target. General registers but RCX, RSP and RBP may be used; memory only once it is known to be the kernel's.
    ".globl myst_enclave_entry",
    ".type myst_enclave_entry, @function",
    "myst_enclave_entry:",
    "cld",
    "mov r8d, dword ptr [rip + {state}]",
    "cmp r8d, {stopped}",
    "je myst_enclave_refuse",
    "cmp eax, 1",
    "je 3f",
    "ja 4f",
    "cmp r8d, {booting}",
    "jb 6f",
    "mov gs:[{host_rsp}], rsp",
    "mov gs:[{host_rbp}], rbp",
    "mov gs:[{host_return}], rcx",
    "mov rsp, gs:[{call_rsp}]",
    "test rsp, rsp",
    "jz 1f",
    // Return from a host call, on the kernel stack.
    "push 2",
    "popfq",
    "rdgsbase rcx",
    "mov eax, {features}",
    "xor edx, edx",
    "xrstor64 [rcx + {extended}]",
    "jmp myst_call_return",
    // A fresh thread is welcome once the kernel is up. Who is sent back has the stack that it came with.
    "1: mov rsp, gs:[{host_rsp}]",
    "cmp r8d, {ready}",
    "jne myst_enclave_refuse",
    "2: rdgsbase rax",
    "lea rsp, [rax + {kernel_stack_top}]",
    "push 2",
    "popfq",
    "call myst_initial_state",
    "jmp myst_fresh_thread",
    // After an asynchronous exit. A thread that is still clearing has nothing to be told.
    "3: cmp r8d, {booting}",
    "jb 5f",
    "rdgsbase r8",
    "xchg rsp, r8",
    "add rsp, {exception_stack_top}",
    "call myst_initial_state",
    "mov rsp, r8",
    "jmp myst_exception_entry",
    // After an asynchronous exit from the exception entry, whose stack is in use: an interrupt is noted, a fault is a
    // defect of the kernel.
    "4: cmp r8d, {booting}",
    "jb 5f",
    "rdgsbase r9",
    "test dword ptr [r9 - {second_gpr} + {exitinfo}], {valid}",
    "jnz 7f",
    "mov dword ptr gs:[{pending}], 1",
    "5: mov edi, {resume}",
    "jmp myst_enclave_exit",
    "7: mov dword ptr [rip + {state}], {stopped}",
    "mov edi, {kernel_fault}",
    "mov rsi, [r9 - {second_gpr} + {rip}]",
    "xor edx, edx",
    "jmp myst_enclave_exit",
    // Nothing is cleared yet: the thread that comes first does it.
    "6: mov r15, rcx",
    "mov r14, rdi",
    "xor eax, eax",
    "mov ecx, {clearing}",
    "lock cmpxchg dword ptr [rip + {state}], ecx",
    "mov rcx, r15",
    "jne myst_enclave_refuse",
    "mov dword ptr [rip + {in_enclave}], 1",
    "lea rdi, [rip + __bss_start]",
    "lea rcx, [rip + _end]",
    "sub rcx, rdi",
    "xor eax, eax",
    "rep stosb",
    // FS base is the parameter page: base, first control page, stride, count.
    "rdfsbase rdx",
    "mov r8, rdx",
    "sub r8, [rdx + {config}]",
    "add r8, [rdx + {blocks}]",
    "add r8, [rdx + {thread}]",
    "mov r9, [rdx + {count}]",
    "8: mov rdi, r8",
    "mov ecx, {page_words}",
    "rep stosq",
    "add r8, [rdx + {stride}]",
    "dec r9",
    "jnz 8b",
    "mov gs:[{host_rsp}], rsp",
    "mov gs:[{host_rbp}], rbp",
    "mov gs:[{host_return}], r15",
    "mov rdi, r14",
    "mov dword ptr [rip + {state}], {booting}",
    "jmp 2b",
    // Sends a thread back that nobody asked for.
    "myst_enclave_refuse:",
    "mov edi, {thread_ended}",
    "jmp myst_enclave_exit",
    // Sets extended state to its initial values. Clobbers RAX, RDX, R9.
    "myst_initial_state:",
    "mov eax, {features}",
    "xor edx, edx",
    "lea r9, [rip + {initial}]",
    "xrstor64 [r9]",
    "ret",
    // Leave for a host call: as `myst_leave`, which has stored where to go on.
    ".globl myst_enclave_leave",
    "myst_enclave_leave:",
    "mov r8, rdx",
    "rdgsbase rcx",
    "mov eax, {features}",
    "xor edx, edx",
    "xsave64 [rcx + {extended}]",
    "mov rdx, r8",
    ".globl myst_enclave_leave_for_good",
    "myst_enclave_leave_for_good:",
    "mov rsp, gs:[{host_rsp}]",
    "mov rbp, gs:[{host_rbp}]",
    "mov rcx, gs:[{host_return}]",
    // EEXIT to RCX with reason, a, b in RDI, RSI, RDX; RSP and RBP are the host's again. Only a fault and a message carry
    // values out.
    ".globl myst_enclave_exit",
    "myst_enclave_exit:",
    "mov rbx, rcx",
    "mov r8, rdx",
    "mov eax, {features}",
    "xor edx, edx",
    "lea r9, [rip + {initial}]",
    "xrstor64 [r9]",
    "mov rdx, r8",
    "xor ecx, ecx",
    "cmp edi, {resume}",
    "cmove rsi, rcx",
    "cmove rdx, rcx",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xor r10d, r10d",
    "xor r11d, r11d",
    "xor r12d, r12d",
    "xor r13d, r13d",
    "xor r14d, r14d",
    "xor r15d, r15d",
    "mov eax, {eexit}",
    ".byte 0x0f, 0x01, 0xd7", // ENCLU
    "ud2",
    ".popsection",
    state = sym STATE,
    in_enclave = sym IN_ENCLAVE,
    initial = sym INITIAL,
    clearing = const CLEARING,
    booting = const BOOTING,
    ready = const READY,
    stopped = const STOPPED,
    host_rsp = const offset_of!(Control, host_rsp),
    host_rbp = const offset_of!(Control, host_rbp),
    host_return = const offset_of!(Control, host_return),
    call_rsp = const offset_of!(Control, call_rsp),
    pending = const offset_of!(Control, pending),
    extended = const offset_of!(Control, extended),
    features = const fpu::FEATURES,
    kernel_stack_top = const block::KERNEL_STACK_TOP,
    exception_stack_top = const block::EXCEPTION_STACK_TOP,
    config = const offset_of!(Parameters, config),
    blocks = const offset_of!(Parameters, blocks),
    thread = const offset_of!(Parameters, block_thread),
    count = const offset_of!(Parameters, block_count),
    stride = const offset_of!(Parameters, block_stride),
    page_words = const PAGE_SIZE / 8,
    second_gpr = const SECOND_GPR,
    exitinfo = const offset_of!(GprSgx, exitinfo),
    rip = const offset_of!(GprSgx, rip),
    valid = const EXITINFO_VALID,
    resume = const exit::RESUME,
    thread_ended = const exit::THREAD,
    kernel_fault = const exit::KERNEL_FAULT,
    eexit = const sgx::enclu::EEXIT,
);
