//! Starts the program: traced from its first instruction, with a filter that reports the system calls of interest.

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::FromRawFd;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::ptrace::{self, Tid};

/// System calls that can concern the device. All others run at full speed.
const TRACED: [i64; 18] = [
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_ioctl,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_pkey_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
];

/// Exit status of a program that could not be started, as shells have it.
const NOT_STARTED: i32 = 127;

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = TRACED.iter().map(|&number| (number, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), arch)?.try_into()
}

/// Starts a program, which stops for the first time when it is executed.
pub fn start(command: &[CString]) -> io::Result<Tid> {
    let filter = filter().map_err(io::Error::other)?;
    let mut pointers: Vec<_> = command.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let mut pipe = [0; 2];
    // SAFETY: pipe2 writes two descriptors, which nobody else owns; `fork` in a process with one thread.
    let (child, mut reader, writer) = unsafe {
        if libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        let ends = (
            std::fs::File::from_raw_fd(pipe[0]),
            std::fs::File::from_raw_fd(pipe[1]),
        );
        (libc::fork(), ends.0, ends.1)
    };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(writer);
            // Ends when the parent has seized this process and closes its end.
            let _ = reader.read(&mut [0]);
            let failure = match seccompiler::apply_filter(&filter) {
                Err(error) => error.to_string(),
                Ok(()) => {
                    // SAFETY: a null-terminated array of strings that live as long as this process.
                    unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
                    io::Error::last_os_error().to_string()
                }
            };
            eprintln!(
                "sgx-test-device: {}: {failure}",
                command[0].to_string_lossy()
            );
            // SAFETY: ends the process.
            unsafe { libc::_exit(NOT_STARTED) }
        }
        child => {
            ptrace::seize(child)?;
            drop(writer);
            Ok(child)
        }
    }
}
