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
