//! The `linux` target: the kernel runs in a plain process, and the launcher plays the processor.
//!
//! * [`map`]: memory straight from the package file.
//! * [`exits`]: faults and interrupts.

pub mod exits;
pub mod map;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering};

use mystikos_abi::block;
use mystikos_abi::package::RegionRecord;
use rustix::mm::ProtFlags;

use crate::memory::{self, Memory};
use crate::package::Package;
use crate::signals::Handlers;
use crate::threads::{Left, Seat, Target};
use crate::{failure, stats, sys, Result};

/// Where this target enters the kernel; one enclave a process.
static ENTRY: AtomicU64 = AtomicU64::new(0);

/// What this target needs to know of the enclave.
struct Linux {
    memory: Memory,
    /// Address of the config region (FS base at the first entry).
    config: u64,
    /// Regions of each thread block.
    blocks: Vec<Vec<RegionRecord>>,
}

/// The target for a package that [`map::map`] has mapped.
pub fn target(package: &Package<'_>, memory: Memory, tcs: &[&RegionRecord]) -> Box<dyn Target> {
    let entry = memory.base + tcs[0].oentry + block::LINUX_ENTRY_OFFSET;
    ENTRY.store(entry, Ordering::Relaxed);
    let regions_of = |tcs: &&RegionRecord| {
        let inside = tcs.offset..tcs.offset + block::STRIDE;
        package
            .regions
            .iter()
            .filter(|r| inside.contains(&r.offset))
            .copied()
            .collect()
    };
    Box::new(Linux {
        memory,
        config: memory.base + tcs[0].ofsbase,
        blocks: tcs.iter().map(regions_of).collect(),
    })
}

impl Target for Linux {
    fn is_plain(&self) -> bool {
        true
    }

    fn handlers(&self) -> Handlers {
        exits::HANDLERS
    }

    fn prepare_block(&self, slot: usize) -> Result<()> {
        map::map_block(self.memory.base, &self.blocks[slot])
    }

    fn run_thread(&self, seat: &Seat) {
        dispatch_system_calls();
        // SAFETY: FSGSBASE was checked; the launcher uses neither base.
        unsafe { sys::set_segment_bases(self.config, seat.tcs + block::THREAD_OFFSET) };
        loop {
            // SAFETY: the block is prepared and this is the only host thread in it.
            let left = unsafe { enter(seat.tcs, 0, seat.start, seat.shown_area) };
            if !stats::timed(|| seat.serve(left)) {
                break;
            }
        }
        // SAFETY: as above.
        unsafe { sys::set_segment_bases(0, 0) };
    }

    fn protect(&self, address: u64, size: u64, flags: ProtFlags) -> rustix::io::Result<()> {
        // SAFETY: the caller asks for user memory, which the launcher does not use.
        unsafe { memory::protect(address, size, flags) }
    }

    fn discard(&self, address: u64, size: u64) -> rustix::io::Result<()> {
        let advice = rustix::mm::Advice::LinuxDontNeed;
        // SAFETY: as above; it is private anonymous memory, so it reads as zeros.
        unsafe { rustix::mm::madvise(address as *mut c_void, size as usize, advice) }
    }
}

/// From now on, the calling thread's system calls raise SIGSYS unless the launcher makes them.
pub fn dispatch_system_calls() {
    if sys::dispatch_system_calls(sys::own_code()) < 0 {
        failure::say(format_args!(
            "this kernel has no Syscall User Dispatch (Linux 5.11 or newer has it), so system calls of the application could escape"
        ));
        sys::exit_group(failure::EXIT_STATUS);
    }
}

/// Enters the kernel as EENTER would: RAX = CSSA, RBX = TCS, RCX = where to come back to.
///
/// # Safety
///
/// The block is prepared, GS base is its control page, and with `cssa` 0 no other host thread is in it.
unsafe fn enter(tcs: u64, cssa: u64, rdi: u64, rsi: u64) -> Left {
    let (reason, a, b);
    // SAFETY: the kernel comes back with RSP and RBP as they were; all other registers are declared clobbered.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "sub rsp, 8",
            "mov rbx, r8",
            "lea rcx, [rip + 2f]",
            "jmp r9",
            "2: cld",
            "add rsp, 8",
            "pop rbp",
            "pop rbx",
            inlateout("rax") cssa => _,
            inlateout("r8") tcs => _,
            inlateout("r9") ENTRY.load(Ordering::Relaxed) => _,
            inlateout("rdi") rdi => reason,
            inlateout("rsi") rsi => a,
            lateout("rdx") b,
            lateout("rcx") _, lateout("r10") _, lateout("r11") _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            lateout("xmm0") _, lateout("xmm1") _, lateout("xmm2") _, lateout("xmm3") _,
            lateout("xmm4") _, lateout("xmm5") _, lateout("xmm6") _, lateout("xmm7") _,
            lateout("xmm8") _, lateout("xmm9") _, lateout("xmm10") _, lateout("xmm11") _,
            lateout("xmm12") _, lateout("xmm13") _, lateout("xmm14") _, lateout("xmm15") _,
        );
    }
    Left { reason, a, b }
}
