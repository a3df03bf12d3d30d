//! EADD.

use mystikos_abi::sgx::{SecInfo, Tcs, SECINFO_PT, SECINFO_R, SECINFO_W, SECINFO_X, TCS_DBGOPTIN};
use mystikos_abi::PAGE_SIZE;
use zerocopy::{FromBytes, IntoBytes};

use crate::enclave::Enclave;
use crate::epcm::{page_type, Access, Entry, Epc, PageType};
use crate::fault::Fault;

const PAGE: usize = PAGE_SIZE as usize;

/// What EADD can be asked for. PENDING, MODIFIED and PR are refused as if they were reserved: they describe pages of an
/// initialised enclave.
const ALLOWED: u64 = SECINFO_R | SECINFO_W | SECINFO_X | SECINFO_PT;

impl<M: Epc> Enclave<M> {
    /// EADD: a page at `linear`. Without content it is one of zeros that the memory already holds, and is not touched.
    pub fn eadd(
        &mut self,
        linear: u64,
        secinfo: SecInfo,
        content: Option<&[u8; PAGE]>,
    ) -> Result<(), Fault> {
        let kind = page_type(secinfo.flags);
        if !linear.is_multiple_of(PAGE_SIZE)
            || secinfo.flags & !ALLOWED != 0
            || secinfo.reserved != [0; 7]
            || !matches!(kind, Some(PageType::Reg | PageType::Tcs))
        {
            return Err(Fault::Gp);
        }
        let entry = self.entry(linear);
        if entry.valid() {
            return Err(entry.page_fault(linear, Access::Write));
        }
        let tcs = kind == Some(PageType::Tcs);
        if tcs {
            content.map_or(Ok(()), check_tcs)?;
        } else if secinfo.flags & (SECINFO_R | SECINFO_W) == SECINFO_W {
            return Err(Fault::Gp);
        }
        let offset = self.offset(linear).ok_or(Fault::Gp)?;
        if self.initialised() {
            return Err(Fault::Gp);
        }
        let flags = if tcs {
            secinfo.flags & !(SECINFO_R | SECINFO_W | SECINFO_X)
        } else {
            secinfo.flags
        };
        if let Some(content) = content {
            self.memory.write(offset, content);
            if tcs {
                self.memory.write(offset, initial_tcs(content).as_bytes());
            }
        }
        self.measurement.eadd(offset, flags);
        self.epcm.insert(offset, Entry::new(flags));
        Ok(())
    }
}

/// The reserved part of a TCS is zero; its FLAGS are checked when it is entered.
fn check_tcs(content: &[u8; PAGE]) -> Result<(), Fault> {
    if content[size_of::<Tcs>()..].iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(Fault::Gp)
    }
}

/// What the processor itself writes is as in the beginning, and debugging is not opted in.
fn initial_tcs(content: &[u8; PAGE]) -> Tcs {
    let tcs = Tcs::read_from_prefix(content).map_or(Tcs::default(), |(tcs, _)| tcs);
    Tcs {
        state: 0,
        flags: tcs.flags & !TCS_DBGOPTIN,
        cssa: 0,
        aep: 0,
        ..tcs
    }
}
