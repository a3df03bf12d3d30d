//! The address space: mappings and the pages under them, changed together.
//!
//! Nothing in here calls into the file system: mappings that were taken out are handed back to the caller, who lets go
//! of their files after the lock of the address space is released.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::pages::Pages;
use super::shared::Window;
use super::vma::{Backing, Kind, Prot, State, Vma, VmaMap};
use crate::fs::file::OpenFile;
use crate::{Errno, Result};

/// Bytes in a page.
pub const PAGE: u64 = mystikos_abi::PAGE_SIZE;

/// Most mappings (vm.max_map_count).
const MAPPINGS_MAX: usize = 65530;

/// Rounds down to a page.
pub fn page_down(value: u64) -> u64 {
    value & !(PAGE - 1)
}

/// Rounds up to a page, if that does not overflow.
pub fn page_up(value: u64) -> Option<u64> {
    Some(page_down(value.checked_add(PAGE - 1)?))
}

/// The value is a multiple of the page size.
pub fn is_aligned(value: u64) -> bool {
    value.is_multiple_of(PAGE)
}

/// Mappings that were taken out. They hold files, so they are dropped where that may take locks.
#[must_use]
#[derive(Default)]
pub struct Removed(pub Vec<(u64, Vma)>);

/// How mmap(2) is to choose the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere; near the hint when that is free.
    Hint(u64),
    /// Anywhere below a bound (MAP_32BIT).
    Below(u64),
    /// There, replacing what is mapped (MAP_FIXED).
    Fixed(u64),
    /// There, or EEXIST (MAP_FIXED_NOREPLACE).
    NoReplace(u64),
}

/// What the pages of a new mapping hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeros.
    Zero,
    /// The caller fills the first so many bytes (whole pages) next, which are writable until then.
    File {
        /// Bytes that have a place in the file, rounded up to pages.
        filled: u64,
    },
}

/// Mappings, and where they may be.
pub struct AddressSpace<P> {
    pages: P,
    vmas: VmaMap,
    // What the application may map: user memory without the kernel's reserve, and the image window.
    user: Range<u64>,
    window: Range<u64>,
    // mmap(2) looks for room downwards from here first.
    top: u64,
    break_start: u64,
    break_end: u64,
    // Mappings that went with a failure; they hold files, which are let go of without the lock.
    graves: Vec<(u64, Vma)>,
}

impl<P: Pages> AddressSpace<P> {
    /// An empty address space; `top` is where placement starts, downwards.
    pub fn new(pages: P, user: Range<u64>, window: Range<u64>, top: u64) -> Self {
        AddressSpace {
            pages,
            vmas: VmaMap::default(),
            top: top.clamp(user.start, user.end),
            break_start: user.start,
            break_end: user.start,
            graves: Vec::new(),
            user,
            window,
        }
    }

    /// The mappings.
    pub fn vmas(&self) -> &VmaMap {
        &self.vmas
    }

    /// The pages.
    pub fn pages(&self) -> &P {
        &self.pages
    }

    /// What mmap(2) can give in all.
    pub fn user(&self) -> Range<u64> {
        self.user.clone()
    }

    /// Mappings to be dropped once the lock is released.
    pub fn take_graves(&mut self) -> Removed {
        Removed(core::mem::take(&mut self.graves))
    }

    /// The range lies wholly in user memory or wholly in the image window.
    pub fn is_valid(&self, range: &Range<u64>) -> bool {
        let inside = |of: &Range<u64>| range.start >= of.start && range.end <= of.end;
        range.start <= range.end && (inside(&self.user) || inside(&self.window))
    }

    // The parts of a range that can hold mappings.
    fn valid_parts(&self, range: &Range<u64>) -> [Range<u64>; 2] {
        [&self.user, &self.window].map(|of| {
            let start = range.start.max(of.start);
            start..range.end.min(of.end).max(start)
        })
    }

    /// Finds the place of a new mapping.
    pub fn place(&self, place: Place, size: u64) -> Result<u64> {
        match place {
            Place::Hint(hint) => {
                let hint = page_up(hint).unwrap_or(0);
                let end = hint.checked_add(size).ok_or(Errno::ENOMEM)?;
                if hint != 0 && self.is_valid(&(hint..end)) && self.vmas.is_free(hint..end) {
                    return Ok(hint);
                }
                self.vmas
                    .room(size, self.user.start, self.top)
                    .or_else(|| self.vmas.room(size, self.user.start, self.user.end))
                    .ok_or(Errno::ENOMEM)
            }
            Place::Below(bound) => self
                .vmas
                .room(size, self.user.start, self.user.end.min(bound))
                .ok_or(Errno::ENOMEM),
            Place::Fixed(at) | Place::NoReplace(at) => {
                let end = at.checked_add(size).ok_or(Errno::ENOMEM)?;
                if !is_aligned(at) {
                    return Err(Errno::EINVAL);
                }
                if !self.is_valid(&(at..end)) {
                    return Err(Errno::ENOMEM);
                }
                if matches!(place, Place::NoReplace(_)) && !self.vmas.is_free(at..end) {
                    return Err(Errno::EEXIST);
                }
                match self.vmas.touching(at..end).all(|(_, v)| v.kind.is_owned()) {
                    true => Ok(at),
                    false => Err(Errno::ENOMEM),
                }
            }
        }
    }

    /// Room for stubs that code in `code` can jump to and back from.
    pub fn place_near(&self, code: &Range<u64>, size: u64) -> Option<u64> {
        const REACH: u64 = 0x7ff0_0000;
        let low = code.end.saturating_sub(REACH).max(self.user.start);
        let high = code.start.saturating_add(REACH).min(self.user.end);
        self.vmas
            .room(size, low, code.start.min(high))
            .or_else(|| self.vmas.room(size, low, high))
    }

    /// Puts a new mapping at a place that [`Self::place`] gave, replacing what is there. Pages that the caller is to fill
    /// are readable and writable afterwards; all others are as the mapping asks.
    pub fn map(&mut self, start: u64, vma: Vma, content: Content) -> Result<Removed> {
        let range = start..vma.end;
        if self.vmas.count() + 2 > MAPPINGS_MAX {
            return Err(Errno::ENOMEM);
        }
        let removed = Removed(self.vmas.remove(range.clone()));
        let prepared = self.prepare(&range, &vma, content, !removed.0.is_empty());
        self.drop_stubs(&removed);
        if let Err(errno) = prepared {
            // What was there is gone; the range is a hole now.
            self.pages.release(range.start, range.end - range.start);
            self.graves.extend(removed.0);
            return Err(errno);
        }
        self.put_in(start, vma, content);
        Ok(removed)
    }

    fn prepare(&self, range: &Range<u64>, vma: &Vma, content: Content, used: bool) -> Result<()> {
        let size = range.end - range.start;
        match content {
            Content::Zero if vma.prot.is_empty() && !self.pages.are_zero() => match used {
                true => self.pages.protect(range.start, size, Prot::empty()),
                false => Ok(()),
            },
            Content::Zero => self.pages.clear(range.start, size, vma.prot, used),
            Content::File { filled } => {
                if filled > 0 {
                    self.pages.open_to_fill(range.start, filled)?;
                }
                if used && filled < size {
                    self.pages.release(range.start + filled, size - filled);
                }
                Ok(())
            }
        }
    }

    fn put_in(&mut self, start: u64, mut vma: Vma, content: Content) {
        match content {
            Content::Zero => {
                if vma.prot.is_empty() && !self.pages.are_zero() {
                    vma.state |= State::FRESH;
                }
                self.vmas.insert(start, vma);
            }
            Content::File { filled } => {
                let end = vma.end;
                let beyond = start + filled;
                if beyond < end {
                    let mut tail = vma.clone();
                    tail.state |= State::BEYOND;
                    tail.state &= !State::PRISTINE;
                    if let Some(backing) = &mut tail.backing {
                        backing.offset += filled;
                    }
                    self.vmas.insert(beyond, tail);
                }
                if filled > 0 {
                    vma.end = beyond;
                    self.vmas.insert(start, vma);
                }
            }
        }
    }

    // Gives the stubs back that no mapping uses any more, now that some mappings are gone.
    fn drop_stubs(&mut self, removed: &Removed) {
        let stubs = |vma: &Vma| vma.backing.as_ref().and_then(|b| b.stubs.clone());
        for (_, vma) in &removed.0 {
            if let Some(stubs) = stubs(vma) {
                self.drop_if_unused(&stubs);
            }
        }
    }

    fn drop_if_unused(&mut self, stubs: &Arc<Range<u64>>) {
        let uses = |vma: &Vma| {
            let own = vma.backing.as_ref().and_then(|b| b.stubs.as_ref());
            own.is_some_and(|own| Arc::ptr_eq(own, stubs))
        };
        // Stubs are gone already when several of the mappings removed had the same.
        let present = self.vmas.find(stubs.start);
        if present.is_some_and(|(_, vma)| vma.kind == Kind::Stubs)
            && !self.vmas.iter().any(|(_, vma)| uses(vma))
        {
            let _ = self.vmas.remove_kernel((**stubs).clone());
            self.pages.release(stubs.start, stubs.end - stubs.start);
        }
    }

    /// Adds a mapping that is the kernel's own, whose pages the caller takes care of.
    pub fn map_kernel(&mut self, range: Range<u64>, prot: Prot, kind: Kind) {
        self.vmas
            .insert(range.start, Vma::anonymous(range.end, prot, kind));
    }

    /// Takes out the kernel's own mapping of a range; its pages were released.
    pub fn forget_stubs(&mut self, range: Range<u64>) -> Removed {
        Removed(self.vmas.remove_kernel(range))
    }

    /// munmap(2), for a range that is page-aligned and not empty. Holes are no error.
    pub fn unmap(&mut self, range: Range<u64>) -> Result<Removed> {
        let mut all = Vec::new();
        for part in self.valid_parts(&range) {
            if part.is_empty() {
                continue;
            }
            // A hole in the middle makes one mapping two.
            if self.vmas.count() >= MAPPINGS_MAX && self.splits(&part) {
                return Err(Errno::ENOMEM);
            }
            let removed = self.vmas.remove(part);
            for run in runs(&removed) {
                self.pages.release(run.start, run.end - run.start);
            }
            all.extend(removed);
        }
        let removed = Removed(all);
        self.drop_stubs(&removed);
        Ok(removed)
    }

    fn splits(&self, range: &Range<u64>) -> bool {
        self.vmas
            .find(range.start)
            .is_some_and(|(start, vma)| start < range.start && vma.end > range.end)
    }

    /// mprotect(2), for an aligned range that is not empty. ENOMEM at the first hole, with what lies before it changed.
    pub fn protect(&mut self, range: Range<u64>, prot: Prot) -> Result<()> {
        if !self.is_valid(&range) {
            return Err(Errno::ENOMEM);
        }
        if self.vmas.count() + 2 > MAPPINGS_MAX {
            return Err(Errno::ENOMEM);
        }
        let end = self.vmas.covered_until(range.clone()).min(range.end);
        let mut allowed = end;
        for (start, vma) in self.vmas.touching(range.start..end) {
            if prot.contains(Prot::WRITE) && vma.state.contains(State::READ_ONLY) {
                allowed = start.max(range.start);
                break;
            }
        }
        self.protect_pages(range.start..allowed, prot)?;
        self.vmas.update(range.start..allowed, |_, vma| {
            vma.prot = prot;
            if !prot.is_empty() {
                vma.state &= !State::FRESH;
            }
            if prot.contains(Prot::WRITE) {
                vma.state &= !State::PRISTINE;
            }
        });
        match (allowed < end, end < range.end) {
            (true, _) => Err(Errno::EACCES),
            (false, true) => Err(Errno::ENOMEM),
            (false, false) => Ok(()),
        }
    }

    // One host call for each run of pages that are treated alike; usually there is one.
    fn protect_pages(&self, range: Range<u64>, prot: Prot) -> Result<()> {
        let mut run: Option<(Range<u64>, bool)> = None;
        for (start, vma) in self.vmas.touching(range.clone()) {
            let part = start.max(range.start)..vma.end.min(range.end);
            if vma.state.contains(State::BEYOND) || part.is_empty() {
                continue;
            }
            let fresh = vma.state.contains(State::FRESH) && !prot.is_empty();
            match &mut run {
                Some((so_far, kind)) if so_far.end == part.start && *kind == fresh => {
                    so_far.end = part.end;
                }
                _ => {
                    self.protect_run(run.replace((part, fresh)), prot)?;
                }
            }
        }
        self.protect_run(run, prot)
    }

    fn protect_run(&self, run: Option<(Range<u64>, bool)>, prot: Prot) -> Result<()> {
        match run {
            None => Ok(()),
            Some((range, true)) => {
                self.pages
                    .clear(range.start, range.end - range.start, prot, true)
            }
            Some((range, false)) => self
                .pages
                .protect(range.start, range.end - range.start, prot),
        }
    }

    /// Sets the initial break, at the first page after the program.
    pub fn set_break(&mut self, start: u64) {
        self.break_start = start;
        self.break_end = start;
    }

    /// brk(2): the break afterwards, which is the old one when the request cannot be met.
    pub fn set_break_end(&mut self, wanted: u64) -> (u64, Removed) {
        let now = self.break_end;
        if wanted < self.break_start || wanted > self.user.end {
            return (now, Removed::default());
        }
        let (Some(old), Some(new)) = (page_up(now), page_up(wanted)) else {
            return (now, Removed::default());
        };
        let outcome = match new.cmp(&old) {
            core::cmp::Ordering::Equal => Ok(Removed::default()),
            core::cmp::Ordering::Less => self.unmap(new..old),
            core::cmp::Ordering::Greater => match self.vmas.is_free(old..new) {
                true => self.map(
                    old,
                    Vma::anonymous(new, Prot::RW, Kind::Break),
                    Content::Zero,
                ),
                false => Err(Errno::ENOMEM),
            },
        };
        match outcome {
            Ok(removed) => {
                self.break_end = wanted;
                (wanted, removed)
            }
            Err(_) => (now, Removed::default()),
        }
    }

    /// Zeros for the private anonymous pages of a range (MADV_DONTNEED); returns the file parts, which the caller loads
    /// anew. ENOMEM tells of holes after all else is done.
    pub fn forget(&mut self, range: Range<u64>) -> Result<()> {
        for (start, vma) in self.vmas.touching(range.clone()) {
            let part = start.max(range.start)..vma.end.min(range.end);
            let skipped = State::SHARED | State::FRESH | State::BEYOND;
            if !vma.kind.is_owned() || vma.backing.is_some() || vma.state.intersects(skipped) {
                continue;
            }
            let size = part.end - part.start;
            if !self.pages.are_zero() || self.pages.discard(part.start, size).is_err() {
                self.pages.clear(part.start, size, vma.prot, true)?;
            }
        }
        Ok(())
    }

    /// The mapping is loaded: `prot` for its pages at last. Nothing to do when it was writable anyway.
    pub fn finish(&mut self, range: Range<u64>, prot: Prot) -> Result<()> {
        if prot.effective() == Prot::RW.effective() {
            return Ok(());
        }
        self.pages
            .protect(range.start, range.end - range.start, prot)
    }

    /// Every page of the range holds what `file` holds at `offset`, unchanged since it was loaded.
    pub fn is_pristine(&self, range: Range<u64>, file: &Arc<OpenFile>, offset: u64) -> bool {
        let same = |start: u64, vma: &Vma| {
            vma.state.contains(State::PRISTINE)
                && vma.backing.as_ref().is_some_and(|b| {
                    Arc::ptr_eq(&b.file.file, &file.file)
                        && b.offset.wrapping_sub(start) == offset.wrapping_sub(range.start)
                })
        };
        self.vmas.is_covered(range.clone())
            && self.vmas.touching(range.clone()).all(|(s, v)| same(s, v))
    }

    /// Replaces pristine pages of a file by a mapping of the same content with other permissions; the pages are readable
    /// and writable if `open`, else already as the mapping asks.
    pub fn remap_pristine(&mut self, start: u64, vma: Vma, open: bool) -> Result<Removed> {
        let range = start..vma.end;
        let prot = if open { Prot::RW } else { vma.prot };
        self.pages
            .protect(range.start, range.end - range.start, prot)?;
        let removed = Removed(self.vmas.remove(range));
        self.vmas.insert(start, vma);
        self.drop_stubs(&removed);
        Ok(removed)
    }

    /// Notes that system calls in a range were bound by stubs at `stubs`; those of an earlier time go.
    pub fn set_bound(&mut self, range: Range<u64>, stubs: Option<Arc<Range<u64>>>) {
        let mut earlier = Vec::new();
        self.vmas.update(range, |_, vma| {
            vma.state |= State::BOUND;
            if let Some(backing) = &mut vma.backing {
                if stubs.is_some() {
                    vma.state &= !State::PRISTINE;
                }
                earlier.extend(core::mem::replace(&mut backing.stubs, stubs.clone()));
            }
        });
        for stubs in earlier {
            self.drop_if_unused(&stubs);
        }
    }

    /// Notes the window that a range of mappings belongs to.
    pub fn set_window(&mut self, range: Range<u64>, window: &Arc<Window>) {
        self.vmas.update(range, |_, vma| {
            if let Some(backing) = &mut vma.backing {
                backing.window = Some(window.clone());
            }
        });
    }

    /// File parts of a range: address, bytes, permissions, file and offset.
    pub fn file_parts(&self, range: Range<u64>) -> Vec<(Range<u64>, Vma, Backing)> {
        self.vmas
            .touching(range.clone())
            .filter_map(|(start, vma)| {
                let part = start.max(range.start)..vma.end.min(range.end);
                let mut backing = vma.backing.clone()?;
                backing.offset += part.start - start;
                (!part.is_empty()).then(|| (part, vma.clone(), backing))
            })
            .collect()
    }
}

// Runs of adjacent mappings.
fn runs(removed: &[(u64, Vma)]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for (start, vma) in removed {
        match runs.last_mut() {
            Some(run) if run.end == *start => run.end = vma.end,
            _ => runs.push(*start..vma.end),
        }
    }
    runs
}
