//! What a driver of enclaves does, and the call by which enclaves are entered.

use core::arch::asm;

use mystikos_abi::sgx::{SecInfo, Secs};
use mystikos_abi::PAGE_SIZE;
use rustix::mm::ProtFlags;

use crate::memory::Memory;
use crate::package::Package;
use crate::signals::Handlers;
use crate::threads::Left;
use crate::Result;

/// Bytes of a page.
pub const PAGE: usize = PAGE_SIZE as usize;

/// Where the content of pages comes from.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Pages of zeros, as many.
    Zeros(u64),
    /// Whole pages, page-aligned.
    Pages(&'a [u8]),
}

impl Content<'_> {
    /// Pages.
    pub fn page_count(self) -> u64 {
        match self {
            Content::Zeros(count) => count,
            Content::Pages(bytes) => bytes.len() as u64 / PAGE_SIZE,
        }
    }
}

/// A way to build an enclave and to run in it.
pub trait Driver: Sync {
    /// ECREATE, in an address range that is reserved.
    fn create(&mut self, memory: Memory, secs: &Secs) -> Result<()>;

    /// EADD of pages at an address, and EEXTEND of all their content when they are measured.
    fn add(
        &mut self,
        address: u64,
        secinfo: SecInfo,
        measured: bool,
        content: Content<'_>,
    ) -> Result<()>;

    /// EINIT, with the package's SIGSTRUCT.
    fn initialise(&mut self, package: &Package<'_>, memory: Memory) -> Result<()>;

    /// Maps pages with a protection, once the enclave is initialised.
    fn map(&mut self, address: u64, size: u64, protection: ProtFlags) -> Result<()>;

    /// Handlers for faults and interrupts.
    fn handlers(&self) -> Handlers;

    /// Settings of a host thread that is going to enter.
    fn prepare_thread(&self) {}

    /// Takes them back.
    fn release_thread(&self) {}

    /// The driver itself counts entries and exits ([`crate::stats`]).
    fn counts_entries(&self) -> bool {
        false
    }

    /// Address of a function with the calling convention of `__vdso_sgx_enter_enclave`.
    fn entry(&self) -> u64;

    /// Changes the protection of mapped pages.
    fn protect(&self, address: u64, size: u64, flags: ProtFlags) -> rustix::io::Result<()>;
}

/// `struct sgx_enclave_run` (Linux, asm/sgx.h).
#[repr(C)]
#[allow(missing_docs)]
pub struct Run {
    pub tcs: u64,
    pub function: u32,
    pub exception_vector: u16,
    pub exception_error_code: u16,
    pub exception_addr: u64,
    pub user_handler: u64,
    pub user_data: u64,
    pub reserved: [u8; 216],
}

const _: () = assert!(size_of::<Run>() == 256);

impl Run {
    /// For the thread of a TCS.
    pub fn new(tcs: u64) -> Run {
        Run {
            tcs,
            function: 0,
            exception_vector: 0,
            exception_error_code: 0,
            exception_addr: 0,
            user_handler: 0,
            user_data: 0,
            reserved: [0; 216],
        }
    }
}

/// Enters or resumes; `run` tells how the enclave was left, and the result what the kernel left with.
///
/// # Safety
///
/// `entry` is the address of such a function.
pub unsafe fn enter(entry: u64, function: u32, rdi: u64, rsi: u64, run: &mut Run) -> Left {
    let (reason, a, b);
    // SAFETY: the convention keeps RSP, RBP and RBX; everything else is declared clobbered. The seventh argument is on
    // the stack, which is aligned for the call.
    unsafe {
        asm!(
            "sub rsp, 8",
            "push r10",
            "call rax",
            "add rsp, 16",
            inlateout("rax") entry => _,
            inlateout("r10") run => _,
            inlateout("rdi") rdi => reason,
            inlateout("rsi") rsi => a,
            inlateout("rdx") 0u64 => b,
            inlateout("rcx") u64::from(function) => _,
            inlateout("r8") 0u64 => _,
            inlateout("r9") 0u64 => _,
            lateout("r11") _, lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
        );
    }
    Left { reason, a, b }
}
