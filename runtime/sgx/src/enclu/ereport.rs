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
        let mut target = TargetInfo::new_zeroed();
        self.memory.read(targetinfo, target.as_mut_bytes());
        if target.reserved1 != [0; 2] || target.reserved2 != [0; 8] || target.reserved3 != [0; 384]
        {
            return Err(Fault::Gp);
        }
        let reportdata = self.operand(cpu.regs.rcx, 128, Access::Read)?;
        let output = self.operand(cpu.regs.rdx, 512, Access::Write)?;
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
