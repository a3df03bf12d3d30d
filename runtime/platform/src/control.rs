//! The control page of a thread (GS base), and the application's registers kept in it.

use alloc::sync::Arc;
use core::arch::asm;
use core::marker::PhantomData;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering};

use mystikos_abi::block;

use crate::{fpu, memory};

/// The application's general registers and SSE registers while the kernel runs.
#[derive(Clone, Copy, Default)]
#[repr(C, align(16))]
#[allow(missing_docs)]
pub struct UserRegs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
    /// RAX at the entry of a system call, all ones when the thread did not come in by one.
    pub orig_rax: u64,
    pub reserved: u64,
    /// XMM0…XMM15. The kernel is built without AVX, so the upper halves stay in the registers.
    pub xmm: [[u64; 2]; 16],
}

/// First page of a thread area. The words up to `vdso` are fixed by [`mystikos_abi::block`].
#[repr(C)]
pub(crate) struct Control {
    pub this: u64,
    pub gate: u64,
    pub vdso: [u64; 4],
    pub host_rsp: u64,
    pub host_rbp: u64,
    pub host_return: u64,
    /// Kernel stack pointer of an outstanding host call; 0 when there is none.
    pub call_rsp: u64,
    /// Nonzero: run [`crate::Kernel::work`] before going back to the application.
    pub pending: AtomicU32,
    /// Nonzero: RCX, R11 and RFLAGS must be restored too on the way back.
    pub full: u32,
    pub fs_base: u64,
    pub area: u64,
    pub kernel_stack: u64,
    pub trap_vector: u64,
    pub trap_error: u64,
    pub trap_address: u64,
    pub alignment: u64,
    pub regs: UserRegs,
    pub current: Option<Arc<dyn core::any::Any + Send + Sync>>,
    /// Extended state during a host call (in an enclave only: it is the host's otherwise).
    pub extended: fpu::Area,
}

const _: () = assert!(core::mem::offset_of!(Control, gate) == block::GS_GATE);
const _: () = assert!(core::mem::offset_of!(Control, vdso) == block::GS_CLOCK_GETTIME);
const _: () = assert!(core::mem::offset_of!(Control, regs) % 16 == 0);
const _: () = assert!(core::mem::size_of::<Control>() <= 4096);

/// The calling thread's control page.
pub(crate) fn this() -> *mut Control {
    let address: *mut Control;
    // SAFETY: GS base points at this thread's control page whenever kernel code runs, and its first word is its own
    // address, written at the thread's first entry.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) address, options(nostack, preserves_flags, readonly));
    }
    address
}

/// The control page of a slot.
fn of_slot(slot: usize) -> *const Control {
    let layout = memory::layout();
    assert!(slot < layout.block_count, "thread slot {slot} out of range");
    (layout.blocks + slot * layout.block_stride + layout.block_thread) as *const Control
}

/// Number of the calling thread's block.
pub fn slot() -> usize {
    let layout = memory::layout();
    (this() as usize - layout.blocks - layout.block_thread) / layout.block_stride
}

/// A copy of the application's registers of the calling thread.
pub fn regs() -> UserRegs {
    // SAFETY: only the owning thread touches its registers.
    unsafe { (*this()).regs }
}

/// The application's registers of the calling thread, to change in place.
pub fn with_regs<R>(change: impl FnOnce(&mut UserRegs) -> R) -> R {
    // SAFETY: only the owning thread touches its registers, and the closure cannot re-enter: this module hands out no
    // second reference while it runs (`regs` and `set_regs` copy).
    unsafe { change(&mut (*this()).regs) }
}

/// Replaces all registers of the application; every one of them is restored on the way back.
pub fn set_regs(regs: &UserRegs) {
    // SAFETY: as in `with_regs`.
    unsafe {
        (*this()).regs = *regs;
        (*this()).full = 1;
    }
}

/// RCX, R11 and RFLAGS are to be restored too on the way back (they are not after a plain system call).
pub fn restore_all() {
    // SAFETY: only the owning thread touches the field.
    unsafe { (*this()).full = 1 }
}

/// Number and arguments of the system call being made.
pub fn system_call() -> (u64, [u64; 6]) {
    with_regs(|r| (r.orig_rax, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]))
}

/// The result of the system call being made.
pub fn set_result(value: u64) {
    with_regs(|r| r.rax = value);
}

/// The application's FS base: what the register holds, which the application can set without the kernel.
pub fn fs_base() -> u64 {
    let base: u64;
    // SAFETY: reading FS base; FSGSBASE is a condition of running at all.
    unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// Sets the application's FS base. The caller has checked that it is canonical.
pub fn set_fs_base(base: u64) {
    // SAFETY: FSGSBASE is a condition of running at all (the launcher checks it); kernel code does not use FS. The
    // address was checked to be canonical, so WRFSBASE does not fault.
    unsafe {
        (*this()).fs_base = base;
        asm!("wrfsbase {}", in(reg) base, options(nostack, preserves_flags));
    }
}

/// Makes a thread run [`crate::Kernel::work`] before it returns to the application.
pub fn set_pending(slot: usize) {
    // SAFETY: `of_slot` is in range and the field is atomic.
    unsafe { (*of_slot(slot)).pending.store(1, Ordering::SeqCst) }
}

/// As [`set_pending`], for the calling thread.
pub(crate) fn set_own_pending() {
    // SAFETY: `this` is valid and the field is atomic.
    unsafe { (*this()).pending.store(1, Ordering::SeqCst) }
}

/// Takes back [`set_pending`] for the calling thread; done before looking at what is pending.
pub fn clear_pending() {
    // SAFETY: `this` is valid and the field is atomic.
    unsafe { (*this()).pending.store(0, Ordering::SeqCst) }
}

/// Something is pending for the calling thread.
pub fn is_pending() -> bool {
    // SAFETY: `this` is valid and the field is atomic.
    unsafe { (*this()).pending.load(Ordering::SeqCst) != 0 }
}

/// Sets what [`current`] finds in this thread.
pub fn set_current<T: core::any::Any + Send + Sync>(value: Arc<T>) {
    // SAFETY: only the owning thread touches the field; a fresh control page is zero, which is `None`.
    unsafe { (*this()).current = Some(value) }
}

/// Drops what [`set_current`] set; the thread is about to end and does not call [`current`] again.
pub fn clear_current() {
    // SAFETY: as in `set_current`.
    unsafe { (*this()).current = None }
}

/// The value of [`set_current`], for as long as the calling thread lives.
pub struct Current<T: 'static>(&'static T, PhantomData<*const ()>);

impl<T> Deref for Current<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0
    }
}

/// What this thread's [`set_current`] set; panics before that, or for another type.
pub fn current<T: core::any::Any + Send + Sync>() -> Current<T> {
    // SAFETY: only the owning thread touches the field. The reference lives as long as the Arc in the control page,
    // which is dropped only by `clear_current` at the end of the thread; `Current` cannot be sent to another thread.
    let value = unsafe { (*this()).current.as_deref() };
    let value = value.and_then(|v| v.downcast_ref::<T>());
    Current(
        value.expect("a thread without its kernel object"),
        PhantomData,
    )
}

/// Sets the `gs:` words with the host's vDSO functions (clock_gettime, gettimeofday, time, clock_getres).
pub fn set_vdso(functions: [u64; 4]) {
    // SAFETY: only the owning thread writes the field.
    unsafe { (*this()).vdso = functions }
}
