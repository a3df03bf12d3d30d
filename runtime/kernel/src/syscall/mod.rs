//! System calls: the table as data, dispatch, tracing.
//!
//! * [`fs`]: everything on files and their names.
//! * [`mm`]: the address space.
//! * [`table`]: number, name, arguments, support level, handler; documentation and tracing come from it.
//! * [`trace`]: showing calls as strace(1) does.
//!
//! Handlers live in one file per family below this module. A handler copies in, acts by calling its subsystem, and
//! copies out.

pub mod fs;
pub mod install;
pub mod mm;
pub mod pipe;
pub mod table;
pub mod trace;

use mystikos_platform::control;

use crate::process::thread;

/// Serves the system call that the calling thread's registers hold.
pub fn dispatch() {
    let (number, arguments) = control::system_call();
    let thread = thread::current();
    let result = match table::find(number) {
        Some(entry) => trace::call(&thread, entry, arguments),
        None => table::unhandled(&thread, number, arguments),
    };
    control::set_result(match result {
        Ok(value) => value,
        Err(errno) => (-errno.raw()) as u64,
    });
    if let Err(crate::Errno::ERESTARTSYS) = result {
        control::set_pending(thread.slot);
    }
}
