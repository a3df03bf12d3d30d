//! The per-thread block, and the first words of its control page.
//!
//! GS base points at the control page while enclave code runs. Application code uses the words below through `gs:`
//! (binding stubs and the CRT image), so their offsets are part of the contract; what follows is the kernel's own.

use crate::PAGE_SIZE;

/// Pages of the TCS.
pub const TCS_PAGES: u64 = 1;
/// SSA frames per thread (TCS.NSSA).
pub const NSSA: u32 = 3;
/// SSAFRAMESIZE, pages.
pub const SSA_FRAME_PAGES: u32 = 1;
/// Control page and exception stack.
pub const THREAD_PAGES: u64 = 3;
/// Kernel stack.
pub const STACK_PAGES: u64 = 8;
/// A page that is never added, below each stack.
pub const HOLE_PAGES: u64 = 1;

/// Offset of the SSA in a block.
pub const SSA_OFFSET: u64 = TCS_PAGES * PAGE_SIZE;
/// Offset of the control page in a block.
pub const THREAD_OFFSET: u64 =
    SSA_OFFSET + (NSSA as u64 * SSA_FRAME_PAGES as u64 + HOLE_PAGES) * PAGE_SIZE;
/// Offset of the kernel stack's lowest byte in a block.
pub const STACK_OFFSET: u64 = THREAD_OFFSET + (THREAD_PAGES + HOLE_PAGES) * PAGE_SIZE;
/// Bytes from one block to the next.
pub const STRIDE: u64 = STACK_OFFSET + STACK_PAGES * PAGE_SIZE;

/// From the control page to the end of the exception stack.
pub const EXCEPTION_STACK_TOP: u64 = THREAD_PAGES * PAGE_SIZE;
/// From the control page to the end of the kernel stack.
pub const KERNEL_STACK_TOP: u64 = STRIDE - THREAD_OFFSET;

/// `gs:` offset of the syscall gate: jumped to with the return address in RCX, all else as at `syscall`.
pub const GS_GATE: usize = 8;
/// `gs:` offset of the host's `__vdso_clock_gettime`, 0 when the kernel must be asked.
pub const GS_CLOCK_GETTIME: usize = 16;
/// `gs:` offset of the host's `__vdso_gettimeofday`, or 0.
pub const GS_GETTIMEOFDAY: usize = 24;
/// `gs:` offset of the host's `__vdso_time`, or 0.
pub const GS_TIME: usize = 32;
/// `gs:` offset of the host's `__vdso_clock_getres`, or 0.
pub const GS_CLOCK_GETRES: usize = 40;

/// The `linux` target enters the kernel this many bytes after `e_entry`.
pub const LINUX_ENTRY_OFFSET: u64 = 16;
