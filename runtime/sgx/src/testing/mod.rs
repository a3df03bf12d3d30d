//! What the tests share: memory, an enclave to build and alter, a signer, and threads to run in it.

#![allow(missing_docs, clippy::missing_panics_doc, clippy::new_without_default)]

use mystikos_abi::sgx::{
    Attributes, SecInfo, Secs, Tcs, ATTRIBUTE_DEBUG, ATTRIBUTE_KSS, ATTRIBUTE_MODE64BIT,
    MISCSELECT_EXINFO, SECINFO_R, SECINFO_REG, SECINFO_TCS, SECINFO_W, SECINFO_X,
};
use mystikos_abi::PAGE_SIZE;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::enclu::Leaf;
use crate::{Cpu, Enclave, Epc, Exception, Failure, Fault, LogicalProcessor, Processor, Registers};

pub mod signer;

pub use signer::Signer;

/// EPC pages of an enclave, all of ELRANGE.
#[derive(Clone, PartialEq, Eq)]
pub struct Memory(pub Vec<u8>);

impl Epc for Memory {
    fn read(&self, offset: u64, to: &mut [u8]) {
        let at = offset as usize;
        to.copy_from_slice(&self.0[at..at + to.len()]);
    }

    fn write(&mut self, offset: u64, from: &[u8]) {
        let at = offset as usize;
        self.0[at..at + from.len()].copy_from_slice(from);
    }
}

pub const BASE: u64 = 0x7000_0000_0000;
pub const SIZE: u64 = 0x1_0000;
pub const CODE: u64 = BASE;
pub const TCS: u64 = BASE + 0x1000;
pub const SSA: u64 = BASE + 0x2000;
/// Two regular pages, for reading and writing.
pub const DATA: u64 = BASE + 0x5000;
pub const READ_ONLY: u64 = BASE + 0x7000;
/// A page that is not added.
pub const ABSENT: u64 = BASE + 0x8000;
pub const AEP: u64 = 0x40_1000;
pub const XCR0: u64 = 7;

const RW: u64 = SECINFO_REG | SECINFO_R | SECINFO_W;

/// A page to be added.
#[derive(Clone)]
pub struct Page {
    pub linear: u64,
    pub secinfo: u64,
    pub content: [u8; 4096],
    pub measured: bool,
}

impl Page {
    pub fn new(linear: u64, secinfo: u64, content: &[u8]) -> Self {
        let mut page = Self {
            linear,
            secinfo,
            content: [0; 4096],
            measured: true,
        };
        page.content[..content.len()].copy_from_slice(content);
        page
    }
}

/// An enclave to be: what tests alter before it is built.
#[derive(Clone)]
pub struct Plan {
    pub processor: Processor,
    pub secs: Secs,
    pub pages: Vec<Page>,
}

pub fn tcs() -> Tcs {
    Tcs {
        ossa: SSA - BASE,
        nssa: 3,
        oentry: 0x40,
        ofsbase: DATA - BASE,
        ogsbase: DATA + PAGE_SIZE - BASE,
        fslimit: u32::MAX,
        gslimit: u32::MAX,
        ..Tcs::default()
    }
}

impl Plan {
    /// Code, a TCS with three SSA frames, two pages of data, one that cannot be written.
    pub fn new() -> Self {
        let secs = Secs {
            size: SIZE,
            baseaddr: BASE,
            ssaframesize: 1,
            miscselect: MISCSELECT_EXINFO,
            attributes: Attributes {
                flags: ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG,
                xfrm: 7,
            },
            ..Secs::new_zeroed()
        };
        let mut pages = vec![
            Page::new(CODE, SECINFO_REG | SECINFO_R | SECINFO_X, &[0x90; 64]),
            Page::new(TCS, SECINFO_TCS, tcs().as_bytes()),
        ];
        for linear in [SSA, SSA + 0x1000, SSA + 0x2000, DATA, DATA + 0x1000] {
            pages.push(Page::new(linear, RW, &[]));
        }
        pages.push(Page::new(READ_ONLY, SECINFO_REG | SECINFO_R, &[7; 16]));
        for page in &mut pages[2..7] {
            page.measured = false;
        }
        Self {
            processor: Processor::simulated(XCR0),
            secs,
            pages,
        }
    }

    /// The same with KSS, and a configuration.
    pub fn with_kss() -> Self {
        let mut plan = Self::new();
        plan.secs.attributes.flags |= ATTRIBUTE_KSS;
        plan.secs.configid = [0xc0; 64];
        plan.secs.configsvn = 5;
        plan
    }

    pub fn page(&mut self, linear: u64) -> &mut Page {
        self.pages
            .iter_mut()
            .find(|page| page.linear == linear)
            .expect("a page of the plan")
    }

    /// Alters the thread control structure.
    pub fn edit_tcs(&mut self, edit: impl FnOnce(&mut Tcs)) {
        let content = &mut self.page(TCS).content;
        let (tcs, _) = Tcs::mut_from_prefix(content).expect("a page is large enough");
        edit(tcs);
    }

    pub fn create(&self) -> Result<Enclave<Memory>, Fault> {
        Enclave::ecreate(
            self.processor.clone(),
            &self.secs,
            Memory(vec![0; SIZE as usize]),
        )
    }

    /// ECREATE, EADD and EEXTEND.
    pub fn load(&self) -> Enclave<Memory> {
        let mut enclave = self.create().expect("ECREATE");
        for page in &self.pages {
            enclave
                .eadd(page.linear, SecInfo::new(page.secinfo), Some(&page.content))
                .expect("EADD");
            for chunk in (0..PAGE_SIZE).step_by(256).filter(|_| page.measured) {
                enclave.eextend(page.linear + chunk).expect("EEXTEND");
            }
        }
        enclave
    }

    /// An initialised enclave.
    pub fn build(&self) -> Enclave<Memory> {
        self.build_signed(|_| {})
    }

    /// An initialised enclave, with another identity signed.
    pub fn build_signed(&self, edit: impl FnOnce(&mut Signer)) -> Enclave<Memory> {
        let mut enclave = self.load();
        let mut signer = Signer::of(&enclave);
        edit(&mut signer);
        enclave.einit(&signer.sign()).expect("EINIT");
        enclave
    }
}

/// A thread of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    pub regs: Registers,
    pub fs_base: u64,
    pub gs_base: u64,
    pub xsave: Vec<u8>,
    pub state: LogicalProcessor,
}

impl Thread {
    /// Outside, with something else in every register.
    pub fn new() -> Self {
        let mut regs = Registers {
            rflags: 0x202,
            rip: 0x40_0000,
            ..Registers::default()
        };
        let all = [
            &mut regs.rdx,
            &mut regs.rsp,
            &mut regs.rbp,
            &mut regs.rsi,
            &mut regs.rdi,
            &mut regs.r8,
            &mut regs.r9,
            &mut regs.r10,
            &mut regs.r11,
            &mut regs.r12,
            &mut regs.r13,
            &mut regs.r14,
            &mut regs.r15,
        ];
        for (register, number) in all.into_iter().zip(1..) {
            *register = 0x1111_0000 * number;
        }
        regs.rbx = TCS;
        regs.rcx = AEP;
        let mut xsave: Vec<u8> = (0..832u32).map(|i| i as u8 | 1).collect();
        xsave[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        xsave[512..576].fill(0);
        xsave[512] = 7;
        Self {
            regs,
            fs_base: 0xf5_0000,
            gs_base: 0x65_0000,
            xsave,
            state: LogicalProcessor::OUTSIDE,
        }
    }

    /// Inside, on the only TCS of the plan.
    pub fn inside(enclave: &mut Enclave<Memory>) -> Self {
        let mut thread = Self::new();
        thread.leaf(enclave, Leaf::Eenter).expect("EENTER");
        thread
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cpu<'_>) -> T) -> T {
        let mut cpu = Cpu {
            regs: self.regs,
            fs_base: self.fs_base,
            gs_base: self.gs_base,
            xsave: &mut self.xsave,
            state: &mut self.state,
        };
        let result = act(&mut cpu);
        (self.regs, self.fs_base, self.gs_base) = (cpu.regs, cpu.fs_base, cpu.gs_base);
        result
    }

    /// ENCLU as the registers say. A fault must have changed nothing.
    pub fn enclu(&mut self, enclave: &mut Enclave<Memory>) -> Result<Leaf, Fault> {
        let before = (self.clone(), snapshot(enclave));
        let result = self.with(|cpu| enclave.enclu(cpu));
        if result.is_err() {
            assert!(
                (self.clone(), snapshot(enclave)) == before,
                "a fault changed something"
            );
        }
        result
    }

    pub fn leaf(&mut self, enclave: &mut Enclave<Memory>, leaf: Leaf) -> Result<Leaf, Fault> {
        self.regs.rax = leaf as u64;
        self.enclu(enclave)
    }

    /// A leaf function with these operands in RBX, RCX and RDX.
    pub fn call(
        &mut self,
        enclave: &mut Enclave<Memory>,
        leaf: Leaf,
        [rbx, rcx, rdx]: [u64; 3],
    ) -> Result<(), Fault> {
        (self.regs.rbx, self.regs.rcx, self.regs.rdx) = (rbx, rcx, rdx);
        self.leaf(enclave, leaf).map(|_| ())
    }

    pub fn aex(
        &mut self,
        enclave: &mut Enclave<Memory>,
        cause: Option<Exception>,
    ) -> Option<Exception> {
        self.with(|cpu| enclave.aex(cpu, cause))
    }
}

/// An operand of a leaf function that is executed inside: which register it is in, and what its page must allow.
pub struct Operand {
    pub leaf: Leaf,
    /// Operands that are right: RBX, RCX, RDX.
    pub right: [u64; 3],
    /// Which of them it is.
    pub index: usize,
    pub align: u64,
    pub write: bool,
}

impl Operand {
    fn faults(&self, enclave: &mut Enclave<Memory>, thread: &Thread, linear: u64, fault: Fault) {
        let mut operands = self.right;
        operands[self.index] = linear;
        let done = thread.clone().call(enclave, self.leaf, operands);
        assert_eq!(done, Err(fault), "operand {} at {linear:#x}", self.index);
    }

    /// It is aligned and in ELRANGE (#GP), and in a regular page that is there, neither pending nor modified, and that
    /// can be accessed so (#PF).
    pub fn is_checked(&self) {
        self.is_checked_in(Plan::new());
    }

    /// The same with what other operands need in memory.
    pub fn is_checked_in(&self, mut plan: Plan) {
        // Neither readable nor writable.
        plan.page(READ_ONLY).secinfo = SECINFO_REG | SECINFO_X;
        let mut enclave = plan.build();
        let thread = Thread::inside(&mut enclave);
        let right = self.right[self.index];
        self.faults(&mut enclave, &thread, right + self.align / 2, Fault::Gp);
        self.faults(&mut enclave, &thread, BASE - 0x1000, Fault::Gp);
        self.faults(&mut enclave, &thread, BASE + SIZE, Fault::Gp);
        let fault = absent_fault(ABSENT, self.write);
        self.faults(&mut enclave, &thread, ABSENT, fault);
        enclave.eaug(ABSENT).expect("EAUG");
        enclave
            .emodt(SSA + 0x2000, SecInfo::new(SECINFO_TCS))
            .expect("EMODT");
        let mut wrong = vec![TCS, READ_ONLY, ABSENT, SSA + 0x2000];
        if self.write {
            wrong.push(CODE);
        }
        for linear in wrong {
            let fault = epcm_fault(linear, self.write);
            self.faults(&mut enclave, &thread, linear, fault);
        }
    }
}

/// Everything of an enclave that an instruction can change.
fn snapshot(enclave: &Enclave<Memory>) -> (Memory, Vec<Option<u64>>, [u8; 32], u32) {
    let pages = (BASE..BASE + SIZE).step_by(4096);
    (
        enclave.memory().clone(),
        pages.map(|page| enclave.secinfo_flags(page)).collect(),
        enclave.mrenclave(),
        enclave.active(),
    )
}

/// An ENCLS leaf that must fail, and must have changed nothing.
pub fn failing<T: core::fmt::Debug, E: Into<Failure>>(
    enclave: &mut Enclave<Memory>,
    act: impl FnOnce(&mut Enclave<Memory>) -> Result<T, E>,
) -> Failure {
    let before = snapshot(enclave);
    let failure = act(enclave).map_err(Into::into).expect_err("must fail");
    assert!(snapshot(enclave) == before, "a failure changed something");
    failure
}

/// Writes into the enclave's memory as its code would.
pub fn poke(enclave: &mut Enclave<Memory>, linear: u64, bytes: &[u8]) {
    enclave.memory_mut().write(linear - BASE, bytes);
}

/// Reads from the enclave's memory.
pub fn peek<const N: usize>(enclave: &Enclave<Memory>, linear: u64) -> [u8; N] {
    let mut bytes = [0; N];
    enclave.memory().read(linear - BASE, &mut bytes);
    bytes
}

/// The TCS as it is.
pub fn peek_tcs(enclave: &Enclave<Memory>) -> Tcs {
    Tcs::read_from_bytes(&peek::<72>(enclave, TCS)).expect("72 bytes")
}

/// #PF of a page that is there but not as it must be.
pub fn epcm_fault(address: u64, write: bool) -> Fault {
    Fault::Pf {
        address,
        code: if write { 0x8007 } else { 0x8005 },
    }
}

/// #PF of a page that is not there.
pub fn absent_fault(address: u64, write: bool) -> Fault {
    Fault::Pf {
        address,
        code: if write { 6 } else { 4 },
    }
}
