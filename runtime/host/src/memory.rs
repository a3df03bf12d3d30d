//! The address range of the enclave, and memory of the launcher's own.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering};

use mystikos_abi::package::{kind, RegionRecord};
use mystikos_abi::sgx::{SECINFO_R, SECINFO_W, SECINFO_X};
use mystikos_abi::PAGE_SIZE;
use rustix::mm::{mmap_anonymous, mprotect, munmap, MapFlags, MprotectFlags, ProtFlags};

use crate::package::Package;
use crate::{fail, Failure, Result};

/// Mapped address range of the enclave.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Address of offset 0.
    pub base: u64,
    /// First address in use: `base`, or the first page of a zero-based enclave.
    pub start: u64,
    /// One past the last byte in use.
    pub end: u64,
}

// User memory and image window, for host calls that may change its pages: [start, end) twice.
static USER: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// The range lies in user memory or in the image window.
pub fn is_user(address: u64, size: u64) -> bool {
    let Some(end) = address.checked_add(size) else {
        return false;
    };
    let inside = |i: usize| {
        address >= USER[i].load(Ordering::Relaxed) && end <= USER[i + 1].load(Ordering::Relaxed)
    };
    inside(0) || inside(2)
}

/// The region holds user memory.
pub fn is_for_user(region: &RegionRecord) -> bool {
    matches!(region.kind, kind::USER | kind::EXEC_WINDOW)
}

/// Notes where user memory lies, for [`is_user`].
pub fn note_user(memory: Memory, package: &Package<'_>) {
    for region in package.regions.iter().filter(|r| is_for_user(r)) {
        let at = if region.kind == kind::USER { 0 } else { 2 };
        let address = memory.base + region.offset;
        USER[at].store(address, Ordering::Relaxed);
        USER[at + 1].store(address + region.page_count * PAGE_SIZE, Ordering::Relaxed);
    }
}

/// Page protections as SECINFO has them.
pub fn protection(secinfo: u64) -> ProtFlags {
    let mut flags = ProtFlags::empty();
    flags.set(ProtFlags::READ, secinfo & SECINFO_R != 0);
    flags.set(ProtFlags::WRITE, secinfo & SECINFO_W != 0);
    flags.set(ProtFlags::EXEC, secinfo & SECINFO_X != 0);
    flags
}

/// What a refusal of the host kernel is told as.
pub fn refused(what: &str, error: rustix::io::Errno) -> Failure {
    fail!("{what}: the host refuses (error {})", error.raw_os_error())
}

/// Reserves the address range, inaccessible: all that ECREATE takes, beyond the last region as well. Nothing of the host may
/// lie in it; the kernel refuses a host area there.
pub fn reserve(package: &Package<'_>) -> Result<Memory> {
    let size = package.header.enclave_size;
    let (first, last) = package.extent();
    if package.is_zero_based() {
        reserve_at(first, size)?;
        return Ok(Memory {
            base: 0,
            start: first,
            end: last,
        });
    }
    let asked = size
        .checked_mul(2)
        .ok_or_else(|| fail!("the enclave is too large to map"))?;
    let start = anonymous_with(asked, ProtFlags::empty())
        .map_err(|e| refused("the address range of the enclave", e))?;
    // ECREATE wants the base to be a multiple of the size; give back what is around.
    let base = start.next_multiple_of(size);
    let end = base + size;
    for (from, to) in [(start, base), (end, start + asked)] {
        if to > from {
            // SAFETY: part of the mapping just made, not used by anything.
            unsafe { munmap(from as *mut c_void, (to - from) as usize) }
                .map_err(|e| refused("the address range of the enclave", e))?;
        }
    }
    Ok(Memory {
        base,
        start: base,
        end: base + last,
    })
}

fn reserve_at(first: u64, end: u64) -> Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: a fresh mapping that replaces nothing (NOREPLACE).
    let mapped = unsafe {
        mmap_anonymous(
            first as *mut c_void,
            (end - first) as usize,
            ProtFlags::empty(),
            flags,
        )
    };
    match mapped {
        Ok(address) if address as u64 == first => Ok(()),
        Ok(_) | Err(rustix::io::Errno::EXIST) => Err(fail!(
            "this application needs the addresses {first:#x} to {end:#x}, which are in use"
        )),
        Err(e) => Err(refused("this application needs fixed low addresses", e)),
    }
}

/// Changes the protection of pages.
///
/// # Safety
///
/// The range belongs to the enclave's reserved memory, and the launcher's code relies on nothing in it.
pub unsafe fn protect(address: u64, size: u64, flags: ProtFlags) -> rustix::io::Result<()> {
    let mut flags = MprotectFlags::from_bits_truncate(flags.bits());
    // As on processors without protection keys, so that the kernel can look at the instruction that trapped.
    if flags.contains(MprotectFlags::EXEC) {
        flags |= MprotectFlags::READ;
    }
    // SAFETY: the caller's.
    unsafe { mprotect(address as *mut c_void, size as usize, flags) }
}

/// Fresh pages of zeros, readable and writable, for the launcher itself.
pub fn anonymous(size: usize) -> Result<u64> {
    anonymous_with(size as u64, ProtFlags::READ | ProtFlags::WRITE)
        .map_err(|e| refused("memory of the launcher", e))
}

fn anonymous_with(size: u64, protection: ProtFlags) -> rustix::io::Result<u64> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a fresh mapping where the host likes.
    unsafe { mmap_anonymous(core::ptr::null_mut(), size as usize, protection, flags) }
        .map(|address| address as u64)
}
