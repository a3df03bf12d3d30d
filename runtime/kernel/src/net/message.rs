//! What travels between local sockets.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use mystikos_platform::sync::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::address::Address;
use super::socket::Socket;
use crate::fs::file::OpenFile;

/// `struct ucred`: who sent something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Credentials {
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Descriptors under way (SCM_RIGHTS).
#[derive(Clone, Default)]
pub struct Files(Vec<Arc<OpenFile>>);

impl Files {
    /// These descriptions.
    pub fn new(files: Vec<Arc<OpenFile>>) -> Files {
        Files(files)
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes them out.
    pub fn take(&mut self) -> Vec<Arc<OpenFile>> {
        core::mem::take(&mut self.0)
    }
}

impl Drop for Files {
    /// A description may be a socket that holds messages with descriptions that are sockets, and so on: they are
    /// dropped one after the other and not from within each other.
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        let busy = {
            let mut pending = PENDING.lock();
            pending.files.append(&mut self.0);
            core::mem::replace(&mut pending.busy, true)
        };
        if busy {
            return;
        }
        loop {
            let next = {
                let mut pending = PENDING.lock();
                let next = pending.files.pop();
                pending.busy = next.is_some();
                next
            };
            match next {
                Some(file) => drop(file),
                None => break,
            }
        }
    }
}

/// Descriptions to be dropped, and whether a thread is at it.
struct Pending {
    files: Vec<Arc<OpenFile>>,
    busy: bool,
}

static PENDING: Mutex<Pending> = Mutex::new(Pending {
    files: Vec::new(),
    busy: false,
});

/// Room that a message takes from its sender's buffer (SO_SNDBUF) until it is read.
pub struct Charge {
    sender: Weak<Socket>,
    bytes: usize,
}

/// What a message takes beside its bytes, as on Linux.
const OVERHEAD: usize = 768;

impl Charge {
    /// Takes room for a message of `size` bytes.
    pub fn new(sender: &Arc<Socket>, size: usize) -> Charge {
        let bytes = size + OVERHEAD;
        sender.in_flight.fetch_add(bytes, Ordering::AcqRel);
        Charge {
            sender: Arc::downgrade(sender),
            bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.upgrade() {
            sender.in_flight.fetch_sub(self.bytes, Ordering::AcqRel);
            sender.told_of_room();
        }
    }
}

/// One message, or a piece of a stream.
pub struct Message {
    /// Bytes.
    pub data: Vec<u8>,
    /// How many of them were read already (streams).
    pub start: usize,
    /// Descriptors that come along.
    pub files: Files,
    /// Who sent it.
    pub credentials: Credentials,
    /// The sender's name.
    pub from: Option<Address>,
    /// Room it takes.
    pub charge: Charge,
}

impl Message {
    /// Bytes not read yet.
    pub fn rest(&self) -> &[u8] {
        &self.data[self.start..]
    }
}
