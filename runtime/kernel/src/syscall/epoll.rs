//! epoll(7).

use alloc::vec::Vec;

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::install;
use super::poll::read_mask;
use super::table::{Arg, Entry, Support};
use super::timeout::Timeout;
use crate::fs::epoll::{Epoll, Interest};
use crate::fs::file::OpenFile;
use crate::process::Thread;
use crate::signal;
use crate::{Errno, Result};

const O_RDWR: u32 = 2;
const O_CLOEXEC: u32 = 0o2000000;

const CTL_ADD: u32 = 1;
const CTL_DEL: u32 = 2;
const CTL_MOD: u32 = 3;

/// EP_MAX_EVENTS: what fits into INT_MAX bytes.
const EVENTS_MAX: i32 = i32::MAX / 12;

/// The family.
pub const TABLE: &[Entry] = &[
    Entry {
        number: 213,
        name: "epoll_create",
        args: &[Arg::Int],
        support: Support::Full,
        note: "",
        handler: |thread, args| match args[0] as i32 {
            1.. => create(thread, 0),
            _ => Err(Errno::EINVAL),
        },
    },
    Entry {
        number: 291,
        name: "epoll_create1",
        args: &[Arg::Flags(&[(O_CLOEXEC as u64, "EPOLL_CLOEXEC")])],
        support: Support::Full,
        note: "",
        handler: |thread, args| create(thread, args[0] as u32),
    },
    Entry {
        number: 233,
        name: "epoll_ctl",
        args: &[
            Arg::Fd,
            Arg::Enum(&[
                (CTL_ADD as u64, "EPOLL_CTL_ADD"),
                (CTL_DEL as u64, "EPOLL_CTL_DEL"),
                (CTL_MOD as u64, "EPOLL_CTL_MOD"),
            ]),
            Arg::Fd,
            Arg::Ptr,
        ],
        support: Support::Partial,
        note: "EPOLLEXCLUSIVE is accepted and wakes all waiters; of a host stream, edges are seen only after it was read \
               or written",
        handler: epoll_ctl,
    },
    Entry {
        number: 232,
        name: "epoll_wait",
        args: &[Arg::Fd, Arg::Ptr, Arg::Int, Arg::Int],
        support: Support::Full,
        note: "",
        handler: |thread, args| wait(thread, args, &Timeout::milliseconds(args[3] as i32)),
    },
    Entry {
        number: 281,
        name: "epoll_pwait",
        args: &[
            Arg::Fd,
            Arg::Ptr,
            Arg::Int,
            Arg::Int,
            Arg::Ptr,
            Arg::Uint,
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let mask = read_mask(args[4], args[5])?;
            let timeout = Timeout::milliseconds(args[3] as i32);
            signal::with_temporary_mask(thread, mask, || wait(thread, args, &timeout))
        },
    },
    Entry {
        number: 441,
        name: "epoll_pwait2",
        args: &[
            Arg::Fd,
            Arg::Ptr,
            Arg::Int,
            Arg::Ptr,
            Arg::Ptr,
            Arg::Uint,
        ],
        support: Support::Full,
        note: "",
        handler: |thread, args| {
            let timeout = Timeout::timespec(args[3])?;
            let mask = read_mask(args[4], args[5])?;
            signal::with_temporary_mask(thread, mask, || wait(thread, args, &timeout))
        },
    },
];

/// `struct epoll_event`, which is packed on x86-64.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, packed)]
struct Event {
    events: u32,
    data: u64,
}

fn create(thread: &Thread, flags: u32) -> Result<u64> {
    if flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let description = OpenFile::new(Epoll::new(), O_RDWR);
    install::one(thread, description, flags & O_CLOEXEC != 0)
}

fn epoll_ctl(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (operation, fd) = (args[1] as u32, args[2] as i32);
    let interest = match operation {
        CTL_DEL => Interest { events: 0, data: 0 },
        _ => {
            let event: Event = user::read(args[3])?;
            Interest {
                events: event.events,
                data: event.data,
            }
        }
    };
    let (instance, target) = {
        let files = thread.process.files.read();
        (files.usable(args[0] as i32)?, files.usable(fd)?)
    };

    if !target.file.is_pollable() {
        return Err(Errno::EPERM);
    }
    let epoll = Epoll::of(&instance).ok_or(Errno::EINVAL)?;
    if core::ptr::addr_eq(&*instance.file, &*target.file) {
        return Err(Errno::EINVAL);
    }
    match operation {
        CTL_ADD => epoll.add(fd, &target, interest)?,
        CTL_MOD => epoll.modify(fd, &target, interest)?,
        CTL_DEL => epoll.delete(fd, &target)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn wait(thread: &Thread, args: [u64; 6], timeout: &Timeout) -> Result<u64> {
    let most = args[2] as i32;
    if most <= 0 || most > EVENTS_MAX {
        return Err(Errno::EINVAL);
    }
    let instance = thread.process.files.read().usable(args[0] as i32)?;
    let epoll = Epoll::of(&instance).ok_or(Errno::EINVAL)?;

    let found = match timeout.is_zero() {
        true => epoll.take_ready(most as usize),
        // Never restarted, whatever the signal's action is.
        false => epoll
            .wait(most as usize, timeout.deadline())
            .map_err(|_| Errno::EINTR)?,
    };

    let events: Vec<Event> = found
        .iter()
        .map(|found| Event {
            events: found.events,
            data: found.data,
        })
        .collect();
    user::copy_out(args[1], events.as_bytes())?;
    Ok(events.len() as u64)
}
