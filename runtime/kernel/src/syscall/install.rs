//! Giving descriptors to fresh files.

use alloc::sync::Arc;

use crate::fs::file::OpenFile;
use crate::process::Thread;
use crate::Result;

/// Gives the lowest free descriptor to a description; the result is the system call's.
pub fn one(thread: &Thread, description: Arc<OpenFile>, close_on_exec: bool) -> Result<u64> {
    let mut files = thread.process.files.write();
    files.add(description, 0, close_on_exec).map(|fd| fd as u64)
}

/// Gives descriptors to two descriptions and tells the application by `tell`. When one of the steps fails, nothing is
/// left open.
pub fn pair(
    thread: &Thread,
    [first, second]: [Arc<OpenFile>; 2],
    close_on_exec: bool,
    tell: impl FnOnce([i32; 2]) -> Result<()>,
) -> Result<()> {
    let fds = {
        let mut files = thread.process.files.write();
        let first = files.add(first, 0, close_on_exec)?;
        match files.add(second, 0, close_on_exec) {
            Ok(second) => Ok([first, second]),
            Err(error) => Err((error, files.remove(first))),
        }
    };
    // Descriptions are dropped without the table's lock: closing may wake others.
    let fds = fds.map_err(|(error, _removed)| error)?;
    tell(fds).inspect_err(|_| {
        let removed = {
            let mut files = thread.process.files.write();
            fds.map(|fd| files.remove(fd))
        };
        drop(removed);
    })
}
