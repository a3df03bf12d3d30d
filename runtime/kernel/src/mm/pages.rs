//! What can be done to pages of user memory: permissions, zeros, copies.

use mystikos_platform::{host, user};

use super::vma::Prot;
use crate::Result;

/// Pages of user memory. A page that was never given out, or was taken back by [`Pages::release`], is inaccessible;
/// where [`Pages::are_zero`] holds it is zero too, elsewhere its content is whatever the host left there.
pub trait Pages {
    /// Pages that are not in use read as zeros.
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
        if self.are_zero() {
            if used {
                self.discard(start, size)?;
            }
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

    /// Takes pages back.
    fn release(&self, start: u64, size: u64) -> Result<()> {
        if self.are_zero() {
            self.discard(start, size)?;
        }
        self.protect(start, size, Prot::empty())
    }
}

/// The real pages, by host calls and by the platform's copies.
pub struct HostPages {
    /// [`Pages::are_zero`].
    pub zero_pages: bool,
}

impl Pages for HostPages {
    fn are_zero(&self) -> bool {
        self.zero_pages
    }

    fn protect(&self, start: u64, size: u64, prot: Prot) -> Result<()> {
        host::protect(start, size, prot.effective())
    }

    fn open_to_fill(&self, start: u64, size: u64) -> Result<()> {
        host::protect_to_fill(start, size, Prot::RW.effective())
    }

    fn discard(&self, start: u64, size: u64) -> Result<()> {
        host::discard(start, size)
    }

    fn zero(&self, start: u64, size: u64) -> Result<()> {
        user::zero(start, size as usize)
    }

    fn copy(&self, to: u64, from: u64, size: u64) -> Result<()> {
        user::copy_within(to, from, size as usize)
    }
}
