//! The process that makes a request, as the driver sees it.

use std::fs::File;

use crate::driver::Caller;
use crate::files::{descriptor, Device, DeviceFile};
use crate::memory::Alias;
use crate::ptrace::{self, Tid};

/// A stopped thread in an ioctl(2).
pub struct Calling<'a> {
    tid: Tid,
    files: &'a [DeviceFile],
    memory: &'a File,
    /// End of each mapping, and VM_MAYEXEC; read when first asked for.
    maps: Option<Vec<(u64, bool)>>,
}

impl<'a> Calling<'a> {
    /// The thread `tid`, which calls one of `files`.
    pub fn new(tid: Tid, files: &'a [DeviceFile], file: &'a DeviceFile) -> Self {
        Calling {
            tid,
            files,
            memory: &file.memory,
            maps: None,
        }
    }
}

impl Caller for Calling<'_> {
    type Memory = Alias;

    fn read(&self, address: u64, to: &mut [u8]) -> bool {
        ptrace::read_memory(self.tid, address, to)
    }

    fn write(&mut self, address: u64, from: &[u8]) -> bool {
        ptrace::write_memory(self.tid, address, from)
    }

    fn may_execute(&mut self, address: u64) -> Option<bool> {
        let tid = self.tid;
        let maps = self.maps.get_or_insert_with(|| maps(tid));
        let (_, may) = maps.iter().find(|(end, _)| *end > address)?;
        Some(*may)
    }

    fn is_provision(&self, fd: u64) -> bool {
        let wanted = descriptor(self.tid, fd);
        let provision = |file: &DeviceFile| {
            wanted.is_some_and(|wanted| file.is(wanted)) && file.device == Device::Provision
        };
        self.files.iter().any(provision)
    }

    fn memory(&mut self, size: u64) -> Option<Alias> {
        Alias::new(self.memory, size).ok()
    }
}

/// End of each mapping, and VM_MAYEXEC, which only /proc/pid/smaps tells: a line "start-end …" begins a mapping, and its
/// VmFlags have "me" or not.
fn maps(tid: Tid) -> Vec<(u64, bool)> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/smaps")).unwrap_or_default();
    let mut maps = Vec::new();
    let mut end = 0;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "VmFlags:" {
            maps.push((end, words.any(|flag| flag == "me")));
        } else if let Some((_, last)) = first.split_once('-') {
            end = u64::from_str_radix(last, 16).unwrap_or(end);
        }
    }
    maps
}
