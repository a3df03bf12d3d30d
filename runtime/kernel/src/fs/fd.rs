//! A process's table of file descriptors.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::file::OpenFile;
use crate::{Errno, Result};

/// Descriptors of one process.
#[derive(Default)]
pub struct FdTable {
    slots: Vec<Option<Descriptor>>,
}

#[derive(Clone)]
struct Descriptor {
    description: Arc<OpenFile>,
    close_on_exec: bool,
}

/// RLIMIT_NOFILE.
pub const FD_MAX: usize = 65536;

impl FdTable {
    /// The description behind `fd`; EBADF when there is none.
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile>> {
        usize::try_from(fd)
            .ok()
            .and_then(|fd| self.slots.get(fd))
            .and_then(Option::as_ref)
            .map(|d| d.description.clone())
            .ok_or(Errno::EBADF)
    }

    /// Puts a description at the lowest free descriptor not below `from`; EMFILE when there is none.
    pub fn add(
        &mut self,
        description: Arc<OpenFile>,
        from: i32,
        close_on_exec: bool,
    ) -> Result<i32> {
        let from = usize::try_from(from).map_err(|_| Errno::EINVAL)?;
        let free = (from..self.slots.len())
            .find(|&fd| self.slots[fd].is_none())
            .unwrap_or(from.max(self.slots.len()));
        if free >= FD_MAX {
            return Err(Errno::EMFILE);
        }
        self.put(free, description, close_on_exec)?;
        Ok(free as i32)
    }

    /// Puts a description at `fd` (dup2(2)); returns what stood there.
    pub fn replace(
        &mut self,
        fd: i32,
        description: Arc<OpenFile>,
        close_on_exec: bool,
    ) -> Result<Option<Arc<OpenFile>>> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if fd >= FD_MAX {
            return Err(Errno::EBADF);
        }
        self.put(fd, description, close_on_exec)
    }

    fn put(
        &mut self,
        fd: usize,
        description: Arc<OpenFile>,
        close_on_exec: bool,
    ) -> Result<Option<Arc<OpenFile>>> {
        if fd >= self.slots.len() {
            let more = fd + 1 - self.slots.len();
            self.slots.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
            self.slots.resize(fd + 1, None);
        }
        let descriptor = Descriptor {
            description,
            close_on_exec,
        };
        Ok(self.slots[fd].replace(descriptor).map(|d| d.description))
    }

    /// Takes a descriptor away; the caller drops the description after letting go of the table's lock.
    pub fn remove(&mut self, fd: i32) -> Result<Arc<OpenFile>> {
        usize::try_from(fd)
            .ok()
            .and_then(|fd| self.slots.get_mut(fd))
            .and_then(Option::take)
            .map(|d| d.description)
            .ok_or(Errno::EBADF)
    }

    /// FD_CLOEXEC of a descriptor.
    pub fn close_on_exec(&self, fd: i32) -> Result<bool> {
        self.get(fd)?;
        Ok(self.slots[fd as usize]
            .as_ref()
            .is_some_and(|d| d.close_on_exec))
    }

    /// Sets FD_CLOEXEC of a descriptor.
    pub fn set_close_on_exec(&mut self, fd: i32, value: bool) -> Result<()> {
        self.get(fd)?;
        if let Some(descriptor) = &mut self.slots[fd as usize] {
            descriptor.close_on_exec = value;
        }
        Ok(())
    }

    /// Open descriptors in ascending order.
    pub fn open(&self) -> impl Iterator<Item = (i32, &Arc<OpenFile>)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(fd, d)| d.as_ref().map(|d| (fd as i32, &d.description)))
    }
}
