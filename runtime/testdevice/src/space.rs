//! The device's mappings in a process, and the rights that its pages have in truth: mapped and granted by the EPCM.

use std::ops::Range;

use mystikos_abi::PAGE_SIZE;
use rangemap::RangeMap;

use crate::protection::Prot;

/// Number of an open device file.
pub type FileId = usize;

/// A mapping of a device file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The file.
    pub file: FileId,
    /// Rights that were asked for.
    pub prot: Prot,
}

/// Part of a range, and its mapping if it is one of the device.
pub type Piece = (Range<u64>, Option<Mapping>);

/// Mappings of the device in a process.
#[derive(Clone, Debug, Default)]
pub struct Space {
    mappings: RangeMap<u64, Mapping>,
    /// The rights that the process's page tables have now.
    applied: RangeMap<u64, Prot>,
}

impl Space {
    /// The mapping at an address.
    pub fn at(&self, address: u64) -> Option<Mapping> {
        self.mappings.get(&address).copied()
    }

    /// Rights at an address, `None` if no device file is mapped there.
    pub fn prot(&self, address: u64) -> Option<Prot> {
        Some(self.at(address)?.prot)
    }

    /// Whether a device file is mapped anywhere in the range.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        !range.is_empty() && self.mappings.overlaps(range)
    }

    /// A new mapping, whose pages have the rights `applied`.
    pub fn map(&mut self, range: Range<u64>, mapping: Mapping, applied: Prot) {
        if !range.is_empty() {
            self.mappings.insert(range.clone(), mapping);
            self.applied.insert(range, applied);
        }
    }

    /// The range is mapped no longer, or by something else.
    pub fn unmap(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.mappings.remove(range.clone());
            self.applied.remove(range);
        }
    }

    /// mprotect(2) of a part of one mapping.
    pub fn protect(&mut self, range: Range<u64>, prot: Prot) {
        for (part, mapping) in self.pieces(&range) {
            if let Some(Mapping { file, .. }) = mapping {
                self.mappings.insert(part, Mapping { file, prot });
            }
        }
    }

    /// The range cut where a mapping of the device begins or ends.
    pub fn pieces(&self, range: &Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        for (mapped, mapping) in self.mappings.overlapping(range) {
            let part = mapped.start.max(range.start)..mapped.end.min(range.end);
            if part.start > at {
                pieces.push((at..part.start, None));
            }
            at = part.end;
            pieces.push((part, Some(*mapping)));
        }
        if at < range.end {
            pieces.push((at..range.end, None));
        }
        pieces
    }

    /// Mappings of a file within a range.
    pub fn of_file(&self, file: FileId, range: &Range<u64>) -> Vec<(Range<u64>, Prot)> {
        self.pieces(range)
            .into_iter()
            .filter_map(|(part, mapping)| {
                let mapping = mapping.filter(|mapping| mapping.file == file)?;
                Some((part, mapping.prot))
            })
            .collect()
    }

    /// Every mapping.
    pub fn all(&self) -> impl Iterator<Item = (&Range<u64>, &Mapping)> {
        self.mappings.iter()
    }

    /// Where the rights in the range are not as they should be, and what they should be; in runs.
    ///
    /// `wanted` names the pages of a part of a mapping that have any, with their rights.
    pub fn differences<I: Iterator<Item = (u64, Prot)>>(
        &self,
        range: &Range<u64>,
        wanted: impl Fn(&Range<u64>, Mapping) -> I,
    ) -> Vec<(Range<u64>, Prot)> {
        let mut target: RangeMap<u64, Prot> = RangeMap::new();
        for (part, mapping) in self.pieces(range) {
            let Some(mapping) = mapping else { continue };
            target.insert(part.clone(), Prot::empty());
            for (page, prot) in wanted(&part, mapping) {
                target.insert(page..page + PAGE_SIZE, prot);
            }
        }
        let mut changes: RangeMap<u64, Prot> = RangeMap::new();
        for (run, &prot) in target.iter() {
            for (now, &applied) in self.applied.overlapping(run) {
                if applied != prot {
                    changes.insert(now.start.max(run.start)..now.end.min(run.end), prot);
                }
            }
        }
        changes
            .iter()
            .map(|(range, prot)| (range.clone(), *prot))
            .collect()
    }

    /// The page tables have these rights now.
    pub fn applied(&mut self, range: Range<u64>, prot: Prot) {
        self.applied.insert(range, prot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_SIZE;

    fn pages(first: u64, last: u64) -> Range<u64> {
        first * PAGE..last * PAGE
    }

    fn mapping(prot: Prot) -> Mapping {
        Mapping { file: 0, prot }
    }

    #[test]
    fn a_range_is_cut_where_mappings_begin_and_end() {
        let mut space = Space::default();
        space.map(pages(2, 4), mapping(Prot::READ), Prot::empty());
        space.map(pages(6, 8), mapping(Prot::WRITE), Prot::empty());
        assert_eq!(
            space.pieces(&pages(3, 9)),
            [
                (pages(3, 4), Some(mapping(Prot::READ))),
                (pages(4, 6), None),
                (pages(6, 8), Some(mapping(Prot::WRITE))),
                (pages(8, 9), None),
            ]
        );
        assert!(space.touches(&pages(7, 10)));
        assert!(!space.touches(&pages(4, 6)));
    }

    #[test]
    fn protecting_changes_only_what_is_mapped() {
        let mut space = Space::default();
        space.map(pages(2, 6), mapping(Prot::READ), Prot::empty());
        space.protect(pages(4, 9), Prot::EXEC);
        assert_eq!(space.prot(3 * PAGE), Some(Prot::READ));
        assert_eq!(space.prot(5 * PAGE), Some(Prot::EXEC));
        assert_eq!(space.prot(6 * PAGE), None);
    }

    #[test]
    fn an_unmapped_part_is_gone() {
        let mut space = Space::default();
        space.map(pages(2, 6), mapping(Prot::READ), Prot::empty());
        space.unmap(pages(3, 4));
        assert_eq!(
            space.of_file(0, &pages(0, 9)),
            [(pages(2, 3), Prot::READ), (pages(4, 6), Prot::READ)]
        );
    }

    #[test]
    fn differences_are_told_in_runs_and_only_once() {
        let mut space = Space::default();
        space.map(pages(0, 8), mapping(Prot::all()), Prot::empty());
        let wanted = |_: &Range<u64>, mapping: Mapping| {
            [2, 3, 6]
                .map(|page| (page * PAGE, mapping.prot & Prot::READ))
                .into_iter()
        };
        let changes = space.differences(&pages(0, 8), wanted);
        assert_eq!(
            changes,
            [(pages(2, 4), Prot::READ), (pages(6, 7), Prot::READ)]
        );
        for (range, prot) in changes {
            space.applied(range, prot);
        }
        assert_eq!(space.differences(&pages(0, 8), wanted), []);
    }
}
