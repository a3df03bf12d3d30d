//! EACCEPT.

use mystikos_abi::sgx::{
    SecInfo, Tcs, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PR, SECINFO_PT, SECINFO_R, SECINFO_W,
    SECINFO_X, TCS_DBGOPTIN,
};
use mystikos_abi::PAGE_SIZE;
use zerocopy::IntoBytes;

use crate::cpu::Cpu;
use crate::enclave::Enclave;
use crate::epcm::{page_type, Access, Entry, Epc, PageType, SECINFO_DEFINED};
use crate::fault::{Fault, Status};

/// What must be as the enclave expects it. PR is not compared.
const COMPARED: u64 =
    SECINFO_R | SECINFO_W | SECINFO_X | SECINFO_PENDING | SECINFO_MODIFIED | SECINFO_PT;

impl<M: Epc> Enclave<M> {
    /// EACCEPT: confirms that the page at RCX is as the SECINFO at RBX says.
    ///
    /// Address translations are never stale here (ETRACK has nothing to wait for), so SGX_NOT_TRACKED does not occur.
    pub(crate) fn eaccept(&mut self, cpu: &mut Cpu<'_>) -> Result<(), Fault> {
        let (rbx, rcx) = (cpu.regs.rbx, cpu.regs.rcx);
        let secinfo = self.read_secinfo(rbx)?;
        if secinfo.flags & !SECINFO_DEFINED != 0 || secinfo.reserved != [0; 7] {
            return Err(Fault::Gp);
        }
        let offset = self.aligned(rcx, PAGE_SIZE)?;
        let entry = self.resolve(rcx, Access::Read)?;
        if !acceptable(secinfo.flags) {
            return Err(Fault::Gp);
        }
        if (entry.flags() ^ secinfo.flags) & COMPARED != 0 {
            cpu.complete(Err(Status::PageAttributesMismatch));
            return Ok(());
        }
        if entry.page_type() == Some(PageType::Tcs) {
            self.check_new_tcs(offset)?;
        }
        let accepted = entry.flags() & !(SECINFO_PENDING | SECINFO_MODIFIED | SECINFO_PR);
        self.epcm.update(offset, Entry::new(accepted));
        cpu.complete(Ok(()));
        Ok(())
    }

    /// The SECINFO at RBX, an operand of the SGX2 leaves.
    pub(crate) fn read_secinfo(&self, linear: u64) -> Result<SecInfo, Fault> {
        let offset = self.operand(linear, size_of::<SecInfo>() as u64, Access::Read)?;
        let mut secinfo = SecInfo::default();
        self.memory.read(offset, secinfo.as_mut_bytes());
        Ok(secinfo)
    }

    /// A page that becomes a TCS is in its initial state, and its reserved part zero.
    fn check_new_tcs(&self, offset: u64) -> Result<(), Fault> {
        let tcs = self.read_tcs(self.linear(offset));
        if tcs.flags & TCS_DBGOPTIN != 0 || tcs.cssa >= tcs.nssa || tcs.aep != 0 || tcs.state != 0 {
            return Err(Fault::Gp);
        }
        let mut at = size_of::<Tcs>() as u64;
        let mut bytes = [0; 64];
        while at < PAGE_SIZE {
            let now = (PAGE_SIZE - at).min(64) as usize;
            let part = &mut bytes[..now];
            self.memory.read(offset + at, part);
            if part.iter().any(|&byte| byte != 0) {
                return Err(Fault::Gp);
            }
            at += now as u64;
        }
        Ok(())
    }
}

/// The combinations of page type, PENDING, MODIFIED and PR that EACCEPT takes without CET.
fn acceptable(flags: u64) -> bool {
    let pending = flags & SECINFO_PENDING != 0;
    let modified = flags & SECINFO_MODIFIED != 0;
    let restricted = flags & SECINFO_PR != 0;
    match page_type(flags) {
        Some(PageType::Reg) => (restricted || pending) && !modified,
        Some(PageType::Tcs | PageType::Trim) => !restricted && !pending && modified,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use mystikos_abi::sgx::{
        SecInfo, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PR, SECINFO_R, SECINFO_REG,
        SECINFO_TCS, SECINFO_TRIM, SECINFO_W, SECINFO_X,
    };
    use zerocopy::IntoBytes;

    use crate::cpu::rflags;
    use crate::testing::{
        absent_fault, poke, tcs, Memory, Operand, Plan, Thread, ABSENT, BASE, DATA, READ_ONLY, SIZE,
    };
    use crate::{Enclave, Fault, Leaf, Rights};

    const SECINFO: u64 = DATA + 0x40;
    const PENDING: u64 = SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING;
    const MISMATCH: u64 = 19;

    /// Accepts; RAX.
    fn accept(enclave: &mut Enclave<Memory>, linear: u64, flags: u64) -> Result<u64, Fault> {
        let mut thread = Thread::inside(enclave);
        thread.regs.rflags |= rflags::STATUS;
        poke(enclave, SECINFO, SecInfo::new(flags).as_bytes());
        let rip = thread.regs.rip;
        let done = thread.call(enclave, Leaf::Eaccept, [SECINFO, linear, 0]);
        let left = (thread.regs.rax, thread.regs.rflags, thread.regs.rip);
        thread.regs.rbx = 0;
        thread.leaf(enclave, Leaf::Eexit).expect("EEXIT");
        done?;
        let zf = if left.0 == 0 { 0 } else { rflags::ZF };
        assert_eq!(left.1 & (rflags::STATUS | rflags::ZF), zf);
        assert_eq!(left.2, rip + 3);
        Ok(left.0)
    }

    fn augmented() -> Enclave<Memory> {
        let mut enclave = Plan::new().build();
        enclave.eaug(ABSENT).expect("EAUG");
        enclave
    }

    #[test]
    fn a_page_from_eaug_can_be_used_then() {
        let mut enclave = augmented();
        assert_eq!(accept(&mut enclave, ABSENT, PENDING), Ok(0));
        let flags = SECINFO_REG | SECINFO_R | SECINFO_W;
        assert_eq!(enclave.secinfo_flags(ABSENT), Some(flags));
        assert!(enclave.rights(ABSENT).write);
    }

    #[test]
    fn a_restriction_by_emodpr_is_acknowledged() {
        let mut enclave = Plan::new().build();
        enclave.emodpr(READ_ONLY, SecInfo::new(0)).expect("EMODPR");
        let flags = SECINFO_REG | SECINFO_PR;
        assert_eq!(accept(&mut enclave, READ_ONLY, flags), Ok(0));
        assert_eq!(enclave.secinfo_flags(READ_ONLY), Some(SECINFO_REG));
    }

    #[test]
    fn a_restriction_can_be_acknowledged_twice_since_pr_is_not_compared() {
        let mut enclave = Plan::new().build();
        let flags = SECINFO_REG | SECINFO_R | SECINFO_PR;
        assert_eq!(accept(&mut enclave, READ_ONLY, flags), Ok(0));
    }

    #[test]
    fn a_page_that_is_trimmed_stays_without_permissions() {
        let mut enclave = Plan::new().build();
        enclave
            .emodt(READ_ONLY, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        let flags = SECINFO_TRIM | SECINFO_MODIFIED;
        assert_eq!(accept(&mut enclave, READ_ONLY, flags), Ok(0));
        assert_eq!(enclave.secinfo_flags(READ_ONLY), Some(SECINFO_TRIM));
        assert_eq!(enclave.rights(READ_ONLY), Rights::default());
    }

    #[test]
    fn what_differs_from_what_is_expected_is_a_mismatch() {
        let mut enclave = augmented();
        enclave
            .emodt(READ_ONLY, SecInfo::new(SECINFO_TRIM))
            .expect("EMODT");
        let before = [ABSENT, READ_ONLY].map(|page| enclave.secinfo_flags(page));
        for (linear, flags) in [
            (ABSENT, PENDING | SECINFO_X),
            (ABSENT, PENDING & !SECINFO_W),
            (ABSENT, PENDING & !SECINFO_R & !SECINFO_W),
            (ABSENT, PENDING & !SECINFO_PENDING | SECINFO_PR),
            (ABSENT, SECINFO_TRIM | SECINFO_MODIFIED),
            (READ_ONLY, SECINFO_TCS | SECINFO_MODIFIED),
            (READ_ONLY, SECINFO_TRIM | SECINFO_MODIFIED | SECINFO_R),
            (DATA + 0x1000, PENDING),
        ] {
            let accepted = accept(&mut enclave, linear, flags);
            assert_eq!(accepted, Ok(MISMATCH), "{linear:#x} {flags:#x}");
        }
        let after = [ABSENT, READ_ONLY].map(|page| enclave.secinfo_flags(page));
        assert_eq!(before, after);
    }

    #[test]
    fn secinfo_is_aligned_in_the_enclave_and_readable() {
        let operand = Operand {
            leaf: Leaf::Eaccept,
            right: [SECINFO, DATA, 0],
            index: 0,
            align: 64,
            write: false,
        };
        operand.is_checked();
    }

    #[test]
    fn reserved_fields_of_secinfo_are_zero() {
        let mut enclave = augmented();
        for flag in [0x40, 0x80, 1 << 16, 1 << 63] {
            let accepted = accept(&mut enclave, ABSENT, PENDING | flag);
            assert_eq!(accepted, Err(Fault::Gp));
        }
        poke(&mut enclave, SECINFO + 56, &[1]);
        let accepted = accept(&mut enclave, ABSENT, PENDING);
        assert_eq!(accepted, Ok(0), "the bytes were overwritten");
        let mut thread = Thread::inside(&mut enclave);
        poke(&mut enclave, SECINFO + 8, &[1]);
        let done = thread.call(&mut enclave, Leaf::Eaccept, [SECINFO, ABSENT, 0]);
        assert_eq!(done, Err(Fault::Gp));
    }

    #[test]
    fn the_page_is_aligned_and_in_elrange() {
        for linear in [DATA + 0x800, BASE - 0x1000, BASE + SIZE] {
            let accepted = accept(&mut augmented(), linear, PENDING);
            assert_eq!(accepted, Err(Fault::Gp));
        }
    }

    #[test]
    fn the_page_is_there() {
        let accepted = accept(&mut Plan::new().build(), ABSENT, PENDING);
        assert_eq!(accepted, Err(absent_fault(ABSENT, false)));
    }

    #[test]
    fn type_pending_modified_and_pr_go_together() {
        let mut enclave = augmented();
        for flags in [
            SECINFO_REG | SECINFO_R,
            SECINFO_REG | SECINFO_PENDING | SECINFO_MODIFIED,
            SECINFO_REG | SECINFO_MODIFIED,
            SECINFO_TCS,
            SECINFO_TCS | SECINFO_MODIFIED | SECINFO_PR,
            SECINFO_TCS | SECINFO_MODIFIED | SECINFO_PENDING,
            SECINFO_TRIM,
            SECINFO_TRIM | SECINFO_PENDING,
            // SECS, VA, shadow stack.
            SECINFO_MODIFIED,
            0x300 | SECINFO_MODIFIED,
            0x500 | SECINFO_PENDING,
        ] {
            let accepted = accept(&mut enclave, ABSENT, flags);
            assert_eq!(accepted, Err(Fault::Gp), "{flags:#x}");
        }
    }

    /// A page that is to become a TCS, with a byte of it altered.
    fn new_tcs(at: u64, bytes: &[u8]) -> Result<u64, Fault> {
        let mut enclave = Plan::new().build();
        let target = DATA + 0x1000;
        poke(&mut enclave, target, tcs().as_bytes());
        poke(&mut enclave, target + at, bytes);
        enclave
            .emodt(target, SecInfo::new(SECINFO_TCS))
            .expect("EMODT");
        let accepted = accept(&mut enclave, target, SECINFO_TCS | SECINFO_MODIFIED);
        if accepted == Ok(0) {
            let mut thread = Thread::new();
            thread.regs.rbx = target;
            thread.leaf(&mut enclave, Leaf::Eenter).expect("EENTER");
        }
        accepted
    }

    #[test]
    fn a_page_becomes_a_tcs_that_can_be_entered() {
        assert_eq!(new_tcs(0, &[]), Ok(0));
    }

    #[test]
    fn a_new_tcs_is_in_its_initial_state() {
        // STATE, DBGOPTIN, AEP, NSSA no greater than CSSA.
        for (at, byte) in [(0, 1), (8, 1), (40, 1), (24, 3), (28, 0)] {
            assert_eq!(new_tcs(at, &[byte]), Err(Fault::Gp), "byte {at}");
        }
        assert_eq!(new_tcs(24, &[2]), Ok(0));
    }

    #[test]
    fn the_reserved_part_of_a_new_tcs_is_zero() {
        for at in [72, 80, 135, 136, 2048, 4095] {
            assert_eq!(new_tcs(at, &[1]), Err(Fault::Gp), "byte {at}");
        }
    }

    #[test]
    fn checks_come_in_their_order() {
        let mut enclave = augmented();
        let (illegal, reserved) = (SECINFO_REG | SECINFO_R, PENDING | 0x40);
        // SECINFO, then where the page is, then what is asked of it, then how it is.
        let absent = ABSENT + 0x1000;
        for (linear, flags, expected) in [
            (absent, reserved, Err(Fault::Gp)),
            (absent, illegal, Err(absent_fault(absent, false))),
            (READ_ONLY, illegal, Err(Fault::Gp)),
            (READ_ONLY, PENDING, Ok(MISMATCH)),
        ] {
            assert_eq!(accept(&mut enclave, linear, flags), expected);
        }
        let mut thread = Thread::inside(&mut enclave);
        let done = thread.call(&mut enclave, Leaf::Eaccept, [absent, 1, 0]);
        assert_eq!(done, Err(absent_fault(absent, false)));
    }

    #[test]
    fn a_mismatch_is_found_before_the_content_of_a_new_tcs() {
        let mut enclave = Plan::new().build();
        poke(&mut enclave, DATA + 0x1000, &[1; 4096]);
        enclave
            .emodt(DATA + 0x1000, SecInfo::new(SECINFO_TCS))
            .expect("EMODT");
        let flags = SECINFO_TCS | SECINFO_MODIFIED;
        let accepted = accept(&mut enclave, DATA + 0x1000, flags | SECINFO_R);
        assert_eq!(accepted, Ok(MISMATCH));
        let accepted = accept(&mut enclave, DATA + 0x1000, flags);
        assert_eq!(accepted, Err(Fault::Gp));
    }
}
