//! System calls that no library wraps without a C library: signals, threads, system call user dispatch.

use core::arch::{asm, global_asm};

use linux_raw_sys::{general as raw, prctl as raw_prctl};

/// Makes a system call; returns what the kernel returned.
///
/// # Safety
///
/// The arguments must be what the system call of that number expects, as syscalls(2) tells.
pub unsafe fn syscall(number: u32, args: [u64; 6]) -> i64 {
    let result: i64;
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as u64 => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// Ends all threads of the process.
pub fn exit_group(status: i32) -> ! {
    loop {
        // SAFETY: exit_group takes a status and does not return.
        unsafe { syscall(raw::__NR_exit_group, [status as u64, 0, 0, 0, 0, 0]) };
    }
}

/// Kernel signal set: bit N-1 for signal N.
pub type SignalSet = u64;

/// The set of one signal.
pub const fn signal_set(signal: u32) -> SignalSet {
    1 << (signal - 1)
}

/// Replaces the calling thread's signal mask.
pub fn set_signal_mask(mask: SignalSet) {
    // SAFETY: rt_sigprocmask(SIG_SETMASK) reads eight bytes at the pointer.
    unsafe {
        let args = [
            raw::SIG_SETMASK as u64,
            &mask as *const u64 as u64,
            0,
            8,
            0,
            0,
        ];
        syscall(raw::__NR_rt_sigprocmask, args);
    }
}

/// Waits for one of the signals and takes it.
pub fn wait_signal(set: SignalSet) -> u32 {
    loop {
        // SAFETY: rt_sigtimedwait reads eight bytes at the pointer; no siginfo and no timeout are asked for.
        let signal = unsafe {
            let args = [&set as *const u64 as u64, 0, 0, 8, 0, 0];
            syscall(raw::__NR_rt_sigtimedwait, args)
        };
        if signal > 0 {
            return signal as u32;
        }
    }
}

/// Sends a signal to one thread of this process.
pub fn send_signal(tid: u32, signal: u32) {
    // SAFETY: tgkill takes three numbers.
    unsafe {
        let pid = syscall(raw::__NR_getpid, [0; 6]) as u64;
        syscall(raw::__NR_tgkill, [pid, tid as u64, signal as u64, 0, 0, 0]);
    }
}

/// A signal handler as the kernel calls it.
pub type SignalHandler = extern "C" fn(i32, *mut raw::siginfo_t, *mut Context);

/// SIG_IGN.
const IGNORE: u64 = 1;

#[repr(C)]
struct SigAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: SignalSet,
}

global_asm!(
    ".globl myst_host_sigreturn",
    "myst_host_sigreturn: mov eax, 15",
    "syscall",
    // extern "C" fn(flags, stack, child_tid, function, argument) -> tid or negated errno. The child calls the function
    // on its stack and ends when it returns.
    ".globl myst_host_clone",
    "myst_host_clone:",
    "mov r12, rcx",
    "mov r13, r8",
    "mov r10, rdx",
    "xor edx, edx",
    "xor r8d, r8d",
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jz 1f",
    "ret",
    "1: xor ebp, ebp",
    "mov rdi, r13",
    "call r12",
    "xor edi, edi",
    "mov eax, 60",
    "syscall",
    "ud2",
);

extern "C" {
    fn myst_host_sigreturn();
    fn myst_host_clone(
        flags: u64,
        stack: u64,
        child_tid: *const core::sync::atomic::AtomicU32,
        function: extern "C" fn(u64),
        argument: u64,
    ) -> i64;
}

/// Installs a handler that runs on the alternate stack with `mask` blocked.
pub fn handle_signal(signal: u32, handler: SignalHandler, mask: SignalSet) {
    set_action(
        signal,
        &SigAction {
            handler: handler as usize as u64,
            flags: (raw::SA_SIGINFO | raw::SA_ONSTACK | raw::SA_RESTART | raw::SA_RESTORER) as u64,
            restorer: myst_host_sigreturn as *const () as u64,
            mask,
        },
    );
}

/// Ignores a signal.
pub fn ignore_signal(signal: u32) {
    set_action(
        signal,
        &SigAction {
            handler: IGNORE,
            flags: 0,
            restorer: 0,
            mask: 0,
        },
    );
}

fn set_action(signal: u32, action: &SigAction) {
    // SAFETY: rt_sigaction reads a kernel sigaction at the pointer.
    unsafe {
        let args = [signal as u64, action as *const SigAction as u64, 0, 8, 0, 0];
        syscall(raw::__NR_rt_sigaction, args);
    }
}

/// The process ignores a signal.
pub fn is_ignored(signal: u32) -> bool {
    let mut action = SigAction {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    // SAFETY: rt_sigaction writes a kernel sigaction at the pointer.
    unsafe {
        let args = [signal as u64, 0, &raw mut action as u64, 8, 0, 0];
        syscall(raw::__NR_rt_sigaction, args);
    }
    action.handler == IGNORE
}

/// Sets the calling thread's alternate signal stack.
pub fn set_signal_stack(base: u64, size: u64) {
    let stack = [base, 0, size];
    // SAFETY: sigaltstack reads a stack_t: pointer, flags (with padding), size.
    unsafe {
        let args = [stack.as_ptr() as u64, 0, 0, 0, 0, 0];
        syscall(raw::__NR_sigaltstack, args);
    }
}

/// Starts a thread that shares everything with this one. The kernel clears `tid` when the thread is gone.
///
/// # Safety
///
/// `stack` is the end of a stack that nothing else uses until then, and `tid` lives as long.
pub unsafe fn start_thread(
    stack: u64,
    tid: &core::sync::atomic::AtomicU32,
    function: extern "C" fn(u64),
    argument: u64,
) -> i64 {
    let flags = raw::CLONE_VM
        | raw::CLONE_FS
        | raw::CLONE_FILES
        | raw::CLONE_SIGHAND
        | raw::CLONE_THREAD
        | raw::CLONE_SYSVSEM
        | raw::CLONE_CHILD_SETTID
        | raw::CLONE_CHILD_CLEARTID;
    let result: i64;
    // SAFETY: the stack is the caller's to give; the function never returns into this frame in the child. The
    // assembly uses R12 and R13, which are declared here.
    unsafe {
        asm!(
            "call {clone}",
            clone = sym myst_host_clone,
            inlateout("rdi") flags as u64 => _,
            inlateout("rsi") stack & !15 => _,
            inlateout("rdx") tid as *const _ as u64 => _,
            inlateout("rcx") function as usize as u64 => _,
            inlateout("r8") argument => _,
            lateout("rax") result,
            out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _,
        );
    }
    result
}

/// PR_SET_SYSCALL_USER_DISPATCH (prctl(2)).
const PR_SET_SYSCALL_USER_DISPATCH: u64 = 59;

/// From now on, a system call that this thread makes outside of `allowed` raises SIGSYS instead.
pub fn dispatch_system_calls(allowed: core::ops::Range<u64>) -> i64 {
    let size = allowed.end - allowed.start;
    // SAFETY: prctl with a range and no selector.
    unsafe {
        let args = [PR_SET_SYSCALL_USER_DISPATCH, 1, allowed.start, size, 0, 0];
        syscall(raw::__NR_prctl, args)
    }
}

/// XCR0: the extended state that the host kernel has enabled.
pub fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: XGETBV of XCR0 is legal where OSXSAVE is set, which FSGSBASE machines have.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Makes CPUID raise #GP in the calling thread, or work again; false where the processor cannot (arch_prctl(2)).
pub fn set_cpuid_faulting(fault: bool) -> bool {
    const ARCH_SET_CPUID: u64 = 0x1012;
    // SAFETY: takes two numbers.
    unsafe {
        let args = [ARCH_SET_CPUID, u64::from(!fault), 0, 0, 0, 0];
        syscall(raw::__NR_arch_prctl, args) == 0
    }
}

/// Makes RDTSC and RDTSCP raise #GP in the calling thread, or work again.
pub fn set_tsc_faulting(fault: bool) {
    let mode = if fault {
        raw_prctl::PR_TSC_SIGSEGV
    } else {
        raw_prctl::PR_TSC_ENABLE
    };
    // SAFETY: takes two numbers.
    unsafe {
        let args = [
            u64::from(raw_prctl::PR_SET_TSC),
            u64::from(mode),
            0,
            0,
            0,
            0,
        ];
        syscall(raw::__NR_prctl, args);
    }
}

/// Reads memory of this process that may not be there; how many bytes could be read.
pub fn read_own_memory(address: u64, to: &mut [u8]) -> usize {
    let local = [to.as_mut_ptr() as u64, to.len() as u64];
    let remote = [address, to.len() as u64];
    // SAFETY: process_vm_readv writes at most `to.len()` bytes to `to`.
    let read = unsafe {
        let pid = syscall(raw::__NR_getpid, [0; 6]) as u64;
        let args = [pid, local.as_ptr() as u64, 1, remote.as_ptr() as u64, 1, 0];
        syscall(raw::__NR_process_vm_readv, args)
    };
    usize::try_from(read).unwrap_or(0).min(to.len())
}

/// Blocks all signals of the calling thread for as long as it lives.
pub struct BlockedSignals(SignalSet);

impl BlockedSignals {
    /// Blocks them.
    pub fn all() -> BlockedSignals {
        let (all, mut before) = (u64::MAX, 0u64);
        // SAFETY: rt_sigprocmask(SIG_SETMASK) reads and writes eight bytes at the pointers.
        unsafe {
            let args = [
                raw::SIG_SETMASK as u64,
                &raw const all as u64,
                &raw mut before as u64,
                8,
                0,
                0,
            ];
            syscall(raw::__NR_rt_sigprocmask, args);
        }
        BlockedSignals(before)
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        set_signal_mask(self.0);
    }
}

/// The XSAVE area in a signal frame, in the standard format (Linux, asm/sigcontext.h).
///
/// # Safety
///
/// `context` is that of a signal handler, and the area is used by nobody else.
pub unsafe fn extended_state<'a>(context: *mut Context) -> &'a mut [u8] {
    const LEGACY: usize = 512;
    const SW_RESERVED: usize = 464;
    const MAGIC1: u32 = 0x4650_5853;
    // SAFETY: the caller's; the host kernel puts at least the legacy area there, and says how much more.
    unsafe {
        let area = (*context).registers.fpstate as *mut u8;
        let words = area.add(SW_RESERVED).cast::<[u32; 5]>().read_unaligned();
        let size = if words[0] == MAGIC1 {
            words[4] as usize
        } else {
            LEGACY
        };
        core::slice::from_raw_parts_mut(area, size)
    }
}

/// Clears RFLAGS.AC, which the host kernel leaves to signal handlers as the interrupted code had set it.
pub fn end_alignment_checks() {
    // SAFETY: changes one flag, which compiled code does not use.
    unsafe { asm!("pushfq", "and qword ptr [rsp], {}", "popfq", const !(1i32 << 18)) };
}

/// CS of 64-bit code in user mode (`__USER_CS`).
pub const USER_CS: u64 = 0x33;

/// Registers in a signal frame (`struct sigcontext`).
#[repr(C)]
#[allow(missing_docs)]
pub struct Registers {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub rflags: u64,
    pub segments: u64,
    pub error: u64,
    pub trap: u64,
    pub old_mask: u64,
    pub cr2: u64,
    pub fpstate: u64,
}

/// `struct ucontext`, as far as it is used.
#[repr(C)]
#[allow(missing_docs)]
pub struct Context {
    pub flags: u64,
    pub link: u64,
    pub stack: [u64; 3],
    pub registers: Registers,
}

/// Sets the FS and GS bases.
///
/// # Safety
///
/// FSGSBASE must be available. The launcher itself uses neither register.
pub unsafe fn set_segment_bases(fs: u64, gs: u64) {
    // SAFETY: the caller's.
    unsafe {
        asm!("wrfsbase {}", "wrgsbase {}", in(reg) fs, in(reg) gs, options(nostack, preserves_flags));
    }
}

/// The FS and GS bases.
pub fn segment_bases() -> (u64, u64) {
    let (fs, gs): (u64, u64);
    // SAFETY: reads registers; FSGSBASE is checked before any thread enters the kernel.
    unsafe {
        asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags));
    }
    (fs, gs)
}

/// The GS base.
pub fn gs_base() -> u64 {
    let base: u64;
    // SAFETY: reads a register; FSGSBASE is checked before any thread enters the kernel.
    unsafe { asm!("rdgsbase {}", out(reg) base, options(nostack, preserves_flags)) };
    base
}

/// The launcher's own code: the only place from which system calls reach the host kernel.
pub fn own_code() -> core::ops::Range<u64> {
    extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    // The linker's symbols; only their addresses are used.
    let start = &raw const __executable_start as u64;
    let end = &raw const etext as u64;
    start..end
}

fn timespec(nanoseconds: u64) -> [u64; 2] {
    [nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000]
}

/// Sleeps while `word` holds `value`; 0, or a negated errno.
pub fn futex_wait(
    word: &core::sync::atomic::AtomicU32,
    value: u32,
    timeout_ns: Option<u64>,
) -> i64 {
    let time = timespec(timeout_ns.unwrap_or(0));
    let time = timeout_ns.map_or(0, |_| time.as_ptr() as u64);
    // SAFETY: FUTEX_WAIT reads the word and the timespec. Not private: the host kernel's wake at the end of a thread
    // (CLONE_CHILD_CLEARTID) is not private either.
    unsafe {
        let args = [
            word.as_ptr() as u64,
            raw::FUTEX_WAIT as u64,
            value as u64,
            time,
            0,
            0,
        ];
        syscall(raw::__NR_futex, args)
    }
}

/// Wakes whoever sleeps on `word`.
pub fn futex_wake(word: &core::sync::atomic::AtomicU32) {
    // SAFETY: FUTEX_WAKE uses the address only.
    unsafe {
        let args = [
            word.as_ptr() as u64,
            raw::FUTEX_WAKE as u64,
            i32::MAX as u64,
            0,
            0,
            0,
        ];
        syscall(raw::__NR_futex, args);
    }
}

/// poll(2) over an array of `struct pollfd`; the number of ready ones, or a negated errno.
pub fn ppoll(fds: &mut [u8], timeout: Option<core::time::Duration>) -> i64 {
    let time = timespec(timeout.map_or(0, |t| t.as_nanos() as u64));
    let time = timeout.map_or(0, |_| time.as_ptr() as u64);
    let count = fds.len() as u64 / 8;
    // SAFETY: ppoll reads and writes `count` entries of eight bytes; no signal mask is given.
    unsafe {
        syscall(
            raw::__NR_ppoll,
            [fds.as_mut_ptr() as u64, count, time, 0, 8, 0],
        )
    }
}
