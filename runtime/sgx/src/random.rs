//! Anything in any order: whatever enclave, application and system software do, the library does not panic, a fault
//! changes nothing (the harness compares), and the enclave's state stays one that the processor can have.

use mystikos_abi::sgx::{
    SecInfo, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_PT, SECINFO_R, SECINFO_REG, SECINFO_TCS,
    SECINFO_TRIM, SECINFO_W,
};

use crate::testing::{
    peek_tcs, poke, Memory, Plan, Thread, ABSENT, AEP, BASE, DATA, READ_ONLY, SIZE, SSA, TCS,
};
use crate::{Enclave, Exception, Rights};

/// Numbers that look random and are the same in each run (xorshift).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed))
    }

    pub fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.any() % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// An address that means something, or nearly, or nothing.
    fn address(&mut self) -> u64 {
        let page = self.pick(&[
            TCS,
            SSA,
            SSA + 0x1000,
            DATA,
            DATA + 0x1000,
            READ_ONLY,
            ABSENT,
        ]);
        match self.below(8) {
            0 => self.any(),
            1 => page + self.below(64) * 64,
            2 => BASE + self.below(SIZE + 4096),
            3 => DATA + self.below(16) * 512,
            _ => page,
        }
    }

    fn secinfo(&mut self) -> SecInfo {
        let kind = self.pick(&[SECINFO_REG, SECINFO_TCS, SECINFO_TRIM]);
        match self.below(10) {
            0 => SecInfo::new(self.any()),
            _ => SecInfo::new(kind | self.below(0x40)),
        }
    }
}

fn step(numbers: &mut Numbers, enclave: &mut Enclave<Memory>, thread: &mut Thread) {
    match numbers.below(16) {
        0 => {
            let bytes = numbers.any().to_le_bytes();
            let at = BASE + numbers.below(SIZE / 8) * 8;
            poke(enclave, at, &bytes);
        }
        1 => {
            // A SECINFO where leaf functions may find it, with what the page is like now.
            let flags = enclave.secinfo_flags(numbers.address()).unwrap_or(0);
            let secinfo = zerocopy::IntoBytes::as_bytes(&SecInfo::new(flags)).to_vec();
            poke(enclave, DATA + numbers.below(8) * 512, &secinfo);
        }
        2 => drop(enclave.eaug(numbers.address())),
        3 => drop(enclave.emodpr(numbers.address(), numbers.secinfo())),
        4 => drop(enclave.emodt(numbers.address(), numbers.secinfo())),
        5 => drop(enclave.eremove(numbers.address())),
        6 => {
            let (linear, secinfo) = (numbers.address(), numbers.secinfo());
            assert!(enclave.eadd(linear, secinfo, None).is_err());
            assert!(enclave.eextend(linear).is_err());
        }
        7 => {
            let cause = (numbers.below(3) != 0).then(|| Exception {
                vector: numbers.below(32) as u8,
                code: numbers.any() as u32,
                address: numbers.address(),
            });
            thread.aex(enclave, cause);
        }
        8 => {
            let at = numbers.below(thread.xsave.len() as u64) as usize;
            thread.xsave[at] = numbers.any() as u8;
        }
        _ => {
            let (entry, other) = (2 + numbers.below(2), numbers.below(11));
            let enters = !thread.state.inside() && numbers.below(2) == 0;
            thread.regs.rax = if enters { entry } else { other };
            if !enters || numbers.below(4) == 0 {
                (thread.regs.rbx, thread.regs.rcx) = (numbers.address(), numbers.address());
                thread.regs.rdx = numbers.address();
            } else {
                (thread.regs.rbx, thread.regs.rcx) = (TCS, AEP);
            }
            thread.regs.rflags ^= numbers.any() & 0x3f_7fd5;
            let _ = thread.enclu(enclave);
        }
    }
}

fn check(enclave: &Enclave<Memory>, thread: &Thread) {
    assert_eq!(enclave.active(), u32::from(thread.state.inside()));
    for linear in (BASE..BASE + SIZE).step_by(4096) {
        let Some(flags) = enclave.secinfo_flags(linear) else {
            assert_eq!(enclave.rights(linear), Rights::default());
            continue;
        };
        assert_ne!(flags & (SECINFO_R | SECINFO_W), SECINFO_W);
        let waiting = flags & (SECINFO_PENDING | SECINFO_MODIFIED);
        assert_ne!(waiting, SECINFO_PENDING | SECINFO_MODIFIED);
        if flags & SECINFO_PT != SECINFO_REG || waiting != 0 {
            assert_eq!(enclave.rights(linear), Rights::default());
        }
        if flags & SECINFO_PT != SECINFO_REG {
            assert_eq!(flags & 7, 0, "{flags:#x}");
        }
    }
}

#[test]
fn anything_in_any_order_leaves_an_enclave_that_can_be() {
    let built = Plan::new().build();
    let mut entries = 0;
    for seed in 1..=250 {
        let mut numbers = Numbers::new(seed);
        let mut enclave = Plan::new().build();
        let mut thread = Thread::new();
        for _ in 0..160 {
            let outside = !thread.state.inside();
            step(&mut numbers, &mut enclave, &mut thread);
            check(&enclave, &thread);
            entries += usize::from(outside && thread.state.inside());
        }
        assert_eq!(enclave.mrenclave(), built.mrenclave());
    }
    assert!(
        entries > 500,
        "{entries} entries are too few to mean anything"
    );
    assert_eq!(peek_tcs(&built).state, 0);
}
