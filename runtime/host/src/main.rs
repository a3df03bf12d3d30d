//! The launcher's image: first instruction, allocator, panic handler, and the order of things.

#![no_std]
#![no_main]

extern crate alloc;

use core::arch::global_asm;
use core::ffi::CStr;

// Linked for its symbols: memory functions, relocation.
use mystikos_freestanding as _;
use mystikos_host::arguments::{self, Process};
use mystikos_host::failure::{say, EXIT_STATUS};
use mystikos_host::package::Package;
use mystikos_host::spin::Spin;
use mystikos_host::target::Choice;
use mystikos_host::{
    conduct, enclave, fail, linux, measure, sigstruct, start, stats, sys, target, threads, Result,
};
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "push rdi",
    "push rdi",
    "call myst_relocate",
    "pop rdi",
    "pop rdi",
    "call {main}",
    "ud2",
    main = sym main,
);

/// Memory for everything the launcher allocates: arguments, region records, thread table. Zero pages until used.
const ARENA_SIZE: usize = 24 << 20;
static mut ARENA: [u8; ARENA_SIZE] = [0; ARENA_SIZE];

#[global_allocator]
static ALLOCATOR: talc::Talck<Spin, talc::ClaimOnOom> = talc::Talc::new(
    // SAFETY: the arena is used by nothing else.
    unsafe { talc::ClaimOnOom::new(talc::Span::from_array(&raw mut ARENA)) },
)
.lock();

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(format_args!("the launcher stopped: {info}"));
    sys::exit_group(EXIT_STATUS)
}

extern "C" fn main(stack: *const u64) -> ! {
    // SAFETY: `_start` passes the initial stack pointer.
    let process = unsafe { Process::read(stack) };
    if let Err(failure) = run(&process) {
        say(format_args!("{}", failure.0));
    }
    sys::exit_group(EXIT_STATUS)
}

fn run(process: &Process) -> Result<()> {
    let own = process.arguments.get(1..).unwrap_or(&[]);
    let (options, arguments) = arguments::parse(own)?;
    let file = open_self(process.path)?;
    let content = map_file(&file)?;
    let package = Package::parse(content)?;
    let choice = target::choose(process, &package)?;
    if options.is_tracing() && !package.is_debug() {
        return Err(fail!(
            "tracing shows what the application does, so it needs a package with \"Debug\": 1"
        ));
    }
    if process.hwcap2 & arguments::HWCAP2_FSGSBASE == 0 {
        return Err(fail!("this kernel or processor lacks FSGSBASE (Linux 5.9 or newer on a processor of 2013 or newer has it)"));
    }
    if process.variable(b"MYST_STATS") == Some(b"1") {
        stats::want();
    }
    let blocks = threads::blocks(&package)?;
    let (memory, target) = match choice {
        Choice::Linux => {
            let memory = linux::map::map(&package, rustix::fd::AsFd::as_fd(&file))?;
            // SAFETY: the regions belong to the package just mapped there.
            let content = |region: &_| unsafe { linux::map::content(memory, region) };
            sigstruct::check(&package, &measure::mrenclave(&package, content))?;
            (memory, linux::target(&package, memory, &blocks))
        }
        Choice::Enclave(driver) => {
            let (memory, driver) = enclave::load::load(&package, driver)?;
            (memory, enclave::target(driver))
        }
    };
    let start = start::block(process, &options, arguments, &*target)?;
    let start = conduct::begin(process, &package, content, memory, start)?;
    threads::run(&blocks, memory, target, start)
}

/// Opens the file that this program was started from, whatever it is called.
fn open_self(path: &CStr) -> Result<rustix::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(c"/proc/self/exe", flags, Mode::empty())
        .or_else(|_| rustix::fs::open(path, flags, Mode::empty()))
        .map_err(|e| {
            fail!(
                "cannot open its own file to read the package (error {})",
                e.raw_os_error()
            )
        })
}

/// Maps the whole file for reading; it stays mapped.
fn map_file(file: &rustix::fd::OwnedFd) -> Result<&'static [u8]> {
    let stat = rustix::fs::fstat(file).map_err(|e| {
        fail!(
            "cannot learn the size of its own file (error {})",
            e.raw_os_error()
        )
    })?;
    let size = stat.st_size as usize;
    // SAFETY: a fresh private mapping of the file.
    let mapped = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            size,
            ProtFlags::READ,
            MapFlags::PRIVATE,
            file,
            0,
        )
    };
    let address =
        mapped.map_err(|e| fail!("cannot map its own file (error {})", e.raw_os_error()))?;
    // SAFETY: mapped for `size` bytes for the life of the process. Linux refuses to write to a file that is being
    // executed (ETXTBSY), so the bytes do not change; truncating it would end the process by SIGBUS.
    Ok(unsafe { core::slice::from_raw_parts(address.cast::<u8>(), size) })
}
