//! The hardware driver: `/dev/sgx_enclave` (Linux 5.11 or newer, asm/sgx.h) and the vDSO.

use core::ffi::c_void;

use linux_raw_sys::{errno, general as raw};
use mystikos_abi::sgx::{SecInfo, Secs};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{mmap, MapFlags, ProtFlags};

use super::driver::{Content, Driver, PAGE};
use super::software::Software;
use super::{interrupts, load};
use crate::faults::Exception;
use crate::memory::{self, Memory};
use crate::package::Package;
use crate::signals::{Handlers, Local, INTERRUPT};
use crate::sys::{self, Context};
use crate::{fail, failure, vdso, Result};

const DEVICE: &core::ffi::CStr = c"/dev/sgx_enclave";

/// `_IOW(0xA4, 0, struct sgx_enclave_create)`, and so on.
const SGX_IOC_ENCLAVE_CREATE: u32 = 0x4008_a400;
const SGX_IOC_ENCLAVE_ADD_PAGES: u32 = 0xc030_a401;
const SGX_IOC_ENCLAVE_INIT: u32 = 0x4008_a402;
const SGX_PAGE_MEASURE: u64 = 1;

/// Zero pages are added from a run of them, so many at a time.
const ZEROS: usize = 1 << 20;

/// `struct sgx_enclave_add_pages`.
#[repr(C)]
struct AddPages {
    src: u64,
    offset: u64,
    length: u64,
    secinfo: u64,
    flags: u64,
    count: u64,
}

/// SECINFO as the driver wants it: 64 bytes, aligned.
#[repr(C, align(64))]
struct AlignedSecInfo(SecInfo);

/// SECS as the driver wants it: a page.
#[repr(C, align(4096))]
struct AlignedSecs(Secs);

/// The driver.
pub struct Hardware {
    device: OwnedFd,
    /// `__vdso_sgx_enter_enclave`.
    enter: u64,
    base: u64,
    zeros: u64,
}

/// The machine has the device.
pub fn is_there() -> bool {
    rustix::fs::access(DEVICE, Access::EXISTS).is_ok()
}

impl Hardware {
    /// Opens the device; says what is missing and what to do about it.
    pub fn open(vdso: u64) -> Result<Hardware> {
        let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(cannot_open)?;
        let enter = match vdso {
            0 => 0,
            // SAFETY: the host kernel's vDSO, a complete image, mapped as long as the process lives.
            base => unsafe { vdso::find(base, c"__vdso_sgx_enter_enclave") },
        };
        if enter == 0 {
            return Err(fail!(
                "the host kernel's vDSO has no __vdso_sgx_enter_enclave: Linux 5.11 or newer with CONFIG_X86_SGX has it"
            ));
        }
        Ok(Hardware {
            device,
            enter,
            base: 0,
            zeros: memory::anonymous(ZEROS)?,
        })
    }

    /// An ioctl with a structure.
    fn ioctl<T>(&self, request: u32, argument: &mut T) -> core::result::Result<(), u32> {
        // SAFETY: each request comes with its structure; see the callers.
        let result = unsafe {
            let args = [
                self.device.as_raw_fd() as u64,
                u64::from(request),
                argument as *mut T as u64,
                0,
                0,
                0,
            ];
            sys::syscall(raw::__NR_ioctl, args)
        };
        if result < 0 {
            Err(result.unsigned_abs() as u32)
        } else {
            Ok(())
        }
    }

    /// The same, repeated while the driver is busy or a signal interrupts it.
    fn persist<T>(&self, request: u32, argument: &mut T) -> core::result::Result<(), u32> {
        loop {
            match self.ioctl(request, argument) {
                Err(error) if is_passing(error) => rustix::thread::sched_yield(),
                other => return other,
            }
        }
    }

    /// One request, repeated until all its pages are added: signals and a busy EPC end it early.
    fn add_run(&mut self, mut request: AddPages) -> Result<()> {
        while request.length > 0 {
            request.count = 0;
            let outcome = self.ioctl(SGX_IOC_ENCLAVE_ADD_PAGES, &mut request);
            let done = request.count.min(request.length);
            request.src += done;
            request.offset += done;
            request.length -= done;
            match outcome {
                Ok(()) => {}
                Err(error) if is_passing(error) => rustix::thread::sched_yield(),
                Err(error) => return Err(cannot_add(error, request.offset)),
            }
        }
        Ok(())
    }
}

/// A request that fails so is made again: a signal came, or the driver serves another thread or pages something out.
fn is_passing(error: u32) -> bool {
    matches!(error, errno::EINTR | errno::EAGAIN | errno::EBUSY)
}

fn cannot_open(error: Errno) -> crate::Failure {
    match error {
        Errno::NOENT => fail!(
            "this machine has no /dev/sgx_enclave; `myst doctor` tells why. MYST_TARGET=sim runs the package in a simulated enclave, MYST_TARGET=linux without any"
        ),
        Errno::ACCESS | Errno::PERM => fail!(
            "/dev/sgx_enclave may not be opened by this user: let the administrator add it to the device's group (often `sgx`), and log in again"
        ),
        Errno::NODEV | Errno::NXIO => fail!(
            "/dev/sgx_enclave is there, but no SGX behind it (error {}): it is disabled in the firmware, or its launch control is locked; `myst doctor` tells more",
            error.raw_os_error()
        ),
        other => fail!(
            "/dev/sgx_enclave cannot be opened (error {}); `myst doctor` tells more",
            other.raw_os_error()
        ),
    }
}

fn cannot_create(error: u32, secs: &Secs) -> crate::Failure {
    match error {
        errno::EINVAL | errno::EIO => fail!(
            "the processor refuses to create the enclave (error {error}): its size is {:#x}, MISCSELECT {:#x}, XFRM {:#x}; a processor with SGX2 is needed (EXINFO), whose largest enclave `myst doctor` tells",
            secs.size,
            secs.miscselect,
            secs.attributes.xfrm
        ),
        errno::ENOMEM => too_little(),
        _ => fail!("/dev/sgx_enclave refuses to create an enclave (error {error}); `myst doctor` tells more"),
    }
}

fn cannot_add(error: u32, offset: u64) -> crate::Failure {
    match error {
        errno::ENOMEM => too_little(),
        errno::EACCES => fail!(
            "/dev/sgx_enclave refuses pages of this file (error {error}): it lies on a file system mounted noexec, or a security module forbids it"
        ),
        _ => fail!("/dev/sgx_enclave refuses the page at offset {offset:#x} (error {error}); please report this"),
    }
}

fn too_little() -> crate::Failure {
    fail!("this machine has too little EPC, or too little memory to page it out to: lower MemorySize or MaxThreads, stop other enclaves, or give SGX more memory in the firmware")
}

impl Driver for Hardware {
    fn create(&mut self, memory: Memory, secs: &Secs) -> Result<()> {
        self.base = memory.base;
        let mut page = AlignedSecs(*secs);
        let mut create = &raw mut page as u64;
        self.persist(SGX_IOC_ENCLAVE_CREATE, &mut create)
            .map_err(|error| cannot_create(error, secs))
    }

    fn add(
        &mut self,
        address: u64,
        secinfo: SecInfo,
        measured: bool,
        content: Content<'_>,
    ) -> Result<()> {
        let secinfo = AlignedSecInfo(secinfo);
        let mut request = AddPages {
            src: self.zeros,
            offset: address - self.base,
            length: 0,
            secinfo: &raw const secinfo as u64,
            flags: if measured { SGX_PAGE_MEASURE } else { 0 },
            count: 0,
        };
        let bytes = match content {
            Content::Pages(bytes) => {
                request.src = bytes.as_ptr() as u64;
                request.length = bytes.len() as u64;
                return self.add_run(request);
            }
            Content::Zeros(pages) => pages * PAGE as u64,
        };
        for start in (0..bytes).step_by(ZEROS) {
            self.add_run(AddPages {
                offset: request.offset + start,
                length: (bytes - start).min(ZEROS as u64),
                ..request
            })?;
        }
        Ok(())
    }

    fn initialise(&mut self, package: &Package<'_>, memory: Memory) -> Result<()> {
        let mut init = package.sigstruct.as_ptr() as u64;
        match self.persist(SGX_IOC_ENCLAVE_INIT, &mut init) {
            Ok(()) => Ok(()),
            Err(errno::EPERM) => Err(refused(package, memory)),
            Err(error) => Err(cannot_initialise(error)),
        }
    }

    fn map(&mut self, address: u64, size: u64, protection: ProtFlags) -> Result<()> {
        // SAFETY: replaces reserved addresses of the enclave.
        unsafe {
            mmap(
                address as *mut c_void,
                size as usize,
                protection,
                MapFlags::SHARED | MapFlags::FIXED,
                &self.device,
                address - self.base,
            )
        }
        .map(|_| ())
        .map_err(|e| match e {
            Errno::ACCESS | Errno::PERM => fail!(
                "the enclave cannot be mapped (error {}): /dev is mounted noexec, or a security module forbids it; remount it with `mount -o remount,exec /dev`",
                e.raw_os_error()
            ),
            e => memory::refused("mapping the enclave", e),
        })
    }

    fn handlers(&self) -> Handlers {
        Handlers {
            fault: on_fault,
            interrupt: on_interrupt,
            blocked: sys::signal_set(INTERRUPT),
        }
    }

    fn entry(&self) -> u64 {
        self.enter
    }

    fn protect(&self, address: u64, size: u64, flags: ProtFlags) -> rustix::io::Result<()> {
        // SAFETY: user memory, which the launcher does not use.
        unsafe { memory::protect(address, size, flags) }
    }
}

/// Why EINIT refuses: the driver does not tell, so the same is tried with the software SGX, which does.
fn refused(package: &Package<'_>, memory: Memory) -> crate::Failure {
    match load::initialise(package, memory, &mut Software::default()) {
        Err(failure) => failure,
        Ok(()) => fail!(
            "EINIT refuses a package that is as it was signed: the launch control of this machine does not admit its signer; unlock flexible launch control (FLC) in the firmware"
        ),
    }
}

fn cannot_initialise(error: u32) -> crate::Failure {
    match error {
        errno::EACCES => fail!(
            "EINIT is refused: this package asks for attributes that this user may not have (error {error})"
        ),
        _ => fail!("EINIT failed (error {error}); `myst doctor` tells more"),
    }
}

/// #DB and #BP in the enclave are signals at the AEP; everything else comes back from the vDSO's function.
extern "C" fn on_fault(signal: i32, info: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    let local = Local::of_handler();
    // SAFETY: the host kernel passes pointers to the signal frame.
    let (exception, registers) = unsafe {
        let exception = Exception::of(signal, info, context);
        (exception, &mut (*context).registers)
    };
    if signal as u32 != raw::SIGTRAP {
        failure::launcher_failed(registers.rip, exception.vector.into(), exception.address);
    }
    if !interrupts::step(local, registers) {
        interrupts::interrupt(local, registers);
    }
}

extern "C" fn on_interrupt(_: i32, _: *mut raw::siginfo_t, context: *mut Context) {
    sys::end_alignment_checks();
    // SAFETY: the host kernel passes a pointer to the signal frame.
    let registers = unsafe { &mut (*context).registers };
    interrupts::interrupt(Local::of_handler(), registers);
}
