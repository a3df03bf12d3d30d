//! The software driver: SGX as `mystikos-sgx` plays it, in this process (`sim` target).
//!
//! The EPC is a memory file. It is mapped twice: where the enclave lies, with the rights that the EPCM gives each page and
//! the page tables leave; and for the processor, which reaches every page. The enclave executes the same `enclu` as on
//! hardware; without SGX that raises #UD, and the handler of [`traps`] does what the instruction does.
//!
//! Nothing is protected from this process: it shows that the enclave works, not that it is safe.

mod illegal;
mod traps;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use lock_api::{Mutex, MutexGuard};
use mystikos_abi::sgx::{SecInfo, Secs};
use mystikos_abi::PAGE_SIZE;
use mystikos_sgx::{Enclave, Epc, Failure, LogicalProcessor, Rights};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::mm::{mmap, MapFlags, ProtFlags};

use super::driver::{Content, Driver, PAGE};
use crate::memory::{self, refused, Memory};
use crate::package::Package;
use crate::signals::Handlers;
use crate::spin::Spin;
use crate::{fail, sigstruct, sys, Result};

/// The EPC pages of the enclave, as the processor reaches them.
struct Alias {
    /// Address of the page at [`Alias::first`].
    address: u64,
    /// Offset from BASEADDR of the first page that there can be, and of the end.
    first: u64,
    end: u64,
}

impl Alias {
    fn place(&self, offset: u64, size: usize) -> Option<*mut u8> {
        let end = offset.checked_add(size as u64)?;
        let inside = offset >= self.first && end <= self.end;
        inside.then(|| (self.address + offset - self.first) as *mut u8)
    }
}

impl Epc for Alias {
    fn read(&self, offset: u64, to: &mut [u8]) {
        match self.place(offset, to.len()) {
            // SAFETY: mapped for the life of the process, and long enough; enclave code may write meanwhile, as it may while
            // a processor reads.
            Some(from) => unsafe {
                core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len())
            },
            None => to.fill(0),
        }
    }

    fn write(&mut self, offset: u64, from: &[u8]) {
        if let Some(to) = self.place(offset, from.len()) {
            // SAFETY: as above.
            unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
        }
    }
}

/// The enclave, and what the page tables leave of its pages' rights.
struct Machine {
    enclave: Enclave<Alias>,
    base: u64,
    first: u64,
    /// PROT_ bits of each page from `first` on.
    page_tables: Vec<u8>,
}

impl Machine {
    fn page(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.base + self.first)?;
        let page = usize::try_from(offset / PAGE_SIZE).ok()?;
        (page < self.page_tables.len()).then_some(page)
    }

    /// The page tables allow anything there.
    fn maps(&self, address: u64) -> bool {
        self.page(address)
            .is_some_and(|page| self.page_tables[page] != 0)
    }

    /// What both the page tables and the EPCM allow.
    fn rights(&self, address: u64) -> ProtFlags {
        let page_tables = self.page(address).map_or(0, |page| self.page_tables[page]);
        ProtFlags::from_bits_truncate(page_tables.into()) & flags(self.enclave.rights(address))
    }

    /// Notes the page tables' rights, and calls with each run of pages that are to be protected alike.
    fn change(
        &mut self,
        address: u64,
        size: u64,
        protection: ProtFlags,
        mut apply: impl FnMut(u64, u64, ProtFlags) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        let end = address + size;
        let (mut start, mut current) = (address, None);
        for page in (address..end).step_by(PAGE) {
            let at = self.page(page).ok_or(rustix::io::Errno::NOMEM)?;
            self.page_tables[at] = protection.bits() as u8;
            let rights = self.rights(page);
            match current {
                Some(alike) if alike != rights => {
                    apply(start, page - start, alike)?;
                    (start, current) = (page, Some(rights));
                }
                _ => current = Some(rights),
            }
        }
        current.map_or(Ok(()), |rights| apply(start, end - start, rights))
    }
}

fn flags(rights: Rights) -> ProtFlags {
    let mut flags = ProtFlags::empty();
    flags.set(ProtFlags::READ, rights.read);
    flags.set(ProtFlags::WRITE, rights.write);
    flags.set(ProtFlags::EXEC, rights.execute);
    flags
}

static MACHINE: AtomicPtr<Mutex<Spin, Machine>> = AtomicPtr::new(core::ptr::null_mut());

/// The machine of this process. Locked with signals blocked only: in handlers, or for the calling thread's own memory.
fn machine() -> Option<MutexGuard<'static, Spin, Machine>> {
    // SAFETY: set once, by `initialise`, to a leaked value.
    let machine = unsafe { MACHINE.load(Ordering::Acquire).as_ref() };
    machine.map(Mutex::lock)
}

/// The hidden registers of a host thread.
#[derive(Default)]
pub struct Processor(UnsafeCell<LogicalProcessor>);

// SAFETY: only used by the signal handlers of its own thread, which do not interrupt each other.
unsafe impl Sync for Processor {}

/// The driver.
#[derive(Default)]
pub struct Software {
    epc: Option<OwnedFd>,
    building: Option<Box<Machine>>,
    /// What pages are added with whose content is not measured, if not with zeros.
    garbage: Option<&'static [u8; PAGE]>,
}

static GARBAGE: [u8; PAGE] = [0xcc; PAGE];

impl Software {
    /// A driver that does what a hostile host can: pages whose content is not measured begin with garbage.
    pub fn hostile() -> Self {
        Software {
            garbage: Some(&GARBAGE),
            ..Software::default()
        }
    }

    fn building(&mut self) -> Result<&mut Machine> {
        self.building
            .as_deref_mut()
            .ok_or_else(|| fail!("the enclave is not being built"))
    }
}

impl Driver for Software {
    fn create(&mut self, memory: Memory, secs: &Secs) -> Result<()> {
        let first = memory.start - memory.base;
        let (epc, address) = epc(memory.end - memory.base - first)?;
        let alias = Alias {
            address,
            first,
            end: memory.end - memory.base,
        };
        let pages = (alias.end - first).div_ceil(PAGE_SIZE) as usize;
        let enclave = Enclave::ecreate(traps::processor(), secs, alias)
            .map_err(|fault| fail!("ECREATE: {fault}"))?;
        self.epc = Some(epc);
        self.building = Some(Box::new(Machine {
            enclave,
            base: memory.base,
            first,
            page_tables: alloc::vec![0; pages],
        }));
        Ok(())
    }

    fn add(
        &mut self,
        address: u64,
        secinfo: SecInfo,
        measured: bool,
        content: Content<'_>,
    ) -> Result<()> {
        let unmeasured = self.garbage.filter(|_| !measured);
        let enclave = &mut self.building()?.enclave;
        let failed = |leaf: &str, at: u64, fault| fail!("{leaf} of {at:#x}: {fault}");
        let bytes = match content {
            Content::Zeros(_) => &[][..],
            Content::Pages(bytes) => bytes,
        };
        let mut pages = bytes.as_chunks::<PAGE>().0.iter();
        for at in (address..)
            .step_by(PAGE)
            .take(content.page_count() as usize)
        {
            enclave
                .eadd(at, secinfo, pages.next().or(unmeasured))
                .map_err(|fault| failed("EADD", at, fault))?;
            for chunk in (at..at + PAGE_SIZE).step_by(256).filter(|_| measured) {
                enclave
                    .eextend(chunk)
                    .map_err(|fault| failed("EEXTEND", chunk, fault))?;
            }
        }
        Ok(())
    }

    fn initialise(&mut self, package: &Package<'_>, _: Memory) -> Result<()> {
        let enclave = &mut self.building()?.enclave;
        match enclave.einit(package.sigstruct) {
            Ok(()) => {}
            Err(Failure::Status(status)) => {
                let why = sigstruct::check(package, &enclave.mrenclave())
                    .map_or_else(|failure| failure.0, |()| "refused".into());
                let (name, code) = (status.name(), status.code());
                return Err(fail!("{why}; EINIT fails with {name} ({code})"));
            }
            Err(Failure::Fault(fault)) => return Err(fail!("EINIT: {fault}")),
        }
        mystikos_sgx::prepare_keys();
        if let Some(machine) = self.building.take() {
            let shared = Box::leak(Box::new(Mutex::new(*machine)));
            MACHINE.store(shared, Ordering::Release);
        }
        Ok(())
    }

    fn map(&mut self, address: u64, size: u64, protection: ProtFlags) -> Result<()> {
        let (Some(mut machine), Some(epc)) = (machine(), &self.epc) else {
            return Err(fail!("the enclave is not initialised"));
        };
        let first = machine.base + machine.first;
        machine
            .change(address, size, protection, |from, size, rights| {
                // SAFETY: replaces reserved addresses of the enclave.
                unsafe {
                    mmap(
                        from as *mut c_void,
                        size as usize,
                        rights,
                        MapFlags::SHARED | MapFlags::FIXED,
                        epc.as_fd(),
                        from - first,
                    )
                }
                .map(|_| ())
            })
            .map_err(|e| refused("mapping the enclave", e))
    }

    fn handlers(&self) -> Handlers {
        traps::HANDLERS
    }

    fn prepare_thread(&self) {
        crate::linux::dispatch_system_calls();
        traps::fault_on_illegal_instructions(true);
    }

    fn release_thread(&self) {
        traps::fault_on_illegal_instructions(false);
    }

    fn entry(&self) -> u64 {
        traps::entry()
    }

    fn protect(&self, address: u64, size: u64, flags: ProtFlags) -> rustix::io::Result<()> {
        let blocked = sys::BlockedSignals::all();
        let changed = machine().ok_or(rustix::io::Errno::NXIO)?.change(
            address,
            size,
            flags,
            |from, size, rights| {
                // SAFETY: user memory, which the launcher does not use.
                unsafe { memory::protect(from, size, rights) }
            },
        );
        drop(blocked);
        changed
    }

    fn counts_entries(&self) -> bool {
        true
    }
}

/// A memory file of a size, and where it is mapped for the processor.
fn epc(size: u64) -> Result<(OwnedFd, u64)> {
    let what = "memory for the simulated EPC";
    let file =
        rustix::fs::memfd_create(c"myst-epc", MemfdFlags::CLOEXEC).map_err(|e| refused(what, e))?;
    rustix::fs::ftruncate(&file, size).map_err(|e| refused(what, e))?;
    // SAFETY: a fresh mapping where the host likes.
    let mapped = unsafe {
        mmap(
            core::ptr::null_mut(),
            size as usize,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE,
            &file,
            0,
        )
    };
    let address = mapped.map_err(|e| refused(what, e))? as u64;
    Ok((file, address))
}
