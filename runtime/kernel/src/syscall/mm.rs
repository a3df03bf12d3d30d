//! System calls of the address space.

use mystikos_platform::user;

use super::table::{Arg, Entry, Support};
use crate::config::config;
use crate::mm::lock::lock;
use crate::mm::space::is_aligned;
use crate::mm::vma::State;
use crate::mm::{mapping, page_up, remap, Kind, Place, Prot, Request, PAGE};
use crate::process::Thread;
use crate::{Errno, Result};

const MAP_SHARED: u64 = 0x1;
const MAP_PRIVATE: u64 = 0x2;
const MAP_SHARED_VALIDATE: u64 = 0x3;
const MAP_TYPE: u64 = 0xf;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_32BIT: u64 = 0x40;
const MAP_GROWSDOWN: u64 = 0x100;
const MAP_HUGETLB: u64 = 0x40000;
const MAP_FIXED_NOREPLACE: u64 = 0x100000;
/// Flags that MAP_SHARED_VALIDATE knows (LEGACY_MAP_MASK).
const MAP_LEGACY: u64 = 0x3
    | 0x10
    | 0x20
    | 0x100
    | 0x800
    | 0x1000
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x10000
    | 0x20000
    | 0x40
    | 0x40000
    | 0x4000000
    | 0xfc000000;
/// vm.mmap_min_addr.
const MMAP_MIN: u64 = 0x10000;
/// TASK_SIZE: no address of the application is beyond it.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

const PROT: Arg = Arg::Flags(&[
    (1, "PROT_READ"),
    (2, "PROT_WRITE"),
    (4, "PROT_EXEC"),
    (0x1000000, "PROT_GROWSDOWN"),
    (0x2000000, "PROT_GROWSUP"),
]);
const MAP: Arg = Arg::Flags(&[
    (0x1, "MAP_SHARED"),
    (0x2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x1000, "MAP_EXECUTABLE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x10000, "MAP_NONBLOCK"),
    (0x20000, "MAP_STACK"),
    (0x40000, "MAP_HUGETLB"),
    (0x80000, "MAP_SYNC"),
    (0x100000, "MAP_FIXED_NOREPLACE"),
]);
const ADVICE: Arg = Arg::Enum(&[
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (9, "MADV_REMOVE"),
    (10, "MADV_DONTFORK"),
    (11, "MADV_DOFORK"),
    (12, "MADV_MERGEABLE"),
    (13, "MADV_UNMERGEABLE"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (17, "MADV_DODUMP"),
    (18, "MADV_WIPEONFORK"),
    (19, "MADV_KEEPONFORK"),
    (20, "MADV_COLD"),
    (21, "MADV_PAGEOUT"),
    (22, "MADV_POPULATE_READ"),
    (23, "MADV_POPULATE_WRITE"),
    (24, "MADV_DONTNEED_LOCKED"),
    (25, "MADV_COLLAPSE"),
]);
const REMAP: Arg = Arg::Flags(&[
    (1, "MREMAP_MAYMOVE"),
    (2, "MREMAP_FIXED"),
    (4, "MREMAP_DONTUNMAP"),
]);
const SYNC: Arg = Arg::Flags(&[(1, "MS_ASYNC"), (2, "MS_INVALIDATE"), (4, "MS_SYNC")]);
const LOCKALL: Arg = Arg::Flags(&[(1, "MCL_CURRENT"), (2, "MCL_FUTURE"), (4, "MCL_ONFAULT")]);

const RESIDENT: &str = "user memory is never swapped, so every mapped page counts as resident";
const NO_NUMA: &str = "as a kernel without NUMA";
const NO_KEYS: &str = "as a processor without protection keys";

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 9,
        name: "mmap",
        args: &[Arg::Ptr, Arg::Uint, PROT, MAP, Arg::Fd, Arg::Hex],
        support: Support::Partial,
        note: "private mappings of files are copies made at once; one page of a file has one writable shared mapping, which a second request for it shares (EOPNOTSUPP at another fixed address); MAP_FIXED outside of user memory and MAP_HUGETLB are ENOMEM; MAP_GROWSDOWN does not grow",
        handler: sys_mmap,
    },
    Entry {
        number: 10,
        name: "mprotect",
        args: &[Arg::Ptr, Arg::Uint, PROT],
        support: Support::Full,
        note: "",
        handler: sys_mprotect,
    },
    Entry {
        number: 11,
        name: "munmap",
        args: &[Arg::Ptr, Arg::Uint],
        support: Support::Full,
        note: "",
        handler: sys_munmap,
    },
    Entry {
        number: 12,
        name: "brk",
        args: &[Arg::Ptr],
        support: Support::Full,
        note: "EOPNOTSUPP with NoBrk",
        handler: sys_brk,
    },
    Entry {
        number: 25,
        name: "mremap",
        args: &[Arg::Ptr, Arg::Uint, Arg::Uint, REMAP, Arg::Hex],
        support: Support::Partial,
        note: "moving copies the pages; a shared mapping is not duplicated (old size 0 is EINVAL)",
        handler: sys_mremap,
    },
    Entry {
        number: 26,
        name: "msync",
        args: &[Arg::Ptr, Arg::Uint, SYNC],
        support: Support::Full,
        note: "",
        handler: sys_msync,
    },
    Entry {
        number: 27,
        name: "mincore",
        args: &[Arg::Ptr, Arg::Uint, Arg::Ptr],
        support: Support::Partial,
        note: RESIDENT,
        handler: sys_mincore,
    },
    Entry {
        number: 28,
        name: "madvise",
        args: &[Arg::Ptr, Arg::Uint, ADVICE],
        support: Support::Partial,
        note: "MADV_DONTNEED and MADV_FREE act at once; MADV_REMOVE is EOPNOTSUPP; other advice changes nothing",
        handler: sys_madvise,
    },
    Entry {
        number: 149,
        name: "mlock",
        args: &[Arg::Ptr, Arg::Uint],
        support: Support::Accepted,
        note: RESIDENT,
        handler: sys_mlock,
    },
    Entry {
        number: 150,
        name: "munlock",
        args: &[Arg::Ptr, Arg::Uint],
        support: Support::Accepted,
        note: RESIDENT,
        handler: sys_mlock,
    },
    Entry {
        number: 151,
        name: "mlockall",
        args: &[LOCKALL],
        support: Support::Accepted,
        note: RESIDENT,
        handler: sys_mlockall,
    },
    Entry {
        number: 152,
        name: "munlockall",
        args: &[],
        support: Support::Accepted,
        note: RESIDENT,
        handler: |_, _| Ok(0),
    },
    Entry {
        number: 216,
        name: "remap_file_pages",
        args: &[Arg::Ptr, Arg::Uint, PROT, Arg::Uint, MAP],
        support: Support::Refused,
        note: "obsolete; EINVAL",
        handler: |_, _| Err(Errno::EINVAL),
    },
    refused(237, "mbind", NO_NUMA, |_, _| Err(Errno::ENOSYS)),
    refused(238, "set_mempolicy", NO_NUMA, |_, _| Err(Errno::ENOSYS)),
    refused(239, "get_mempolicy", NO_NUMA, |_, _| Err(Errno::ENOSYS)),
    refused(256, "migrate_pages", NO_NUMA, |_, _| Err(Errno::ENOSYS)),
    refused(279, "move_pages", NO_NUMA, |_, _| Err(Errno::ENOSYS)),
    refused(
        323,
        "userfaultfd",
        "as a kernel without CONFIG_USERFAULTFD",
        |_, _| Err(Errno::ENOSYS),
    ),
    refused(
        324,
        "membarrier",
        "as a kernel without CONFIG_MEMBARRIER",
        |_, _| Err(Errno::ENOSYS),
    ),
    Entry {
        number: 325,
        name: "mlock2",
        args: &[Arg::Ptr, Arg::Uint, Arg::Flags(&[(1, "MLOCK_ONFAULT")])],
        support: Support::Accepted,
        note: RESIDENT,
        handler: sys_mlock2,
    },
    Entry {
        number: 329,
        name: "pkey_mprotect",
        args: &[Arg::Ptr, Arg::Uint, PROT, Arg::Int],
        support: Support::Partial,
        note: NO_KEYS,
        handler: sys_pkey_mprotect,
    },
    refused(330, "pkey_alloc", NO_KEYS, |_, [flags, rights, ..]| {
        match flags != 0 || rights & !3 != 0 {
            true => Err(Errno::EINVAL),
            false => Err(Errno::ENOSPC),
        }
    }),
    refused(331, "pkey_free", NO_KEYS, |_, _| Err(Errno::EINVAL)),
    refused(
        447,
        "memfd_secret",
        "as a kernel without CONFIG_SECRETMEM",
        |_, _| Err(Errno::ENOSYS),
    ),
    refused(450, "set_mempolicy_home_node", NO_NUMA, |_, _| {
        Err(Errno::ENOSYS)
    }),
    refused(
        453,
        "map_shadow_stack",
        "as a processor without shadow stacks",
        |_, _| Err(Errno::EOPNOTSUPP),
    ),
    refused(462, "mseal", "as Linux before 6.10", |_, _| {
        Err(Errno::ENOSYS)
    }),
];

const fn refused(
    number: u16,
    name: &'static str,
    note: &'static str,
    handler: super::table::Handler,
) -> Entry {
    Entry {
        number,
        name,
        args: &[Arg::Ptr, Arg::Hex, Arg::Hex],
        support: Support::Refused,
        note,
        handler,
    }
}

fn prot_of(bits: u64) -> Prot {
    Prot::from_bits_truncate((bits & 7) as u8)
}

fn sys_mmap(thread: &Thread, [address, size, prot, flags, fd, offset]: [u64; 6]) -> Result<u64> {
    if !is_aligned(offset) {
        return Err(Errno::EINVAL);
    }
    let file = match flags & MAP_ANONYMOUS {
        0 => Some(thread.process.files.read().usable(fd as i32)?),
        _ => None,
    };
    if flags & MAP_HUGETLB != 0 {
        return match file {
            Some(_) => Err(Errno::EINVAL),
            None => Err(Errno::ENOMEM),
        };
    }
    if size == 0 {
        return Err(Errno::EINVAL);
    }
    let size = page_up(size).ok_or(Errno::ENOMEM)?;
    let end = offset.checked_add(size);
    if file.is_some() && end.is_none_or(|end| end > i64::MAX as u64) {
        return Err(Errno::EOVERFLOW);
    }
    let place = place_of(address, size, flags)?;
    if let Place::Fixed(at) | Place::NoReplace(at) = place {
        // Linux looks at the address before it looks at the file.
        lock()
            .place(Place::NoReplace(at), size)
            .map(drop)
            .or_else(|e| match (e, place) {
                (Errno::EEXIST, Place::Fixed(_)) => Ok(()),
                (e, _) => Err(e),
            })?;
    }
    let shared = match flags & MAP_TYPE {
        MAP_PRIVATE => false,
        MAP_SHARED => true,
        MAP_SHARED_VALIDATE if file.is_some() => {
            if flags & !(MAP_LEGACY | MAP_SHARED_VALIDATE) != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            true
        }
        _ => return Err(Errno::EINVAL),
    };
    if let Some(file) = &file {
        if shared && prot_of(prot).contains(Prot::WRITE) && !file.is_writable() {
            return Err(Errno::EACCES);
        }
        if !file.is_readable() {
            return Err(Errno::EACCES);
        }
        mapping::mappable(file)?;
    }
    if flags & MAP_GROWSDOWN != 0 && (shared || file.is_some()) {
        return Err(Errno::EINVAL);
    }
    mapping::map(Request {
        place,
        size,
        prot: prot_of(prot),
        shared,
        kind: Kind::Plain,
        file: file.map(|file| (file, offset)),
    })
}

fn place_of(address: u64, size: u64, flags: u64) -> Result<Place> {
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0 {
        if size > TASK_SIZE || address > TASK_SIZE - size {
            return Err(Errno::ENOMEM);
        }
        if !is_aligned(address) {
            return Err(Errno::EINVAL);
        }
        if address < MMAP_MIN {
            return Err(Errno::EPERM);
        }
        return Ok(match flags & MAP_FIXED_NOREPLACE {
            0 => Place::Fixed(address),
            _ => Place::NoReplace(address),
        });
    }
    match flags & MAP_32BIT {
        0 => Ok(Place::Hint(address)),
        _ => Ok(Place::Below(0x8000_0000)),
    }
}

fn sys_mprotect(_: &Thread, [start, size, prot, ..]: [u64; 6]) -> Result<u64> {
    const GROWSDOWN: u64 = 0x0100_0000;
    const GROWSUP: u64 = 0x0200_0000;
    let grows = prot & (GROWSDOWN | GROWSUP);
    let prot = prot & !(GROWSDOWN | GROWSUP);
    if grows == GROWSDOWN | GROWSUP || !is_aligned(start) {
        return Err(Errno::EINVAL);
    }
    if size == 0 {
        return Ok(0);
    }
    let end = page_up(size)
        .and_then(|size| start.checked_add(size))
        .ok_or(Errno::ENOMEM)?;
    // PROT_SEM (8) is accepted and means nothing.
    if prot & !0xf != 0 {
        return Err(Errno::EINVAL);
    }
    let mut range = start..end;
    if grows != 0 {
        let space = lock();
        let (first, vma) = space.vmas().find(start).ok_or(Errno::ENOMEM)?;
        if grows == GROWSUP || !vma.state.contains(State::GROWS_DOWN) {
            return Err(Errno::EINVAL);
        }
        range.start = first;
    }
    mapping::protect(range, prot_of(prot)).map(|()| 0)
}

fn sys_munmap(_: &Thread, [start, size, ..]: [u64; 6]) -> Result<u64> {
    if !is_aligned(start) || start > TASK_SIZE || size > TASK_SIZE - start || size == 0 {
        return Err(Errno::EINVAL);
    }
    let end = start + page_up(size).ok_or(Errno::EINVAL)?;
    mapping::unmap(start..end).map(|()| 0)
}

fn sys_brk(_: &Thread, [wanted, ..]: [u64; 6]) -> Result<u64> {
    if config().no_brk {
        return Err(Errno::EOPNOTSUPP);
    }
    let (end, removed) = lock().set_break_end(wanted);
    drop(removed);
    Ok(end)
}

fn sys_mremap(_: &Thread, [old, old_size, new_size, flags, new, _]: [u64; 6]) -> Result<u64> {
    remap::remap(old, old_size, new_size, flags, new)
}

// The range of calls that take a page-aligned start and any size; `None` when it is empty.
fn range_of(start: u64, size: u64, overflow: Errno) -> Result<Option<core::ops::Range<u64>>> {
    if !is_aligned(start) {
        return Err(Errno::EINVAL);
    }
    let end = page_up(size)
        .and_then(|size| start.checked_add(size))
        .ok_or(overflow)?;
    Ok((end > start).then_some(start..end))
}

fn is_mapped(range: &core::ops::Range<u64>) -> bool {
    lock().vmas().is_covered(range.clone())
}

fn sys_msync(_: &Thread, [start, size, flags, ..]: [u64; 6]) -> Result<u64> {
    const ASYNC: u64 = 1;
    const INVALIDATE: u64 = 2;
    const SYNC: u64 = 4;
    if flags & !(ASYNC | INVALIDATE | SYNC) != 0 || flags & (ASYNC | SYNC) == ASYNC | SYNC {
        return Err(Errno::EINVAL);
    }
    let Some(range) = range_of(start, size, Errno::ENOMEM)? else {
        return Ok(0);
    };
    // A shared mapping is the file's storage: there is nothing to write back.
    match is_mapped(&range) {
        true => Ok(0),
        false => Err(Errno::ENOMEM),
    }
}

fn sys_mincore(_: &Thread, [start, size, vector, ..]: [u64; 6]) -> Result<u64> {
    if !is_aligned(start) {
        return Err(Errno::EINVAL);
    }
    if size > TASK_SIZE || start > TASK_SIZE - size {
        return Err(Errno::ENOMEM);
    }
    let Some(range) = range_of(start, size, Errno::ENOMEM)? else {
        return Ok(0);
    };
    let pages = (range.end - range.start) / PAGE;
    if !mystikos_platform::memory::is_user(vector, pages as usize) {
        return Err(Errno::EFAULT);
    }
    if !is_mapped(&range) {
        return Err(Errno::ENOMEM);
    }
    let resident = [1u8; 512];
    let mut done = 0;
    while done < pages {
        let n = (pages - done).min(resident.len() as u64);
        user::copy_out(vector + done, &resident[..n as usize])?;
        done += n;
    }
    Ok(0)
}

fn sys_madvise(_: &Thread, [start, size, advice, ..]: [u64; 6]) -> Result<u64> {
    const DONTNEED: u64 = 4;
    const FREE: u64 = 8;
    const REMOVE: u64 = 9;
    const WIPEONFORK: u64 = 18;
    const POPULATE: core::ops::RangeInclusive<u64> = 22..=23;
    const DONTNEED_LOCKED: u64 = 24;
    if !matches!(advice, 0..=4 | 8..=25) {
        return Err(Errno::EINVAL);
    }
    let Some(range) = range_of(start, size, Errno::EINVAL)? else {
        return Ok(0);
    };
    match advice {
        DONTNEED | DONTNEED_LOCKED => mapping::forget(range.clone())?,
        FREE | WIPEONFORK => {
            let anonymous = lock()
                .vmas()
                .touching(range.clone())
                .all(|(_, v)| v.backing.is_none() && !v.state.contains(State::SHARED));
            if !anonymous {
                return Err(Errno::EINVAL);
            }
            if advice == FREE {
                mapping::forget(range.clone())?;
            }
        }
        REMOVE => {
            let shared = lock()
                .vmas()
                .touching(range.clone())
                .all(|(_, v)| v.state.contains(State::SHARED));
            return match (is_mapped(&range), shared) {
                (false, _) => Err(Errno::ENOMEM),
                (true, false) => Err(Errno::EINVAL),
                (true, true) => Err(Errno::EOPNOTSUPP),
            };
        }
        advice if POPULATE.contains(&advice) => {
            let wanted = if advice == 22 {
                Prot::READ
            } else {
                Prot::WRITE
            };
            let possible = lock()
                .vmas()
                .touching(range.clone())
                .all(|(_, v)| Prot::from_bits_retain(v.prot.effective() as u8).contains(wanted));
            if !possible && is_mapped(&range) {
                return Err(Errno::EINVAL);
            }
        }
        _ => {}
    }
    match is_mapped(&range) {
        true => Ok(0),
        false => Err(Errno::ENOMEM),
    }
}

fn sys_mlock(_: &Thread, [start, size, ..]: [u64; 6]) -> Result<u64> {
    let first = crate::mm::page_down(start);
    let end = size
        .checked_add(start - first)
        .and_then(page_up)
        .and_then(|size| first.checked_add(size))
        .ok_or(Errno::EINVAL)?;
    match first == end || is_mapped(&(first..end)) {
        true => Ok(0),
        false => Err(Errno::ENOMEM),
    }
}

fn sys_mlock2(thread: &Thread, arguments: [u64; 6]) -> Result<u64> {
    match arguments[2] & !1 {
        0 => sys_mlock(thread, arguments),
        _ => Err(Errno::EINVAL),
    }
}

fn sys_mlockall(_: &Thread, [flags, ..]: [u64; 6]) -> Result<u64> {
    const ONFAULT: u64 = 4;
    match flags == 0 || flags & !7 != 0 || flags == ONFAULT {
        true => Err(Errno::EINVAL),
        false => Ok(0),
    }
}

fn sys_pkey_mprotect(thread: &Thread, arguments: [u64; 6]) -> Result<u64> {
    match arguments[3] as i32 {
        -1 => sys_mprotect(thread, arguments),
        _ => Err(Errno::EINVAL),
    }
}
