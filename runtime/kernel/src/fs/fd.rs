//! A process's table of file descriptors.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::file::OpenFile;
use super::open::flag;
use crate::{Errno, Result};

/// Descriptors of one process.
pub struct FdTable {
    slots: Vec<Option<Descriptor>>,
    /// No descriptor below is free.
    first_free: usize,
    /// Descriptors are given out below (RLIMIT_NOFILE).
    limit: usize,
}

impl Default for FdTable {
    fn default() -> Self {
        FdTable {
            slots: Vec::new(),
            first_free: 0,
            limit: FD_MAX,
        }
    }
}

#[derive(Clone)]
struct Descriptor {
    description: Arc<OpenFile>,
    close_on_exec: bool,
}

/// The largest RLIMIT_NOFILE.
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

    /// As [`get`](Self::get); EBADF for descriptors that are only places in the tree (O_PATH).
    pub fn usable(&self, fd: i32) -> Result<Arc<OpenFile>> {
        match self.get(fd)? {
            description if description.flags() & flag::PATH != 0 => Err(Errno::EBADF),
            description => Ok(description),
        }
    }

    /// Puts a description at the lowest free descriptor not below `from`; EMFILE when there is none.
    pub fn add(
        &mut self,
        description: Arc<OpenFile>,
        from: i32,
        close_on_exec: bool,
    ) -> Result<i32> {
        let from = usize::try_from(from).map_err(|_| Errno::EINVAL)?;
        let start = from.max(self.first_free);
        let free = (start..self.slots.len())
            .find(|&fd| self.slots[fd].is_none())
            .unwrap_or(start.max(self.slots.len()));
        if free >= self.limit {
            return Err(Errno::EMFILE);
        }
        self.put(free, description, close_on_exec)?;
        if from <= self.first_free {
            self.first_free = free + 1;
        }
        Ok(free as i32)
    }

    /// RLIMIT_NOFILE.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Sets RLIMIT_NOFILE; descriptors that are open already stay open.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = usize::try_from(limit).map_or(FD_MAX, |limit| limit.min(FD_MAX));
    }

    /// Puts a description at `fd` (dup2(2)); returns what stood there.
    pub fn replace(
        &mut self,
        fd: i32,
        description: Arc<OpenFile>,
        close_on_exec: bool,
    ) -> Result<Option<Arc<OpenFile>>> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if fd >= self.limit {
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
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let taken = self.slots.get_mut(fd).and_then(Option::take);
        let descriptor = taken.ok_or(Errno::EBADF)?;
        self.first_free = self.first_free.min(fd);
        Ok(descriptor.description)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::dev::tests::null;

    #[test]
    fn the_lowest_free_descriptor_is_given_as_in_a_model() {
        let mut table = FdTable::default();
        let mut model: Vec<bool> = vec![false; 200];
        let description = OpenFile::new(null(), 0);
        let mut state = 3u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (state >> 16) as usize % 100;
            match state >> 30 {
                0 => {
                    let closed = table.remove(number as i32).is_ok();
                    assert_eq!(closed, core::mem::take(&mut model[number]));
                }
                1 => {
                    let replaced = table.replace(number as i32, description.clone(), false);
                    assert_eq!(replaced.unwrap().is_some(), model[number]);
                    model[number] = true;
                }
                kind => {
                    let from = if kind == 2 { 0 } else { number };
                    let free = (from..).find(|&fd| !model[fd]).unwrap();
                    table.set_limit(100);
                    let added = table.add(description.clone(), from as i32, false);
                    match free < 100 {
                        true => {
                            assert_eq!(added, Ok(free as i32));
                            model[free] = true;
                        }
                        false => assert_eq!(added, Err(Errno::EMFILE)),
                    }
                }
            }
        }
    }
}
