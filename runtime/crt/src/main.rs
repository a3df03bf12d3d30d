//! The CRT image: a vDSO that application code calls instead of entering the kernel, and the signal return trampoline.
//!
//! Everything is position-independent assembly without data. The clock functions jump to the host's own vDSO where
//! the kernel has put its address in the thread's control page (`linux` target only: `gs:` words of
//! [`mystikos_abi::block`]); otherwise they enter the kernel through the syscall gate, as every system call does.

#![no_std]
#![no_main]

use core::arch::global_asm;
use mystikos_abi::block::{GS_CLOCK_GETRES, GS_CLOCK_GETTIME, GS_GATE, GS_GETTIMEOFDAY, GS_TIME};

// One function of the vDSO: to the host's function if there is one, else the system call `$number`.
macro_rules! vdso_function {
    ($name:literal, $alias:literal, $word:expr, $number:literal) => {
        global_asm!(
            concat!(".globl ", $name),
            concat!(".globl ", $alias),
            concat!(".type ", $name, ", @function"),
            concat!(".type ", $alias, ", @function"),
            ".balign 16",
            concat!($name, ":"),
            concat!($alias, ":"),
            ".cfi_startproc",
            "mov rax, gs:[{word}]",
            "test rax, rax",
            "jz 1f",
            "jmp rax",
            "1: mov eax, {number}",
            "lea rcx, [rip + 2f]",
            "jmp gs:[{gate}]",
            "2: ret",
            ".cfi_endproc",
            concat!(".size ", $name, ", . - ", $name),
            concat!(".size ", $alias, ", . - ", $alias),
            word = const $word,
            number = const $number,
            gate = const GS_GATE,
        );
    };
}

vdso_function!(
    "__vdso_clock_gettime",
    "clock_gettime",
    GS_CLOCK_GETTIME,
    228
);
vdso_function!("__vdso_gettimeofday", "gettimeofday", GS_GETTIMEOFDAY, 96);
vdso_function!("__vdso_time", "time", GS_TIME, 201);
vdso_function!("__vdso_clock_getres", "clock_getres", GS_CLOCK_GETRES, 229);

// getcpu always asks the kernel: the answer must respect MaxAffinityCPUs.
global_asm!(
    ".globl __vdso_getcpu",
    ".globl getcpu",
    ".type __vdso_getcpu, @function",
    ".type getcpu, @function",
    ".balign 16",
    "__vdso_getcpu:",
    "getcpu:",
    ".cfi_startproc",
    "mov eax, 309",
    "lea rcx, [rip + 2f]",
    "jmp gs:[{gate}]",
    "2: ret",
    ".cfi_endproc",
    ".size __vdso_getcpu, . - __vdso_getcpu",
    ".size getcpu, . - getcpu",
    // Return from a signal handler that was installed without SA_RESTORER. The nop keeps an unwinder, which looks up
    // the return address minus one, inside this function's frame description.
    ".globl __kernel_rt_sigreturn",
    ".type __kernel_rt_sigreturn, @function",
    ".balign 16",
    ".cfi_startproc simple",
    ".cfi_signal_frame",
    "nop",
    "__kernel_rt_sigreturn:",
    "mov eax, 15",
    "lea rcx, [rip + 2f]",
    "jmp gs:[{gate}]",
    "2: ud2",
    ".cfi_endproc",
    ".size __kernel_rt_sigreturn, . - __kernel_rt_sigreturn",
    gate = const GS_GATE,
);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
