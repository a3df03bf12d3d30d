//! The enclave's memory on the `linux` target: regions mapped straight from the package file, nothing copied.

use core::ffi::c_void;

use mystikos_abi::package::{kind, RegionRecord, SOURCE_SECTION};
use mystikos_abi::PAGE_SIZE;
use rustix::fd::BorrowedFd;
use rustix::mm::{mmap, MapFlags, ProtFlags};

use crate::memory::{self, protection, refused, Memory};
use crate::package::Package;
use crate::Result;

/// Reserves the address range and maps what the kernel needs at once. Thread blocks come with their threads
/// ([`map_block`]); user memory stays inaccessible until the kernel asks for it.
pub fn map(package: &Package<'_>, file: BorrowedFd<'_>) -> Result<Memory> {
    let memory = memory::reserve(package)?;
    memory::note_user(memory, package);
    for region in &package.regions {
        let address = memory.base + region.offset;
        match region.kind {
            kind::TCS | kind::SSA | kind::THREAD | kind::STACK => {}
            _ if memory::is_for_user(region) => {}
            _ if region.source == SOURCE_SECTION => map_content(package, region, address, file)?,
            _ => protect(address, region)?,
        }
    }
    Ok(memory)
}

fn map_content(
    package: &Package<'_>,
    region: &RegionRecord,
    address: u64,
    file: BorrowedFd<'_>,
) -> Result<()> {
    let (offset, content) = package.source(region);
    let size = (region.page_count * PAGE_SIZE) as usize;
    let partial = content % PAGE_SIZE as usize != 0;
    let first = if partial {
        ProtFlags::READ | ProtFlags::WRITE
    } else {
        protection(region.secinfo)
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
    .map_err(|e| refused(what, e))?;
    if partial {
        // What follows the content in the file is not part of the region: its last page ends in zeros.
        // SAFETY: the tail lies in the page just mapped, writable and private.
        unsafe {
            core::ptr::write_bytes((address as usize + content) as *mut u8, 0, size - content)
        };
        protect(address, region)?;
    }
    Ok(())
}

fn protect(address: u64, region: &RegionRecord) -> Result<()> {
    let flags = protection(region.secinfo);
    // SAFETY: the range belongs to the enclave's reserved memory.
    unsafe { memory::protect(address, region.page_count * PAGE_SIZE, flags) }
        .map_err(|e| refused("memory of the kernel", e))
}

/// Makes one thread block accessible: everything in it but its TCS, which only the processor uses.
pub fn map_block(base: u64, regions: &[RegionRecord]) -> Result<()> {
    regions
        .iter()
        .filter(|r| matches!(r.kind, kind::SSA | kind::THREAD | kind::STACK))
        .try_for_each(|r| protect(base + r.offset, r))
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
