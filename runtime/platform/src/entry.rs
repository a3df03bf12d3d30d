//! How the kernel is entered and left.
//!
//! Entered at `myst_entry` by EENTER ([`crate::enclave`]: `sgx` and `sim` targets) and at `myst_entry` + 16 by the
//! `linux` target, with the registers that EENTER gives: RAX = CSSA, RBX = TCS, RCX = where to go back to, GS base =
//! control page, FS base = config region; and RDI = start-up block (first thread) or 0, RSI = the thread's host area. RSP and
//! RBP are the host's. For an exception (RAX > 0) RDI is the vector that the host tells, which is only looked at where the
//! processor tells none, and only believed where it can be true.
//!
//! Three ways in: a fresh thread, the return from a host call (the control page knows that one is outstanding), and
//! an exception (RAX > 0). Application code comes in through `myst_gate` and `myst_trap_gate` and goes back through
//! `myst_return`. A thread interrupted between `myst_return` and `myst_return_end` is set back to the start of that
//! sequence: everything it loads comes from the control page, so it can be run again.

use core::arch::global_asm;
use core::mem::offset_of;

use mystikos_abi::{block, hostcall::exit};

use crate::control::{Control, UserRegs};

macro_rules! reg {
    ($field:ident) => {
        offset_of!(Control, regs) + offset_of!(UserRegs, $field)
    };
}

#[cfg(feature = "image")]
global_asm!(
    // Entry points. The image starts here so that `e_entry` is a page start.
    ".pushsection .text.myst_entry, \"ax\", @progbits",
    ".globl myst_entry",
    ".type myst_entry, @function",
    ".balign 4096",
    "myst_entry:",
    "jmp myst_enclave_entry",
    ".balign 16",
    "myst_linux_entry:",
    "cld",
    "test eax, eax",
    "jnz myst_exception_entry",
    "mov gs:[{host_rsp}], rsp",
    "mov gs:[{host_rbp}], rbp",
    "mov gs:[{host_return}], rcx",
    "cmp qword ptr gs:[{call_rsp}], 0",
    "jne myst_call_return",
    // A fresh thread: fill the control page.
    ".globl myst_fresh_thread",
    "myst_fresh_thread:",
    "rdgsbase rax",
    "mov gs:[0], rax",
    "mov gs:[{area}], rsi",
    "lea rcx, [rip + myst_gate]",
    "mov gs:[{gate}], rcx",
    "lea rsp, [rax + {kernel_stack_top}]",
    "mov gs:[{kernel_stack}], rsp",
    "xor ebp, ebp",
    // The first thread relocates the image: DT_RELA of _DYNAMIC, all R_X86_64_RELATIVE.
    "cmp dword ptr [rip + {relocated}], 0",
    "jne 2f",
    "push rdi",
    "push rdi",
    "call myst_relocate",
    "pop rdi",
    "pop rdi",
    "mov dword ptr [rip + {relocated}], 1",
    "call {boot}",
    "mov dword ptr [rip + {state}], {ready}",
    "jmp myst_return",
    "2: call {thread}",
    "jmp myst_return",
    // Return from a host call.
    ".globl myst_call_return",
    "myst_call_return:",
    "mov rsp, gs:[{call_rsp}]",
    "mov qword ptr gs:[{call_rsp}], 0",
    "mov rax, gs:[{fs_base}]",
    "wrfsbase rax",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    ".popsection",
    relocated = sym RELOCATED,
    state = sym crate::enclave::STATE,
    ready = const crate::enclave::READY,
    boot = sym myst_boot,
    thread = sym myst_thread,
    host_rsp = const offset_of!(Control, host_rsp),
    host_rbp = const offset_of!(Control, host_rbp),
    host_return = const offset_of!(Control, host_return),
    call_rsp = const offset_of!(Control, call_rsp),
    area = const offset_of!(Control, area),
    gate = const block::GS_GATE,
    kernel_stack = const offset_of!(Control, kernel_stack),
    kernel_stack_top = const block::KERNEL_STACK_TOP,
    fs_base = const offset_of!(Control, fs_base),
);

/// AC and DF: flags that the application may have set and kernel code must not run with.
#[cfg(feature = "image")]
const UNUSUAL_FLAGS: u32 = 1 << 18 | 1 << 10;

#[cfg(feature = "image")]
#[no_mangle]
static mut RELOCATED: u32 = 0;

#[cfg(feature = "image")]
extern "C" {
    fn myst_boot(start: u64);
    fn myst_thread();
    fn myst_system_call();
    fn myst_trap();
    fn myst_work();
    fn myst_exception(claimed: u64) -> u64;
}

#[cfg(feature = "image")]
global_asm!(
    // The syscall gate. RCX = return address, everything else as at `syscall`.
    ".globl myst_gate",
    ".type myst_gate, @function",
    ".balign 64",
    "myst_gate:",
    "mov gs:[{rsp}], rsp",
    "mov gs:[{rip}], rcx",
    "mov gs:[{rcx}], rcx",
    "mov gs:[{rax}], rax",
    "mov gs:[{orig_rax}], rax",
    "mov gs:[{rbx}], rbx",
    "mov gs:[{rdx}], rdx",
    "mov gs:[{rsi}], rsi",
    "mov gs:[{rdi}], rdi",
    "mov gs:[{rbp}], rbp",
    "mov gs:[{r8}], r8",
    "mov gs:[{r9}], r9",
    "mov gs:[{r10}], r10",
    "mov gs:[{r12}], r12",
    "mov gs:[{r13}], r13",
    "mov gs:[{r14}], r14",
    "mov gs:[{r15}], r15",
    "mov rsp, gs:[{kernel_stack}]",
    "pushfq",
    "pop r11",
    "cld",
    "mov gs:[{r11}], r11",
    "mov gs:[{rflags}], r11",
    "call myst_save_xmm",
    "xor ebp, ebp",
    // Kernel code needs neither alignment checks nor DF; the way back restores what was set.
    "test r11d, {unusual_flags}",
    "jnz 2f",
    "1: call {system_call}",
    "jmp myst_return",
    "2: push 2",
    "popfq",
    "mov dword ptr gs:[{full}], 1",
    "jmp 1b",
    // Resumed here in place of the gate when the application runs by single steps. The exception entry has stored the
    // general registers and the flags as the gate would.
    ".globl myst_step_gate",
    ".type myst_step_gate, @function",
    ".balign 16",
    "myst_step_gate:",
    "mov rsp, gs:[{kernel_stack}]",
    "cld",
    "call myst_save_xmm",
    "mov dword ptr gs:[{full}], 1",
    "xor ebp, ebp",
    "call {system_call}",
    "jmp myst_return",
    // Resumed here after an exception in application code; all registers are still the application's. The exception
    // entry has stored the general ones, so only XMM is left to save.
    ".globl myst_trap_gate",
    ".type myst_trap_gate, @function",
    ".balign 16",
    "myst_trap_gate:",
    "mov rsp, gs:[{kernel_stack}]",
    "cld",
    "call myst_save_xmm",
    "xor ebp, ebp",
    "call {trap}",
    "mov dword ptr gs:[{full}], 1",
    "jmp myst_return",
    "myst_work_pending:",
    "mov rsp, gs:[{kernel_stack}]",
    "call {work}",
    // Back to the application. Restartable as a whole.
    ".globl myst_return",
    ".type myst_return, @function",
    ".balign 16",
    "myst_return:",
    "cmp dword ptr gs:[{pending}], 0",
    "jne myst_work_pending",
    "movaps xmm0, gs:[{xmm} + 0x00]",
    "movaps xmm1, gs:[{xmm} + 0x10]",
    "movaps xmm2, gs:[{xmm} + 0x20]",
    "movaps xmm3, gs:[{xmm} + 0x30]",
    "movaps xmm4, gs:[{xmm} + 0x40]",
    "movaps xmm5, gs:[{xmm} + 0x50]",
    "movaps xmm6, gs:[{xmm} + 0x60]",
    "movaps xmm7, gs:[{xmm} + 0x70]",
    "movaps xmm8, gs:[{xmm} + 0x80]",
    "movaps xmm9, gs:[{xmm} + 0x90]",
    "movaps xmm10, gs:[{xmm} + 0xa0]",
    "movaps xmm11, gs:[{xmm} + 0xb0]",
    "movaps xmm12, gs:[{xmm} + 0xc0]",
    "movaps xmm13, gs:[{xmm} + 0xd0]",
    "movaps xmm14, gs:[{xmm} + 0xe0]",
    "movaps xmm15, gs:[{xmm} + 0xf0]",
    "mov rax, gs:[{rax}]",
    "mov rbx, gs:[{rbx}]",
    "mov rdx, gs:[{rdx}]",
    "mov rsi, gs:[{rsi}]",
    "mov rdi, gs:[{rdi}]",
    "mov rbp, gs:[{rbp}]",
    "mov r8, gs:[{r8}]",
    "mov r9, gs:[{r9}]",
    "mov r10, gs:[{r10}]",
    "mov r12, gs:[{r12}]",
    "mov r13, gs:[{r13}]",
    "mov r14, gs:[{r14}]",
    "mov r15, gs:[{r15}]",
    "cmp dword ptr gs:[{full}], 0",
    "jne 1f",
    "mov rcx, gs:[{rcx}]",
    "mov rsp, gs:[{rsp}]",
    "jmp gs:[{rip}]",
    "1: mov rsp, gs:[{kernel_stack}]",
    "push gs:[{rflags}]",
    "popfq",
    "mov rcx, gs:[{rcx}]",
    "mov r11, gs:[{r11}]",
    "mov rsp, gs:[{rsp}]",
    "jmp gs:[{rip}]",
    ".globl myst_return_end",
    "myst_return_end:",
    "myst_save_xmm:",
    "mov dword ptr gs:[{full}], 0",
    "movaps gs:[{xmm} + 0x00], xmm0",
    "movaps gs:[{xmm} + 0x10], xmm1",
    "movaps gs:[{xmm} + 0x20], xmm2",
    "movaps gs:[{xmm} + 0x30], xmm3",
    "movaps gs:[{xmm} + 0x40], xmm4",
    "movaps gs:[{xmm} + 0x50], xmm5",
    "movaps gs:[{xmm} + 0x60], xmm6",
    "movaps gs:[{xmm} + 0x70], xmm7",
    "movaps gs:[{xmm} + 0x80], xmm8",
    "movaps gs:[{xmm} + 0x90], xmm9",
    "movaps gs:[{xmm} + 0xa0], xmm10",
    "movaps gs:[{xmm} + 0xb0], xmm11",
    "movaps gs:[{xmm} + 0xc0], xmm12",
    "movaps gs:[{xmm} + 0xd0], xmm13",
    "movaps gs:[{xmm} + 0xe0], xmm14",
    "movaps gs:[{xmm} + 0xf0], xmm15",
    "ret",
    // Leave for a host call; the entry comes back here. extern "C" fn(reason, a, b).
    ".globl myst_leave",
    ".type myst_leave, @function",
    "myst_leave:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    // Entering again sets FS from the TCS, and the application may have changed it by WRFSBASE.
    "rdfsbase rax",
    "mov gs:[{fs_base}], rax",
    "mov gs:[{call_rsp}], rsp",
    "cmp dword ptr [rip + {in_enclave}], 0",
    "jne myst_enclave_leave",
    // Leave for good: the kernel stack is given up. extern "C" fn(reason, a, b) -> !
    ".globl myst_leave_for_good",
    ".type myst_leave_for_good, @function",
    "myst_leave_for_good:",
    "cmp dword ptr [rip + {in_enclave}], 0",
    "jne myst_enclave_leave_for_good",
    "mov rsp, gs:[{host_rsp}]",
    "mov rbp, gs:[{host_rbp}]",
    "jmp gs:[{host_return}]",
    // An exception was raised in this thread, in application code or in a copy to or from it.
    ".globl myst_exception_entry",
    "myst_exception_entry:",
    // A thread that has not filled its control page yet has nothing to be interrupted in: let it go on.
    "cmp qword ptr gs:[0], 0",
    "jne 1f",
    "mov edi, {resume}",
    "jmp 2f",
    "1: rdgsbase rax",
    "mov rdx, rsp",
    "lea rsp, [rax + {exception_stack_top}]",
    "push rdx",
    "push rbp",
    "push rcx",
    "push 2",
    "popfq",
    "sub rsp, 8",
    "call {exception}",
    "add rsp, 8",
    "pop rcx",
    "pop rbp",
    "pop rsp",
    "mov rdi, rax",
    "mov rsi, gs:[{trap_error}]",
    "mov rdx, gs:[{trap_address}]",
    "2: cmp dword ptr [rip + {in_enclave}], 0",
    "jne myst_enclave_exit",
    "jmp rcx",
    rax = const reg!(rax),
    rbx = const reg!(rbx),
    rcx = const reg!(rcx),
    rdx = const reg!(rdx),
    rsi = const reg!(rsi),
    rdi = const reg!(rdi),
    rbp = const reg!(rbp),
    rsp = const reg!(rsp),
    r8 = const reg!(r8),
    r9 = const reg!(r9),
    r10 = const reg!(r10),
    r11 = const reg!(r11),
    r12 = const reg!(r12),
    r13 = const reg!(r13),
    r14 = const reg!(r14),
    r15 = const reg!(r15),
    rip = const reg!(rip),
    rflags = const reg!(rflags),
    orig_rax = const reg!(orig_rax),
    xmm = const reg!(xmm),
    kernel_stack = const offset_of!(Control, kernel_stack),
    full = const offset_of!(Control, full),
    pending = const offset_of!(Control, pending),
    call_rsp = const offset_of!(Control, call_rsp),
    fs_base = const offset_of!(Control, fs_base),
    unusual_flags = const UNUSUAL_FLAGS,
    in_enclave = sym crate::enclave::IN_ENCLAVE,
    host_rsp = const offset_of!(Control, host_rsp),
    host_rbp = const offset_of!(Control, host_rbp),
    host_return = const offset_of!(Control, host_return),
    resume = const exit::RESUME,
    exception_stack_top = const block::EXCEPTION_STACK_TOP,
    trap_error = const offset_of!(Control, trap_error),
    trap_address = const offset_of!(Control, trap_address),
    system_call = sym myst_system_call,
    trap = sym myst_trap,
    work = sym myst_work,
    exception = sym myst_exception,
);

#[cfg(feature = "image")]
mod labels {
    extern "C" {
        fn myst_gate();
        fn myst_trap_gate();
        fn myst_step_gate();
        fn myst_return();
        fn myst_return_end();
        fn myst_leave(reason: u64, a: u64, b: u64);
        fn myst_leave_for_good(reason: u64, a: u64, b: u64) -> !;
    }

    pub fn gate() -> u64 {
        myst_gate as *const () as u64
    }

    pub fn trap_gate() -> u64 {
        myst_trap_gate as *const () as u64
    }

    pub fn step_gate() -> u64 {
        myst_step_gate as *const () as u64
    }

    pub fn return_window() -> core::ops::Range<u64> {
        myst_return as *const () as u64..myst_return_end as *const () as u64
    }

    pub fn leave(reason: u64, a: u64, b: u64) {
        // SAFETY: `myst_leave` saves what the calling convention asks for on the kernel stack and comes back after
        // the host enters the thread again; the caller is on the kernel stack.
        unsafe { myst_leave(reason, a, b) }
    }

    pub fn leave_for_good(reason: u64, a: u64, b: u64) -> ! {
        // SAFETY: nothing on this kernel stack is used again.
        unsafe { myst_leave_for_good(reason, a, b) }
    }
}

// In hosted unit tests there is nothing to leave to.
#[cfg(not(feature = "image"))]
mod labels {
    pub fn gate() -> u64 {
        0
    }

    pub fn trap_gate() -> u64 {
        0
    }

    pub fn step_gate() -> u64 {
        0
    }

    pub fn return_window() -> core::ops::Range<u64> {
        0..0
    }

    pub fn leave(reason: u64, _: u64, _: u64) {
        panic!("leaving the kernel for {reason} outside of a kernel image");
    }

    pub fn leave_for_good(reason: u64, _: u64, _: u64) -> ! {
        panic!("leaving the kernel for {reason} outside of a kernel image");
    }
}

pub(crate) use labels::{gate, leave, leave_for_good, return_window, step_gate, trap_gate};

/// Where binding stubs jump to; the same for every thread (it also stands at `gs:` [`block::GS_GATE`]).
pub fn gate_address() -> u64 {
    gate()
}

/// Stops the kernel, which cannot work with what the host has given it: one of [`mystikos_abi::hostcall::refusal`].
pub(crate) fn refuse(what: u64) -> ! {
    #[cfg(feature = "image")]
    crate::enclave::stop();
    leave_for_good(exit::REFUSED, what, 0)
}

/// Ends the calling thread: its slot may be entered afresh once the host thread has gone.
pub fn end_thread() -> ! {
    leave_for_good(exit::THREAD, 0, 0)
}
