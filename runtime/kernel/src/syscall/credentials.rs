//! Users, groups, capabilities. All threads share them, where Linux leaves that to the C library.

use alloc::vec::Vec;

use linux_raw_sys::general as raw;
use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::table::{Arg, Entry};
use crate::process::credentials::{Credentials, Ids, GROUPS_MAX};
use crate::process::Thread;
use crate::{Errno, Result};

const SHARED: &str = "Threads share their credentials; a change is seen by all of them at once.";

/// Entries of this family.
pub const TABLE: &[Entry] = &[
    Entry::full(raw::__NR_getuid, "getuid", &[], |t, _| {
        Ok(t.process.credentials.lock().user.real as u64)
    }),
    Entry::full(raw::__NR_geteuid, "geteuid", &[], |t, _| {
        Ok(t.process.credentials.lock().user.effective as u64)
    }),
    Entry::full(raw::__NR_getgid, "getgid", &[], |t, _| {
        Ok(t.process.credentials.lock().group.real as u64)
    }),
    Entry::full(raw::__NR_getegid, "getegid", &[], |t, _| {
        Ok(t.process.credentials.lock().group.effective as u64)
    }),
    Entry::full(
        raw::__NR_getresuid,
        "getresuid",
        &[Arg::Ptr, Arg::Ptr, Arg::Ptr],
        |t, args| write_ids(t.process.credentials.lock().user, args),
    ),
    Entry::full(
        raw::__NR_getresgid,
        "getresgid",
        &[Arg::Ptr, Arg::Ptr, Arg::Ptr],
        |t, args| write_ids(t.process.credentials.lock().group, args),
    ),
    Entry::full(raw::__NR_setuid, "setuid", &[Arg::Uint], |t, args| {
        change(t, |c| c.set_uid(args[0] as u32))
    })
    .partial(SHARED),
    Entry::full(raw::__NR_setgid, "setgid", &[Arg::Uint], |t, args| {
        change(t, |c| c.set_gid(args[0] as u32))
    })
    .partial(SHARED),
    Entry::full(
        raw::__NR_setreuid,
        "setreuid",
        &[Arg::Int, Arg::Int],
        |t, args| change(t, |c| c.set_reuid(args[0] as u32, args[1] as u32)),
    )
    .partial(SHARED),
    Entry::full(
        raw::__NR_setregid,
        "setregid",
        &[Arg::Int, Arg::Int],
        |t, args| change(t, |c| c.set_regid(args[0] as u32, args[1] as u32)),
    )
    .partial(SHARED),
    Entry::full(
        raw::__NR_setresuid,
        "setresuid",
        &[Arg::Int, Arg::Int, Arg::Int],
        |t, args| change(t, |c| c.set_resuid(three(args))),
    )
    .partial(SHARED),
    Entry::full(
        raw::__NR_setresgid,
        "setresgid",
        &[Arg::Int, Arg::Int, Arg::Int],
        |t, args| change(t, |c| c.set_resgid(three(args))),
    )
    .partial(SHARED),
    Entry::full(raw::__NR_setfsuid, "setfsuid", &[Arg::Uint], |t, args| {
        let before = t.process.credentials.lock().set_fsuid(args[0] as u32);
        t.process.follow_credentials();
        Ok(before as u64)
    })
    .partial(SHARED),
    Entry::full(raw::__NR_setfsgid, "setfsgid", &[Arg::Uint], |t, args| {
        let before = t.process.credentials.lock().set_fsgid(args[0] as u32);
        t.process.follow_credentials();
        Ok(before as u64)
    })
    .partial(SHARED),
    Entry::full(
        raw::__NR_getgroups,
        "getgroups",
        &[Arg::Int, Arg::Ptr],
        getgroups,
    ),
    Entry::full(
        raw::__NR_setgroups,
        "setgroups",
        &[Arg::Int, Arg::Ptr],
        setgroups,
    )
    .partial(SHARED),
    Entry::full(raw::__NR_capget, "capget", &[Arg::Ptr, Arg::Ptr], capget),
    Entry::full(raw::__NR_capset, "capset", &[Arg::Ptr, Arg::Ptr], capset).partial(SHARED),
];

fn three(args: [u64; 6]) -> [u32; 3] {
    [args[0] as u32, args[1] as u32, args[2] as u32]
}

fn change(thread: &Thread, act: impl FnOnce(&mut Credentials) -> Result<()>) -> Result<u64> {
    act(&mut thread.process.credentials.lock())?;
    thread.process.follow_credentials();
    Ok(0)
}

fn write_ids(ids: Ids, args: [u64; 6]) -> Result<u64> {
    for (address, id) in args.iter().zip([ids.real, ids.effective, ids.saved]) {
        user::write(*address, &id)?;
    }
    Ok(0)
}

fn getgroups(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let groups = thread.process.credentials.lock().groups.clone();
    let room = usize::try_from(args[0] as i32).map_err(|_| Errno::EINVAL)?;
    if room == 0 {
        return Ok(groups.len() as u64);
    }
    if room < groups.len() {
        return Err(Errno::EINVAL);
    }
    user::copy_out(args[1], groups.as_bytes())?;
    Ok(groups.len() as u64)
}

fn setgroups(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    if !thread.process.credentials.lock().may_set_groups() {
        return Err(Errno::EPERM);
    }
    let count = args[0] as u32 as usize;
    if count > GROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut groups: Vec<u32> = user::read_array(args[1], count)?;
    groups.sort_unstable();
    thread.process.credentials.lock().groups = groups;
    thread.process.follow_credentials();
    Ok(0)
}

const CAPABILITY_V1: u32 = 0x1998_0330;
const CAPABILITY_V2: u32 = 0x2007_1026;
const CAPABILITY_V3: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: 32 capabilities.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The header, and how many words of data its version has. An unknown version is EINVAL, and the best one is written
/// into the header.
fn capability_header(address: u64) -> Result<(CapabilityHeader, usize)> {
    let header: CapabilityHeader = user::read(address)?;
    match header.version {
        CAPABILITY_V1 => Ok((header, 1)),
        CAPABILITY_V2 | CAPABILITY_V3 => Ok((header, 2)),
        _ => {
            user::write(address, &CAPABILITY_V3)?;
            Err(Errno::EINVAL)
        }
    }
}

fn capget(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (header, words) = match capability_header(args[0]) {
        // Asking for the version only.
        Err(Errno::EINVAL) if args[1] == 0 => return Ok(0),
        other => other?,
    };
    if header.pid < 0 {
        return Err(Errno::EINVAL);
    }
    if header.pid != 0 && thread.process.thread(header.pid as u32).is_none() {
        return Err(Errno::ESRCH);
    }
    if args[1] == 0 {
        return Ok(0);
    }
    let credentials = thread.process.credentials.lock().clone();
    let word = |shift: u32| CapabilityData {
        effective: (credentials.effective >> shift) as u32,
        permitted: (credentials.permitted >> shift) as u32,
        inheritable: (credentials.inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    user::copy_out(args[1], data[..words].as_bytes())?;
    Ok(0)
}

fn capset(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (header, words) = capability_header(args[0])?;
    if header.pid != 0 && header.pid as u32 != thread.tid {
        return Err(Errno::EPERM);
    }
    let mut data = [CapabilityData::default(); 2];
    user::copy_in(args[1], data[..words].as_mut_bytes())?;
    let join =
        |part: fn(&CapabilityData) -> u32| part(&data[0]) as u64 | (part(&data[1]) as u64) << 32;
    change(thread, |credentials| {
        credentials.set_capabilities(
            join(|d| d.effective),
            join(|d| d.permitted),
            join(|d| d.inheritable),
        )
    })
}
