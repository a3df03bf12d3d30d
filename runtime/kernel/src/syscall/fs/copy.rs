//! From file to file within the kernel.

use alloc::vec::Vec;

use mystikos_platform::user;

use super::super::table::{Arg, Entry, Support};
use super::description;
use crate::fs::file::OpenFile;
use crate::fs::inode::Kind;
use crate::fs::io::{BufferSink, BufferSource};
use crate::fs::open::flag;
use crate::process::Thread;
use crate::{Errno, Result};

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 40,
        name: "sendfile",
        args: &[Arg::Fd, Arg::Fd, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: sendfile,
    },
    Entry {
        number: 326,
        name: "copy_file_range",
        args: &[Arg::Fd, Arg::Ptr, Arg::Fd, Arg::Ptr, Arg::Uint, Arg::Hex],
        support: Support::Full,
        note: "",
        handler: copy_file_range,
    },
];

/// Bytes moved in one step.
const CHUNK: usize = 64 * 1024;

/// MAX_RW_COUNT.
const COUNT_MAX: u64 = 0x7fff_f000;

/// Moves up to `count` bytes from `from` at `offset`; `write(bytes, done)` writes and tells how many it took.
fn pump(
    from: &OpenFile,
    offset: u64,
    count: u64,
    mut write: impl FnMut(&[u8], u64) -> Result<usize>,
) -> Result<u64> {
    let count = count.min(COUNT_MAX);
    let mut buffer = Vec::new();
    let size = (CHUNK as u64).min(count) as usize;
    buffer.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(size, 0);
    let mut done = 0;
    while done < count {
        let wanted = (CHUNK as u64).min(count - done) as usize;
        let step = from
            .file
            .read_at(offset + done, &mut BufferSink::new(&mut buffer[..wanted]))
            .and_then(|n| match n {
                0 => Ok((0, 0)),
                n => write(&buffer[..n], done).map(|written| (n, written)),
            });
        match step {
            Ok((0, _)) => break,
            Ok((n, written)) => {
                done += written as u64;
                if written < n {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn offset(address: u64) -> Result<Option<u64>> {
    match address {
        0 => Ok(None),
        address => match user::read::<i64>(address)? {
            offset if offset < 0 => Err(Errno::EINVAL),
            offset => Ok(Some(offset as u64)),
        },
    }
}

fn sendfile(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let start = offset(args[2])?;
    let from = description(thread, args[1])?;
    if !from.is_readable() {
        return Err(Errno::EBADF);
    }
    let to = description(thread, args[0])?;
    if !to.is_writable() {
        return Err(Errno::EBADF);
    }
    if (args[3] as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    // Only what has positions can be sent; a file that is to be appended to is refused (sendfile(2)).
    let sendable = match &from.dentry {
        Some(dentry) => matches!(dentry.inode.kind(), Kind::Regular | Kind::CharDevice),
        None => false,
    };
    if !sendable || to.flags() & flag::APPEND != 0 {
        return Err(Errno::EINVAL);
    }
    let position = start.unwrap_or_else(|| *from.position.lock());
    let sent = pump(&from, position, args[3], |bytes, _| {
        to.file.write(&to, &mut BufferSource(bytes))
    })?;
    match start {
        Some(start) => user::write(args[2], &(start + sent))?,
        None => *from.position.lock() = position + sent,
    }
    Ok(sent)
}

fn copy_file_range(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let from = description(thread, args[0])?;
    let to = description(thread, args[2])?;
    let start = offset(args[1])?;
    let to_start = offset(args[3])?;
    if args[5] != 0 {
        return Err(Errno::EINVAL);
    }
    let kind = |file: &OpenFile| file.dentry.as_ref().map(|dentry| dentry.inode.kind());
    if kind(&from) == Some(Kind::Directory) || kind(&to) == Some(Kind::Directory) {
        return Err(Errno::EISDIR);
    }
    if kind(&from) != Some(Kind::Regular) || kind(&to) != Some(Kind::Regular) {
        return Err(Errno::EINVAL);
    }
    if !from.is_readable() || !to.is_writable() || to.flags() & flag::APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let position = start.unwrap_or_else(|| *from.position.lock());
    let to_position = to_start.unwrap_or_else(|| *to.position.lock());
    let overflow = |at: u64| {
        at.checked_add(args[4])
            .is_none_or(|end| end > i64::MAX as u64)
    };
    if overflow(position) || overflow(to_position) {
        return Err(Errno::EOVERFLOW);
    }
    let (Some(a), Some(b)) = (&from.dentry, &to.dentry) else {
        return Err(Errno::EINVAL);
    };
    let same = alloc::sync::Arc::ptr_eq(&a.inode, &b.inode);
    let left = a.inode.size()?.saturating_sub(position);
    let count = args[4].min(left);
    if same && position < to_position + count && to_position < position + count {
        return Err(Errno::EINVAL);
    }
    let copied = pump(&from, position, count, |bytes, done| {
        to.file
            .write_at(to_position + done, &mut BufferSource(bytes))
    })?;
    match start {
        Some(start) => user::write(args[1], &(start + copied))?,
        None => *from.position.lock() = position + copied,
    }
    match to_start {
        Some(start) => user::write(args[3], &(start + copied))?,
        None => *to.position.lock() = to_position + copied,
    }
    Ok(copied)
}
