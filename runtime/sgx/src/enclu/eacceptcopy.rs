//! EACCEPTCOPY.

use mystikos_abi::sgx::{
    SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PT, SECINFO_R, SECINFO_REG, SECINFO_W, SECINFO_X,
};
use mystikos_abi::PAGE_SIZE;

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{page_type, Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Fault, Status};

const RIGHTS: u64 = SECINFO_R | SECINFO_W | SECINFO_X;

impl<M: Epc> Enclave<M> {
    /// EACCEPTCOPY: the pending page at RCX gets the content of the page at RDX and the permissions in the SECINFO at RBX.
    ///
    /// Of the source the SDM's listing checks R in the destination's entry; the source's is meant.
    pub(crate) fn eacceptcopy(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let (rbx, rcx, rdx) = (cpu.regs.rbx, cpu.regs.rcx, cpu.regs.rdx);
        self.aligned(rbx, 64)?;
        let target = self.aligned(rcx, PAGE_SIZE)?;
        let source = self.aligned(rdx, PAGE_SIZE)?;
        self.resolve(rbx, Access::Read)?;
        let entry = self.resolve(rcx, Access::Write)?;
        self.resolve(rdx, Access::Read)?;
        let secinfo = self.read_secinfo(rbx)?;
        if secinfo.flags & !SECINFO_DEFINED != 0
            || secinfo.reserved != [0; 7]
            || secinfo.flags & (SECINFO_R | SECINFO_W) == SECINFO_W
            || page_type(secinfo.flags) != Some(PageType::Reg)
        {
            return Err(Fault::Gp);
        }
        self.check_access(rdx, Access::Read)?;
        const PENDING: u64 = SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING;
        if entry.flags() & (SECINFO_PT | RIGHTS | SECINFO_PENDING | SECINFO_MODIFIED) != PENDING {
            cpu.complete(Err(Status::PageAttributesMismatch));
            return Ok(());
        }
        self.copy_page(source, target);
        let accepted = entry.flags() & !(RIGHTS | SECINFO_PENDING) | secinfo.flags & RIGHTS;
        self.epcm.update(target, Entry::new(accepted));
        cpu.complete(Ok(()));
        Ok(())
    }

    fn copy_page(&mut self, source: u64, target: u64) {
        let mut part = [0; 512];
        for at in (0..PAGE_SIZE).step_by(part.len()) {
            self.memory.read(source + at, &mut part);
            self.memory.write(target + at, &part);
        }
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, SECINFO_R, SECINFO_REG, SECINFO_TCS, SECINFO_TRIM, SECINFO_W, SECINFO_X,
    };
    use zerocopy::IntoBytes;

    use crate::cpu::rflags;
    use crate::testing::{
        absent_fault, epcm_fault, peek, poke, Memory, Operand, Plan, Thread, ABSENT, BASE, DATA,
        READ_ONLY, SIZE,
    };
    use crate::{Enclave, Fault, Leaf};

    const SECINFO: u64 = DATA + 0x40;
    const RX: u64 = SECINFO_REG | SECINFO_R | SECINFO_X;
    const SOURCE: u64 = DATA + 0x1000;

    /// Copies to `target`; RAX.
    fn copy(enclave: &mut Enclave<Memory>, target: u64, flags: u64) -> Result<u64, Fault> {
        let mut thread = Thread::inside(enclave);
        thread.regs.rflags |= rflags::STATUS;
        poke(enclave, SECINFO, SecInfo::new(flags).as_bytes());
        let done = thread.call(enclave, Leaf::Eacceptcopy, [SECINFO, target, SOURCE]);
        let left = (thread.regs.rax, thread.regs.rflags);
        thread.regs.rbx = 0;
        thread.leaf(enclave, Leaf::Eexit).expect("EEXIT");
        done?;
        let zf = if left.0 == 0 { 0 } else { rflags::ZF };
        assert_eq!(left.1 & (rflags::STATUS | rflags::ZF), zf);
        Ok(left.0)
    }

    fn augmented() -> Enclave<Memory> {
        let mut enclave = Plan::new().build();
        enclave.eaug(ABSENT).expect("EAUG");
        let content: Vec<u8> = (0..4096u32).map(|i| (i * 7 / 3) as u8).collect();
        poke(&mut enclave, SOURCE, &content);
        enclave
    }

    #[test]
    fn the_new_page_has_the_content_of_the_source_and_the_permissions_asked_for() {
        let mut enclave = augmented();
        assert_eq!(copy(&mut enclave, ABSENT, RX), Ok(0));
        assert_eq!(enclave.secinfo_flags(ABSENT), Some(RX));
        assert_eq!(peek::<4096>(&enclave, ABSENT), peek(&enclave, SOURCE));
    }

    #[test]
    fn a_target_that_is_not_pending_is_a_mismatch() {
        let mut enclave = augmented();
        for target in [READ_ONLY, crate::testing::TCS, SOURCE] {
            let before = enclave.memory().clone();
            assert_eq!(copy(&mut enclave, target, RX), Ok(19), "{target:#x}");
            assert_eq!(
                peek::<4096>(&enclave, target)[64..],
                before.0[(target - BASE) as usize + 64..][..4032]
            );
        }
        assert_eq!(copy(&mut enclave, ABSENT, RX), Ok(0));
        assert_eq!(copy(&mut enclave, ABSENT, RX), Ok(19));
    }

    #[test]
    fn secinfo_is_aligned_in_the_enclave_and_readable() {
        let operand = Operand {
            leaf: Leaf::Eacceptcopy,
            right: [SECINFO, DATA, SOURCE],
            index: 0,
            align: 64,
            write: false,
        };
        operand.is_checked();
    }

    #[test]
    fn the_source_is_aligned_in_the_enclave_and_readable() {
        let mut plan = Plan::new();
        plan.page(DATA).content[0x40..0x48].copy_from_slice(&RX.to_le_bytes());
        let operand = Operand {
            leaf: Leaf::Eacceptcopy,
            right: [SECINFO, DATA, SOURCE],
            index: 2,
            align: 4096,
            write: false,
        };
        operand.is_checked_in(plan);
    }

    #[test]
    fn secinfo_asks_for_a_regular_page_that_can_be() {
        let mut enclave = augmented();
        for flags in [
            SECINFO_REG | SECINFO_W,
            SECINFO_TCS,
            SECINFO_TRIM,
            SECINFO_R,
            RX | 0x40,
            RX | 1 << 20,
        ] {
            assert_eq!(
                copy(&mut enclave, ABSENT, flags),
                Err(Fault::Gp),
                "{flags:#x}"
            );
        }
        let mut thread = Thread::inside(&mut enclave);
        poke(&mut enclave, SECINFO, SecInfo::new(RX).as_bytes());
        poke(&mut enclave, SECINFO + 60, &[1]);
        let operands = [SECINFO, ABSENT, SOURCE];
        let done = thread.call(&mut enclave, Leaf::Eacceptcopy, operands);
        assert_eq!(done, Err(Fault::Gp));
    }

    #[test]
    fn the_target_is_aligned_and_in_elrange() {
        for target in [DATA + 0x800, BASE - 0x1000, BASE + SIZE] {
            assert_eq!(copy(&mut augmented(), target, RX), Err(Fault::Gp));
        }
    }

    #[test]
    fn the_target_is_there() {
        let target = ABSENT + 0x1000;
        let fault = absent_fault(target, true);
        assert_eq!(copy(&mut augmented(), target, RX), Err(fault));
    }

    #[test]
    fn checks_come_in_their_order() {
        let mut plan = Plan::new();
        plan.page(READ_ONLY).secinfo = SECINFO_REG;
        let mut enclave = plan.build();
        enclave.eaug(ABSENT).expect("EAUG");
        let thread = Thread::inside(&mut enclave);
        let absent = ABSENT + 0x1000;
        let wrong = DATA + 0x80;
        poke(&mut enclave, SECINFO, SecInfo::new(RX).as_bytes());
        poke(&mut enclave, wrong, SecInfo::new(RX | 0x40).as_bytes());
        for (operands, fault) in [
            // Alignment and ELRANGE of all operands,
            ([absent, 1, SOURCE], Fault::Gp),
            ([absent, ABSENT, 1], Fault::Gp),
            ([absent, ABSENT, BASE + SIZE], Fault::Gp),
            // whether there are pages,
            (
                [absent, absent + 0x1000, absent],
                absent_fault(absent, false),
            ),
            ([READ_ONLY, absent, SOURCE], absent_fault(absent, true)),
            ([READ_ONLY, ABSENT, absent], absent_fault(absent, false)),
            // SECINFO's page, its content, the source.
            ([READ_ONLY, ABSENT, READ_ONLY], epcm_fault(READ_ONLY, false)),
            ([wrong, ABSENT, READ_ONLY], Fault::Gp),
            ([SECINFO, SOURCE, READ_ONLY], epcm_fault(READ_ONLY, false)),
        ] {
            let done = thread
                .clone()
                .call(&mut enclave, Leaf::Eacceptcopy, operands);
            assert_eq!(done, Err(fault), "{operands:x?}");
        }
    }
}
