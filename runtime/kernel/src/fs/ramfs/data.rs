//! Content of a regular file: bytes of the measured image, and pages of its own where it was written (copy on write).
//! What was never written is a hole and reads as zeros.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::fs::file::SharedRange;
use crate::fs::io::{Sink, Source};
use crate::{Errno, Result};

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// The largest size of a file (MAX_LFS_FILESIZE).
pub const SIZE_MAX: u64 = i64::MAX as u64;

static ZEROS: [u8; PAGE] = [0; PAGE];

/// Content of a regular file.
#[derive(Default)]
pub struct Data {
    size: u64,
    /// Bytes of the image from offset 0 on; never longer than `size`.
    base: &'static [u8],
    /// Where `base` lies in the image, while nothing has changed.
    image_offset: Option<u64>,
    /// Pages that replace the image's, by number. Bytes after `size` are zero.
    pages: HashMap<u64, Box<[u8]>>,
    /// Parts that live in application memory, oldest first.
    shared: Vec<Arc<dyn SharedRange>>,
}

impl Data {
    /// A file of the image.
    pub fn measured(base: &'static [u8], image_offset: u64) -> Self {
        Data {
            size: base.len() as u64,
            base,
            image_offset: (!base.is_empty()).then_some(image_offset),
            ..Data::default()
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// See [`crate::fs::file::File::image_offset`].
    pub fn image_offset(&self) -> Option<u64> {
        self.image_offset
    }

    /// Space in use, in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        let base_pages = (self.base.len() as u64).div_ceil(PAGE as u64);
        let replaced = self.pages.keys().filter(|&&n| n < base_pages).count();
        (base_pages + (self.pages.len() - replaced) as u64) * (PAGE as u64 / 512)
    }

    /// Moves bytes from `offset` on to `sink`, up to the end of the file.
    pub fn read(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let Some(left) = self.size.checked_sub(offset).filter(|&left| left > 0) else {
            return Ok(0);
        };
        let wanted = left.min(sink.remaining() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        if self.pages.is_empty() && self.shared.is_empty() {
            if let Some(bytes) = self.base.get(offset as usize..offset as usize + wanted) {
                return sink.put(bytes);
            }
        }
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let in_page = (at % PAGE as u64) as usize;
            let n = (PAGE - in_page).min(wanted - done);
            let moved = match self.shared_at(at) {
                Some(range) => {
                    let mut page = try_page()?;
                    range.read(at, &mut page[..n])?;
                    sink.put(&page[..n])
                }
                None => self.stored(at, n, |bytes| sink.put(bytes)),
            };
            match moved {
                Ok(n_moved) => {
                    done += n_moved;
                    if n_moved < n {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Gives the stored bytes at `at` (at most `n`, all in one page) to `take`, in one piece if they lie so.
    fn stored(
        &self,
        at: u64,
        n: usize,
        mut take: impl FnMut(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        let in_page = (at % PAGE as u64) as usize;
        if let Some(page) = self.pages.get(&(at / PAGE as u64)) {
            return take(&page[in_page..in_page + n]);
        }
        let base = usize::try_from(at)
            .ok()
            .and_then(|at| self.base.get(at..))
            .unwrap_or(&[]);
        let from_base = base.len().min(n);
        let mut done = 0;
        if from_base > 0 {
            done = take(&base[..from_base])?;
        }
        if done == from_base && from_base < n {
            match take(&ZEROS[..n - from_base]) {
                Ok(zeros) => done += zeros,
                Err(error) if done == 0 => return Err(error),
                Err(_) => {}
            }
        }
        Ok(done)
    }

    fn copy_of_stored(&self, at: u64, n: usize) -> Result<Box<[u8]>> {
        let mut copy = try_page()?;
        let mut filled = 0;
        self.stored(at, n, |bytes| {
            copy[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
            Ok(bytes.len())
        })?;
        Ok(copy)
    }

    fn shared_at(&self, at: u64) -> Option<&Arc<dyn SharedRange>> {
        self.shared
            .iter()
            .rev()
            .find(|range| contains(&***range, at))
    }

    /// The page with the number, made the file's own.
    fn own_page(&mut self, number: u64) -> Result<&mut [u8]> {
        if !self.pages.contains_key(&number) {
            let mut page = try_page()?;
            let start = number.saturating_mul(PAGE as u64);
            if let Some(base) = usize::try_from(start).ok().and_then(|s| self.base.get(s..)) {
                let n = base.len().min(PAGE);
                page[..n].copy_from_slice(&base[..n]);
            }
            self.pages.try_reserve(1).map_err(|_| Errno::ENOSPC)?;
            self.image_offset = None;
            self.pages.insert(number, page);
        }
        self.pages
            .get_mut(&number)
            .map(|page| &mut page[..])
            .ok_or(Errno::EIO)
    }

    /// Moves bytes from `source` to `offset` on; the file grows as needed.
    pub fn write(&mut self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        let wanted = source.remaining() as u64;
        if wanted == 0 {
            return Ok(0);
        }
        let room = SIZE_MAX.checked_sub(offset).filter(|&room| room > 0);
        let wanted = wanted.min(room.ok_or(Errno::EFBIG)?) as usize;
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let in_page = (at % PAGE as u64) as usize;
            let n = (PAGE - in_page).min(wanted - done);
            match self.write_in_page(at, n, source) {
                Ok(moved) => {
                    done += moved;
                    if moved < n {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_in_page(&mut self, at: u64, n: usize, source: &mut dyn Source) -> Result<usize> {
        let in_page = (at % PAGE as u64) as usize;
        let page = self.own_page(at / PAGE as u64)?;
        let moved = source.take(&mut page[in_page..in_page + n])?;
        if self.shared_at(at).is_some() {
            let mut bytes = try_page()?;
            let page = self.own_page(at / PAGE as u64)?;
            bytes[..moved].copy_from_slice(&page[in_page..in_page + moved]);
            for range in self.shared.iter().filter(|r| contains(&***r, at)) {
                range.write(at, &bytes[..moved])?;
            }
        }
        self.size = self.size.max(at + moved as u64);
        Ok(moved)
    }

    /// Cuts the content off, or lets it grow by a hole.
    pub fn truncate(&mut self, size: u64) -> Result<()> {
        if size > SIZE_MAX {
            return Err(Errno::EFBIG);
        }
        if size < self.size {
            self.image_offset = None;
            self.base = &self.base[..self.base.len().min(size as usize)];
            let in_page = (size % PAGE as u64) as usize;
            let first_gone = size.div_ceil(PAGE as u64);
            self.pages.retain(|&number, _| number < first_gone);
            if self.pages.is_empty() {
                self.pages = HashMap::default();
            }
            if let Some(last) = self.pages.get_mut(&(size / PAGE as u64)) {
                last[in_page..].fill(0);
            }
            self.clear_shared(size, self.size)?;
        } else if size > self.size {
            self.image_offset = None;
        }
        self.size = size;
        Ok(())
    }

    /// Zeros in the parts of `from..to` that live in application memory.
    fn clear_shared(&self, from: u64, to: u64) -> Result<()> {
        for range in &self.shared {
            let end = to.min(range.offset() + range.size());
            let mut at = from.max(range.offset());
            while at < end {
                let n = (end - at).min(PAGE as u64);
                range.write(at, &ZEROS[..n as usize])?;
                at += n;
            }
        }
        Ok(())
    }

    /// Makes room for a range (fallocate(2) without flags); the new bytes are zero.
    pub fn allocate(&mut self, offset: u64, size: u64, keep_size: bool) -> Result<()> {
        let end = offset
            .checked_add(size)
            .filter(|&e| e <= SIZE_MAX)
            .ok_or(Errno::EFBIG)?;
        let base_pages = self.base.len() as u64 / PAGE as u64;
        let mut added = Vec::new();
        for number in offset / PAGE as u64..end.div_ceil(PAGE as u64) {
            if number < base_pages || self.pages.contains_key(&number) {
                continue;
            }
            let made = added.try_reserve(1).map_err(|_| Errno::ENOSPC);
            if let Err(error) = made.and_then(|()| self.own_page(number).map(|_| ())) {
                for number in added {
                    self.pages.remove(&number);
                }
                return Err(error);
            }
            added.push(number);
        }
        if !keep_size && end > self.size {
            self.image_offset = None;
            self.size = end;
        }
        Ok(())
    }

    /// Zeros in a range; whole pages become holes again (FALLOC_FL_PUNCH_HOLE).
    pub fn punch(&mut self, offset: u64, size: u64) -> Result<()> {
        let end = offset.saturating_add(size).min(self.size);
        let mut at = offset;
        while at < end {
            let number = at / PAGE as u64;
            let in_page = (at % PAGE as u64) as usize;
            let n = (PAGE - in_page).min((end - at) as usize);
            let in_base = at < self.base.len() as u64;
            if n == PAGE && !in_base {
                self.pages.remove(&number);
            } else if in_base || self.pages.contains_key(&number) {
                self.own_page(number)?[in_page..in_page + n].fill(0);
            }
            at += n as u64;
        }
        self.clear_shared(offset, end)
    }

    /// The first position from `offset` on that is data, or a hole; the end of the file is a hole.
    pub fn seek(&self, offset: u64, hole: bool) -> Result<u64> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        let is_data = |number: u64| {
            let start = number.saturating_mul(PAGE as u64);
            start < self.base.len() as u64
                || self.pages.contains_key(&number)
                || self.shared_at(start).is_some()
        };
        let first = offset / PAGE as u64;
        if is_data(first) != hole {
            return Ok(offset);
        }
        let found = if hole {
            // Data is finite: pages that exist.
            let mut number = first;
            while is_data(number) {
                number += 1;
            }
            Some(number)
        } else {
            let own = self.pages.keys().filter(|&&n| n > first).min().copied();
            let shared = self.shared.iter().map(|r| r.offset() / PAGE as u64);
            shared.filter(|&n| n > first).chain(own).min()
        };
        match found.map(|number| number.saturating_mul(PAGE as u64)) {
            Some(at) if at < self.size => Ok(at),
            _ if hole => Ok(self.size),
            _ => Err(Errno::ENXIO),
        }
    }

    /// See [`crate::fs::file::File::map_shared`].
    pub fn map_shared(&mut self, range: Arc<dyn SharedRange>) -> Result<()> {
        self.shared.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.image_offset = None;
        self.shared.push(range);
        Ok(())
    }

    /// Part of it is mapped shared.
    pub fn is_mapped_shared(&self) -> bool {
        !self.shared.is_empty()
    }

    /// See [`crate::fs::file::File::unmap_shared`].
    pub fn unmap_shared(&mut self, range: &Arc<dyn SharedRange>) -> Result<()> {
        let Some(index) = self.shared.iter().position(|r| Arc::ptr_eq(r, range)) else {
            return Ok(());
        };
        self.shared.remove(index);
        let end = (range.offset() + range.size()).min(self.size);
        let mut at = range.offset();
        while at < end {
            let n = (end - at).min(PAGE as u64) as usize;
            let mut bytes = try_page()?;
            range.read(at, &mut bytes[..n])?;
            // A page that was not changed stays what it is: a hole, or the image's.
            if self.copy_of_stored(at, n)?[..n] != bytes[..n] {
                self.own_page(at / PAGE as u64)?[..n].copy_from_slice(&bytes[..n]);
            }
            at += n as u64;
        }
        Ok(())
    }
}

fn contains(range: &dyn SharedRange, at: u64) -> bool {
    at >= range.offset() && at - range.offset() < range.size()
}

/// A page of zeros; ENOSPC when memory is out.
fn try_page() -> Result<Box<[u8]>> {
    if crate::mm::is_low() {
        return Err(Errno::ENOSPC);
    }
    let mut page = Vec::new();
    page.try_reserve_exact(PAGE).map_err(|_| Errno::ENOSPC)?;
    page.resize(PAGE, 0);
    Ok(page.into_boxed_slice())
}

#[cfg(test)]
mod tests;
