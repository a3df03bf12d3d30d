//! What there is none of: extended attributes, mounts, notification, splicing, asynchronous input and output.

use super::super::table::{Arg, Entry, Support};
use super::{at, description, subject, usable};
use crate::process::Thread;
use crate::{Errno, Result};

const FDCWD: u64 = at::FDCWD as u64;

const XATTR_NOTE: &str = "files have no extended attributes";
const MOUNT_NOTE: &str = "what is mounted is settled by the package";
const NOTIFY_NOTE: &str = "no notification of changes to files";
const SPLICE_NOTE: &str = "copy through a buffer, as where a file system cannot splice";
const AIO_NOTE: &str = "no asynchronous input and output, as on a kernel built without it";

const fn refused(
    number: u16,
    name: &'static str,
    note: &'static str,
    handler: fn(&Thread, [u64; 6]) -> Result<u64>,
) -> Entry {
    Entry {
        number,
        name,
        args: &[Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex],
        support: Support::Refused,
        note,
        handler,
    }
}

const fn xattr(
    number: u16,
    name: &'static str,
    args: &'static [Arg],
    handler: fn(&Thread, [u64; 6]) -> Result<u64>,
) -> Entry {
    Entry {
        number,
        name,
        args,
        support: Support::Refused,
        note: XATTR_NOTE,
        handler,
    }
}

const SET: &[Arg] = &[Arg::Path, Arg::Str, Arg::Ptr, Arg::Uint, Arg::Hex];
const FSET: &[Arg] = &[Arg::Fd, Arg::Str, Arg::Ptr, Arg::Uint, Arg::Hex];
const GET: &[Arg] = &[Arg::Path, Arg::Str, Arg::Ptr, Arg::Uint];
const FGET: &[Arg] = &[Arg::Fd, Arg::Str, Arg::Ptr, Arg::Uint];
const LIST: &[Arg] = &[Arg::Path, Arg::Ptr, Arg::Uint];
const FLIST: &[Arg] = &[Arg::Fd, Arg::Ptr, Arg::Uint];
const REMOVE: &[Arg] = &[Arg::Path, Arg::Str];
const FREMOVE: &[Arg] = &[Arg::Fd, Arg::Str];

/// The family.
pub const TABLE: &[Entry] = &[
    xattr(188, "setxattr", SET, |t, a| no_xattr(t, a, true)),
    xattr(189, "lsetxattr", SET, |t, a| no_xattr(t, a, false)),
    xattr(190, "fsetxattr", FSET, no_fxattr),
    xattr(191, "getxattr", GET, |t, a| no_xattr(t, a, true)),
    xattr(192, "lgetxattr", GET, |t, a| no_xattr(t, a, false)),
    xattr(193, "fgetxattr", FGET, no_fxattr),
    xattr(194, "listxattr", LIST, |t, a| no_xattrs(t, a, true)),
    xattr(195, "llistxattr", LIST, |t, a| no_xattrs(t, a, false)),
    xattr(196, "flistxattr", FLIST, |t, a| usable(t, a[0]).map(|_| 0)),
    xattr(197, "removexattr", REMOVE, |t, a| no_xattr(t, a, true)),
    xattr(198, "lremovexattr", REMOVE, |t, a| no_xattr(t, a, false)),
    xattr(199, "fremovexattr", FREMOVE, no_fxattr),
    refused(155, "pivot_root", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(165, "mount", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(166, "umount2", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(428, "open_tree", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(429, "move_mount", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(430, "fsopen", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(432, "fsmount", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(433, "fspick", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(442, "mount_setattr", MOUNT_NOTE, |_, _| Err(Errno::EPERM)),
    refused(253, "inotify_init", NOTIFY_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(254, "inotify_add_watch", NOTIFY_NOTE, not_watching),
    refused(255, "inotify_rm_watch", NOTIFY_NOTE, not_watching),
    refused(294, "inotify_init1", NOTIFY_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(300, "fanotify_init", NOTIFY_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(301, "fanotify_mark", NOTIFY_NOTE, not_watching),
    refused(275, "splice", SPLICE_NOTE, |t, a| no_splice(t, a[0], a[2])),
    refused(276, "tee", SPLICE_NOTE, |t, a| no_splice(t, a[0], a[1])),
    refused(278, "vmsplice", SPLICE_NOTE, |t, a| {
        usable(t, a[0]).and(Err(Errno::EINVAL))
    }),
    refused(
        303,
        "name_to_handle_at",
        "files have no handles that would outlive their names",
        |_, _| Err(Errno::EOPNOTSUPP),
    ),
    refused(
        304,
        "open_by_handle_at",
        "files have no handles that would outlive their names",
        |_, _| Err(Errno::EOPNOTSUPP),
    ),
    refused(206, "io_setup", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(207, "io_destroy", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(208, "io_getevents", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(209, "io_submit", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(210, "io_cancel", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(333, "io_pgetevents", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(425, "io_uring_setup", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(426, "io_uring_enter", AIO_NOTE, |_, _| Err(Errno::ENOSYS)),
    refused(427, "io_uring_register", AIO_NOTE, |_, _| {
        Err(Errno::ENOSYS)
    }),
    refused(
        179,
        "quotactl",
        "file systems in memory have no quotas",
        |_, _| Err(Errno::ENOSYS),
    ),
];

fn no_xattr(thread: &Thread, args: [u64; 6], follow: bool) -> Result<u64> {
    subject(thread, FDCWD, args[0], 0, follow)?;
    Err(Errno::EOPNOTSUPP)
}

fn no_fxattr(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    usable(thread, args[0])?;
    Err(Errno::EOPNOTSUPP)
}

/// An empty list is the truth, and what programs that copy attributes go on with.
fn no_xattrs(thread: &Thread, args: [u64; 6], follow: bool) -> Result<u64> {
    subject(thread, FDCWD, args[0], 0, follow)?;
    Ok(0)
}

/// There is no descriptor that these calls could act on.
fn not_watching(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    description(thread, args[0])?;
    Err(Errno::EINVAL)
}

fn no_splice(thread: &Thread, from: u64, to: u64) -> Result<u64> {
    usable(thread, from)?;
    usable(thread, to)?;
    Err(Errno::EINVAL)
}
