//! Listing directories, working directory.

use alloc::vec::Vec;

use mystikos_platform::user;

use super::super::table::{Arg, Entry, Support};
use super::{description, path, usable};
use crate::fs::inode::{Kind, Listed};
use crate::fs::path::permission;
use crate::process::Thread;
use crate::{Errno, Result};

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 78,
        name: "getdents",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| list(thread, args, old_record),
    },
    Entry {
        number: 217,
        name: "getdents64",
        args: &[Arg::Fd, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: |thread, args| list(thread, args, record),
    },
    Entry {
        number: 79,
        name: "getcwd",
        args: &[Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: getcwd,
    },
    Entry {
        number: 80,
        name: "chdir",
        args: &[Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let path = path(args[0])?;
            let mut context = thread.process.fs.write();
            let found = context.directory(&path)?;
            context.permits(&found, permission::EXECUTE)?;
            context.cwd = found;
            Ok(0)
        },
    },
    Entry {
        number: 81,
        name: "fchdir",
        args: &[Arg::Fd],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let description = description(thread, args[0])?;
            let dentry = description.dentry.as_ref().ok_or(Errno::ENOTDIR)?;
            if dentry.inode.kind() != Kind::Directory {
                return Err(Errno::ENOTDIR);
            }
            let mut context = thread.process.fs.write();
            context.permits(dentry, permission::EXECUTE)?;
            context.cwd = dentry.clone();
            Ok(0)
        },
    },
    Entry {
        number: 161,
        name: "chroot",
        args: &[Arg::Path],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let path = path(args[0])?;
            let mut context = thread.process.fs.write();
            let found = context.directory(&path)?;
            context.permits(&found, permission::EXECUTE)?;
            if context.uid != 0 {
                return Err(Errno::EPERM);
            }
            context.root = found;
            Ok(0)
        },
    },
];

fn getcwd(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (mut path, reached, removed) = {
        let context = thread.process.fs.read();
        let (path, reached) = context.path_of(&context.cwd);
        (path, reached, context.cwd.is_removed())
    };
    if removed {
        return Err(Errno::ENOENT);
    }
    if !reached {
        path.splice(0..0, *b"(unreachable)");
    }
    path.push(0);
    if path.len() as u64 > args[1] {
        return Err(Errno::ERANGE);
    }
    user::copy_out(args[0], &path)?;
    Ok(path.len() as u64)
}

/// Most bytes of entries that one call gives, whatever room there is.
const MOST: usize = 64 * 1024;

/// Appends one entry.
type Record = fn(&mut Vec<u8>, Listed<'_>);

/// `struct linux_dirent64`.
fn record(to: &mut Vec<u8>, entry: Listed<'_>) {
    let size = (19 + entry.name.len() + 1).next_multiple_of(8);
    let end = to.len() + size;
    to.extend_from_slice(&entry.ino.to_le_bytes());
    to.extend_from_slice(&entry.next.to_le_bytes());
    to.extend_from_slice(&(size as u16).to_le_bytes());
    to.push(entry.kind.dirent_type());
    to.extend_from_slice(entry.name);
    to.resize(end, 0);
}

/// `struct linux_dirent`: the type stands in the last byte.
fn old_record(to: &mut Vec<u8>, entry: Listed<'_>) {
    let size = (18 + entry.name.len() + 2).next_multiple_of(8);
    let end = to.len() + size;
    to.extend_from_slice(&entry.ino.to_le_bytes());
    to.extend_from_slice(&entry.next.to_le_bytes());
    to.extend_from_slice(&(size as u16).to_le_bytes());
    to.extend_from_slice(entry.name);
    to.resize(end, 0);
    if let Some(last) = to.last_mut() {
        *last = entry.kind.dirent_type();
    }
}

fn list(thread: &Thread, args: [u64; 6], record: Record) -> Result<u64> {
    let description = usable(thread, args[0])?;
    let dentry = match &description.dentry {
        Some(dentry) if dentry.inode.kind() == Kind::Directory => dentry,
        _ => return Err(Errno::ENOTDIR),
    };
    if dentry.is_removed() {
        return Err(Errno::ENOENT);
    }
    let room = (args[2] as u32 as usize).min(MOST);
    let mut records: Vec<u8> = Vec::new();
    records.try_reserve(room).map_err(|_| Errno::ENOMEM)?;
    let mut position = description.position.lock();
    let mut next = *position;
    let mut full = false;
    {
        let mut take = |entry: Listed<'_>| -> Result<bool> {
            let before = records.len();
            record(&mut records, entry);
            if records.len() > room {
                records.truncate(before);
                full = true;
                return Ok(false);
            }
            next = entry.next;
            Ok(true)
        };
        let ino = |dentry: &crate::fs::dentry::Dentry| dentry.inode.stat().map(|stat| stat.ino);
        let directory = |name: &'static [u8], ino: u64, next: u64| Listed {
            name,
            ino,
            kind: Kind::Directory,
            next,
        };
        let mut go_on = true;
        if *position == 0 {
            go_on = take(directory(b".", ino(dentry)?, 1))?;
        }
        if go_on && *position <= 1 {
            let parent = dentry.parent().unwrap_or_else(|| dentry.clone());
            go_on = take(directory(b"..", ino(&parent)?, 2))?;
        }
        if go_on {
            dentry.inode.list(dentry, (*position).max(2), &mut take)?;
        }
    }
    if records.is_empty() && full {
        return Err(Errno::EINVAL);
    }
    user::copy_out(args[1], &records)?;
    *position = next;
    Ok(records.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Listed<'static> = Listed {
        name: b"name",
        ino: 0x1122,
        kind: Kind::Regular,
        next: 7,
    };

    #[test]
    fn entries_have_the_shape_that_libc_reads() {
        let mut bytes = Vec::new();
        record(&mut bytes, ENTRY);
        assert_eq!(bytes.len(), 24);
        assert_eq!(bytes[0..2], [0x22, 0x11]);
        assert_eq!((bytes[8], bytes[16], bytes[18]), (7, 24, 8));
        assert_eq!(&bytes[19..24], b"name\0");
    }

    #[test]
    fn old_entries_end_with_the_type() {
        let mut bytes = Vec::new();
        old_record(&mut bytes, ENTRY);
        assert_eq!((bytes.len(), bytes[16], bytes[23]), (24, 24, 8));
        assert_eq!(&bytes[18..23], b"name\0");
    }
}
