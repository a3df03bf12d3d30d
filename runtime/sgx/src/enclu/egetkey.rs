//! EGETKEY.

use mystikos_abi::sgx::{
    keyname, keypolicy, Attributes, KeyRequest, ATTRIBUTE_DEBUG, ATTRIBUTE_EINITTOKENKEY,
    ATTRIBUTE_INIT, ATTRIBUTE_KSS, ATTRIBUTE_PROVISIONKEY,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{Access, Epc};
use crate::fault::{Fault, Status};
use crate::keys::{KeyDependencies, ReportTarget};

/// Attributes that are in every key, whatever the mask.
const REQUIRED_SEALING_MASK: u64 = ATTRIBUTE_INIT | ATTRIBUTE_DEBUG;

const POLICY_DEFINED: u16 = 0x3f;
/// Bits of KEYPOLICY that need KSS.
const POLICY_KSS: u16 =
    keypolicy::NOISVPRODID | keypolicy::CONFIGID | keypolicy::ISVFAMILYID | keypolicy::ISVEXTPRODID;

impl<M: Epc> Enclave<M> {
    /// EGETKEY: the key that the KEYREQUEST at RBX asks for, to the 16 bytes at RCX.
    pub(crate) fn egetkey(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let from = self.operand(cpu.regs.rbx, 512, Access::Read)?;
        let to = self.operand(cpu.regs.rcx, 16, Access::Write)?;
        let mut request = KeyRequest::new_zeroed();
        self.memory.read(from, request.as_mut_bytes());
        if request.reserved1 != 0
            || request.reserved2 != [0; 434]
            || request.keypolicy & !POLICY_DEFINED != 0
        {
            return Err(Fault::Gp);
        }
        let kss = self.attributes().flags & ATTRIBUTE_KSS != 0;
        if !kss && (request.keypolicy & POLICY_KSS != 0 || request.configsvn != 0) {
            return Err(Fault::Gp);
        }
        let key = self.key(&request);
        if let Ok(key) = &key {
            self.memory.write(to, key);
        }
        cpu.complete(key.map(|_| ()));
        Ok(())
    }

    fn key(&self, request: &KeyRequest) -> Result<[u8; 16], Status> {
        match request.keyname {
            keyname::SEAL => self.seal_key(request),
            keyname::REPORT => Ok(self.own_report_key(request)),
            keyname::EINITTOKEN => self.einittoken_key(request),
            keyname::PROVISION => self.provision_key(request),
            keyname::PROVISION_SEAL => self.provision_seal_key(request),
            _ => Err(Status::InvalidKeyName),
        }
    }

    fn seal_key(&self, request: &KeyRequest) -> Result<[u8; 16], Status> {
        self.check_svns(request)?;
        self.check_configsvn(request)?;
        let mut dependencies = self.masked(request);
        dependencies.attributesmask = request.attributemask;
        dependencies.miscmask = !request.miscmask;
        dependencies.sgxownerepoch = self.processor.owner_epoch;
        dependencies.keyid = request.keyid;
        dependencies.seal_fuses = 1;
        self.apply_policy(request, &mut dependencies);
        if request.keypolicy & keypolicy::MRENCLAVE != 0 {
            dependencies.mrenclave = self.secs.mrenclave;
        }
        if request.keypolicy & keypolicy::MRSIGNER != 0 {
            dependencies.mrsigner = self.secs.mrsigner;
        }
        Ok(self.processor.derive(&dependencies))
    }

    fn own_report_key(&self, request: &KeyRequest) -> [u8; 16] {
        let own = ReportTarget {
            attributes: self.attributes(),
            mrenclave: self.secs.mrenclave,
            miscselect: self.secs.miscselect,
            configid: self.secs.configid,
            configsvn: self.secs.configsvn,
        };
        self.processor.report_key(&own, request.keyid)
    }

    fn einittoken_key(&self, request: &KeyRequest) -> Result<[u8; 16], Status> {
        self.check_attribute(ATTRIBUTE_EINITTOKENKEY)?;
        self.check_svns(request)?;
        let mut dependencies = self.masked(request);
        dependencies.sgxownerepoch = self.processor.owner_epoch;
        dependencies.keyid = request.keyid;
        dependencies.seal_fuses = 1;
        dependencies.isvprodid = self.secs.isvprodid;
        dependencies.mrsigner = self.secs.mrsigner;
        Ok(self.processor.derive(&dependencies))
    }

    /// Depends neither on the owner's epoch nor on the fuses that only the processor knows.
    fn provision_key(&self, request: &KeyRequest) -> Result<[u8; 16], Status> {
        self.check_attribute(ATTRIBUTE_PROVISIONKEY)?;
        self.check_svns(request)?;
        let mut dependencies = self.masked(request);
        dependencies.attributesmask = request.attributemask;
        dependencies.miscmask = !request.miscmask;
        dependencies.isvprodid = self.secs.isvprodid;
        dependencies.mrsigner = self.secs.mrsigner;
        Ok(self.processor.derive(&dependencies))
    }

    fn provision_seal_key(&self, request: &KeyRequest) -> Result<[u8; 16], Status> {
        self.check_attribute(ATTRIBUTE_PROVISIONKEY)?;
        self.check_svns(request)?;
        self.check_configsvn(request)?;
        let mut dependencies = self.masked(request);
        dependencies.attributesmask = request.attributemask;
        dependencies.miscmask = !request.miscmask;
        dependencies.seal_fuses = 1;
        self.apply_policy(request, &mut dependencies);
        dependencies.mrsigner = self.secs.mrsigner;
        Ok(self.processor.derive(&dependencies))
    }

    fn check_attribute(&self, attribute: u64) -> Result<(), Status> {
        if self.attributes().flags & attribute == 0 {
            return Err(Status::InvalidAttribute);
        }
        Ok(())
    }

    /// No key for versions that are still to come. CPUSVN is a list of versions, a byte each: none may be beyond.
    fn check_svns(&self, request: &KeyRequest) -> Result<(), Status> {
        let current = &self.processor.cpusvn;
        if request
            .cpusvn
            .iter()
            .zip(current)
            .any(|(asked, current)| asked > current)
        {
            return Err(Status::InvalidCpuSvn);
        }
        if request.isvsvn > self.secs.isvsvn {
            return Err(Status::InvalidIsvSvn);
        }
        Ok(())
    }

    /// The same for the configuration's version, in the keys that it goes into. The SDM's listing checks it for the seal
    /// key only, its prose for every key in which it can be asked for.
    fn check_configsvn(&self, request: &KeyRequest) -> Result<(), Status> {
        if request.configsvn > self.secs.configsvn {
            return Err(Status::InvalidIsvSvn);
        }
        Ok(())
    }

    /// What all keys but the report key have in common.
    fn masked(&self, request: &KeyRequest) -> KeyDependencies {
        let Attributes { flags, xfrm } = self.attributes();
        let mask = request.attributemask;
        KeyDependencies {
            keyname: request.keyname,
            isvsvn: request.isvsvn,
            cpusvn: request.cpusvn,
            attributes: Attributes {
                flags: flags & (mask.flags | REQUIRED_SEALING_MASK),
                xfrm: xfrm & mask.xfrm,
            },
            miscselect: self.secs.miscselect & request.miscmask,
            ..KeyDependencies::new_zeroed()
        }
    }

    /// The identities that KEYPOLICY chooses for the sealing keys.
    fn apply_policy(&self, request: &KeyRequest, dependencies: &mut KeyDependencies) {
        let policy = request.keypolicy;
        dependencies.keypolicy = policy;
        if policy & keypolicy::NOISVPRODID == 0 {
            dependencies.isvprodid = self.secs.isvprodid;
        }
        if policy & keypolicy::CONFIGID != 0 {
            dependencies.configid = self.secs.configid;
            dependencies.configsvn = request.configsvn;
        }
        if policy & keypolicy::ISVFAMILYID != 0 {
            dependencies.isvfamilyid = self.isvfamilyid;
        }
        if policy & keypolicy::ISVEXTPRODID != 0 {
            dependencies.isvextprodid = self.isvextprodid;
        }
    }
}

#[cfg(test)]
mod tests;
