//! ptrace(2), waitpid(2) and process_vm_readv(2), for threads that were seized.
//!
//! No wrapper of the kind knows real-time signals, which the launcher uses, nor the extended state, so this is on libc.

use std::io;

use libc::{c_uint, c_void, iovec, siginfo_t, user_regs_struct};

/// Thread ID.
pub type Tid = i32;

/// Why a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ended with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// At the beginning or the end of a system call.
    Call,
    /// A PTRACE_EVENT, and the signal of the stop.
    Event(i32, i32),
    /// A signal is about to be delivered.
    Signal(i32),
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Until something happens.
    Run,
    /// Until a system call begins, which is not carried out.
    EmulateCalls,
    /// Until a system call begins or ends.
    ToCall,
    /// It stays in its group-stop.
    Listen,
}

const NT_X86_XSTATE: usize = 0x202;
const PTRACE_GETSIGMASK: c_uint = 0x420a;
const PTRACE_SETSIGMASK: c_uint = 0x420b;

fn ptrace(request: c_uint, tid: Tid, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: every request in this file that reads or writes this process's memory is given a live object of its size.
    match unsafe { libc::ptrace(request, tid, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Attaches to a process, without stopping it, and kills it when this one ends.
pub fn seize(tid: Tid) -> io::Result<()> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESECCOMP;
    ptrace(libc::PTRACE_SEIZE, tid, 0, options as usize)
}

/// Stops a running thread; it reports PTRACE_EVENT_STOP.
pub fn interrupt(tid: Tid) -> io::Result<()> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0)
}

/// Lets a stopped thread go on, with a signal unless that is 0.
pub fn resume(tid: Tid, how: Resume, signal: i32) -> io::Result<()> {
    let request = match how {
        Resume::Run => libc::PTRACE_CONT,
        Resume::EmulateCalls => libc::PTRACE_SYSEMU,
        Resume::ToCall => libc::PTRACE_SYSCALL,
        Resume::Listen => libc::PTRACE_LISTEN,
    };
    ptrace(request, tid, 0, signal as usize)
}

/// General registers, with the bases of FS and GS.
pub fn registers(tid: Tid) -> io::Result<user_regs_struct> {
    // SAFETY: a structure of numbers.
    let mut regs: user_regs_struct = unsafe { std::mem::zeroed() };
    ptrace(libc::PTRACE_GETREGS, tid, 0, &raw mut regs as usize)?;
    Ok(regs)
}

/// Replaces the general registers.
pub fn set_registers(tid: Tid, regs: &user_regs_struct) -> io::Result<()> {
    ptrace(libc::PTRACE_SETREGS, tid, 0, regs as *const _ as usize)
}

/// Extended state, as an XSAVE image in the standard format.
pub fn extended_state(tid: Tid) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 16 * 1024];
    let mut vector = iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    ptrace(
        libc::PTRACE_GETREGSET,
        tid,
        NT_X86_XSTATE,
        &raw mut vector as usize,
    )?;
    bytes.truncate(vector.iov_len);
    Ok(bytes)
}

/// Replaces the extended state.
pub fn set_extended_state(tid: Tid, bytes: &[u8]) -> io::Result<()> {
    let vector = iovec {
        iov_base: bytes.as_ptr() as *mut c_void,
        iov_len: bytes.len(),
    };
    ptrace(
        libc::PTRACE_SETREGSET,
        tid,
        NT_X86_XSTATE,
        &raw const vector as usize,
    )
}

/// What the signal tells that is about to be delivered.
pub fn signal_info(tid: Tid) -> io::Result<siginfo_t> {
    // SAFETY: a structure of numbers.
    let mut info: siginfo_t = unsafe { std::mem::zeroed() };
    ptrace(libc::PTRACE_GETSIGINFO, tid, 0, &raw mut info as usize)?;
    Ok(info)
}

/// Replaces what the signal tells that is about to be delivered.
pub fn set_signal_info(tid: Tid, info: &siginfo_t) -> io::Result<()> {
    ptrace(libc::PTRACE_SETSIGINFO, tid, 0, info as *const _ as usize)
}

/// The thread that a PTRACE_EVENT is about.
pub fn event_message(tid: Tid) -> io::Result<u64> {
    let mut message = 0u64;
    ptrace(libc::PTRACE_GETEVENTMSG, tid, 0, &raw mut message as usize)?;
    Ok(message)
}

/// Replaces a thread's signal mask and returns what it was.
pub fn swap_signal_mask(tid: Tid, mask: u64) -> io::Result<u64> {
    let mut old = 0u64;
    ptrace(PTRACE_GETSIGMASK, tid, 8, &raw mut old as usize)?;
    ptrace(PTRACE_SETSIGMASK, tid, 8, &raw const mask as usize)?;
    Ok(old)
}

/// Waits for a thread, or for any (-1); `None` if `block` is false and nothing has happened, or a signal came first.
pub fn wait(tid: Tid, block: bool) -> io::Result<Option<(Tid, Stop)>> {
    let mut status = 0;
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    // SAFETY: waitpid writes one number.
    let stopped = unsafe { libc::waitpid(tid, &mut status, flags) };
    match stopped {
        0 => Ok(None),
        -1 => {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                return Ok(None);
            }
            Err(error)
        }
        _ => Ok(Some((stopped, decode(status)))),
    }
}

fn decode(status: i32) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Killed(libc::WTERMSIG(status));
    }
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    match (signal, event) {
        (signal, 0) if signal == libc::SIGTRAP | 0x80 => Stop::Call,
        (signal, 0) => Stop::Signal(signal),
        (signal, event) => Stop::Event(event, signal),
    }
}

/// Reads memory of a process; false unless all of it is there and readable.
pub fn read_memory(tid: Tid, address: u64, to: &mut [u8]) -> bool {
    let local = iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: to.len(),
    };
    let remote = iovec {
        iov_base: address as *mut c_void,
        iov_len: to.len(),
    };
    // SAFETY: writes at most `to.len()` bytes to `to`.
    let read = unsafe { libc::process_vm_readv(tid, &local, 1, &remote, 1, 0) };
    read == to.len() as isize
}

/// Writes memory of a process; false unless all of it is there and writable.
pub fn write_memory(tid: Tid, address: u64, from: &[u8]) -> bool {
    let local = iovec {
        iov_base: from.as_ptr() as *mut c_void,
        iov_len: from.len(),
    };
    let remote = iovec {
        iov_base: address as *mut c_void,
        iov_len: from.len(),
    };
    // SAFETY: reads `from` only.
    let written = unsafe { libc::process_vm_writev(tid, &local, 1, &remote, 1, 0) };
    written == from.len() as isize
}

/// A NUL-terminated string of less than `most` bytes, without its end.
pub fn read_string(tid: Tid, address: u64, most: usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < most {
        let at = address.checked_add(text.len() as u64)?;
        // Not beyond the page, since the next one need not be there.
        let piece = (4096 - at as usize % 4096).min(most - text.len());
        let mut bytes = vec![0; piece];
        if !read_memory(tid, at, &mut bytes) {
            return None;
        }
        match bytes.iter().position(|&byte| byte == 0) {
            Some(end) => {
                text.extend_from_slice(&bytes[..end]);
                return Some(text);
            }
            None => text.extend_from_slice(&bytes),
        }
    }
    None
}
