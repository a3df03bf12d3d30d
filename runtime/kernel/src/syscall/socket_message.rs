//! Messages with addresses, descriptors and credentials (sendmsg(2), recvmsg(2), cmsg(3)).

use alloc::sync::Arc;
use alloc::vec::Vec;

use mystikos_platform::user;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::net::{
    description, destination, read_address, receive_flags, send, MSG_DONTWAIT, MSG_TRUNC,
};
use super::timeout::Timeout;
use crate::fs::file::OpenFile;
use crate::fs::io::UserBuffers;
use crate::net::address::Address;
use crate::net::message::{Credentials, Files};
use crate::net::socket::Socket;
use crate::net::transfer::{self, Parcel, Received};
use crate::process::Thread;
use crate::{time, Errno, Result};

const MSG_CTRUNC: u32 = 0x8;
const MSG_WAITFORONE: u32 = 0x10000;
const MSG_CMSG_CLOEXEC: u32 = 0x4000_0000;

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// SCM_MAX_FD.
const FDS_MAX: usize = 253;
/// net.core.optmem_max.
const CONTROL_MAX: u64 = 20480;
/// UIO_MAXIOV.
const VECTORS_MAX: u64 = 1024;
/// Most messages in one call.
const MESSAGES_MAX: u64 = 1024;
/// Bytes of an address that are looked at.
const ADDRESS_MAX: u64 = 128;

/// `struct msghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    name: u64,
    name_size: u32,
    padding: u32,
    vectors: u64,
    vector_count: u64,
    control: u64,
    control_size: u64,
    flags: u32,
    padding2: u32,
}

/// Offsets in `struct msghdr` of what is written back.
const NAME_SIZE_AT: u64 = 8;
const CONTROL_SIZE_AT: u64 = 40;
const FLAGS_AT: u64 = 48;
/// Bytes of `struct mmsghdr`: a msghdr, and a count after it.
const MULTI_SIZE: u64 = 64;
const MULTI_COUNT_AT: u64 = 56;

/// `struct cmsghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ControlHeader {
    size: u64,
    level: i32,
    kind: i32,
}

const CONTROL_HEADER: usize = size_of::<ControlHeader>();

fn read_header(address: u64) -> Result<Header> {
    let header: Header = user::read(address)?;
    if header.vector_count > VECTORS_MAX {
        return Err(Errno::EMSGSIZE);
    }
    if header.name != 0 && (header.name_size as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(header)
}

/// sendmsg(2).
pub fn sys_sendmsg(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    send_one(thread, &description, args[1], args[2] as u32)
}

/// sendmmsg(2).
pub fn sys_sendmmsg(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    several(args[1], args[2], |address| {
        send_one(thread, &description, address, args[3] as u32)
    })
}

// Runs `act` for each message of an array and stores its result there; an error counts only when it is the first.
fn several(address: u64, count: u64, mut act: impl FnMut(u64) -> Result<u64>) -> Result<u64> {
    let mut done = 0;
    for i in 0..(count as u32 as u64).min(MESSAGES_MAX) {
        let at = address + i * MULTI_SIZE;
        let step = act(at).and_then(|n| user::write(at + MULTI_COUNT_AT, &(n as u32)));
        match step {
            Ok(()) => done += 1,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn send_one(thread: &Thread, description: &OpenFile, address: u64, flags: u32) -> Result<u64> {
    let header = read_header(address)?;
    let name = match header.name {
        0 => Vec::new(),
        name => read_address(name, ADDRESS_MAX.min(header.name_size.into()))?,
    };
    let mut source = UserBuffers::vectored(header.vectors, header.vector_count)?;
    let socket = Socket::of(description)?;
    let mut parcel = Parcel::plain(transfer::credentials(thread));
    if header.control_size > 0 {
        read_control(thread, &header, &mut parcel)?;
    }
    parcel.to = destination(thread, socket, &name)?;
    send(description, &mut source, parcel, flags)
}

fn read_control(thread: &Thread, header: &Header, parcel: &mut Parcel) -> Result<()> {
    if header.control_size > CONTROL_MAX {
        return Err(Errno::ENOBUFS);
    }
    let control = user::read_vec(header.control, header.control_size as usize)?;
    let mut files: Vec<Arc<OpenFile>> = Vec::new();
    for item in ControlItems(&control) {
        let (header, data) = item?;
        match (header.level, header.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => read_files(thread, data, &mut files)?,
            (SOL_SOCKET, SCM_CREDENTIALS) => parcel.credentials = own_credentials(thread, data)?,
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    parcel.files = Files::new(files);
    Ok(())
}

// The items of a control buffer: header and data.
struct ControlItems<'a>(&'a [u8]);

impl<'a> Iterator for ControlItems<'a> {
    type Item = Result<(ControlHeader, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = ControlHeader::read_from_prefix(self.0).ok()?;
        let all = core::mem::take(&mut self.0);
        let size = usize::try_from(header.size)
            .ok()
            .filter(|&size| size >= CONTROL_HEADER && size <= all.len());
        let Some(size) = size else {
            return Some(Err(Errno::EINVAL));
        };
        self.0 = all.get(size.next_multiple_of(8)..).unwrap_or(&[]);
        Some(Ok((header, &all[CONTROL_HEADER..size])))
    }
}

fn read_files(thread: &Thread, data: &[u8], files: &mut Vec<Arc<OpenFile>>) -> Result<()> {
    let table = thread.process.files.read();
    for fd in data.chunks_exact(4) {
        let fd = i32::from_ne_bytes([fd[0], fd[1], fd[2], fd[3]]);
        if files.len() == FDS_MAX {
            return Err(Errno::EINVAL);
        }
        files.push(table.get(fd)?);
    }
    Ok(())
}

// Credentials that a process tells of itself have to be its own, unless it is privileged.
fn own_credentials(thread: &Thread, data: &[u8]) -> Result<Credentials> {
    let told = Credentials::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
    let own = transfer::credentials(thread);
    let credentials = thread.process.credentials.lock();
    let (user, group) = (&credentials.user, &credentials.group);
    let is_user = [user.real, user.effective, user.saved].contains(&told.uid);
    let is_group = [group.real, group.effective, group.saved].contains(&told.gid);
    match (own.uid == 0, told.pid == own.pid && is_user && is_group) {
        (false, false) => Err(Errno::EPERM),
        _ => Ok(told),
    }
}

/// recvmsg(2).
pub fn sys_recvmsg(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    receive_one(thread, &description, args[1], args[2] as u32)
}

/// recvmmsg(2). The timeout is looked at only after a message came, as on Linux.
pub fn sys_recvmmsg(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let timeout = Timeout::timespec(args[4])?;
    let description = description(thread, args[0])?;
    let mut flags = args[3] as u32;
    let mut done = 0u64;
    let result = several(args[1], args[2], |address| {
        let over = timeout.is_zero()
            || timeout
                .deadline()
                .is_some_and(|deadline| deadline <= time::monotonic());
        if done > 0 && over {
            return Err(Errno::EAGAIN);
        }
        let n = receive_one(thread, &description, address, flags & !MSG_WAITFORONE)?;
        done += 1;
        if flags & MSG_WAITFORONE != 0 {
            flags |= MSG_DONTWAIT;
        }
        Ok(n)
    });
    timeout.write_back(result)
}

/// The result of receiving: with MSG_TRUNC the length of a message, even if it did not fit.
pub fn length(received: &Received, flags: u32) -> u64 {
    match flags & MSG_TRUNC {
        0 => received.bytes as u64,
        _ => received.bytes.max(received.length) as u64,
    }
}

fn receive_one(thread: &Thread, description: &OpenFile, address: u64, flags: u32) -> Result<u64> {
    let header = read_header(address)?;
    let mut sink = UserBuffers::vectored(header.vectors, header.vector_count)?;
    let socket = Socket::of(description)?;
    let how = receive_flags(description, flags)?;
    let mut received = transfer::receive(socket, &mut sink, how)?;

    let mut told = 0;
    if received.length > received.bytes {
        told |= MSG_TRUNC;
    }
    if header.name != 0 {
        let name = received
            .from
            .as_ref()
            .map(|from| Address::bytes(Some(from)));
        let name = name.unwrap_or_default();
        let room = name.len().min(header.name_size as usize);
        user::copy_out(header.name, &name[..room])?;
        user::write(address + NAME_SIZE_AT, &(name.len() as u32))?;
    }
    let mut control = ControlWriter {
        address: header.control,
        left: header.control_size,
        told,
    };
    if socket.options.lock().pass_credentials {
        let credentials = received.credentials.unwrap_or_default();
        control.put(SCM_CREDENTIALS, credentials.as_bytes())?;
    }
    if !received.files.is_empty() {
        let files = received.files.take();
        control.put_files(thread, files, flags & MSG_CMSG_CLOEXEC != 0)?;
    }
    let told = control.told | flags & MSG_CMSG_CLOEXEC;
    user::write(address + FLAGS_AT, &told)?;
    let used = control.address - header.control;
    user::write(address + CONTROL_SIZE_AT, &used)?;
    Ok(length(&received, flags))
}

/// Writes items into the application's control buffer; what does not fit is told by MSG_CTRUNC.
struct ControlWriter {
    address: u64,
    left: u64,
    told: u32,
}

impl ControlWriter {
    fn put(&mut self, kind: i32, data: &[u8]) -> Result<()> {
        let room = self.left.saturating_sub(CONTROL_HEADER as u64) as usize;
        if self.left < CONTROL_HEADER as u64 {
            self.told |= MSG_CTRUNC;
            return Ok(());
        }
        if room < data.len() {
            self.told |= MSG_CTRUNC;
        }
        let data = &data[..room.min(data.len())];
        let size = (CONTROL_HEADER + data.len()) as u64;
        let header = ControlHeader {
            size,
            level: SOL_SOCKET,
            kind,
        };
        user::write(self.address, &header)?;
        user::copy_out(self.address + CONTROL_HEADER as u64, data)?;
        let step = size.next_multiple_of(8).min(self.left);
        self.address += step;
        self.left -= step;
        Ok(())
    }

    // Gives descriptors to as many files as there is room for; the others are closed.
    fn put_files(
        &mut self,
        thread: &Thread,
        files: Vec<Arc<OpenFile>>,
        close_on_exec: bool,
    ) -> Result<()> {
        let room = self.left.saturating_sub(CONTROL_HEADER as u64) as usize / 4;
        let mut files = files.into_iter();
        let mut fds = Vec::new();
        for file in files.by_ref().take(room) {
            match thread.process.files.write().add(file, 0, close_on_exec) {
                Ok(fd) => fds.extend_from_slice(&fd.to_ne_bytes()),
                Err(_) => {
                    self.told |= MSG_CTRUNC;
                    break;
                }
            }
        }
        if files.len() > 0 {
            self.told |= MSG_CTRUNC;
        }
        match fds.is_empty() {
            true => Ok(()),
            false => self.put(SCM_RIGHTS, &fds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(size: u64, kind: i32, data: &[u8]) -> Vec<u8> {
        let header = ControlHeader {
            size,
            level: SOL_SOCKET,
            kind,
        };
        [header.as_bytes(), data].concat()
    }

    #[test]
    fn control_items_follow_each_other_at_multiples_of_eight() {
        let control = [item(20, 1, &[1, 2, 3, 4, 0, 0, 0, 0]), item(16, 2, &[])].concat();
        let items: Vec<_> = ControlItems(&control).map(|i| i.unwrap()).collect();
        assert_eq!((items[0].0.kind, items[0].1), (1, &[1, 2, 3, 4][..]));
        assert_eq!((items[1].0.kind, items[1].1), (2, &[][..]));
        assert_eq!(items.len(), 2);
    }

    #[test]
    fn sizes_that_cannot_be_are_invalid() {
        for size in [0, 15, 25, u64::MAX] {
            let control = item(size, 1, &[0; 8]);
            let errors: Vec<_> = ControlItems(&control).filter_map(|i| i.err()).collect();
            assert_eq!(errors, [Errno::EINVAL]);
        }
        assert!(ControlItems(&[0; 15]).next().is_none());
    }
}
