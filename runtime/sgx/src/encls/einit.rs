//! EINIT.

use mystikos_abi::sgx::sigstruct::{CET_ATTRIBUTES, SIZE};
use mystikos_abi::sgx::{Attributes, ATTRIBUTE_EINITTOKENKEY, ATTRIBUTE_INIT, ATTRIBUTE_KSS};

use crate::enclave::Enclave;
use crate::epcm::Epc;
use crate::fault::{Failure, Fault, Status};
use crate::sigstruct::SigStruct;

/// Attributes that only enclaves of the launch key's owner may have.
const CONTROLLED_ATTRIBUTES: u64 = ATTRIBUTE_EINITTOKENKEY;

impl<M: Epc> Enclave<M> {
    /// EINIT, with an EINITTOKEN that is not valid, as flexible launch control does it: the signer must be the one in
    /// IA32_SGXLEPUBKEYHASH ([`crate::Processor::lepubkeyhash`]).
    pub fn einit(&mut self, sigstruct: &[u8; SIZE]) -> Result<(), Failure> {
        let sig = SigStruct(sigstruct);
        // Without CET, its attributes in SIGSTRUCT are reserved.
        if !sig.well_formed() || sigstruct[CET_ATTRIBUTES..CET_ATTRIBUTES + 2] != [0; 2] {
            return Err(Status::InvalidSigStruct.into());
        }
        if !sig.signature_holds() {
            return Err(Status::InvalidSignature.into());
        }
        let Attributes { flags, xfrm } = self.attributes();
        if sig.isvfamilyid() != [0; 16] && flags & ATTRIBUTE_KSS == 0 {
            return Err(Status::InvalidSigStruct.into());
        }
        if self.initialised() {
            return Err(Fault::Gp.into());
        }
        let mrenclave = self.measurement.mrenclave();
        if sig.enclavehash() != mrenclave {
            return Err(Status::InvalidMeasurement.into());
        }
        let mrsigner = sig.mrsigner();
        let authorised = self
            .processor
            .lepubkeyhash
            .is_none_or(|hash| hash == mrsigner);
        if flags & CONTROLLED_ATTRIBUTES != 0 && !authorised {
            return Err(Status::InvalidAttribute.into());
        }
        let (signed, mask) = (sig.attributes(), sig.attributemask());
        if flags & mask.flags != signed.flags & mask.flags
            || xfrm & mask.xfrm != signed.xfrm & mask.xfrm
            || self.secs.miscselect & sig.miscmask() != sig.miscselect() & sig.miscmask()
        {
            return Err(Status::InvalidAttribute.into());
        }
        if !authorised {
            return Err(Status::InvalidEinitToken.into());
        }
        self.secs.mrenclave = mrenclave;
        self.secs.mrsigner = mrsigner;
        self.secs.isvprodid = sig.isvprodid();
        self.secs.isvsvn = sig.isvsvn();
        self.isvextprodid = sig.isvextprodid();
        self.isvfamilyid = sig.isvfamilyid();
        self.secs.attributes.flags |= ATTRIBUTE_INIT;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        Attributes, ATTRIBUTE_DEBUG, ATTRIBUTE_EINITTOKENKEY, ATTRIBUTE_INIT, ATTRIBUTE_KSS,
        SECINFO_R, SECINFO_REG, SECINFO_W,
    };
    use sha2::{Digest, Sha256};

    use crate::testing::{failing, Plan, Signer, CODE, DATA, READ_ONLY};
    use crate::{Failure, Fault, Status};

    /// What EINIT says of the plan's enclave with another SIGSTRUCT.
    fn outcome(plan: &Plan, edit: impl FnOnce(&mut Signer)) -> Result<(), Failure> {
        let mut enclave = plan.load();
        let mut signer = Signer::of(&enclave);
        edit(&mut signer);
        let sigstruct = signer.sign();
        match enclave.einit(&sigstruct) {
            Ok(()) => Ok(()),
            Err(_) => Err(failing(&mut plan.load(), |e| e.einit(&sigstruct))),
        }
    }

    fn refused(plan: &Plan, status: Status, edit: impl FnOnce(&mut Signer)) {
        assert_eq!(outcome(plan, edit), Err(Failure::Status(status)));
    }

    fn altered(at: usize, byte: u8) -> impl FnOnce(&mut Signer) {
        move |signer| signer.altered.push((at, byte))
    }

    /// What EINIT says of an enclave that was loaded otherwise than signed.
    fn loaded_otherwise(alter: impl FnOnce(&mut Plan)) -> Failure {
        let sigstruct = Signer::of(&Plan::new().load()).sign();
        let mut plan = Plan::new();
        alter(&mut plan);
        failing(&mut plan.load(), |e| e.einit(&sigstruct))
    }

    fn mismatch(alter: impl FnOnce(&mut Plan)) {
        let expected = Failure::Status(Status::InvalidMeasurement);
        assert_eq!(loaded_otherwise(alter), expected);
    }

    #[test]
    fn the_signed_identity_becomes_the_enclaves() {
        let plan = Plan::with_kss();
        let mut enclave = plan.load();
        let measured = enclave.mrenclave();
        let mut signer = Signer::of(&enclave);
        signer.isvfamilyid = [1; 16];
        signer.isvextprodid = [2; 16];
        let sigstruct = signer.sign();
        assert_eq!(enclave.einit(&sigstruct), Ok(()));
        let secs = enclave.secs();
        assert_eq!((secs.isvprodid, secs.isvsvn), (3, 4));
        assert_eq!(secs.mrenclave, measured);
        assert_eq!(enclave.mrenclave(), measured);
        let mrsigner: [u8; 32] = Sha256::digest(&sigstruct[128..512]).into();
        assert_eq!(secs.mrsigner, mrsigner);
        assert_eq!(
            secs.attributes.flags,
            plan.secs.attributes.flags | ATTRIBUTE_INIT
        );
        assert_eq!(
            (enclave.isvfamilyid, enclave.isvextprodid),
            ([1; 16], [2; 16])
        );
        assert!(enclave.initialised());
    }

    #[test]
    fn headers_are_as_the_sdm_says() {
        // HEADER, the upper bytes of HEADER (TYPE), HEADER2.
        for at in [0, 4, 10, 11, 12, 15, 24, 39] {
            refused(&Plan::new(), Status::InvalidSigStruct, altered(at, 0x55));
        }
    }

    #[test]
    fn the_vendor_is_intel_or_none() {
        let vendor = |vendor| move |signer: &mut Signer| signer.vendor = vendor;
        assert_eq!(outcome(&Plan::new(), vendor(0x8086)), Ok(()));
        refused(&Plan::new(), Status::InvalidSigStruct, vendor(1));
        refused(&Plan::new(), Status::InvalidSigStruct, vendor(0x8086_0000));
    }

    #[test]
    fn the_exponent_is_three() {
        refused(&Plan::new(), Status::InvalidSigStruct, altered(512, 5));
        refused(&Plan::new(), Status::InvalidSigStruct, altered(515, 1));
    }

    #[test]
    fn reserved_fields_are_zero() {
        // Also the two CET bytes, on a processor without.
        for at in [44, 127, 908, 909, 910, 911, 992, 1007, 1028, 1039] {
            refused(&Plan::new(), Status::InvalidSigStruct, altered(at, 1));
        }
    }

    #[test]
    fn date_and_swdefined_are_the_signers() {
        assert_eq!(outcome(&Plan::new(), altered(20, 1)), Ok(()));
        assert_eq!(outcome(&Plan::new(), altered(40, 0xff)), Ok(()));
    }

    #[test]
    fn any_altered_part_of_the_signature_is_refused() {
        let mut enclave = Plan::new().load();
        let signed = Signer::of(&enclave).sign();
        // Signed fields, MODULUS, SIGNATURE, Q1, Q2.
        let at = [
            21, 40, 130, 511, 516, 899, 900, 928, 944, 960, 1024, 1027, 1040, 1423, 1424, 1807,
        ];
        for at in at {
            let mut altered = signed;
            altered[at] ^= 1;
            let failure = failing(&mut enclave, |e| e.einit(&altered));
            assert_eq!(
                failure,
                Failure::Status(Status::InvalidSignature),
                "byte {at}"
            );
        }
        assert_eq!(enclave.einit(&signed), Ok(()));
    }

    #[test]
    fn a_family_needs_kss() {
        let family = |signer: &mut Signer| signer.isvfamilyid[0] = 1;
        refused(&Plan::new(), Status::InvalidSigStruct, family);
        assert_eq!(outcome(&Plan::with_kss(), family), Ok(()));
    }

    #[test]
    fn an_enclave_is_initialised_once() {
        let mut enclave = Plan::new().load();
        let sigstruct = Signer::of(&enclave).sign();
        assert_eq!(enclave.einit(&sigstruct), Ok(()));
        let failure = failing(&mut enclave, |e| e.einit(&sigstruct));
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }

    #[test]
    fn altered_content_is_another_measurement() {
        mismatch(|plan| plan.page(CODE).content[4095] ^= 1);
        mismatch(|plan| plan.page(READ_ONLY).content[0] ^= 1);
    }

    #[test]
    fn content_that_is_not_measured_may_differ() {
        let sigstruct = Signer::of(&Plan::new().load()).sign();
        let mut plan = Plan::new();
        plan.page(DATA).content[0] = 1;
        assert_eq!(plan.load().einit(&sigstruct), Ok(()));
    }

    #[test]
    fn altered_permissions_are_another_measurement() {
        mismatch(|plan| plan.page(READ_ONLY).secinfo |= SECINFO_W);
        mismatch(|plan| plan.page(DATA).secinfo = SECINFO_REG | SECINFO_R);
    }

    #[test]
    fn altered_order_is_another_measurement() {
        mismatch(|plan| plan.pages.swap(0, 7));
        mismatch(|plan| plan.pages.swap(2, 3));
    }

    #[test]
    fn altered_numbers_of_pages_are_another_measurement() {
        mismatch(|plan| {
            plan.pages.pop();
        });
        mismatch(|plan| {
            let mut page = plan.pages[6].clone();
            page.linear = crate::testing::ABSENT;
            plan.pages.push(page);
        });
    }

    #[test]
    fn measuring_more_or_less_is_another_measurement() {
        mismatch(|plan| plan.page(DATA).measured = true);
        mismatch(|plan| plan.page(CODE).measured = false);
    }

    #[test]
    fn altered_ssa_frame_size_and_enclave_size_are_another_measurement() {
        mismatch(|plan| plan.secs.ssaframesize = 2);
        mismatch(|plan| plan.secs.size *= 2);
    }

    #[test]
    fn an_altered_tcs_is_another_measurement() {
        mismatch(|plan| plan.edit_tcs(|tcs| tcs.oentry += 1));
        mismatch(|plan| plan.edit_tcs(|tcs| tcs.nssa = 2));
        mismatch(|plan| plan.edit_tcs(|tcs| tcs.ofsbase += 0x1000));
    }

    #[test]
    fn another_base_is_the_same_measurement() {
        let sigstruct = Signer::of(&Plan::new().load()).sign();
        let mut plan = Plan::new();
        plan.secs.baseaddr += plan.secs.size;
        for page in &mut plan.pages {
            page.linear += plan.secs.size;
        }
        assert_eq!(plan.load().einit(&sigstruct), Ok(()));
    }

    #[test]
    fn masked_attributes_are_those_signed() {
        let status = Status::InvalidAttribute;
        refused(&Plan::new(), status, |s| {
            s.attributes.flags ^= ATTRIBUTE_DEBUG
        });
        refused(&Plan::new(), status, |s| {
            s.attributes.flags ^= ATTRIBUTE_KSS
        });
        refused(&Plan::new(), status, |s| s.attributes.xfrm = 3);
    }

    #[test]
    fn a_debug_enclave_is_no_release_enclave() {
        let mut plan = Plan::new();
        plan.secs.attributes.flags &= !ATTRIBUTE_DEBUG;
        let sigstruct = Signer::of(&plan.load()).sign();
        let failure = failing(&mut Plan::new().load(), |e| e.einit(&sigstruct));
        assert_eq!(failure, Failure::Status(Status::InvalidAttribute));
    }

    #[test]
    fn attributes_outside_the_mask_may_differ() {
        let free = |signer: &mut Signer| {
            signer.attributemask = Attributes {
                flags: !ATTRIBUTE_DEBUG,
                xfrm: !4,
            };
            signer.attributes.flags ^= ATTRIBUTE_DEBUG;
            signer.attributes.xfrm = 3;
        };
        assert_eq!(outcome(&Plan::new(), free), Ok(()));
    }

    #[test]
    fn masked_miscselect_is_the_one_signed() {
        refused(&Plan::new(), Status::InvalidAttribute, |s| s.miscselect = 0);
        let free = |signer: &mut Signer| (signer.miscselect, signer.miscmask) = (0, !1);
        assert_eq!(outcome(&Plan::new(), free), Ok(()));
    }

    #[test]
    fn a_fixed_launch_key_admits_its_owner_only() {
        let mut plan = Plan::new();
        plan.processor.lepubkeyhash = Some([9; 32]);
        refused(&plan, Status::InvalidEinitToken, |_| {});
        let modulus = Signer::of(&plan.load()).sign();
        plan.processor.lepubkeyhash = Some(Sha256::digest(&modulus[128..512]).into());
        assert_eq!(outcome(&plan, |_| {}), Ok(()));
    }

    #[test]
    fn controlled_attributes_need_the_launch_key() {
        let mut plan = Plan::new();
        plan.secs.attributes.flags |= ATTRIBUTE_EINITTOKENKEY;
        assert_eq!(outcome(&plan, |_| {}), Ok(()));
        plan.processor.lepubkeyhash = Some([9; 32]);
        refused(&plan, Status::InvalidAttribute, |_| {});
    }

    /// What EINIT says when everything is wrong, and then from the first check on one thing after the other is right.
    #[test]
    fn errors_come_in_the_order_of_the_checks() {
        let mut plan = Plan::new();
        plan.processor.lepubkeyhash = Some([9; 32]);
        plan.secs.attributes.flags |= ATTRIBUTE_EINITTOKENKEY;
        let mut signer = Signer::of(&plan.load());
        signer.vendor = 1;
        signer.isvfamilyid = [1; 16];
        signer.enclavehash = [2; 32];
        signer.attributes.flags ^= ATTRIBUTE_DEBUG;
        let says = |plan: &Plan, sigstruct: [u8; 1808]| match failing(&mut plan.load(), |e| {
            e.einit(&sigstruct)
        }) {
            Failure::Status(status) => status,
            Failure::Fault(fault) => panic!("{fault}"),
        };
        let broken = |mut sigstruct: [u8; 1808]| {
            sigstruct[516] ^= 1;
            sigstruct
        };
        assert_eq!(says(&plan, broken(signer.sign())), Status::InvalidSigStruct);
        signer.vendor = 0;
        assert_eq!(says(&plan, broken(signer.sign())), Status::InvalidSignature);
        assert_eq!(says(&plan, signer.sign()), Status::InvalidSigStruct);
        signer.isvfamilyid = [0; 16];
        assert_eq!(says(&plan, signer.sign()), Status::InvalidMeasurement);
        signer.enclavehash = plan.load().mrenclave();
        // Both a controlled attribute and one that is not as signed.
        assert_eq!(says(&plan, signer.sign()), Status::InvalidAttribute);
        plan.secs.attributes.flags &= !ATTRIBUTE_EINITTOKENKEY;
        assert_eq!(says(&plan, signer.sign()), Status::InvalidAttribute);
        signer.attributes = plan.secs.attributes;
        signer.miscselect ^= 1;
        assert_eq!(says(&plan, signer.sign()), Status::InvalidAttribute);
        signer.miscselect ^= 1;
        assert_eq!(says(&plan, signer.sign()), Status::InvalidEinitToken);
        plan.processor.lepubkeyhash = None;
        assert_eq!(plan.load().einit(&signer.sign()), Ok(()));
    }

    #[test]
    fn that_the_enclave_is_initialised_is_found_after_the_signature_and_before_the_measurement() {
        let mut enclave = Plan::new().build();
        let mut signer = Signer::of(&enclave);
        signer.enclavehash = [2; 32];
        signer.isvfamilyid = [1; 16];
        let mut broken = signer.sign();
        broken[516] ^= 1;
        for (sigstruct, failure) in [
            (broken, Failure::Status(Status::InvalidSignature)),
            (signer.sign(), Failure::Status(Status::InvalidSigStruct)),
        ] {
            assert_eq!(failing(&mut enclave, |e| e.einit(&sigstruct)), failure);
        }
        signer.isvfamilyid = [0; 16];
        let sigstruct = signer.sign();
        let failure = failing(&mut enclave, |e| e.einit(&sigstruct));
        assert_eq!(failure, Failure::Fault(Fault::Gp));
    }
}
