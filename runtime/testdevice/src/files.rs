//! Open device files. To the program each is a file in memory, whose content is its ELRANGE.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::driver::mapping::Mode;
use crate::driver::Encl;
use crate::memory::Alias;
use crate::ptrace::Tid;

/// Which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// /dev/sgx_enclave
    Enclave,
    /// /dev/sgx_provision
    Provision,
}

impl Device {
    /// The device behind a path.
    pub fn of_path(path: &[u8]) -> Option<Device> {
        match path {
            b"/dev/sgx_enclave" => Some(Device::Enclave),
            b"/dev/sgx_provision" => Some(Device::Provision),
            _ => None,
        }
    }

    /// Minor number; such misc devices have dynamic ones.
    pub fn minor(self) -> u32 {
        match self {
            Device::Enclave => 125,
            Device::Provision => 126,
        }
    }
}

/// An open device file.
pub struct DeviceFile {
    /// Which device it is.
    pub device: Device,
    /// How it was opened.
    pub mode: Mode,
    /// What the driver keeps for it.
    pub encl: Encl<Alias>,
    /// The file in memory.
    pub memory: File,
    identity: (u64, u64),
}

impl DeviceFile {
    /// The file in memory that a thread has just got as `fd`.
    pub fn opened(device: Device, mode: Mode, tid: Tid, fd: i64) -> io::Result<DeviceFile> {
        let path = format!("/proc/{tid}/fd/{fd}");
        let memory = OpenOptions::new().read(true).write(true).open(path)?;
        let identity = identity(&memory.metadata()?);
        Ok(DeviceFile {
            device,
            mode,
            encl: Encl::default(),
            memory,
            identity,
        })
    }

    /// Whether a thread's descriptor is this file, whichever way it got it.
    pub fn is(&self, descriptor: (u64, u64)) -> bool {
        self.identity == descriptor
    }
}

/// What a thread's descriptor is, by device and inode number.
pub fn descriptor(tid: Tid, fd: u64) -> Option<(u64, u64)> {
    let path = format!("/proc/{tid}/fd/{}", fd as i32);
    std::fs::metadata(path).ok().as_ref().map(identity)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
