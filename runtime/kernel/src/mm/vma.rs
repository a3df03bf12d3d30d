//! Mappings as an ordered map, and its algebra: split, take out, put in, change, find room. No page is touched here.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::shared::Window;
use crate::fs::file::OpenFile;

bitflags::bitflags! {
    /// Page permissions, as mmap(2) counts them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Prot: u8 {
        /// PROT_READ.
        const READ = 1;
        /// PROT_WRITE.
        const WRITE = 2;
        /// PROT_EXEC.
        const EXEC = 4;
    }
}

impl Prot {
    /// Readable and writable.
    pub const RW: Prot = Prot::READ.union(Prot::WRITE);

    /// What is asked of the host: on x86 whatever is accessible is readable.
    pub fn effective(self) -> u32 {
        match self.is_empty() {
            true => 0,
            false => u32::from((self | Prot::READ).bits()),
        }
    }
}

bitflags::bitflags! {
    /// What else there is to know of a mapping.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct State: u8 {
        /// MAP_SHARED.
        const SHARED = 1;
        /// The pages have not been made zero yet, which must happen before they become accessible.
        const FRESH = 2;
        /// The pages lie wholly beyond the end of the file: accesses raise SIGBUS.
        const BEYOND = 4;
        /// The pages hold what the file held when they were loaded: they were never writable and are not patched.
        const PRISTINE = 8;
        /// A shared mapping of a file that is not open for writing: never becomes writable.
        const READ_ONLY = 16;
        /// System calls of the file were looked for and bound.
        const BOUND = 32;
        /// The main stack, which PROT_GROWSDOWN may be asked for.
        const GROWS_DOWN = 64;
    }
}

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// mmap(2), with or without a file.
    Plain,
    /// brk(2).
    Break,
    /// The main thread's stack.
    Stack,
    /// Stubs of bound system calls.
    Stubs,
    /// Taken by the kernel's own heap; the application has no business here.
    Kernel,
}

impl Kind {
    /// The application may change it.
    pub fn is_owned(self) -> bool {
        !matches!(self, Kind::Stubs | Kind::Kernel)
    }
}

/// The file behind a mapping.
#[derive(Clone)]
pub struct Backing {
    /// The description it was mapped through.
    pub file: Arc<OpenFile>,
    /// Offset in the file of the mapping's first byte.
    pub offset: u64,
    /// Where the stubs of its bound system calls lie. When the last mapping that holds them goes, they go too.
    pub stubs: Option<Arc<Range<u64>>>,
    /// The window of a shared mapping.
    pub window: Option<Arc<Window>>,
}

impl Backing {
    /// A file from an offset on.
    pub fn new(file: &Arc<OpenFile>, offset: u64) -> Self {
        Backing {
            file: file.clone(),
            offset,
            stubs: None,
            window: None,
        }
    }
}

fn same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// One mapping; its start is the key in the map.
#[derive(Clone)]
pub struct Vma {
    /// First address after it.
    pub end: u64,
    /// Permissions as the application asked for them.
    pub prot: Prot,
    /// What it is for.
    pub kind: Kind,
    /// What else there is to know.
    pub state: State,
    /// The file, if it is a mapping of one.
    pub backing: Option<Backing>,
}

impl Vma {
    /// A mapping without a file.
    pub fn anonymous(end: u64, prot: Prot, kind: Kind) -> Self {
        Vma {
            end,
            prot,
            kind,
            state: State::empty(),
            backing: None,
        }
    }

    // The part from `by` bytes after the start.
    fn skip(&self, by: u64) -> Vma {
        let mut part = self.clone();
        if let Some(backing) = &mut part.backing {
            backing.offset += by;
        }
        part
    }

    // `next` starts where this one (starting at `start`) ends, and both can be one.
    fn continues(&self, start: u64, next: &Vma) -> bool {
        self.prot == next.prot
            && self.kind == next.kind
            && self.state == next.state
            && match (&self.backing, &next.backing) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    Arc::ptr_eq(&a.file, &b.file)
                        && a.offset + (self.end - start) == b.offset
                        && same(&a.stubs, &b.stubs)
                        && same(&a.window, &b.window)
                }
                _ => false,
            }
    }
}

/// All mappings by their start; they do not overlap.
#[derive(Default)]
pub struct VmaMap {
    map: BTreeMap<u64, Vma>,
}

impl VmaMap {
    /// Number of mappings.
    pub fn count(&self) -> usize {
        self.map.len()
    }

    /// The mapping that contains `address`.
    pub fn find(&self, address: u64) -> Option<(u64, &Vma)> {
        let (start, vma) = self.map.range(..=address).next_back()?;
        (address < vma.end).then_some((*start, vma))
    }

    /// All mappings in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Vma)> {
        self.map.iter().map(|(start, vma)| (*start, vma))
    }

    /// Mappings that touch a range, in ascending order; the first and last may reach beyond it.
    pub fn touching(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Vma)> {
        let first = self.find(range.start).map_or(range.start, |(s, _)| s);
        self.map
            .range(first..range.end.max(first))
            .map(|(start, vma)| (*start, vma))
    }

    /// Nothing is mapped in the range.
    pub fn is_free(&self, range: Range<u64>) -> bool {
        self.touching(range).next().is_none()
    }

    /// The range has no hole, and every mapping in it belongs to the application.
    pub fn is_covered(&self, range: Range<u64>) -> bool {
        self.covered_until(range.clone()) >= range.end
    }

    /// How far from the start of the range there is no hole.
    pub fn covered_until(&self, range: Range<u64>) -> u64 {
        let mut at = range.start;
        for (start, vma) in self.touching(range) {
            if start > at || !vma.kind.is_owned() {
                break;
            }
            at = vma.end;
        }
        at
    }

    /// Makes `at` a boundary between mappings if it lies inside one.
    fn split(&mut self, at: u64) {
        let Some((start, vma)) = self.find(at) else {
            return;
        };
        if start == at {
            return;
        }
        let upper = vma.skip(at - start);
        self.map.insert(at, upper);
        if let Some(lower) = self.map.get_mut(&start) {
            lower.end = at;
        }
    }

    /// Takes out whatever of the application's is mapped in a range.
    pub fn remove(&mut self, range: Range<u64>) -> Vec<(u64, Vma)> {
        self.take_if(range, |vma| vma.kind.is_owned())
    }

    /// Takes out the mapping of the kernel's own that starts at `start`.
    pub fn remove_kernel(&mut self, range: Range<u64>) -> Vec<(u64, Vma)> {
        self.take_if(range, |vma| !vma.kind.is_owned())
    }

    fn take_if(&mut self, range: Range<u64>, wanted: impl Fn(&Vma) -> bool) -> Vec<(u64, Vma)> {
        self.split(range.start);
        self.split(range.end);
        let starts: Vec<u64> = self
            .map
            .range(range)
            .filter(|(_, vma)| wanted(vma))
            .map(|(start, _)| *start)
            .collect();
        starts
            .into_iter()
            .filter_map(|start| self.map.remove(&start).map(|vma| (start, vma)))
            .collect()
    }

    /// Puts a mapping where nothing is mapped, and joins it with its neighbours if they are alike.
    pub fn insert(&mut self, start: u64, vma: Vma) {
        debug_assert!(start < vma.end && self.is_free(start..vma.end));
        let end = vma.end;
        self.map.insert(start, vma);
        self.join(end);
        self.join(start);
    }

    // Joins the mapping that ends at `at` with the one that starts there.
    fn join(&mut self, at: u64) {
        let Some(upper) = self.map.get(&at) else {
            return;
        };
        let end = upper.end;
        let Some((start, lower)) = self.map.range(..at).next_back() else {
            return;
        };
        if lower.end != at || !lower.continues(*start, upper) {
            return;
        }
        let start = *start;
        self.map.remove(&at);
        if let Some(lower) = self.map.get_mut(&start) {
            lower.end = end;
        }
    }

    /// Changes every mapping of the application in a range.
    pub fn update(&mut self, range: Range<u64>, mut change: impl FnMut(u64, &mut Vma)) {
        self.split(range.start);
        self.split(range.end);
        let mut bounds = Vec::new();
        for (start, vma) in self.map.range_mut(range.clone()) {
            if vma.kind.is_owned() {
                change(*start, vma);
                bounds.push(*start);
            }
        }
        self.join(range.end);
        for start in bounds.into_iter().rev() {
            self.join(start);
        }
    }

    /// The highest place for `size` bytes between `low` and `high` where nothing is mapped.
    pub fn room(&self, size: u64, low: u64, high: u64) -> Option<u64> {
        let fits = |from: u64, to: u64| to.checked_sub(size).filter(|&at| at >= from);
        let mut top = high;
        for (start, vma) in self.map.range(..high).rev() {
            if top <= low {
                return None;
            }
            if let Some(at) = fits(vma.end.max(low), top) {
                return Some(at);
            }
            top = *start;
        }
        fits(low, top)
    }

    /// How far the free space above `from` reaches, at most to `limit`.
    pub fn free_until(&self, from: u64, limit: u64) -> u64 {
        if self.find(from).is_some() {
            return from;
        }
        self.map
            .range(from..)
            .next()
            .map_or(limit, |(start, _)| (*start).min(limit))
    }
}
