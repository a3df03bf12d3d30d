//! Shared mappings of files: windows, which are the file's storage for a range as long as they are mapped.
//!
//! The file reads and writes the range through its window ([`SharedRange`]), so read(2) and write(2) agree with what the
//! application stores. One page of memory cannot be at two addresses, so a page of a file has one window as soon as
//! anything may be written through it; a second request for a range that a window shows shares that window.
//!
//! Lock order: a file's own lock, then the address space. Nothing here is called with the address space locked.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use mystikos_platform::user;

use super::lock::lock;
use super::pages::Pages;
use super::space::{page_down, PAGE};
use super::vma::{Prot, State, Vma};
use crate::fs::file::{OpenFile, SharedRange};
use crate::{Errno, Result};

/// Which file, whatever name it was opened by: device and inode number.
pub type FileId = (u64, u64);

/// Pages of user memory that show a range of a file.
#[derive(Debug)]
pub struct Window {
    file: FileId,
    address: u64,
    offset: u64,
    size: u64,
    // Calls of mmap(2) that were given this window and have not been undone.
    uses: AtomicUsize,
}

impl Window {
    /// A window of one user.
    pub fn new(file: FileId, address: u64, offset: u64, size: u64) -> Arc<Window> {
        Arc::new(Window {
            file,
            address,
            offset,
            size,
            uses: AtomicUsize::new(1),
        })
    }

    /// Where it is.
    pub fn addresses(&self) -> Range<u64> {
        self.address..self.address + self.size
    }

    fn shows(&self) -> Range<u64> {
        self.offset..self.offset + self.size
    }

    /// One user less; tells whether others are left.
    fn release(&self) -> bool {
        let last = self
            .uses
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |uses| {
                (uses > 1).then(|| uses - 1)
            });
        last.is_ok()
    }

    /// What is left of the window outside of some addresses.
    fn outside(&self, gone: &Range<u64>) -> Vec<Arc<Window>> {
        let own = self.addresses();
        let parts = [
            own.start..gone.start.min(own.end),
            gone.end.max(own.start)..own.end,
        ];
        let part = |range: Range<u64>| {
            let offset = self.offset + (range.start - own.start);
            let part = Window {
                file: self.file,
                address: range.start,
                offset,
                size: range.end - range.start,
                uses: AtomicUsize::new(self.uses.load(Ordering::Acquire)),
            };
            Arc::new(part)
        };
        let some = parts.into_iter().filter(|r| r.start < r.end);
        some.map(part).collect()
    }

    // Does something with a part of the window while its pages are open, whatever the application made of them.
    fn open<R>(
        &self,
        offset: u64,
        size: usize,
        wanted: Prot,
        act: impl FnOnce(u64) -> Result<R>,
    ) -> Result<R> {
        let at = self.address + (offset - self.offset);
        let first = page_down(at);
        let pages = (at + size as u64).next_multiple_of(PAGE) - first;
        let space = lock();
        let mut closed: Vec<(Range<u64>, Prot)> = Vec::new();
        for (start, vma) in space.vmas().touching(first..first + pages) {
            let effective = Prot::from_bits_truncate(vma.prot.effective() as u8);
            if !effective.contains(wanted) {
                let part = start.max(first)..vma.end.min(first + pages);
                closed.push((part, vma.prot));
            }
        }
        for (part, _) in &closed {
            space
                .pages()
                .protect(part.start, part.end - part.start, Prot::RW)?;
        }
        let result = act(at);
        for (part, prot) in &closed {
            space
                .pages()
                .protect(part.start, part.end - part.start, *prot)?;
        }
        result
    }
}

impl SharedRange for Window {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        self.open(offset, to.len(), Prot::READ, |at| user::copy_in(at, to))
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.open(offset, from.len(), Prot::WRITE, |at| {
            user::copy_out(at, from)
        })
    }
}

/// A window that shows a range of the file already, which then has one more user. EOPNOTSUPP when the range overlaps one
/// without lying in it, or lies elsewhere than it must, and either side may write.
pub fn share(
    file: FileId,
    range: &Range<u64>,
    prot: Prot,
    must: Option<u64>,
) -> Result<Option<u64>> {
    let space = lock();
    let write = prot.contains(Prot::WRITE);
    for (_, vma) in space.vmas().iter() {
        let Some(window) = vma.backing.as_ref().and_then(|b| b.window.as_ref()) else {
            continue;
        };
        let shows = window.shows();
        let overlap = shows.start < range.end && range.start < shows.end;
        let writes = write || vma.prot.contains(Prot::WRITE);
        if window.file != file || !overlap || !writes {
            continue;
        }
        let at = window.address + (range.start.wrapping_sub(window.offset));
        let inside = shows.start <= range.start && range.end <= shows.end;
        let fits = inside && vma.prot.contains(prot) && must.is_none_or(|must| must == at);
        return match fits {
            true => {
                window.uses.fetch_add(1, Ordering::AcqRel);
                Ok(Some(at))
            }
            false => Err(Errno::EOPNOTSUPP),
        };
    }
    Ok(None)
}

// The windows in a range, each with the file to tell.
fn windows(range: &Range<u64>) -> Vec<(Arc<OpenFile>, Arc<Window>)> {
    let mut found: Vec<(Arc<OpenFile>, Arc<Window>)> = Vec::new();
    for (_, vma) in lock().vmas().touching(range.clone()) {
        let backing = vma.backing.as_ref();
        if let Some((file, window)) = backing.and_then(|b| Some((&b.file, b.window.as_ref()?))) {
            if !found.iter().any(|(_, other)| Arc::ptr_eq(other, window)) {
                found.push((file.clone(), window.clone()));
            }
        }
    }
    found
}

/// A range is about to be unmapped or replaced: the files take back what its windows hold. With `may_keep`, false tells
/// that the range is a window with other users, so that nothing is to be unmapped.
pub fn close(range: &Range<u64>, may_keep: bool) -> Result<bool> {
    let found = windows(range);
    if let [(_, window)] = &found[..] {
        let own = window.addresses();
        let inside = own.start <= range.start && range.end <= own.end;
        if may_keep && inside && window.release() {
            return Ok(false);
        }
    }
    for (file, window) in found {
        let left = window.outside(range);
        let old: Arc<dyn SharedRange> = window;
        file.file.unmap_shared(&old)?;
        for part in left {
            file.file.map_shared(part.clone())?;
            let addresses = part.addresses();
            lock().set_window(addresses, &part);
        }
    }
    Ok(true)
}

/// The mapping may become writable: no other window shows its pages.
pub fn may_write(part: &Range<u64>, vma: &Vma) -> bool {
    let Some(window) = vma.backing.as_ref().and_then(|b| b.window.as_ref()) else {
        return true;
    };
    let offset = window.offset + (part.start - window.address);
    let shows = offset..offset + (part.end - part.start);
    let conflicts = |other: &Vma| {
        let other = other.backing.as_ref().and_then(|b| b.window.as_ref());
        other.is_some_and(|other| {
            let range = other.shows();
            other.file == window.file
                && other.address != window.address
                && range.start < shows.end
                && shows.start < range.end
        })
    };
    let conflict = lock().vmas().iter().any(|(_, other)| conflicts(other));
    !conflict || vma.state.contains(State::READ_ONLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_in_a_window_leaves_two() {
        let window = Window::new((1, 2), 0x10000, 0x2000, 0x4000);
        let parts = |gone: Range<u64>| -> Vec<(u64, u64, u64)> {
            let left = window.outside(&gone);
            left.iter().map(|w| (w.address, w.offset, w.size)).collect()
        };
        assert_eq!(
            parts(0x11000..0x12000),
            [(0x10000, 0x2000, 0x1000), (0x12000, 0x4000, 0x2000)]
        );
        assert_eq!(parts(0..0x12000), [(0x12000, 0x4000, 0x2000)]);
        assert_eq!(parts(0x13000..0x90000), [(0x10000, 0x2000, 0x3000)]);
        assert_eq!(parts(0..u64::MAX), []);
    }

    #[test]
    fn a_window_goes_with_its_last_user() {
        let window = Window::new((1, 2), 0x10000, 0, 0x1000);
        window.uses.fetch_add(1, Ordering::AcqRel);
        assert!(window.release());
        assert!(!window.release());
    }
}
