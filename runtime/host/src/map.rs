//! The enclave's memory on the `linux` target: regions mapped straight from the package file, nothing copied.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering};

use mystikos_abi::package::{kind, RegionRecord, SOURCE_SECTION};
use mystikos_abi::sgx::{SECINFO_R, SECINFO_W, SECINFO_X};
use mystikos_abi::PAGE_SIZE;
use rustix::fd::BorrowedFd;
use rustix::mm::{mmap, mmap_anonymous, mprotect, munmap, MapFlags, MprotectFlags, ProtFlags};

use crate::package::Package;
use crate::{fail, Result};

/// Mapped address range of the enclave.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Address of offset 0.
    pub base: u64,
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

/// Reserves the address range and maps what the kernel needs at once. Thread blocks come with their threads
/// ([`map_block`]); user memory stays inaccessible until the kernel asks for it.
pub fn map(package: &Package<'_>, file: BorrowedFd<'_>) -> Result<Memory> {
    let memory = reserve(package)?;
    for region in &package.regions {
        let address = memory.base + region.offset;
        let size = region.page_count * PAGE_SIZE;
        match region.kind {
            kind::TCS | kind::SSA | kind::THREAD | kind::STACK => {}
            kind::USER | kind::EXEC_WINDOW => {
                let at = if region.kind == kind::USER { 0 } else { 2 };
                USER[at].store(address, Ordering::Relaxed);
                USER[at + 1].store(address + size, Ordering::Relaxed);
            }
            _ if region.source == SOURCE_SECTION => map_content(package, region, address, file)?,
            _ => protect(address, size, protection(region))?,
        }
    }
    Ok(memory)
}

fn protection(region: &RegionRecord) -> ProtFlags {
    let mut flags = ProtFlags::empty();
    flags.set(ProtFlags::READ, region.secinfo & SECINFO_R != 0);
    flags.set(ProtFlags::WRITE, region.secinfo & SECINFO_W != 0);
    flags.set(ProtFlags::EXEC, region.secinfo & SECINFO_X != 0);
    flags
}

fn no_memory(what: &str, error: rustix::io::Errno) -> crate::Failure {
    fail!("{what}: the host refuses (error {})", error.raw_os_error())
}

fn reserve(package: &Package<'_>) -> Result<Memory> {
    let (first, last) = package.extent();
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    if package.is_zero_based() {
        // SAFETY: a fresh mapping that replaces nothing (NOREPLACE).
        let mapped = unsafe {
            mmap_anonymous(
                first as *mut c_void,
                (last - first) as usize,
                ProtFlags::empty(),
                flags | MapFlags::FIXED_NOREPLACE,
            )
        };
        let address =
            mapped.map_err(|e| no_memory("this application needs fixed low addresses", e))?;
        if address as u64 != first {
            return Err(fail!(
                "this application needs the addresses {first:#x} to {last:#x}, which are in use"
            ));
        }
        return Ok(Memory { base: 0, end: last });
    }
    let size = package.header.enclave_size;
    let asked = size
        .checked_mul(2)
        .ok_or_else(|| fail!("the enclave is too large to map"))?;
    // SAFETY: a fresh mapping where the host likes.
    let mapped = unsafe {
        mmap_anonymous(
            core::ptr::null_mut(),
            asked as usize,
            ProtFlags::empty(),
            flags,
        )
    };
    let start = mapped.map_err(|e| no_memory("the address range of the enclave", e))? as u64;
    // ECREATE wants the base to be a multiple of the size; give back what is around.
    let base = start.next_multiple_of(size);
    let end = base + last.next_multiple_of(PAGE_SIZE);
    for (from, to) in [(start, base), (end, start + asked)] {
        if to > from {
            // SAFETY: part of the mapping just made, not used by anything.
            unsafe { munmap(from as *mut c_void, (to - from) as usize) }
                .map_err(|e| no_memory("the address range of the enclave", e))?;
        }
    }
    Ok(Memory { base, end })
}

fn map_content(
    package: &Package<'_>,
    region: &RegionRecord,
    address: u64,
    file: BorrowedFd<'_>,
) -> Result<()> {
    let (offset, content) = package.source(region);
    let size = (region.page_count * PAGE_SIZE) as usize;
    let protection = protection(region);
    let partial = content % PAGE_SIZE as usize != 0;
    let first = if partial {
        ProtFlags::READ | ProtFlags::WRITE
    } else {
        protection
    };
    let what = "mapping the package file";
    // SAFETY: the address range is ours (reserved), private, and replaced as a whole.
    unsafe {
        mmap(
            address as *mut c_void,
            size,
            first,
            MapFlags::PRIVATE | MapFlags::FIXED,
            file,
            offset as u64,
        )
    }
    .map_err(|e| no_memory(what, e))?;
    if partial {
        // What follows the content in the file is not part of the region: its last page ends in zeros.
        // SAFETY: the tail lies in the page just mapped, writable and private.
        unsafe {
            core::ptr::write_bytes((address as usize + content) as *mut u8, 0, size - content)
        };
        protect(address, size as u64, protection)?;
    }
    Ok(())
}

fn protect(address: u64, size: u64, flags: ProtFlags) -> Result<()> {
    let flags = MprotectFlags::from_bits_truncate(flags.bits());
    // SAFETY: the range belongs to the enclave's reserved memory.
    unsafe { mprotect(address as *mut c_void, size as usize, flags) }
        .map_err(|e| no_memory("memory of the kernel", e))
}

/// Makes one thread block accessible: everything in it but its TCS, which only the processor uses.
pub fn map_block(base: u64, regions: &[RegionRecord]) -> Result<()> {
    regions
        .iter()
        .filter(|r| matches!(r.kind, kind::SSA | kind::THREAD | kind::STACK))
        .try_for_each(|r| protect(base + r.offset, r.page_count * PAGE_SIZE, protection(r)))
}

/// The memory of a region that comes from a section: mapped, whole pages.
///
/// # Safety
///
/// `memory` is what [`map`] returned for the package that the region belongs to, and nothing unmaps it meanwhile.
pub unsafe fn content<'m>(memory: Memory, region: &RegionRecord) -> &'m [u8] {
    let size = (region.page_count * PAGE_SIZE) as usize;
    // SAFETY: mapped by `map` for as long as the process lives (the caller's promise); readable, since `Package::parse`
    // refuses a measured region without R.
    unsafe { core::slice::from_raw_parts((memory.base + region.offset) as *const u8, size) }
}
