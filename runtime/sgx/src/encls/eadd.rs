//! EADD.

use mystikos_abi::sgx::{
    SecInfo, Tcs, ATTRIBUTE_MODE64BIT, SECINFO_PT, SECINFO_R, SECINFO_W, SECINFO_X, TCS_DBGOPTIN,
};
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
            check_tcs(
                content.unwrap_or(&[0; PAGE]),
                self.attributes().flags & ATTRIBUTE_MODE64BIT != 0,
            )?;
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

/// The reserved part of a TCS is zero, and the segments of a 32-bit enclave end with pages; FLAGS are checked when it is
/// entered.
fn check_tcs(content: &[u8; PAGE], mode64bit: bool) -> Result<(), Fault> {
    let tcs = read(content);
    let whole_pages = |limit: u32| u64::from(limit) % PAGE_SIZE == PAGE_SIZE - 1;
    let limits = mode64bit || whole_pages(tcs.fslimit) && whole_pages(tcs.gslimit);
    if limits && content[size_of::<Tcs>()..].iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(Fault::Gp)
    }
}

fn read(content: &[u8; PAGE]) -> Tcs {
    Tcs::read_from_prefix(content).map_or(Tcs::default(), |(tcs, _)| tcs)
}

/// What the processor itself writes is as in the beginning, and debugging is not opted in.
fn initial_tcs(content: &[u8; PAGE]) -> Tcs {
    let tcs = read(content);
    Tcs {
        state: 0,
        flags: tcs.flags & !TCS_DBGOPTIN,
        cssa: 0,
        aep: 0,
        ..tcs
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, Tcs, ATTRIBUTE_MODE64BIT, SECINFO_PENDING, SECINFO_R, SECINFO_REG, SECINFO_TCS,
        SECINFO_TRIM, SECINFO_W, SECINFO_X, TCS_AEXNOTIFY, TCS_DBGOPTIN,
    };
    use zerocopy::IntoBytes;

    use crate::testing::{
        epcm_fault, failing, peek, peek_tcs, tcs, Page, Plan, ABSENT, BASE, DATA, SIZE, TCS,
    };
    use crate::{Enclave, Failure, Fault, Rights};

    const ZEROS: [u8; 4096] = [0; 4096];

    fn refused(linear: u64, flags: u64) {
        let mut enclave = Plan::new().load();
        let secinfo = SecInfo::new(flags);
        let failure = failing(&mut enclave, |e| e.eadd(linear, secinfo, Some(&ZEROS)));
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }

    fn added(page: Page) -> Enclave<crate::testing::Memory> {
        added_to(&Plan::new(), &page)
    }

    fn added_to(plan: &Plan, page: &Page) -> Enclave<crate::testing::Memory> {
        let mut enclave = plan.create().expect("ECREATE");
        enclave
            .eadd(page.linear, SecInfo::new(page.secinfo), Some(&page.content))
            .expect("EADD");
        enclave
    }

    #[test]
    fn a_page_has_its_content_and_the_permissions_asked_for() {
        let flags = SECINFO_REG | SECINFO_R | SECINFO_X;
        let enclave = added(Page::new(DATA, flags, b"content"));
        assert_eq!(&peek(&enclave, DATA), b"content");
        let rights = Rights {
            read: true,
            write: false,
            execute: true,
        };
        assert_eq!(enclave.rights(DATA), rights);
        assert_eq!(enclave.rights(DATA + 0xfff), rights);
        assert_eq!(enclave.rights(DATA + 0x1000), Rights::default());
        assert_eq!(enclave.rights(BASE + SIZE), Rights::default());
    }

    #[test]
    fn a_page_without_content_is_not_touched() {
        let mut enclave = Plan::new().create().expect("ECREATE");
        let secinfo = SecInfo::new(SECINFO_REG | SECINFO_R);
        enclave.memory_mut().0[0x5000] = 9;
        enclave.eadd(DATA, secinfo, None).expect("EADD");
        assert_eq!(peek(&enclave, DATA), [9]);
    }

    #[test]
    fn the_address_is_that_of_a_page() {
        refused(ABSENT + 0x800, SECINFO_REG | SECINFO_R);
    }

    #[test]
    fn reserved_fields_of_secinfo_are_zero() {
        for flag in [0x40, 0x80, 1 << 16, 1 << 63, SECINFO_PENDING] {
            refused(ABSENT, SECINFO_REG | SECINFO_R | flag);
        }
        let mut enclave = Plan::new().load();
        let mut secinfo = SecInfo::new(SECINFO_REG | SECINFO_R);
        secinfo.reserved[6] = 1;
        let failure = failing(&mut enclave, |e| e.eadd(ABSENT, secinfo, None));
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }

    #[test]
    fn only_regular_pages_and_tcs_can_be_added() {
        // SECS, VA, TRIM, and the shadow-stack types without CET.
        for kind in [0, 0x300, SECINFO_TRIM, 0x500, 0x600, 0xff00] {
            refused(ABSENT, kind | SECINFO_R);
        }
    }

    #[test]
    fn a_page_that_is_there_cannot_be_added_again() {
        let mut enclave = Plan::new().load();
        let secinfo = SecInfo::new(SECINFO_REG | SECINFO_R);
        let failure = failing(&mut enclave, |e| e.eadd(DATA, secinfo, None));
        assert_eq!(failure, Failure::Fault(epcm_fault(DATA, true)));
    }

    #[test]
    fn writing_needs_reading() {
        refused(ABSENT, SECINFO_REG | SECINFO_W);
        refused(ABSENT, SECINFO_REG | SECINFO_W | SECINFO_X);
    }

    #[test]
    fn the_reserved_part_of_a_tcs_is_zero() {
        let mut enclave = Plan::new().load();
        let secinfo = SecInfo::new(SECINFO_TCS);
        for at in [72, 80, 4095] {
            let mut content = ZEROS;
            content[at] = 1;
            let failure = failing(&mut enclave, |e| e.eadd(ABSENT, secinfo, Some(&content)));
            assert_eq!(failure, Failure::Fault(Fault::Gp));
        }
    }

    #[test]
    fn the_segments_of_a_32_bit_enclave_end_with_pages() {
        let mut plan = Plan::new();
        plan.secs.attributes.flags &= !ATTRIBUTE_MODE64BIT;
        plan.secs.baseaddr = 0x1000_0000;
        let page = 0x1000_1000;
        let edits: [fn(&mut Tcs); 2] = [|tcs| tcs.fslimit -= 1, |tcs| tcs.gslimit = 0x1000];
        for edit in edits {
            let mut tcs = tcs();
            edit(&mut tcs);
            let added = Page::new(page, SECINFO_TCS, tcs.as_bytes());
            let mut enclave = plan.create().expect("ECREATE");
            let failure = failing(&mut enclave, |e| {
                e.eadd(page, SecInfo::new(SECINFO_TCS), Some(&added.content))
            });
            assert_eq!(failure, Failure::Fault(Fault::Gp));
            // In 64-bit mode segments have no limits.
            added_to(&Plan::new(), &Page::new(TCS, SECINFO_TCS, tcs.as_bytes()));
        }
        let whole = Page::new(page, SECINFO_TCS, tcs().as_bytes());
        added_to(&plan, &whole);
        let mut enclave = plan.create().expect("ECREATE");
        let failure = failing(&mut enclave, |e| {
            e.eadd(page, SecInfo::new(SECINFO_TCS), None)
        });
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }

    #[test]
    fn secinfo_is_checked_before_the_page_and_the_page_before_its_content() {
        let mut enclave = Plan::new().load();
        let taken = Failure::Fault(epcm_fault(DATA, true));
        let gp = Failure::Fault(Fault::Gp);
        for (secinfo, failure) in [
            (SECINFO_TRIM, gp),
            (SECINFO_REG | 0x40, gp),
            (SECINFO_REG | SECINFO_W, taken),
            (SECINFO_TCS, taken),
        ] {
            let content = [1; 4096];
            let secinfo = SecInfo::new(secinfo);
            let failed = failing(&mut enclave, |e| e.eadd(DATA, secinfo, Some(&content)));
            assert_eq!(failed, failure);
        }
    }

    #[test]
    fn the_processors_own_fields_of_a_tcs_are_in_their_initial_state() {
        let given = Tcs {
            state: 1,
            flags: TCS_DBGOPTIN | TCS_AEXNOTIFY,
            cssa: 2,
            aep: 0x1234,
            ..tcs()
        };
        let enclave = added(Page::new(TCS, SECINFO_TCS, given.as_bytes()));
        let expected = Tcs {
            flags: TCS_AEXNOTIFY,
            ..tcs()
        };
        assert_eq!(peek_tcs(&enclave), expected);
    }

    #[test]
    fn a_tcs_has_no_permissions_whatever_was_asked_for() {
        let all = SECINFO_R | SECINFO_W | SECINFO_X;
        let asked = added(Page::new(TCS, SECINFO_TCS | all, tcs().as_bytes()));
        let plain = added(Page::new(TCS, SECINFO_TCS, tcs().as_bytes()));
        assert_eq!(asked.rights(TCS), Rights::default());
        assert_eq!(asked.secinfo_flags(TCS), Some(SECINFO_TCS));
        assert_eq!(asked.mrenclave(), plain.mrenclave());
    }

    #[test]
    fn the_page_lies_in_elrange() {
        for linear in [BASE - 0x1000, BASE + SIZE, 0, u64::MAX - 0xfff] {
            refused(linear, SECINFO_REG | SECINFO_R);
        }
    }

    #[test]
    fn an_initialised_enclave_gets_no_more_pages() {
        let mut enclave = Plan::new().build();
        let secinfo = SecInfo::new(SECINFO_REG | SECINFO_R);
        let failure = failing(&mut enclave, |e| e.eadd(ABSENT, secinfo, None));
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }
}
