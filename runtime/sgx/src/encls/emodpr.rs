//! EMODPR.

use mystikos_abi::sgx::{
    SecInfo, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PR, SECINFO_R, SECINFO_W, SECINFO_X,
};

use crate::enclave::Enclave;
use crate::epcm::{Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Failure, Fault, Status};

impl<M: Epc> Enclave<M> {
    /// EMODPR: takes away the permissions that SECINFO does not have.
    pub fn emodpr(&mut self, linear: u64, secinfo: SecInfo) -> Result<(), Failure> {
        let (offset, entry) = self.epc_page(linear)?;
        if secinfo.flags & !SECINFO_DEFINED != 0
            || secinfo.reserved != [0; 7]
            || secinfo.flags & (SECINFO_R | SECINFO_W) == SECINFO_W
        {
            return Err(Fault::Gp.into());
        }
        if entry.any(SECINFO_PENDING | SECINFO_MODIFIED) {
            return Err(Status::PageNotModifiable.into());
        }
        if entry.page_type() != Some(PageType::Reg) {
            return Err(entry.page_fault(linear, Access::Write).into());
        }
        if !self.initialised() {
            return Err(Fault::Gp.into());
        }
        let taken = !secinfo.flags & (SECINFO_R | SECINFO_W | SECINFO_X);
        self.epcm
            .update(offset, Entry::new(entry.flags() & !taken | SECINFO_PR));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, SECINFO_PR, SECINFO_R, SECINFO_REG, SECINFO_TCS, SECINFO_TRIM, SECINFO_W,
        SECINFO_X,
    };

    use crate::testing::{
        absent_fault, epcm_fault, failing, Plan, ABSENT, BASE, CODE, DATA, SIZE, TCS,
    };
    use crate::{Failure, Fault, Status};

    fn refused(linear: u64, secinfo: SecInfo, failure: impl Into<Failure>) {
        let mut enclave = Plan::new().build();
        let failed = failing(&mut enclave, |e| e.emodpr(linear, secinfo));
        assert_eq!(failed, failure.into());
    }

    #[test]
    fn permissions_are_taken_at_once_and_pr_waits_for_eaccept() {
        let mut enclave = Plan::new().build();
        assert_eq!(enclave.emodpr(DATA, SecInfo::new(SECINFO_R)), Ok(()));
        let flags = SECINFO_REG | SECINFO_R | SECINFO_PR;
        assert_eq!(enclave.secinfo_flags(DATA), Some(flags));
        let rights = enclave.rights(DATA);
        assert_eq!((rights.read, rights.write), (true, false));
    }

    #[test]
    fn permissions_are_never_added() {
        let mut enclave = Plan::new().build();
        let all = SecInfo::new(SECINFO_R | SECINFO_W | SECINFO_X);
        assert_eq!(enclave.emodpr(CODE, all), Ok(()));
        let flags = SECINFO_REG | SECINFO_R | SECINFO_X | SECINFO_PR;
        assert_eq!(enclave.secinfo_flags(CODE), Some(flags));
    }

    #[test]
    fn the_address_is_that_of_a_page_that_is_there() {
        let read = SecInfo::new(SECINFO_R);
        refused(DATA + 0x40, read, Fault::Gp);
        refused(ABSENT, read, absent_fault(ABSENT, true));
        refused(BASE + SIZE, read, absent_fault(BASE + SIZE, true));
    }

    #[test]
    fn secinfo_is_well_formed() {
        refused(DATA, SecInfo::new(SECINFO_W), Fault::Gp);
        refused(DATA, SecInfo::new(SECINFO_R | 0x40), Fault::Gp);
        let mut secinfo = SecInfo::new(SECINFO_R);
        secinfo.reserved[0] = 1;
        refused(DATA, secinfo, Fault::Gp);
    }

    #[test]
    fn a_page_that_is_pending_or_modified_is_not_modifiable() {
        let mut enclave = Plan::new().build();
        enclave.eaug(ABSENT).expect("EAUG");
        enclave
            .emodt(DATA, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        for linear in [ABSENT, DATA] {
            let failed = failing(&mut enclave, |e| e.emodpr(linear, SecInfo::new(SECINFO_R)));
            assert_eq!(failed, Failure::Status(Status::PageNotModifiable));
        }
    }

    #[test]
    fn only_regular_pages_have_permissions_to_take() {
        refused(
            TCS,
            SecInfo::new(SECINFO_R | SECINFO_TCS),
            epcm_fault(TCS, true),
        );
    }

    #[test]
    fn the_enclave_is_initialised() {
        let failed = failing(&mut Plan::new().load(), |e| e.emodpr(DATA, SecInfo::new(0)));
        assert_eq!(failed, Failure::Fault(Fault::Gp));
    }

    #[test]
    fn the_page_is_looked_for_before_secinfo_and_its_type_before_the_state_of_the_enclave() {
        refused(ABSENT, SecInfo::new(SECINFO_W), absent_fault(ABSENT, true));
        refused(TCS, SecInfo::new(SECINFO_W), Fault::Gp);
        let failed = failing(&mut Plan::new().load(), |e| e.emodpr(TCS, SecInfo::new(0)));
        assert_eq!(failed, Failure::Fault(epcm_fault(TCS, true)));
    }
}
