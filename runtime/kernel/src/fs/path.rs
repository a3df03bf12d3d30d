//! Path resolution, working directory.

/// Working directory and umask of a process.
#[derive(Default)]
pub struct FsContext {
    /// Mask of permissions not given to new files.
    pub umask: u32,
}
