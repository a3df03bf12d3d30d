//! ELF programs, the initial stack, binding of system calls.
//!
//! * [`elf`]: what of a file is loaded where.
//! * [`script`]: `#!` lines.
//! * [`stack`]: arguments, environment and auxiliary vector on the initial stack.
//! * [`binding`]: jumps over `syscall` instructions.

pub mod binding;
pub mod elf;
pub mod script;
pub mod stack;

use alloc::sync::Arc;
use alloc::vec::Vec;

use mystikos_platform::control::UserRegs;
use mystikos_platform::{control, fpu, memory, random, user};

use crate::config::config;
use crate::fs::file::OpenFile;
use crate::mm::lock::lock;
use crate::mm::space::is_aligned;
use crate::mm::{self, mapping, page_down, page_up, Place, Prot, Request, PAGE};
use crate::process::Thread;
use crate::{fs, Errno, Result};
use elf::Program;

/// AT_HWCAP (CPUID 1, EDX): the baseline of x86-64 up to SSE2. The kernel cannot ask the processor in an enclave, and the
/// host is not to be believed; C libraries ask CPUID themselves and do not look at this.
const HWCAP: u64 = 0x078b_fbff;
/// AT_HWCAP2: FSGSBASE may be used, which the kernel itself does.
const HWCAP2: u64 = 2;
/// AT_MINSIGSTKSZ: the extended state, its magic word and alignment, and the rest of a signal frame.
const MINSIGSTKSZ: u64 = fpu::AREA_SIZE as u64 + 1024;
/// USER_HZ.
const CLOCK_TICKS: u64 = 100;

/// Loads ApplicationPath (ELF, or `#!` script) and sets the calling thread's registers to its first instruction.
pub fn start_application(
    thread: &Arc<Thread>,
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
) -> Result<()> {
    let path = config().application_path.clone();
    let found = find_program(thread, &path, arguments)?;
    let loaded = load_program(thread, &found)?;

    let top = mm::stack_for_main(found.program.executable_stack && config().exec_stack)?;
    let mut random = [0; 16];
    random::fill(&mut random);
    let contents = stack::Contents {
        arguments: &found.arguments,
        environment: &environment,
        path: &path,
        random,
        auxv: &auxiliary_vector(thread, &found.program, &loaded),
    };
    // Linux: arguments and environment get a quarter of the stack.
    let image = stack::build(&contents, top, config().main_stack_size / 4)?;
    user::copy_out(image.pointer, &image.bytes)?;

    {
        let mut program = thread.process.program.write();
        program.path = found.path;
        program.arguments = found.arguments;
        program.environment = environment;
        program.auxv = image.auxv;
    }
    control::set_fs_base(0);
    fpu::reset();
    control::set_regs(&UserRegs {
        rip: loaded.start,
        rsp: image.pointer,
        // Interrupts enabled, and the bit that is always set.
        rflags: 0x202,
        orig_rax: u64::MAX,
        ..UserRegs::default()
    });
    Ok(())
}

// The ELF program at the end of a chain of scripts, with the arguments it gets.
struct Found {
    file: Arc<OpenFile>,
    path: Vec<u8>,
    program: Program,
    arguments: Vec<Vec<u8>>,
}

fn find_program(thread: &Thread, path: &[u8], arguments: Vec<Vec<u8>>) -> Result<Found> {
    let mut path = path.to_vec();
    let mut arguments = arguments;
    for _ in 0..=script::DEPTH_MAX {
        let file = open_executable(thread, &path)?;
        let head = elf::read_up_to(&file, 0, script::HEAD)?;
        match script::parse(&head)? {
            None => {
                return Ok(Found {
                    program: Program::read(&file)?,
                    file,
                    path,
                    arguments,
                })
            }
            Some(shebang) => {
                let interpreter = shebang.interpreter.clone();
                arguments = shebang.arguments(&path, &arguments);
                path = interpreter;
            }
        }
    }
    Err(Errno::ELOOP)
}

fn open_executable(thread: &Thread, path: &[u8]) -> Result<Arc<OpenFile>> {
    const S_IFMT: u32 = 0o170000;
    const S_IFREG: u32 = 0o100000;
    let file = fs::open_file(&thread.process.fs.read(), path, 0, 0)?;
    let mode = file.file.stat()?.mode;
    match mode & S_IFMT == S_IFREG && mode & 0o111 != 0 {
        true => Ok(file),
        false => Err(Errno::EACCES),
    }
}

// Where a program came to lie.
struct Loaded {
    // What is added to linked addresses.
    bias: u64,
    // The same of its interpreter; 0 without one.
    interpreter: u64,
    // First instruction to run.
    start: u64,
}

fn load_program(thread: &Thread, found: &Found) -> Result<Loaded> {
    let program = &found.program;
    let interpreter = match program.interpreter_path(&found.file)? {
        Some(path) => {
            let file = open_executable(thread, &path)?;
            Some((Program::read(&file)?, file))
        }
        None => None,
    };

    let user = lock().user();
    let wanted = user.start + mm::random_distance(user.end - user.start);
    let bias = load(program, &found.file, Place::Hint(wanted))?;
    let end = program.span().end.wrapping_add(bias);
    lock().set_break(match user.contains(&end) {
        true => end,
        false => user.start,
    });
    match interpreter {
        None => Ok(Loaded {
            bias,
            interpreter: 0,
            start: program.entry.wrapping_add(bias),
        }),
        Some((interpreter, file)) => {
            let at = load(&interpreter, &file, Place::Hint(0))?;
            Ok(Loaded {
                bias,
                interpreter: interpreter.span().start.wrapping_add(at),
                start: interpreter.entry.wrapping_add(at),
            })
        }
    }
}

// Maps the segments; returns what is added to linked addresses.
fn load(program: &Program, file: &Arc<OpenFile>, place: Place) -> Result<u64> {
    let span = program.span();
    let size = span.end - span.start;
    let bias = match program.relocatable {
        true => {
            // Room for the alignment, and for a first address that is not aligned itself.
            let room = size.checked_add(2 * program.align).ok_or(Errno::ENOMEM)?;
            let start = lock().place(place, room)?;
            let linked = span.start & (program.align - 1);
            let start = start.next_multiple_of(program.align) + linked;
            start.wrapping_sub(span.start)
        }
        false => {
            let space = lock();
            if !space.is_valid(&span) || !space.vmas().is_free(span) {
                return Err(Errno::ENOMEM);
            }
            0
        }
    };
    for segment in &program.segments {
        load_segment(segment, file, bias)?;
    }
    Ok(bias)
}

fn load_segment(segment: &elf::Segment, file: &Arc<OpenFile>, bias: u64) -> Result<()> {
    let start = segment.start().wrapping_add(bias);
    let file_end = segment.file_end().wrapping_add(bias);
    let end = segment.end().wrapping_add(bias);
    let mut mapped = start;
    if segment.file_size > 0 {
        mapped = page_up(file_end).ok_or(Errno::ENOMEM)?;
        mapping::map(Request::private(
            Place::Fixed(start),
            mapped - start,
            segment.prot,
            file,
            page_down(segment.offset),
        ))?;
        if segment.memory_size > segment.file_size
            && segment.prot.contains(Prot::WRITE)
            && !is_aligned(file_end)
        {
            user::zero(file_end, (mapped - file_end) as usize)?;
        }
    }
    if end > mapped {
        mapping::map(Request::anonymous(
            Place::Fixed(mapped),
            end - mapped,
            segment.prot,
        ))?;
    }
    Ok(())
}

fn auxiliary_vector(thread: &Thread, program: &Program, loaded: &Loaded) -> Vec<(u64, u64)> {
    const AT_PHDR: u64 = 3;
    const AT_PHENT: u64 = 4;
    const AT_PHNUM: u64 = 5;
    const AT_PAGESZ: u64 = 6;
    const AT_BASE: u64 = 7;
    const AT_FLAGS: u64 = 8;
    const AT_ENTRY: u64 = 9;
    const AT_UID: u64 = 11;
    const AT_EUID: u64 = 12;
    const AT_GID: u64 = 13;
    const AT_EGID: u64 = 14;
    const AT_HWCAP: u64 = 16;
    const AT_CLKTCK: u64 = 17;
    const AT_SECURE: u64 = 23;
    const AT_HWCAP2: u64 = 26;
    const AT_SYSINFO_EHDR: u64 = 33;
    const AT_MINSIGSTKSZ: u64 = 51;
    let credentials = thread.process.credentials.lock();
    let (user, group) = (&credentials.user, &credentials.group);
    let headers = match program.headers {
        0 => 0,
        headers => headers.wrapping_add(loaded.bias),
    };
    alloc::vec![
        (AT_SYSINFO_EHDR, memory::layout().crt_address()),
        (AT_HWCAP, HWCAP),
        (AT_PAGESZ, PAGE),
        (AT_CLKTCK, CLOCK_TICKS),
        (AT_PHDR, headers),
        (AT_PHENT, 56),
        (AT_PHNUM, program.header_count),
        (AT_BASE, loaded.interpreter),
        (AT_FLAGS, 0),
        (AT_ENTRY, program.entry.wrapping_add(loaded.bias)),
        (AT_UID, u64::from(user.real)),
        (AT_EUID, u64::from(user.effective)),
        (AT_GID, u64::from(group.real)),
        (AT_EGID, u64::from(group.effective)),
        (AT_SECURE, 0),
        (AT_HWCAP2, HWCAP2),
        (AT_MINSIGSTKSZ, MINSIGSTKSZ),
    ]
}
