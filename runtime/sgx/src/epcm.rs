//! The EPC and its map: what the processor knows of each page of an enclave (SDM volume 3D, chapter 35, "Enclave Page Cache Map").

use alloc::boxed::Box;
use alloc::vec::Vec;

use mystikos_abi::sgx::{
    pfec, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PR, SECINFO_PT, SECINFO_R, SECINFO_REG,
    SECINFO_TCS, SECINFO_TRIM, SECINFO_W, SECINFO_X,
};
use mystikos_abi::PAGE_SIZE;

use crate::fault::Fault;

/// Memory of the enclave's EPC pages as the processor reaches it, whatever page tables say. Offsets count from
/// SECS.BASEADDR.
///
/// The library reads and writes only inside pages that were added.
pub trait Epc {
    /// Reads `to.len()` bytes.
    fn read(&self, offset: u64, to: &mut [u8]);
    /// Writes `from`.
    fn write(&mut self, offset: u64, from: &[u8]);
}

/// What a piece of code may do with a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Rights {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

/// A kind of access, for the error code of a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Access {
    Read,
    Write,
    Execute,
}

/// Type of an EPC page, as SECINFO.FLAGS holds it in bits 15:8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PageType {
    Tcs,
    Reg,
    Trim,
}

/// EPCM entry of a page: SECINFO.FLAGS bits 15:0 as they are now, with bit 15, which no page type uses, for VALID.
///
/// ENCLAVESECS and ENCLAVEADDRESS need no place: an entry belongs to its enclave and stands at its address. BLOCKED does
/// not occur, since pages are never evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry(u16);

const VALID: u16 = 0x8000;

impl Entry {
    /// A page that is not there.
    pub const ABSENT: Entry = Entry(0);

    /// A valid entry with these SECINFO.FLAGS.
    pub const fn new(flags: u64) -> Self {
        Entry(flags as u16 & !VALID | VALID)
    }

    /// SECINFO.FLAGS as they are now.
    pub const fn flags(self) -> u64 {
        (self.0 & !VALID) as u64
    }

    /// VALID.
    pub const fn valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Whether any of these SECINFO.FLAGS is set.
    pub const fn any(self, flags: u64) -> bool {
        self.flags() & flags != 0
    }

    /// Page type.
    pub const fn page_type(self) -> Option<PageType> {
        page_type(self.flags())
    }

    /// A valid page of this type that is neither pending nor modified.
    pub fn settled(self, kind: PageType) -> bool {
        self.valid()
            && self.page_type() == Some(kind)
            && !self.any(SECINFO_PENDING | SECINFO_MODIFIED)
    }

    /// What enclave code may do (SDM volume 3D, 35.3).
    pub fn rights(self) -> Rights {
        if !self.settled(PageType::Reg) {
            return Rights::default();
        }
        Rights {
            read: self.any(SECINFO_R),
            write: self.any(SECINFO_W),
            execute: self.any(SECINFO_X),
        }
    }

    /// #PF for an access that this entry denies.
    ///
    /// Where no page is valid, no page table leads to one, so that the fault is an ordinary one for a page that is not
    /// present; otherwise the EPCM is the cause.
    pub const fn page_fault(self, address: u64, access: Access) -> Fault {
        let cause = if self.valid() { pfec::P | pfec::SGX } else { 0 };
        let kind = match access {
            Access::Read => 0,
            Access::Write => pfec::W,
            Access::Execute => pfec::I,
        };
        Fault::Pf {
            address,
            code: pfec::U | cause | kind,
        }
    }
}

/// The page type in SECINFO.FLAGS, if it is one that pages of an enclave can have here.
pub(crate) const fn page_type(flags: u64) -> Option<PageType> {
    match flags & SECINFO_PT {
        SECINFO_TCS => Some(PageType::Tcs),
        SECINFO_REG => Some(PageType::Reg),
        SECINFO_TRIM => Some(PageType::Trim),
        _ => None,
    }
}

/// SECINFO.FLAGS that are not reserved.
pub(crate) const SECINFO_DEFINED: u64 = SECINFO_R
    | SECINFO_W
    | SECINFO_X
    | SECINFO_PENDING
    | SECINFO_MODIFIED
    | SECINFO_PR
    | SECINFO_PT;

const CHUNK: usize = 512;

/// The entries of an enclave, in pieces of 512 that exist where pages were added.
#[derive(Default)]
pub(crate) struct Epcm {
    chunks: Vec<(u64, Box<[Entry; CHUNK]>)>,
}

impl Epcm {
    /// Entry of the page at `offset`.
    pub fn get(&self, offset: u64) -> Entry {
        let (chunk, at) = place(offset);
        self.find(chunk)
            .ok()
            .and_then(|i| self.chunks.get(i)?.1.get(at).copied())
            .unwrap_or(Entry::ABSENT)
    }

    /// Replaces an entry that is valid already; allocates nothing.
    pub fn update(&mut self, offset: u64, entry: Entry) {
        let (chunk, at) = place(offset);
        if let Ok(i) = self.find(chunk) {
            if let Some(slot) = self.chunks.get_mut(i).and_then(|(_, c)| c.get_mut(at)) {
                *slot = entry;
            }
        }
    }

    /// Sets an entry.
    pub fn insert(&mut self, offset: u64, entry: Entry) {
        let chunk = place(offset).0;
        if let Err(i) = self.find(chunk) {
            self.chunks
                .insert(i, (chunk, Box::new([Entry::ABSENT; CHUNK])));
        }
        self.update(offset, entry);
    }

    /// Pages are mostly added in ascending order, so the last piece is looked at first.
    fn find(&self, chunk: u64) -> Result<usize, usize> {
        match self.chunks.last() {
            Some((last, _)) if *last == chunk => Ok(self.chunks.len() - 1),
            Some((last, _)) if *last < chunk => Err(self.chunks.len()),
            _ => self
                .chunks
                .binary_search_by_key(&chunk, |(number, _)| *number),
        }
    }
}

fn place(offset: u64) -> (u64, usize) {
    let page = offset / PAGE_SIZE;
    (page / CHUNK as u64, (page % CHUNK as u64) as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mystikos_abi::sgx::{SECINFO_R, SECINFO_REG, SECINFO_TCS};

    use super::{Entry, Epcm};
    use crate::random::Numbers;

    #[test]
    fn entries_stand_where_they_were_put_however_far_apart_and_in_any_order() {
        let mut numbers = Numbers::new(1);
        let mut epcm = Epcm::default();
        let mut expected = BTreeMap::new();
        for _ in 0..3_000 {
            let bits = numbers.below(44);
            let offset = numbers.below(1 << (12 + bits)) & !0xfff;
            let entry = Entry::new(SECINFO_REG | numbers.below(8));
            epcm.insert(offset, entry);
            expected.insert(offset, entry);
            let other = numbers.below(1 << 34) & !0xfff;
            let known = expected.get(&other).copied().unwrap_or(Entry::ABSENT);
            assert_eq!(epcm.get(other), known);
        }
        for (offset, entry) in expected {
            assert_eq!(epcm.get(offset), entry, "{offset:#x}");
            assert_eq!(epcm.get(offset + 0xfff), entry);
        }
    }

    #[test]
    fn an_update_makes_no_entry_elsewhere() {
        let mut epcm = Epcm::default();
        epcm.insert(0x1000, Entry::new(SECINFO_REG));
        epcm.update(1 << 40, Entry::new(SECINFO_TCS));
        assert_eq!(epcm.get(1 << 40), Entry::ABSENT);
        epcm.update(0x1000, Entry::new(SECINFO_REG | SECINFO_R));
        assert_eq!(epcm.get(0x1000).flags(), SECINFO_REG | SECINFO_R);
        assert_eq!(epcm.get(0x2000), Entry::ABSENT);
    }
}
