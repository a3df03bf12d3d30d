//! Each rule of the driver, with a test that names it.

mod build;
mod mapping;
mod modify;

use std::cell::RefCell;
use std::collections::BTreeMap;

use mystikos_abi::sgx::{
    Attributes, SecInfo, Secs, Tcs, ATTRIBUTE_DEBUG, ATTRIBUTE_MODE64BIT, MISCSELECT_EXINFO,
    SECINFO_R, SECINFO_REG, SECINFO_TCS, SECINFO_W, SECINFO_X,
};
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::testing::{Memory, Signer};
use mystikos_sgx::Processor;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::{Caller, Encl, Machine, Troubles};
use crate::journal::Counts;
use crate::refusal::Result;
use crate::uapi::{request, AddPages, PAGE_MEASURE};

pub const PAGE: u64 = PAGE_SIZE;
pub const BASE: u64 = 0x7000_0000_0000;
pub const SIZE: u64 = 16 * PAGE;

pub const R: u64 = SECINFO_REG | SECINFO_R;
pub const RW: u64 = R | SECINFO_W;
pub const RX: u64 = R | SECINFO_X;
pub const TCS: u64 = SECINFO_TCS;

/// Offsets of the pages that [`Bench::filled`] adds: code, a TCS, two of data.
pub const CODE: u64 = 0;
pub const THREAD: u64 = PAGE;
pub const DATA: u64 = 2 * PAGE;
pub const ABSENT: u64 = 8 * PAGE;

/// Where arguments lie in the caller.
const ARGUMENT: u64 = 0x1000;
const SECS: u64 = 0x2000;
pub const SECINFO: u64 = 0x3000;
const SIGSTRUCT: u64 = 0x4000;
/// Content: pages of it, of which one may not be executed and the next not be read.
pub const CONTENT: u64 = 0x10000;
pub const NOEXEC: u64 = 0x20000;
pub const UNREADABLE: u64 = 0x30000;
pub const UNMAPPED: u64 = 0x8000_0000;

/// A process made of bytes.
#[derive(Default)]
pub struct Process {
    memory: RefCell<BTreeMap<u64, u8>>,
}

impl Process {
    fn put(&self, address: u64, bytes: &[u8]) {
        self.memory
            .borrow_mut()
            .extend((address..).zip(bytes.iter().copied()));
    }

    fn get<T: FromZeros + FromBytes + IntoBytes>(&self, address: u64) -> T {
        let mut value = T::new_zeroed();
        assert!(self.read(address, value.as_mut_bytes()));
        value
    }
}

impl Caller for Process {
    type Memory = Memory;

    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        if !(0x1000..UNREADABLE).contains(&address) {
            return false;
        }
        let memory = self.memory.borrow();
        for (at, byte) in (address..).zip(to) {
            *byte = memory.get(&at).copied().unwrap_or(0);
        }
        true
    }

    fn write(&mut self, address: u64, from: &[u8]) -> bool {
        self.put(address, from);
        address >= 0x1000
    }

    fn may_execute(&mut self, address: u64) -> Option<bool> {
        (address < UNMAPPED).then_some(!(NOEXEC..UNREADABLE).contains(&address))
    }

    fn is_provision(&self, fd: u64) -> bool {
        fd == 9
    }

    fn memory(&mut self, size: u64) -> Option<Memory> {
        Some(Memory(vec![0; size as usize]))
    }
}

/// A device file, a process that uses it, and a machine.
pub struct Bench {
    pub encl: Encl<Memory>,
    pub process: Process,
    pub machine: Machine,
}

/// Error number and broken rule.
pub type Told = (i32, &'static str);

impl Bench {
    pub fn new() -> Bench {
        Bench {
            encl: Encl::default(),
            process: Process::default(),
            machine: Machine {
                processor: Processor::simulated(3),
                sgx2: true,
                epc_pages: 1000,
                free: 1000,
                lost: false,
                troubles: Troubles::default(),
                counts: Counts::default(),
            },
        }
    }

    /// After CREATE.
    pub fn created() -> Bench {
        let mut bench = Bench::new();
        bench.create(&secs()).unwrap();
        bench
    }

    /// With a few pages.
    pub fn filled() -> Bench {
        let mut bench = Bench::created();
        let tcs = Tcs {
            ossa: DATA,
            nssa: 1,
            ..Tcs::default()
        };
        for (offset, flags, content) in [
            (CODE, RX, &[0x90; 16][..]),
            (THREAD, TCS, tcs.as_bytes()),
            (DATA, RW, &[]),
            (DATA + PAGE, RW, &[]),
        ] {
            bench.content(content);
            bench.add(offset, flags).unwrap();
        }
        bench
    }

    /// After INIT.
    pub fn initialised() -> Bench {
        let mut bench = Bench::filled();
        let signature = bench.signer().sign();
        bench.init(&signature).unwrap();
        bench
    }

    /// ioctl(2) with an argument, which is returned as it was left.
    pub fn ioctl<T>(&mut self, request: u32, argument: &T) -> (T, Result)
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        self.process.put(ARGUMENT, argument.as_bytes());
        let result = self
            .encl
            .ioctl(request, ARGUMENT, &mut self.process, &mut self.machine);
        (self.process.get(ARGUMENT), result)
    }

    pub fn create(&mut self, secs: &Secs) -> Result {
        self.process.put(SECS, secs.as_bytes());
        self.ioctl(request::CREATE, &SECS).1
    }

    /// Replaces the first page of content.
    pub fn content(&mut self, bytes: &[u8]) {
        self.process.put(CONTENT, &[0; PAGE as usize]);
        self.process.put(CONTENT, bytes);
    }

    pub fn add(&mut self, offset: u64, flags: u64) -> Result {
        self.add_pages(
            AddPages {
                offset,
                ..one_page()
            },
            SecInfo::new(flags),
        )
        .1
    }

    pub fn add_pages(&mut self, add: AddPages, secinfo: SecInfo) -> (AddPages, Result) {
        self.process.put(SECINFO, secinfo.as_bytes());
        self.ioctl(request::ADD_PAGES, &add)
    }

    /// A signer of what was added so far.
    pub fn signer(&self) -> Signer {
        Signer::of(self.encl.enclave.as_ref().unwrap())
    }

    pub fn init(&mut self, signature: &[u8; 1808]) -> Result {
        self.process.put(SIGSTRUCT, signature);
        self.ioctl(request::INIT, &SIGSTRUCT).1
    }
}

/// An SECS that is accepted.
pub fn secs() -> Secs {
    Secs {
        size: SIZE,
        baseaddr: BASE,
        ssaframesize: 1,
        miscselect: MISCSELECT_EXINFO,
        attributes: Attributes {
            flags: ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG,
            xfrm: 3,
        },
        ..Secs::new_zeroed()
    }
}

/// A request to add and measure the first page.
pub fn one_page() -> AddPages {
    AddPages {
        src: CONTENT,
        offset: 0,
        length: PAGE,
        secinfo: SECINFO,
        flags: PAGE_MEASURE,
        count: 0,
    }
}

/// The refusal of a request that must fail; the part of the rule before the colon names the kernel's function.
pub fn refused<T: std::fmt::Debug>(result: Result<T>) -> Told {
    let refusal = result.expect_err("must be refused");
    (refusal.errno, refusal.rule)
}

/// The error number alone.
pub fn errno<T: std::fmt::Debug>(result: Result<T>) -> i32 {
    refused(result).0
}
