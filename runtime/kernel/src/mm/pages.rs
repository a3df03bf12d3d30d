//! What can be done to pages of user memory: permissions, zeros, copies.

use core::sync::atomic::{AtomicBool, Ordering};

use mystikos_platform::{host, user};

use super::vma::Prot;
use crate::{Errno, Result};

/// Pages of user memory. A page that was never given out, or was taken back by [`Pages::release`], is inaccessible as far
/// as the host allows; where [`Pages::are_zero`] holds it is zero too, elsewhere its content is whatever the host left
/// there.
pub trait Pages {
    /// Pages that are not in use read as zeros. No longer once the host has refused to make some so.
    fn are_zero(&self) -> bool;
    /// Sets the permissions of pages.
    fn protect(&self, start: u64, size: u64, prot: Prot) -> Result<()>;
    /// Makes pages readable and writable that are written as a whole next.
    fn open_to_fill(&self, start: u64, size: u64) -> Result<()> {
        self.protect(start, size, Prot::RW)
    }
    /// Makes pages zero whatever their permissions; only where [`Pages::are_zero`] holds.
    fn discard(&self, start: u64, size: u64) -> Result<()>;
    /// Writes zeros to writable pages.
    fn zero(&self, start: u64, size: u64) -> Result<()>;
    /// Copies from readable to writable pages; the ranges do not overlap.
    fn copy(&self, to: u64, from: u64, size: u64) -> Result<()>;

    /// Zeros whatever the permissions now, and `prot` afterwards. `used` tells that the pages may hold data.
    fn clear(&self, start: u64, size: u64, prot: Prot, used: bool) -> Result<()> {
        if self.are_zero() && (!used || self.discard(start, size).is_ok()) {
            if used || !prot.is_empty() {
                self.protect(start, size, prot)?;
            }
            return Ok(());
        }
        self.open_to_fill(start, size)?;
        self.zero(start, size)?;
        if prot.effective() != Prot::RW.effective() {
            self.protect(start, size, prot)?;
        }
        Ok(())
    }

    /// Takes pages back. A host that refuses cannot be made to: its pages stay accessible, and are cleared before they
    /// are given out again.
    fn release(&self, start: u64, size: u64) {
        if self.are_zero() {
            let _ = self.discard(start, size);
        }
        let _ = self.protect(start, size, Prot::empty());
    }
}

/// The real pages, by host calls and by the platform's copies.
pub struct HostPages {
    zero_pages: AtomicBool,
}

impl HostPages {
    /// With [`Pages::are_zero`] at first.
    pub fn new(zero_pages: bool) -> Self {
        HostPages {
            zero_pages: AtomicBool::new(zero_pages),
        }
    }
}

/// Whatever the host says: what mmap(2) and its like say of pages that are not to be had.
fn refused(_: Errno) -> Errno {
    Errno::ENOMEM
}

impl Pages for HostPages {
    fn are_zero(&self) -> bool {
        self.zero_pages.load(Ordering::Relaxed)
    }

    fn protect(&self, start: u64, size: u64, prot: Prot) -> Result<()> {
        host::protect(start, size, prot.effective()).map_err(refused)
    }

    fn open_to_fill(&self, start: u64, size: u64) -> Result<()> {
        host::protect_to_fill(start, size, Prot::RW.effective()).map_err(refused)
    }

    fn discard(&self, start: u64, size: u64) -> Result<()> {
        host::discard(start, size).map_err(|_| {
            self.zero_pages.store(false, Ordering::Relaxed);
            Errno::ENOMEM
        })
    }

    fn zero(&self, start: u64, size: u64) -> Result<()> {
        user::zero(start, size as usize)
    }

    fn copy(&self, to: u64, from: u64, size: u64) -> Result<()> {
        user::copy_within(to, from, size as usize)
    }
}
