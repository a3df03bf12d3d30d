//! Files, file systems, pipes, polling.
//!
//! * [`file`]: what an open file can do, whatever it is.
//! * [`fd`]: a process's table of file descriptors.
//! * [`io`]: where data goes to and comes from.
//! * [`path`]: path resolution, working directory.
//! * [`pipe`]: pipes and FIFOs.
//! * [`poll`]: waiting for several files at once.
//! * [`stream`]: the host's standard streams as files.
//! * [`terminal`]: ioctls on them.

pub mod fd;
pub mod file;
pub mod io;
pub mod path;
pub mod pipe;
pub mod poll;
pub mod stream;
pub mod terminal;

/// Mounts the root file system from its measured image, and /dev and /proc.
pub fn init(image: &'static [u8]) {
    let _ = image;
    unimplemented!("K1")
}
