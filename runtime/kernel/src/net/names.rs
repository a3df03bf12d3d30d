//! Which socket is bound to a name.
//!
//! An abstract name stands only here, and every kind of socket has its own ones. A path names an inode of the file system, which says nothing about the socket;
//! it is found by device and inode number, which stay taken as long as the binding keeps the inode.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use mystikos_platform::sync::Mutex;

use super::address::Address;
use super::socket::{Kind as SocketKind, Socket};
use crate::fs::dentry::Dentry;
use crate::fs::inode::{Kind, What};
use crate::fs::names;
use crate::fs::path::{permission, FsContext};
use crate::{Errno, Result};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Abstract(u32, Vec<u8>),
    Inode(u64, u64),
}

static BOUND: Mutex<BTreeMap<Key, Weak<Socket>>> = Mutex::new(BTreeMap::new());

/// A name that is taken; dropping it gives it back.
pub struct Binding {
    key: Key,
    _inode: Option<Arc<Dentry>>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        let removed = BOUND.lock().remove(&self.key);
        drop(removed);
    }
}

/// Binds a socket to a name; EADDRINUSE when it is taken.
pub fn bind(context: &FsContext, socket: &Arc<Socket>, address: &Address) -> Result<Binding> {
    let (key, inode) = match address {
        Address::Abstract(name) => (Key::Abstract(socket.kind as u32, name.clone()), None),
        Address::Path(path) => {
            let mode = 0o777 & !context.umask;
            let made = names::make(context, &context.cwd, path, What::Socket, mode);
            let dentry = made.map_err(|error| match error {
                Errno::EEXIST => Errno::EADDRINUSE,
                error => error,
            })?;
            (inode_key(&dentry)?, Some(dentry))
        }
    };
    let mut bound = BOUND.lock();
    if bound.contains_key(&key) {
        return Err(Errno::EADDRINUSE);
    }
    bound.insert(key.clone(), Arc::downgrade(socket));
    Ok(Binding { key, _inode: inode })
}

/// Binds a socket to an abstract name that nobody has: five hexadecimal digits, as on Linux.
pub fn bind_any(context: &FsContext, socket: &Arc<Socket>) -> Result<(Address, Binding)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..=0xfffff {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0xfffff;
        let address = Address::Abstract(format!("{number:05x}").into_bytes());
        match bind(context, socket, &address) {
            Ok(binding) => return Ok((address, binding)),
            Err(Errno::EADDRINUSE) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::ENOSPC)
}

/// The socket bound to a name, for one of a kind; ECONNREFUSED when there is none (any more).
pub fn find(context: &FsContext, kind: SocketKind, address: &Address) -> Result<Arc<Socket>> {
    let key = match address {
        Address::Abstract(name) => Key::Abstract(kind as u32, name.clone()),
        Address::Path(path) => {
            let dentry = context.find(&context.cwd, path, true)?;
            context.permits(&dentry, permission::WRITE)?;
            if dentry.inode.kind() != Kind::Socket {
                return Err(Errno::ECONNREFUSED);
            }
            inode_key(&dentry)?
        }
    };
    let found = BOUND.lock().get(&key).and_then(Weak::upgrade);
    found.ok_or(Errno::ECONNREFUSED)
}

fn inode_key(dentry: &Dentry) -> Result<Key> {
    let stat = dentry.inode.stat()?;
    Ok(Key::Inode(stat.dev, stat.ino))
}
