//! Memory of an ELRANGE: a file in memory that the traced process maps where the enclave lies, and this one anywhere.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use mystikos_sgx::Epc;

/// This process's mapping of the whole file. What the traced process can do with its own does not matter here.
pub struct Alias {
    base: *mut u8,
    size: usize,
}

impl Alias {
    /// Gives the file a size and maps it; untouched pages are zero and take no memory.
    pub fn new(file: &File, size: u64) -> io::Result<Alias> {
        file.set_len(size)?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping of a file.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), size, prot, flags, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Alias {
            base: base.cast(),
            size,
        })
    }

    fn at(&self, offset: u64, length: usize) -> *mut u8 {
        let end = (offset as usize).checked_add(length);
        assert!(end.is_some_and(|end| end <= self.size), "outside ELRANGE");
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.base.add(offset as usize) }
    }
}

impl Drop for Alias {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.base.cast(), self.size) };
    }
}

impl Epc for Alias {
    fn read(&self, offset: u64, to: &mut [u8]) {
        // SAFETY: inside the mapping. Other threads of the enclave may write at the same time, as they may while the
        // processor reads; bytes are only copied.
        unsafe { std::ptr::copy(self.at(offset, to.len()), to.as_mut_ptr(), to.len()) }
    }

    fn write(&mut self, offset: u64, from: &[u8]) {
        // SAFETY: as above.
        unsafe { std::ptr::copy(from.as_ptr(), self.at(offset, from.len()), from.len()) }
    }
}
