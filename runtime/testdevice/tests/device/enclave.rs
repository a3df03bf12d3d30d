//! A small enclave, built and mapped by the program itself, as a launcher does it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use mystikos_abi::sgx::{
    Attributes, SecInfo, Secs, Tcs, ATTRIBUTE_DEBUG, ATTRIBUTE_MODE64BIT, MISCSELECT_EXINFO,
    SECINFO_R, SECINFO_REG, SECINFO_TCS, SECINFO_W, SECINFO_X,
};
use mystikos_sgx::testing::{Memory, Signer};
use mystikos_sgx::{Enclave, Processor};
use mystikos_testdevice::tracer::xcr0;
use mystikos_testdevice::uapi::{request, AddPages, PAGE_MEASURE};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};
use zerocopy::{FromZeros, IntoBytes};

use crate::code::{self, Left, Run};

pub const PAGE: u64 = 4096;
pub const SIZE: u64 = 64 * PAGE;
pub const CODE: u64 = 0;
pub const READ_ONLY: u64 = PAGE;
pub const DATA: u64 = 2 * PAGE;
/// Two threads: TCS and three SSA frames each.
pub const THREADS: [u64; 2] = [4 * PAGE, 8 * PAGE];
/// A page that is not added.
pub const ABSENT: u64 = 16 * PAGE;
pub const NSSA: u64 = 3;

pub const RW: u64 = SECINFO_REG | SECINFO_R | SECINFO_W;
const RX: u64 = SECINFO_REG | SECINFO_R | SECINFO_X;

pub const PROT_RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
pub const PROT_RX: i32 = libc::PROT_READ | libc::PROT_EXEC;

/// A page to add.
#[derive(Clone)]
pub struct Page {
    pub offset: u64,
    pub flags: u64,
    pub content: Vec<u8>,
    pub measured: bool,
}

/// Memory that ADD_PAGES can take content from.
#[repr(C, align(4096))]
pub struct Source(pub [u8; PAGE as usize]);

/// A device file with an enclave, as far as it is built.
pub struct Built {
    pub device: File,
    pub base: u64,
    entry: u64,
}

/// Content of the enclave.
pub fn pages() -> Vec<Page> {
    let page = |offset, flags, content: &[u8], measured| {
        let mut whole = content.to_vec();
        whole.resize(PAGE as usize, 0);
        Page {
            offset,
            flags,
            content: whole,
            measured,
        }
    };
    let mut pages = vec![
        page(CODE, RX, code::bytes(), true),
        page(READ_ONLY, SECINFO_REG | SECINFO_R, &[7; 64], true),
        page(DATA, RW, b"data", false),
        page(DATA + PAGE, RW, &[], false),
    ];
    for thread in THREADS {
        let tcs = Tcs {
            ossa: thread + PAGE,
            nssa: NSSA as u32,
            oentry: CODE,
            ofsbase: DATA,
            ogsbase: DATA + PAGE,
            fslimit: u32::MAX,
            gslimit: u32::MAX,
            ..Tcs::default()
        };
        pages.push(page(thread, SECINFO_TCS, tcs.as_bytes(), true));
        for frame in 1..=NSSA {
            pages.push(page(thread + frame * PAGE, RW, &[], false));
        }
    }
    pages
}

/// An SECS for the enclave.
pub fn secs(base: u64, miscselect: u32) -> Secs {
    Secs {
        size: SIZE,
        baseaddr: base,
        ssaframesize: 1,
        miscselect,
        attributes: Attributes {
            flags: ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG,
            xfrm: 3,
        },
        ..Secs::new_zeroed()
    }
}

/// Address range that is aligned as ECREATE wants it.
pub fn reserve() -> u64 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let start = map(0, 2 * SIZE, libc::PROT_NONE, flags, -1).expect("address range");
    start.next_multiple_of(SIZE)
}

/// mmap(2).
pub fn map(address: u64, size: u64, prot: i32, flags: i32, fd: i32) -> io::Result<u64> {
    // SAFETY: a place that the caller has reserved, or that the kernel chooses.
    let mapped = unsafe { libc::mmap(address as *mut _, size as usize, prot, flags, fd, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped as u64)
}

/// mprotect(2).
pub fn protect(address: u64, size: u64, prot: i32) -> io::Result<()> {
    // SAFETY: memory of the enclave, which no Rust object lies in.
    check(unsafe { libc::mprotect(address as *mut _, size as usize, prot) })
}

/// ioctl(2).
pub fn ioctl<T>(device: &File, request: u32, argument: &mut T) -> io::Result<()> {
    // SAFETY: the argument is the structure of the request.
    check(unsafe { libc::ioctl(device.as_raw_fd(), request.into(), argument) })
}

fn check(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The error number of a failure.
pub fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result
        .expect_err("must fail")
        .raw_os_error()
        .expect("an error of the system")
}

/// Repeats what fails for a moment, as a launcher must.
pub fn persist(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match attempt() {
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EAGAIN | libc::EBUSY | libc::EINTR)
                ) => {}
            other => return other,
        }
    }
}

/// Opens the device and creates the enclave.
pub fn create(miscselect: u32) -> io::Result<Built> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/sgx_enclave")?;
    create_at(device, reserve(), miscselect)
}

fn create_at(device: File, base: u64, miscselect: u32) -> io::Result<Built> {
    let secs = Box::new(secs(base, miscselect));
    persist(|| ioctl(&device, request::CREATE, &mut (&raw const *secs as u64)))?;
    Ok(Built {
        device,
        base,
        entry: vdso_entry(),
    })
}

/// Adds a page; how many bytes, and whether that was all.
pub fn add(built: &Built, page: &Page) -> (u64, io::Result<()>) {
    let mut source = Box::new(Source([0; PAGE as usize]));
    source.0.copy_from_slice(&page.content);
    let secinfo = SecInfo::new(page.flags);
    let mut request = AddPages {
        src: &raw const *source as u64,
        offset: page.offset,
        length: PAGE,
        secinfo: &raw const secinfo as u64,
        flags: if page.measured { PAGE_MEASURE } else { 0 },
        count: 0,
    };
    let result = persist(|| ioctl(&built.device, request::ADD_PAGES, &mut request));
    (request.count, result)
}

/// A signature for the pages in an enclave of this SECS.
pub fn sign(secs: &Secs, pages: &[Page]) -> [u8; 1808] {
    let memory = Memory(vec![0; SIZE as usize]);
    let mut enclave =
        Enclave::ecreate(Processor::simulated(xcr0()), secs, memory).expect("ECREATE");
    for page in pages {
        let content: &[u8; PAGE as usize] = page.content[..].try_into().expect("a page");
        let linear = secs.baseaddr + page.offset;
        enclave
            .eadd(linear, SecInfo::new(page.flags), Some(content))
            .expect("EADD");
        for chunk in (0..PAGE).step_by(256).filter(|_| page.measured) {
            enclave.eextend(linear + chunk).expect("EEXTEND");
        }
    }
    Signer::of(&enclave).sign()
}

/// INIT.
pub fn init(built: &Built, signature: &[u8; 1808]) -> io::Result<()> {
    persist(|| {
        ioctl(
            &built.device,
            request::INIT,
            &mut (signature.as_ptr() as u64),
        )
    })
}

/// Everything up to INIT, with nothing mapped.
pub fn initialise(miscselect: u32) -> io::Result<Built> {
    fill(create(miscselect)?, miscselect)
}

/// The same in an open file, at a place of the caller's.
pub fn finish(device: File, base: u64, miscselect: u32) -> Built {
    let built = create_at(device, base, miscselect).expect("CREATE");
    fill(built, miscselect).expect("an enclave")
}

fn fill(built: Built, miscselect: u32) -> io::Result<Built> {
    let pages = pages();
    for page in &pages {
        let (count, result) = add(&built, page);
        result?;
        assert_eq!(count, PAGE);
    }
    init(&built, &sign(&secs(built.base, miscselect), &pages))?;
    Ok(built)
}

/// The enclave, ready to be entered.
pub fn build() -> Built {
    let built = initialise(MISCSELECT_EXINFO).expect("an enclave");
    built.map_all();
    built
}

/// `__vdso_sgx_enter_enclave`.
fn vdso_entry() -> u64 {
    // SAFETY: the vDSO is a whole shared object of two pages at most.
    let (base, image) = unsafe {
        let base = libc::getauxval(libc::AT_SYSINFO_EHDR);
        (base, std::slice::from_raw_parts(base as *const u8, 8192))
    };
    let file = ElfFile64::<Endianness>::parse(image).expect("an ELF file");
    let named = |symbol: &object::read::elf::ElfSymbol64<'_, '_>| {
        symbol.name() == Ok("__vdso_sgx_enter_enclave")
    };
    let symbol = file
        .dynamic_symbols()
        .find(named)
        .expect("a vDSO of a kernel with SGX");
    base + symbol.address()
}

impl Built {
    /// Maps a part of the enclave.
    pub fn map(&self, offset: u64, size: u64, prot: i32) -> io::Result<u64> {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        map(
            self.base + offset,
            size,
            prot,
            flags,
            self.device.as_raw_fd(),
        )
    }

    /// Maps every page with the rights it was added with.
    pub fn map_all(&self) {
        for page in pages() {
            let prot = match page.flags {
                SECINFO_TCS => PROT_RW,
                flags => (flags & 7) as i32,
            };
            self.map(page.offset, PAGE, prot).expect("mmap");
        }
    }

    /// Address of an offset.
    pub fn at(&self, offset: u64) -> u64 {
        self.base + offset
    }

    /// Enters on the first thread.
    pub fn enter(&self, arguments: [u64; 3]) -> (Left, Run) {
        let mut run = self.run();
        (self.enter_with(2, arguments, &mut run), run)
    }

    /// For the first thread.
    pub fn run(&self) -> Run {
        Run::new(self.at(THREADS[0]))
    }

    /// Enters or resumes.
    pub fn enter_with(&self, function: u32, arguments: [u64; 3], run: &mut Run) -> Left {
        code::enter(self.entry, function, arguments, run)
    }

    /// Enters on the first thread, and asks `handler` at each exit how to go on: as an entry's RSP is the way back, what was
    /// interrupted can only be resumed from there.
    pub fn enter_handled(
        &self,
        arguments: [u64; 3],
        mut handler: impl FnMut(&Run) -> i32,
    ) -> (Left, Run) {
        let mut handler: &mut dyn FnMut(&Run) -> i32 = &mut handler;
        extern "C" fn call(_: u64, _: u64, _: u64, _: u64, _: u64, _: u64, run: &mut Run) -> i32 {
            // SAFETY: `data` is the address of the closure below, which lives while the enclave is entered.
            let handler = unsafe { &mut *(run.data as *mut &mut dyn FnMut(&Run) -> i32) };
            handler(run)
        }
        let mut run = self.run();
        run.handler = call as *const () as u64;
        run.data = &raw mut handler as u64;
        (self.enter_with(2, arguments, &mut run), run)
    }
}
