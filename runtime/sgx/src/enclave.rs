//! An enclave as the processor knows it, and how it finds its pages.

use mystikos_abi::sgx::{Attributes, Secs, ATTRIBUTE_INIT};
use mystikos_abi::PAGE_SIZE;

use crate::epcm::{Access, Entry, Epc, Epcm, PageType, Rights};
use crate::fault::Fault;
use crate::measurement::Measurement;
use crate::processor::Processor;

/// An enclave: its SECS, its part of the EPCM, and its memory. Whoever shares one among threads locks it.
pub struct Enclave<M: Epc> {
    pub(crate) processor: Processor,
    pub(crate) secs: Secs,
    /// SECS.ISVFAMILYID and SECS.ISVEXTPRODID, whose place in the SECS is not architectural.
    pub(crate) isvfamilyid: [u8; 16],
    pub(crate) isvextprodid: [u8; 16],
    pub(crate) epcm: Epcm,
    pub(crate) measurement: Measurement,
    pub(crate) memory: M,
    /// Logical processors inside.
    pub(crate) active: u32,
}

impl<M: Epc> Enclave<M> {
    /// The SECS.
    pub fn secs(&self) -> &Secs {
        &self.secs
    }

    /// The processor that runs it.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// Its memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Its memory, for whoever maps it.
    pub fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// SECS.MRENCLAVE: of what was added so far, until EINIT has settled it.
    pub fn mrenclave(&self) -> [u8; 32] {
        if self.initialised() {
            self.secs.mrenclave
        } else {
            self.measurement.mrenclave()
        }
    }

    /// Whether EINIT has succeeded.
    pub fn initialised(&self) -> bool {
        self.attributes().flags & ATTRIBUTE_INIT != 0
    }

    /// Logical processors that are inside.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// What enclave code may do with a page by its EPCM entry; the page tables' rights are to be intersected. Nothing
    /// with pages that are no regular ones, that wait for EACCEPT, or that are not there.
    pub fn rights(&self, linear: u64) -> Rights {
        self.entry(linear).rights()
    }

    /// SECINFO.FLAGS of a page as they are now, `None` if there is none.
    pub fn secinfo_flags(&self, linear: u64) -> Option<u64> {
        let entry = self.entry(linear);
        entry.valid().then(|| entry.flags())
    }

    /// The fault that an access of enclave code meets by the EPCM, if any.
    pub fn check_access(&self, linear: u64, access: Access) -> Result<(), Fault> {
        let entry = self.entry(linear);
        let rights = entry.rights();
        let allowed = match access {
            Access::Read => rights.read,
            Access::Write => rights.write,
            Access::Execute => rights.execute,
        };
        if allowed {
            Ok(())
        } else {
            Err(entry.page_fault(linear, access))
        }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        self.secs.attributes
    }

    /// Offset of an address from BASEADDR, if it lies in ELRANGE.
    pub(crate) fn offset(&self, linear: u64) -> Option<u64> {
        let offset = linear.wrapping_sub(self.secs.baseaddr);
        (offset < self.secs.size).then_some(offset)
    }

    /// EPCM entry of the page that an address lies in.
    pub(crate) fn entry(&self, linear: u64) -> Entry {
        self.offset(linear)
            .map_or(Entry::ABSENT, |offset| self.epcm.get(offset))
    }

    /// An operand in ELRANGE, in a regular page that may be accessed so: its offset (EREPORT, EGETKEY, SECINFO of the
    /// SGX2 leaves). Aligned to its size, it never crosses the end of a page.
    pub(crate) fn operand(&self, linear: u64, align: u64, access: Access) -> Result<u64, Fault> {
        let offset = self.aligned(linear, align)?;
        self.check_access(linear, access)?;
        Ok(offset)
    }

    /// The offset of an aligned address in ELRANGE.
    pub(crate) fn aligned(&self, linear: u64, align: u64) -> Result<u64, Fault> {
        if !linear.is_multiple_of(align) {
            return Err(Fault::Gp);
        }
        self.offset(linear).ok_or(Fault::Gp)
    }

    /// #PF if an operand "does not resolve within an EPC": if there is no page at all.
    pub(crate) fn resolve(&self, linear: u64, access: Access) -> Result<Entry, Fault> {
        let entry = self.entry(linear);
        if entry.valid() {
            Ok(entry)
        } else {
            Err(entry.page_fault(linear, access))
        }
    }

    /// A page operand of an ENCLS leaf: its offset and a valid entry.
    pub(crate) fn epc_page(&self, linear: u64) -> Result<(u64, Entry), Fault> {
        if !linear.is_multiple_of(PAGE_SIZE) {
            return Err(Fault::Gp);
        }
        let entry = self.resolve(linear, Access::Write)?;
        Ok((self.offset(linear).ok_or(Fault::Gp)?, entry))
    }

    /// Whether a page is a TCS that can be used.
    pub(crate) fn is_tcs(&self, linear: u64) -> bool {
        self.entry(linear).settled(PageType::Tcs)
    }
}
