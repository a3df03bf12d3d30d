//! EMODT.

use mystikos_abi::sgx::{SecInfo, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PT};

use crate::enclave::Enclave;
use crate::epcm::{page_type, Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Failure, Fault, Status};

impl<M: Epc> Enclave<M> {
    /// EMODT: makes a page a TCS or one to be removed. It waits for EACCEPT, without permissions.
    pub fn emodt(&mut self, linear: u64, secinfo: SecInfo) -> Result<(), Failure> {
        let (offset, entry) = self.epc_page(linear)?;
        let kind = page_type(secinfo.flags);
        if secinfo.flags & !SECINFO_DEFINED != 0
            || secinfo.reserved != [0; 7]
            || !matches!(kind, Some(PageType::Tcs | PageType::Trim))
        {
            return Err(Fault::Gp.into());
        }
        match (entry.page_type(), kind) {
            (Some(PageType::Reg), _) | (Some(PageType::Tcs), Some(PageType::Trim)) => {}
            _ => return Err(entry.page_fault(linear, Access::Write).into()),
        }
        if entry.any(SECINFO_PENDING | SECINFO_MODIFIED) {
            return Err(Status::PageNotModifiable.into());
        }
        if !self.initialised() {
            return Err(Fault::Gp.into());
        }
        let flags = secinfo.flags & SECINFO_PT | SECINFO_MODIFIED;
        self.epcm.update(offset, Entry::new(flags));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, SECINFO_MODIFIED, SECINFO_R, SECINFO_REG, SECINFO_TCS, SECINFO_TRIM,
    };

    use crate::testing::{absent_fault, epcm_fault, failing, Plan, ABSENT, DATA, TCS};
    use crate::{Failure, Fault, Rights, Status};

    const TRIM: SecInfo = SecInfo::new(SECINFO_TRIM);

    fn refused(linear: u64, secinfo: SecInfo, failure: impl Into<Failure>) {
        let mut enclave = Plan::new().build();
        let failed = failing(&mut enclave, |e| e.emodt(linear, secinfo));
        assert_eq!(failed, failure.into());
    }

    #[test]
    fn the_page_changes_its_type_and_waits_for_eaccept_without_permissions() {
        for kind in [SECINFO_TCS, SECINFO_TRIM] {
            let mut enclave = Plan::new().build();
            let secinfo = SecInfo::new(kind | SECINFO_R);
            assert_eq!(enclave.emodt(DATA, secinfo), Ok(()));
            assert_eq!(enclave.secinfo_flags(DATA), Some(kind | SECINFO_MODIFIED));
            assert_eq!(enclave.rights(DATA), Rights::default());
        }
    }

    #[test]
    fn restriction_of_permissions_is_forgotten() {
        let mut enclave = Plan::new().build();
        enclave
            .emodpr(DATA, SecInfo::new(SECINFO_R))
            .expect("EMODPR");
        assert_eq!(enclave.emodt(DATA, TRIM), Ok(()));
        let flags = SECINFO_TRIM | SECINFO_MODIFIED;
        assert_eq!(enclave.secinfo_flags(DATA), Some(flags));
    }

    #[test]
    fn the_address_is_that_of_a_page_that_is_there() {
        refused(DATA + 0x10, TRIM, Fault::Gp);
        refused(ABSENT, TRIM, absent_fault(ABSENT, true));
    }

    #[test]
    fn secinfo_asks_for_a_tcs_or_for_trimming() {
        refused(DATA, SecInfo::new(SECINFO_REG | SECINFO_R), Fault::Gp);
        refused(DATA, SecInfo::new(0x300), Fault::Gp);
        refused(DATA, SecInfo::new(SECINFO_TRIM | 0x80), Fault::Gp);
        let mut secinfo = TRIM;
        secinfo.reserved[3] = 1;
        refused(DATA, secinfo, Fault::Gp);
    }

    #[test]
    fn a_tcs_can_only_be_trimmed() {
        refused(TCS, SecInfo::new(SECINFO_TCS), epcm_fault(TCS, true));
        assert_eq!(Plan::new().build().emodt(TCS, TRIM), Ok(()));
    }

    #[test]
    fn a_trimmed_page_stays_trimmed() {
        let mut enclave = Plan::new().build();
        enclave.emodt(DATA, TRIM).expect("EMODT");
        let failed = failing(&mut enclave, |e| e.emodt(DATA, TRIM));
        assert_eq!(failed, Failure::Fault(epcm_fault(DATA, true)));
    }

    #[test]
    fn a_page_that_is_pending_or_modified_is_not_modifiable() {
        let mut enclave = Plan::new().build();
        enclave.eaug(ABSENT).expect("EAUG");
        enclave
            .emodt(DATA, SecInfo::new(SECINFO_TCS))
            .expect("EMODT");
        for linear in [ABSENT, DATA] {
            let failed = failing(&mut enclave, |e| e.emodt(linear, TRIM));
            assert_eq!(failed, Failure::Status(Status::PageNotModifiable));
        }
    }

    #[test]
    fn the_enclave_is_initialised() {
        let failed = failing(&mut Plan::new().load(), |e| e.emodt(DATA, TRIM));
        assert_eq!(failed, Failure::Fault(Fault::Gp));
    }

    #[test]
    fn the_page_is_looked_for_before_secinfo_and_its_type_before_the_state_of_the_enclave() {
        let wrong = SecInfo::new(SECINFO_REG);
        refused(ABSENT, wrong, absent_fault(ABSENT, true));
        refused(TCS, wrong, Fault::Gp);
        let to_tcs = SecInfo::new(SECINFO_TCS);
        let failed = failing(&mut Plan::new().load(), |e| e.emodt(TCS, to_tcs));
        assert_eq!(failed, Failure::Fault(epcm_fault(TCS, true)));
    }
}
