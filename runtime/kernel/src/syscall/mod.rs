//! System calls: the table as data, dispatch, tracing.
//!
//! * [`fs`]: everything on files and their names.
//! * [`mm`]: the address space.
//! * [`table`]: number, name, arguments, support level, handler; documentation and tracing come from it.
//! * [`names`]: names of all calls of Linux.
//! * [`trace`]: `--strace`, `--perf`.
//!
//! Handlers live in one file per family below this module. A handler copies in, acts by calling its subsystem, and
//! copies out.

mod clock;
mod credentials;
mod epoll;
mod event;
pub mod fs;
mod futex;
mod install;
mod limits;
pub mod mm;
pub mod names;
mod net;
mod pipe;
mod poll;
mod process;
mod process_vm;
mod refused;
mod render;
mod sched;
mod signal;
mod socket_message;
mod socket_option;
pub mod system;
pub mod table;
mod timeout;
mod timer;
pub mod trace;

use linux_raw_sys::general as raw;
use mystikos_platform::{control, user};

use crate::process::thread;
use crate::signal::ERESTART_RESTARTBLOCK;
use crate::{signal as signals, Errno};

/// Serves the system call that the calling thread's registers hold.
pub fn dispatch() {
    let (number, arguments) = control::system_call();
    serve(number, arguments);
}

fn serve(number: u64, arguments: [u64; 6]) {
    let thread = thread::current();
    let result = match table::find(number) {
        Some(_) if crate::mm::is_low() && !works_without_memory(number) => Err(Errno::ENOMEM),
        Some(entry) => trace::call(&thread, entry, arguments),
        None => table::unhandled(&thread, number, arguments),
    };
    match result {
        Ok(value) => control::set_result(value),
        Err(errno) => {
            control::set_result((-errno.raw()) as u64);
            if signals::is_restart(errno) || errno == Errno::EINTR {
                control::set_pending(thread.slot);
            }
        }
    }
}

// Calls that are served when the kernel lives on its reserve: they take little or no memory, and a program needs them
// to give memory back, to go on waiting, to say what is wrong, and to end. Those that map refuse for themselves.
fn works_without_memory(number: u64) -> bool {
    const CALLS: &[u32] = &[
        raw::__NR_read,
        raw::__NR_write,
        raw::__NR_readv,
        raw::__NR_writev,
        raw::__NR_pread64,
        raw::__NR_pwrite64,
        raw::__NR_lseek,
        raw::__NR_fstat,
        raw::__NR_close,
        raw::__NR_fcntl,
        raw::__NR_ioctl,
        raw::__NR_ftruncate,
        raw::__NR_unlink,
        raw::__NR_unlinkat,
        raw::__NR_rmdir,
        raw::__NR_mmap,
        raw::__NR_mremap,
        raw::__NR_mprotect,
        raw::__NR_munmap,
        raw::__NR_madvise,
        raw::__NR_brk,
        raw::__NR_futex,
        raw::__NR_nanosleep,
        raw::__NR_clock_nanosleep,
        raw::__NR_clock_gettime,
        raw::__NR_gettimeofday,
        raw::__NR_time,
        raw::__NR_sched_yield,
        raw::__NR_poll,
        raw::__NR_epoll_wait,
        raw::__NR_restart_syscall,
        raw::__NR_rt_sigreturn,
        raw::__NR_rt_sigprocmask,
        raw::__NR_rt_sigaction,
        raw::__NR_sigaltstack,
        raw::__NR_kill,
        raw::__NR_tgkill,
        raw::__NR_getpid,
        raw::__NR_gettid,
        raw::__NR_exit,
        raw::__NR_exit_group,
    ];
    CALLS.iter().any(|&call| u64::from(call) == number)
}

/// Makes the interrupted system call of the calling thread again: no handler was called.
pub fn restart(reason: Errno) {
    let (number, arguments) = control::system_call();
    if reason == ERESTART_RESTARTBLOCK {
        serve(raw::__NR_restart_syscall as u64, arguments);
    } else {
        serve(number, arguments);
    }
}

/// The address that a signal frame shows for a thread in a system call that goes on at `rip`: behind the `syscall`
/// instruction, or at it when the call will be made again.
pub fn shown_address(rip: u64, again: bool) -> u64 {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let at = rip.wrapping_sub(2);
    match user::read::<[u8; 2]>(at) {
        Ok(SYSCALL) if again => at,
        _ => rip,
    }
}
