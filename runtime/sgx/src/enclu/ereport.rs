//! EREPORT.

use mystikos_abi::sgx::{Report, TargetInfo, REPORT_MACED};
use zerocopy::{FromZeros, IntoBytes};

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{Access, Epc};
use crate::fault::Fault;
use crate::keys::{cmac, ReportTarget};

impl<M: Epc> Enclave<M> {
    /// EREPORT: for the TARGETINFO at RBX, over the 64 bytes at RCX, into the REPORT at RDX. No register or flag changes
    /// but RIP.
    pub(crate) fn ereport(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let targetinfo = self.operand(cpu.regs.rbx, 512, Access::Read)?;
        let reportdata = self.operand(cpu.regs.rcx, 128, Access::Read)?;
        let output = self.operand(cpu.regs.rdx, 512, Access::Write)?;
        let mut target = TargetInfo::new_zeroed();
        self.memory.read(targetinfo, target.as_mut_bytes());
        if target.reserved1 != [0; 2] || target.reserved2 != [0; 8] || target.reserved3 != [0; 384]
        {
            return Err(Fault::Gp);
        }
        let mut report = self.identity();
        self.memory.read(reportdata, &mut report.reportdata);
        let target = ReportTarget {
            attributes: target.attributes,
            mrenclave: target.measurement,
            miscselect: target.miscselect,
            configid: target.configid,
            configsvn: target.configsvn,
        };
        let key = self.processor.report_key(&target, report.keyid);
        report.mac = cmac(&key, &report.as_bytes()[..REPORT_MACED]);
        self.memory.write(output, report.as_bytes());
        Ok(())
    }

    /// A report of this enclave without REPORTDATA and MAC.
    fn identity(&self) -> Report {
        let secs = &self.secs;
        Report {
            cpusvn: self.processor.cpusvn,
            miscselect: secs.miscselect,
            isvextprodid: self.isvextprodid,
            attributes: secs.attributes,
            mrenclave: secs.mrenclave,
            mrsigner: secs.mrsigner,
            configid: secs.configid,
            isvprodid: secs.isvprodid,
            isvsvn: secs.isvsvn,
            configsvn: secs.configsvn,
            isvfamilyid: self.isvfamilyid,
            keyid: self.processor.report_keyid,
            ..Report::new_zeroed()
        }
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{keyname, KeyRequest, Report, TargetInfo, ATTRIBUTE_INIT};
    use zerocopy::{FromBytes, FromZeros, IntoBytes};

    use crate::keys::cmac;
    use crate::testing::{
        absent_fault, epcm_fault, peek, poke, Memory, Operand, Plan, Thread, ABSENT, CODE, DATA,
    };
    use crate::{Enclave, Fault, Leaf, SIMULATED_CPUSVN};

    const TARGETINFO: u64 = DATA;
    const REPORTDATA: u64 = DATA + 0x400;
    const REPORT: u64 = DATA + 0x600;
    const KEYREQUEST: u64 = DATA + 0x800;
    const KEY: u64 = DATA + 0xa00;

    fn report_for(
        enclave: &mut Enclave<Memory>,
        thread: &mut Thread,
        target: &TargetInfo,
    ) -> Report {
        poke(enclave, TARGETINFO, target.as_bytes());
        poke(enclave, REPORTDATA, &[0xda; 64]);
        thread
            .call(enclave, Leaf::Ereport, [TARGETINFO, REPORTDATA, REPORT])
            .expect("EREPORT");
        Report::read_from_bytes(&peek::<432>(enclave, REPORT)).expect("432 bytes")
    }

    fn report_key(enclave: &mut Enclave<Memory>, thread: &mut Thread, keyid: [u8; 32]) -> [u8; 16] {
        let request = KeyRequest {
            keyname: keyname::REPORT,
            keyid,
            ..KeyRequest::new_zeroed()
        };
        poke(enclave, KEYREQUEST, request.as_bytes());
        thread
            .call(enclave, Leaf::Egetkey, [KEYREQUEST, KEY, 0])
            .expect("EGETKEY");
        assert_eq!(thread.regs.rax, 0);
        peek(enclave, KEY)
    }

    fn own_target(enclave: &Enclave<Memory>) -> TargetInfo {
        TargetInfo {
            measurement: enclave.secs().mrenclave,
            attributes: enclave.secs().attributes,
            miscselect: enclave.secs().miscselect,
            configid: enclave.secs().configid,
            configsvn: enclave.secs().configsvn,
            ..TargetInfo::new_zeroed()
        }
    }

    fn holds(report: &Report, key: &[u8; 16]) -> bool {
        report.mac == cmac(key, &report.as_bytes()[..384])
    }

    #[test]
    fn a_report_tells_who_the_enclave_is() {
        let mut enclave = Plan::with_kss().build_signed(|signer| {
            signer.isvfamilyid = [0xfa; 16];
            signer.isvextprodid = [0xe8; 16];
        });
        let mut thread = Thread::inside(&mut enclave);
        let report = report_for(&mut enclave, &mut thread, &TargetInfo::new_zeroed());
        let secs = enclave.secs();
        assert_eq!(report.cpusvn, SIMULATED_CPUSVN);
        assert_eq!(report.miscselect, 1);
        assert_eq!(report.attributes, secs.attributes);
        assert_eq!(report.attributes.flags & ATTRIBUTE_INIT, ATTRIBUTE_INIT);
        assert_eq!(report.mrenclave, secs.mrenclave);
        assert_eq!(report.mrsigner, secs.mrsigner);
        assert_ne!(report.mrsigner, [0; 32]);
        assert_eq!(
            (report.isvprodid, report.isvsvn, report.configsvn),
            (3, 4, 5)
        );
        assert_eq!(
            (report.isvfamilyid, report.isvextprodid),
            ([0xfa; 16], [0xe8; 16])
        );
        assert_eq!(report.configid, [0xc0; 64]);
        assert_eq!(report.reportdata, [0xda; 64]);
        assert_eq!(report.keyid, enclave.processor().report_keyid);
        let reserved = [
            &report.reserved1[..],
            &report.reserved2,
            &report.reserved3,
            &report.reserved4,
        ];
        assert!(reserved.concat().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn the_target_verifies_the_report_with_its_report_key() {
        let mut enclave = Plan::with_kss().build();
        let mut thread = Thread::inside(&mut enclave);
        let target = own_target(&enclave);
        let report = report_for(&mut enclave, &mut thread, &target);
        let key = report_key(&mut enclave, &mut thread, report.keyid);
        assert!(holds(&report, &key));
        let other = report_key(&mut enclave, &mut thread, [1; 32]);
        assert!(!holds(&report, &other));
    }

    #[test]
    fn every_field_of_the_target_makes_another_report_key() {
        let mut enclave = Plan::with_kss().build();
        let mut thread = Thread::inside(&mut enclave);
        let target = own_target(&enclave);
        let key = report_key(&mut enclave, &mut thread, enclave_keyid());
        let alterations: [fn(&mut TargetInfo); 6] = [
            |target| target.measurement[31] ^= 1,
            |target| target.attributes.flags ^= 2,
            |target| target.attributes.xfrm ^= 4,
            |target| target.miscselect ^= 1,
            |target| target.configid[0] ^= 1,
            |target| target.configsvn ^= 1,
        ];
        for alter in alterations {
            let mut other = target;
            alter(&mut other);
            let report = report_for(&mut enclave, &mut thread, &other);
            assert!(!holds(&report, &key));
        }
    }

    fn enclave_keyid() -> [u8; 32] {
        Plan::new().processor.report_keyid
    }

    #[test]
    fn no_register_changes_but_rip() {
        let mut enclave = Plan::new().build();
        let mut thread = Thread::inside(&mut enclave);
        thread.regs.rflags |= 0x8d5;
        let mut before = thread.clone();
        report_for(&mut enclave, &mut thread, &TargetInfo::new_zeroed());
        (before.regs.rbx, before.regs.rcx, before.regs.rdx) = (TARGETINFO, REPORTDATA, REPORT);
        (before.regs.rax, before.regs.rip) = (0, before.regs.rip + 3);
        assert_eq!(thread, before);
    }

    fn operand(index: usize, align: u64, write: bool) -> Operand {
        Operand {
            leaf: Leaf::Ereport,
            right: [TARGETINFO, REPORTDATA, REPORT],
            index,
            align,
            write,
        }
    }

    #[test]
    fn targetinfo_is_aligned_in_the_enclave_and_readable() {
        operand(0, 512, false).is_checked();
    }

    #[test]
    fn reportdata_is_aligned_in_the_enclave_and_readable() {
        operand(1, 128, false).is_checked();
    }

    #[test]
    fn the_report_is_aligned_in_the_enclave_and_writable() {
        operand(2, 512, true).is_checked();
    }

    #[test]
    fn reserved_fields_of_targetinfo_are_zero() {
        let mut enclave = Plan::new().build();
        let thread = Thread::inside(&mut enclave);
        for at in [48, 49, 56, 63, 128, 511] {
            poke(&mut enclave, TARGETINFO, &[0; 512]);
            poke(&mut enclave, TARGETINFO + at, &[1]);
            let operands = [TARGETINFO, REPORTDATA, REPORT];
            let done = thread.clone().call(&mut enclave, Leaf::Ereport, operands);
            assert_eq!(done, Err(Fault::Gp));
        }
    }

    #[test]
    fn operands_are_checked_in_their_order_and_before_targetinfo_is_read() {
        let mut enclave = Plan::new().build();
        let thread = Thread::inside(&mut enclave);
        poke(&mut enclave, TARGETINFO + 511, &[1]);
        for (operands, fault) in [
            ([ABSENT, 1, 1], absent_fault(ABSENT, false)),
            ([TARGETINFO, ABSENT, 1], absent_fault(ABSENT, false)),
            ([TARGETINFO, REPORTDATA, CODE], epcm_fault(CODE, true)),
        ] {
            let done = thread.clone().call(&mut enclave, Leaf::Ereport, operands);
            assert_eq!(done, Err(fault));
        }
    }
}
