//! Opening and closing.

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::install;
use super::super::table::{Arg, Entry, Support};
use super::{at, path, with_base};
use crate::fs::open::{find, flag, Request};
use crate::fs::path::Rules;
use crate::fs::ramfs::{seal, RamFs};
use crate::process::Thread;
use crate::{Errno, Result};

/// Names of the flags of open(2).
pub const OPEN_FLAGS: &[(u64, &str)] = &[
    (0, "O_RDONLY"),
    (flag::WRONLY as u64, "O_WRONLY"),
    (flag::RDWR as u64, "O_RDWR"),
    (flag::CREAT as u64, "O_CREAT"),
    (flag::EXCL as u64, "O_EXCL"),
    (flag::NOCTTY as u64, "O_NOCTTY"),
    (flag::TRUNC as u64, "O_TRUNC"),
    (flag::APPEND as u64, "O_APPEND"),
    (flag::NONBLOCK as u64, "O_NONBLOCK"),
    (flag::SYNC as u64, "O_SYNC"),
    (flag::DSYNC as u64, "O_DSYNC"),
    (flag::ASYNC as u64, "O_ASYNC"),
    (flag::DIRECT as u64, "O_DIRECT"),
    (flag::LARGEFILE as u64, "O_LARGEFILE"),
    (flag::TMPFILE as u64, "O_TMPFILE"),
    (flag::DIRECTORY as u64, "O_DIRECTORY"),
    (flag::NOFOLLOW as u64, "O_NOFOLLOW"),
    (flag::NOATIME as u64, "O_NOATIME"),
    (flag::CLOEXEC as u64, "O_CLOEXEC"),
    (flag::PATH as u64, "O_PATH"),
];

const MFD_FLAGS: &[(u64, &str)] = &[
    (1, "MFD_CLOEXEC"),
    (2, "MFD_ALLOW_SEALING"),
    (4, "MFD_HUGETLB"),
    (8, "MFD_NOEXEC_SEAL"),
    (16, "MFD_EXEC"),
];

const CLOSE_RANGE_FLAGS: &[(u64, &str)] = &[(2, "CLOSE_RANGE_UNSHARE"), (4, "CLOSE_RANGE_CLOEXEC")];

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 2,
        name: "open",
        args: &[Arg::Path, Arg::Flags(OPEN_FLAGS), Arg::CreateMode(1)],
        support: Support::Full,
        note: "",
        handler: |thread, args| open(thread, at::FDCWD as u64, args[0], args[1], args[2]),
    },
    Entry {
        number: 3,
        name: "close",
        args: &[Arg::Fd],
        support: Support::Full,
        note: "",
        handler: close,
    },
    Entry {
        number: 85,
        name: "creat",
        args: &[Arg::Path, Arg::Mode],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let flags = flag::CREAT | flag::WRONLY | flag::TRUNC;
            open(thread, at::FDCWD as u64, args[0], flags.into(), args[1])
        },
    },
    Entry {
        number: 257,
        name: "openat",
        args: &[
            Arg::DirFd,
            Arg::Path,
            Arg::Flags(OPEN_FLAGS),
            Arg::CreateMode(2),
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| open(thread, args[0], args[1], args[2], args[3]),
    },
    Entry {
        number: 437,
        name: "openat2",
        args: &[Arg::DirFd, Arg::Path, Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: openat2,
    },
    Entry {
        number: 436,
        name: "close_range",
        args: &[Arg::Uint, Arg::Uint, Arg::Flags(CLOSE_RANGE_FLAGS)],
        support: Support::Partial,
        note: "CLOSE_RANGE_UNSHARE has nothing to do: threads always share their descriptors",
        handler: close_range,
    },
    Entry {
        number: 319,
        name: "memfd_create",
        args: &[Arg::Str, Arg::Flags(MFD_FLAGS)],
        support: Support::Partial,
        note: "no huge pages: MFD_HUGETLB is ENOSYS",
        handler: memfd_create,
    },
];

fn open(thread: &Thread, fd: u64, path_address: u64, flags: u64, mode: u64) -> Result<u64> {
    let request = Request {
        // A 64-bit Linux adds O_LARGEFILE.
        flags: flags as u32 | flag::LARGEFILE,
        mode: mode as u32,
        rules: Rules::empty(),
    };
    open_as(thread, fd, path_address, request)
}

fn open_as(thread: &Thread, fd: u64, path_address: u64, request: Request) -> Result<u64> {
    let path = path(path_address)?;
    // Where the directory is to be the root, a path is walked from it even if it starts with a slash.
    let confined = request.rules.intersects(Rules::IN_ROOT | Rules::BENEATH);
    let decides: &[u8] = if confined { b"." } else { &path };
    let found = with_base(thread, fd, decides, |context, base| {
        find(context, base, &path, request)
    })?;
    install::one(thread, found.open()?, request.flags & flag::CLOEXEC != 0)
}

/// `struct open_how`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

fn openat2(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let how: OpenHow = extensible(args[2], args[3])?;
    let flags = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let rules = Rules::from_bits(how.resolve).ok_or(Errno::EINVAL)?;
    if flags & !flag::ALL != 0 || rules.contains(Rules::BENEATH | Rules::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    let creates = flags & flag::CREAT != 0 || flags & flag::TMPFILE == flag::TMPFILE;
    if how.mode & !0o7777 != 0 || how.mode != 0 && !creates {
        return Err(Errno::EINVAL);
    }
    let path_flags = flag::PATH | flag::DIRECTORY | flag::NOFOLLOW | flag::CLOEXEC;
    if flags & flag::PATH != 0 && flags & !path_flags != 0 {
        return Err(Errno::EINVAL);
    }
    let request = Request {
        flags,
        mode: how.mode as u32,
        rules,
    };
    open_as(thread, args[0], args[1], request)
}

/// A struct that the application gives with its size: what it has more must be zero (openat2(2)).
fn extensible<T: FromBytes>(address: u64, size: u64) -> Result<T> {
    let known = core::mem::size_of::<T>() as u64;
    if size < known {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let rest = user::read_vec(address.wrapping_add(known), (size - known) as usize)?;
    if rest.iter().any(|&byte| byte != 0) {
        return Err(Errno::E2BIG);
    }
    user::read(address)
}

fn close(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let removed = thread.process.files.write().remove(args[0] as i32)?;
    super::lock::closed(thread, &removed);
    Ok(0)
}

fn close_range(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    const UNSHARE: u64 = 2;
    const CLOEXEC: u64 = 4;
    let (first, last, flags) = (args[0] as u32, args[1] as u32, args[2]);
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    let fds: alloc::vec::Vec<i32> = {
        let files = thread.process.files.read();
        files
            .open()
            .map(|(fd, _)| fd)
            .filter(|&fd| (first..=last).contains(&(fd as u32)))
            .collect()
    };
    for fd in fds {
        if flags & CLOEXEC != 0 {
            let mut files = thread.process.files.write();
            // Closed meanwhile by another thread: nothing is left to do.
            let _ = files.set_close_on_exec(fd, true);
            continue;
        }
        let removed = thread.process.files.write().remove(fd);
        if let Ok(removed) = removed {
            super::lock::closed(thread, &removed);
        }
    }
    Ok(0)
}

fn memfd_create(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    const CLOEXEC: u64 = 1;
    const ALLOW_SEALING: u64 = 2;
    const HUGETLB: u64 = 4;
    const NOEXEC_SEAL: u64 = 8;
    const EXEC: u64 = 16;
    let flags = args[1] & 0xffff_ffff;
    if flags & HUGETLB != 0 {
        return Err(Errno::ENOSYS);
    }
    let known = CLOEXEC | ALLOW_SEALING | NOEXEC_SEAL | EXEC;
    if flags & !known != 0 || flags & (EXEC | NOEXEC_SEAL) == EXEC | NOEXEC_SEAL {
        return Err(Errno::EINVAL);
    }
    // NAME_MAX less the prefix, and the NUL.
    let name = user::read_string(args[0], 250, Errno::EINVAL)?;
    let seals = if flags & NOEXEC_SEAL != 0 {
        seal::EXEC
    } else if flags & ALLOW_SEALING != 0 {
        0
    } else {
        seal::SEAL
    };
    let permissions = if flags & NOEXEC_SEAL != 0 {
        0o666
    } else {
        0o777
    };
    let mut shown = b"/memfd:".to_vec();
    shown.extend_from_slice(&name);
    let dentry = RamFs::memory_file(&shown, permissions, seals);
    let file = dentry.inode.open(&dentry, flag::RDWR)?;
    let description = crate::fs::file::OpenFile::named(dentry, file, flag::RDWR | flag::LARGEFILE);
    install::one(thread, description, flags & CLOEXEC != 0)
}
