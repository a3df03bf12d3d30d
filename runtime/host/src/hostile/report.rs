//! Counts, kept in a file that is mapped shared, so that they outlive the process however it ends; and the comparison of
//! measured memory with the package.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use mystikos_abi::package::{RegionRecord, SOURCE_SECTION};
use mystikos_abi::sgx::SECINFO_W;
use mystikos_abi::PAGE_SIZE;
use rustix::fs::{Mode, OFlags};
use rustix::mm::{mmap, MapFlags, ProtFlags};

use crate::memory::Memory;
use crate::package::Package;
use crate::{fail, Result};

/// Words for each table by host call number; higher numbers are counted as the last.
pub const NUMBERS: usize = 64;

/// The file.
#[repr(C)]
pub struct Counts {
    /// Host calls, by number. Number 0 stands for requests that the racing thread overwrote.
    pub calls: [AtomicU64; NUMBERS],
    /// Replies that were changed, by number.
    pub changed: [AtomicU64; NUMBERS],
    /// Calls during which another thread wrote to the host area.
    pub races: AtomicU64,
    /// Interrupts for no reason.
    pub interrupts: AtomicU64,
    /// Entries that nobody asked for.
    pub visits: AtomicU64,
    /// Threads that the kernel did not get, since a visitor was in the slot.
    pub visited: AtomicU64,
    /// Exception entries that were made again.
    pub repeats: AtomicU64,
    /// Exceptions that the kernel was not told of at first.
    pub untold: AtomicU64,
    /// Measured pages compared.
    pub compared: AtomicU64,
    /// Measured pages that had changed.
    pub damaged: AtomicU64,
}

static COUNTS: AtomicPtr<Counts> = AtomicPtr::new(core::ptr::null_mut());
static MEASURED: AtomicPtr<Vec<(&'static [u8], &'static [u8])>> =
    AtomicPtr::new(core::ptr::null_mut());

/// The counts.
pub fn counts() -> &'static Counts {
    let counts = COUNTS.load(Ordering::Acquire);
    // SAFETY: what `init` has mapped for ever; it is called before anything counts.
    unsafe { &*counts }
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The counter of a host call number in a table.
pub fn of(table: &'static [AtomicU64; NUMBERS], number: u64) -> &'static AtomicU64 {
    &table[(number as usize).min(NUMBERS - 1)]
}

/// Maps the file, which has at least a page; without one, the counts are the process's own.
pub fn init(path: &[u8]) -> Result<()> {
    const SIZE: usize = PAGE_SIZE as usize;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let mapped = if path.is_empty() {
        // SAFETY: a fresh mapping.
        unsafe {
            rustix::mm::mmap_anonymous(core::ptr::null_mut(), SIZE, protection, MapFlags::PRIVATE)
        }
    } else {
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        // SAFETY: a fresh mapping of the file.
        file.and_then(|file| unsafe {
            mmap(
                core::ptr::null_mut(),
                SIZE,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )
        })
    };
    let mapped = mapped.map_err(|e| fail!("the report: error {}", e.raw_os_error()))?;
    COUNTS.store(mapped.cast(), Ordering::Release);
    Ok(())
}

const _: () = assert!(size_of::<Counts>() <= PAGE_SIZE as usize);

/// Notes what is measured and never written: where it lies, and its bytes in the file.
pub fn note_measured(package: &Package<'_>, file: &'static [u8], memory: Memory) {
    let read_only =
        |region: &&RegionRecord| region.source == SOURCE_SECTION && region.secinfo & SECINFO_W == 0;
    let pair = |region| {
        let (offset, size) = package.source(region);
        // SAFETY: the region was just mapped, and stays.
        let mapped = unsafe { crate::linux::map::content(memory, region) };
        (&mapped[..size], &file[offset..offset + size])
    };
    let measured: Vec<_> = package.regions.iter().filter(read_only).map(pair).collect();
    MEASURED.store(Box::leak(Box::new(measured)), Ordering::Release);
}

/// Compares measured memory with the file; when the kernel has ended, by whatever way.
pub fn compare() {
    // SAFETY: null or what `note_measured` has leaked.
    let Some(measured) = (unsafe { MEASURED.load(Ordering::Acquire).as_ref() }) else {
        return;
    };
    let counts = counts();
    for (mapped, stored) in measured {
        for (now, then) in mapped
            .chunks(PAGE_SIZE as usize)
            .zip(stored.chunks(PAGE_SIZE as usize))
        {
            count(&counts.compared);
            if now != then {
                count(&counts.damaged);
            }
        }
    }
}
