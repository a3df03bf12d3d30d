//! The kernel's requests (`mystikos_abi::hostcall`). Each is a thin wrapper around what the host kernel offers.

use core::time::Duration;

use linux_raw_sys::{errno, general as raw};
use mystikos_abi::hostcall::{nr, BUFFER_SIZE};
use rustix::fd::BorrowedFd;
use rustix::mm::ProtFlags;

use crate::stats;
use crate::threads::{Enclave, Thread};
use crate::{memory, signals, sys};

/// Serves one host call; `args` are changed where the call returns more than a number.
pub fn serve(
    enclave: &'static Enclave,
    slot: u64,
    number: u64,
    args: &mut [u64; 6],
    buffer: &mut [u8],
) -> i64 {
    let [a, b, c, d, ..] = *args;
    let served = match number {
        nr::EXIT => {
            stats::report();
            sys::exit_group((a & 0xff) as i32)
        }
        nr::READ => sized(buffer, b).and_then(|to| stream_read(a, to)),
        nr::WRITE => sized(buffer, b).and_then(|from| stream_write(a, from)),
        nr::POLL => poll(enclave.thread(slot), a, b as i64, buffer),
        nr::WAIT => wait(enclave.thread(slot), a as i64),
        nr::WAKE => on_thread(enclave, a, Thread::wake),
        nr::INTERRUPT => on_thread(enclave, a, Thread::interrupt),
        nr::THREAD_CREATE => return enclave.create_thread(a),
        nr::CLOCK_GETTIME => clock(raw::__NR_clock_gettime, args),
        nr::CLOCK_GETRES => clock(raw::__NR_clock_getres, args),
        nr::PROTECT => protect(enclave, a, b, c, d != 0),
        nr::DISCARD => discard(enclave, a, b),
        nr::YIELD => {
            rustix::thread::sched_yield();
            Ok(0)
        }
        nr::LOG => sized(buffer, a).and_then(|text| write_all(text)),
        nr::SIGNALS => Ok(signals::take() as i64),
        nr::IOCTL => sized(buffer, c).and_then(|argument| ioctl(a, b, argument)),
        nr::FSTAT => fstat(args),
        nr::LSEEK => raw_call(raw::__NR_lseek, [a, b, c]),
        nr::GETCPU => getcpu(args),
        nr::CPUID => cpuid(args),
        nr::GETFL => raw_call(raw::__NR_fcntl, [a, raw::F_GETFL as u64, 0]),
        _ => Err(errno::ENOSYS),
    };
    served.unwrap_or_else(|error| -(error as i64))
}

type Served = core::result::Result<i64, u32>;

fn sized(buffer: &mut [u8], size: u64) -> core::result::Result<&mut [u8], u32> {
    if size > BUFFER_SIZE as u64 {
        return Err(errno::EINVAL);
    }
    Ok(&mut buffer[..size as usize])
}

fn error(e: rustix::io::Errno) -> u32 {
    e.raw_os_error() as u32
}

/// A system call with plain numbers as arguments, on a standard stream.
fn raw_call(number: u32, args: [u64; 3]) -> Served {
    standard(args[0])?;
    // SAFETY: only called for system calls whose arguments are numbers.
    let result = unsafe { sys::syscall(number, [args[0], args[1], args[2], 0, 0, 0]) };
    if result < 0 {
        Err(result.unsigned_abs() as u32)
    } else {
        Ok(result)
    }
}

/// The kernel deals with the standard streams only.
fn standard(fd: u64) -> core::result::Result<BorrowedFd<'static>, u32> {
    match fd {
        // SAFETY: the launcher closes none of them; if the process was started without one, the call gives EBADF.
        0..=2 => Ok(unsafe { BorrowedFd::borrow_raw(fd as i32) }),
        _ => Err(errno::EBADF),
    }
}

fn stream_read(fd: u64, to: &mut [u8]) -> Served {
    rustix::io::read(standard(fd)?, to)
        .map(|n| n as i64)
        .map_err(error)
}

fn stream_write(fd: u64, from: &[u8]) -> Served {
    rustix::io::write(standard(fd)?, from)
        .map(|n| n as i64)
        .map_err(error)
}

fn write_all(mut text: &[u8]) -> Served {
    while !text.is_empty() {
        match rustix::io::write(crate::failure::stderr(), text) {
            Ok(n) => text = &text[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(error(e)),
        }
    }
    Ok(0)
}

fn on_thread(enclave: &Enclave, slot: u64, act: fn(&Thread)) -> Served {
    act(enclave.thread(slot).ok_or(errno::EINVAL)?);
    Ok(0)
}

fn wait(thread: Option<&Thread>, timeout_ns: i64) -> Served {
    if thread.ok_or(errno::EINVAL)?.wait(timeout_ns) {
        Ok(i64::from(signals::have_arrived()))
    } else {
        Err(errno::ETIMEDOUT)
    }
}

const POLLFD_SIZE: usize = 8;

fn poll(thread: Option<&Thread>, count: u64, timeout_ns: i64, buffer: &mut [u8]) -> Served {
    // One more place is needed for the event descriptor.
    let size = (count as usize).saturating_mul(POLLFD_SIZE);
    if size + POLLFD_SIZE > buffer.len() {
        return Err(errno::EINVAL);
    }
    let thread = thread.ok_or(errno::EINVAL)?;
    let timeout = (timeout_ns >= 0).then(|| Duration::from_nanos(timeout_ns as u64));
    let polled = thread.wait_in_poll(|event| {
        let entry = [event, raw::POLLIN as i32];
        buffer[size..size + 4].copy_from_slice(&entry[0].to_ne_bytes());
        buffer[size + 4..size + 8].copy_from_slice(&entry[1].to_ne_bytes());
        sys::ppoll(&mut buffer[..size + POLLFD_SIZE], timeout)
    });
    match polled {
        None => Err(errno::EINTR),
        Some(n) if n < 0 => Err(n.unsigned_abs() as u32),
        Some(n) => {
            let woken = buffer[size + 6..size + 8] != [0, 0];
            match n - i64::from(woken) {
                0 if woken => Err(errno::EINTR),
                ready => Ok(ready),
            }
        }
    }
}

fn clock(number: u32, args: &mut [u64; 6]) -> Served {
    let mut time = [0u64; 2];
    // SAFETY: clock_gettime and clock_getres write a timespec at the pointer. Made directly, not through the vDSO, whose
    // own fall-back would not be made from the launcher's code.
    let result = unsafe { sys::syscall(number, [args[0], time.as_mut_ptr() as u64, 0, 0, 0, 0]) };
    args[..2].copy_from_slice(&time);
    if result < 0 {
        Err(result.unsigned_abs() as u32)
    } else {
        Ok(0)
    }
}

fn protect(enclave: &Enclave, address: u64, size: u64, prot: u64, fill: bool) -> Served {
    if !memory::is_user(address, size) {
        return Err(errno::EINVAL);
    }
    let flags = ProtFlags::from_bits_truncate(prot as u32 & 7);
    enclave
        .target
        .protect(address, size, flags)
        .map_err(error)?;
    if fill && size > mystikos_abi::PAGE_SIZE {
        // One call instead of a fault for each page; a host before Linux 5.14 refuses, and the faults come.
        let advice = rustix::mm::Advice::LinuxPopulateWrite;
        // SAFETY: the range lies in user memory, which the launcher does not use; its content does not change.
        let _ = unsafe {
            rustix::mm::madvise(address as *mut core::ffi::c_void, size as usize, advice)
        };
    }
    Ok(0)
}

fn discard(enclave: &Enclave, address: u64, size: u64) -> Served {
    if !memory::is_user(address, size) {
        return Err(errno::EINVAL);
    }
    enclave
        .target
        .discard(address, size)
        .map(|()| 0)
        .map_err(error)
}

/// Terminal requests with the size of their argument; any other request is not made.
const TERMINAL_REQUESTS: [(u32, usize); 19] = [
    (linux_raw_sys::ioctl::TCGETS, 36),
    (linux_raw_sys::ioctl::TCSETS, 36),
    (linux_raw_sys::ioctl::TCSETSW, 36),
    (linux_raw_sys::ioctl::TCSETSF, 36),
    (linux_raw_sys::ioctl::TCGETS2, 44),
    (linux_raw_sys::ioctl::TCSETS2, 44),
    (linux_raw_sys::ioctl::TCSETSW2, 44),
    (linux_raw_sys::ioctl::TCSETSF2, 44),
    (linux_raw_sys::ioctl::TIOCGWINSZ, 8),
    (linux_raw_sys::ioctl::TIOCSWINSZ, 8),
    (linux_raw_sys::ioctl::TIOCGPGRP, 4),
    (linux_raw_sys::ioctl::TIOCSPGRP, 4),
    (linux_raw_sys::ioctl::TIOCGSID, 4),
    (linux_raw_sys::ioctl::FIONREAD, 4),
    (linux_raw_sys::ioctl::TIOCOUTQ, 4),
    // These take a number and not a pointer.
    (linux_raw_sys::ioctl::TCFLSH, 0),
    (linux_raw_sys::ioctl::TCSBRK, 0),
    (linux_raw_sys::ioctl::TCSBRKP, 0),
    (linux_raw_sys::ioctl::TCXONC, 0),
];

fn ioctl(fd: u64, request: u64, argument: &mut [u8]) -> Served {
    standard(fd)?;
    let known = TERMINAL_REQUESTS
        .iter()
        .find(|(r, _)| u64::from(*r) == request);
    let &(_, size) = known.ok_or(errno::ENOTTY)?;
    let pointer = match size {
        0 => {
            let mut number = [0; 8];
            let n = argument.len().min(8);
            number[..n].copy_from_slice(&argument[..n]);
            u64::from_ne_bytes(number)
        }
        size if argument.len() >= size => argument.as_mut_ptr() as u64,
        _ => return Err(errno::EINVAL),
    };
    // SAFETY: the request is one of the table, whose argument has the size that was checked.
    let result = unsafe { sys::syscall(raw::__NR_ioctl, [fd, request, pointer, 0, 0, 0]) };
    if result < 0 {
        Err(result.unsigned_abs() as u32)
    } else {
        Ok(result)
    }
}

fn fstat(args: &mut [u64; 6]) -> Served {
    let stat = rustix::fs::fstat(standard(args[0])?).map_err(error)?;
    *args = [
        u64::from(stat.st_mode),
        stat.st_rdev,
        stat.st_size as u64,
        stat.st_blksize as u64,
        0,
        0,
    ];
    Ok(0)
}

fn getcpu(args: &mut [u64; 6]) -> Served {
    let (mut cpu, mut node) = (0u32, 0u32);
    // SAFETY: getcpu writes two 32-bit numbers at the pointers.
    unsafe {
        let pointers = [&mut cpu as *mut u32 as u64, &mut node as *mut u32 as u64];
        sys::syscall(raw::__NR_getcpu, [pointers[0], pointers[1], 0, 0, 0, 0]);
    }
    args[0] = u64::from(cpu);
    args[1] = u64::from(node);
    Ok(0)
}

fn cpuid(args: &mut [u64; 6]) -> Served {
    let registers = core::arch::x86_64::__cpuid_count(args[0] as u32, args[1] as u32);
    *args = [
        u64::from(registers.eax),
        u64::from(registers.ebx),
        u64::from(registers.ecx),
        u64::from(registers.edx),
        0,
        0,
    ];
    Ok(0)
}
