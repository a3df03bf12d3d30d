//! Sockets.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mystikos_platform::user;

use super::table::{Arg, Entry, Support};
use super::{install, socket_message, socket_option};
use crate::fs::file::OpenFile;
use crate::fs::io::UserBuffers;
use crate::fs::path::FsContext;
use crate::fs::pipe;
use crate::net::address::{Address, AF_UNIX};
use crate::net::connection;
use crate::net::message::Files;
use crate::net::names;
use crate::net::socket::{self, Kind, Socket};
use crate::net::transfer::{self, Flags, Parcel};
use crate::process::Thread;
use crate::{Errno, Result};

const O_RDWR: u32 = 2;
const O_NONBLOCK: u32 = 0o4000;
const O_CLOEXEC: u32 = 0o2000000;
const TYPE_MASK: u32 = 0xf;

/// MSG_OOB: local sockets have no urgent data.
pub const MSG_OOB: u32 = 0x1;
/// MSG_PEEK.
pub const MSG_PEEK: u32 = 0x2;
/// MSG_TRUNC.
pub const MSG_TRUNC: u32 = 0x20;
/// MSG_DONTWAIT.
pub const MSG_DONTWAIT: u32 = 0x40;
/// MSG_WAITALL.
pub const MSG_WAITALL: u32 = 0x100;
/// MSG_NOSIGNAL.
pub const MSG_NOSIGNAL: u32 = 0x4000;

/// Most bytes of an address (`struct sockaddr_storage`).
const ADDRESS_MAX: usize = 128;

const NO_NETWORK: &str =
    "local sockets (AF_UNIX) inside the program; other families are refused with EAFNOSUPPORT, \
                          there is no network yet";
const FAMILIES: Arg = Arg::Enum(&[
    (1, "AF_UNIX"),
    (2, "AF_INET"),
    (10, "AF_INET6"),
    (16, "AF_NETLINK"),
    (17, "AF_PACKET"),
]);
pub(super) const MESSAGE_FLAGS: Arg = Arg::Flags(&[
    (MSG_OOB as u64, "MSG_OOB"),
    (MSG_PEEK as u64, "MSG_PEEK"),
    (MSG_TRUNC as u64, "MSG_TRUNC"),
    (MSG_DONTWAIT as u64, "MSG_DONTWAIT"),
    (MSG_WAITALL as u64, "MSG_WAITALL"),
    (MSG_NOSIGNAL as u64, "MSG_NOSIGNAL"),
    (0x40000000, "MSG_CMSG_CLOEXEC"),
]);

const fn entry(
    number: u16,
    name: &'static str,
    args: &'static [Arg],
    handler: super::table::Handler,
) -> Entry {
    Entry {
        number,
        name,
        args,
        support: Support::Partial,
        note: NO_NETWORK,
        handler,
    }
}

/// The family.
pub const TABLE: &[Entry] = &[
    entry(41, "socket", &[FAMILIES, Arg::Hex, Arg::Int], sys_socket),
    entry(
        53,
        "socketpair",
        &[FAMILIES, Arg::Hex, Arg::Int, Arg::Ptr],
        sys_socketpair,
    ),
    entry(49, "bind", &[Arg::Fd, Arg::Ptr, Arg::Uint], sys_bind),
    entry(50, "listen", &[Arg::Fd, Arg::Int], sys_listen),
    entry(42, "connect", &[Arg::Fd, Arg::Ptr, Arg::Uint], sys_connect),
    entry(
        43,
        "accept",
        &[Arg::Fd, Arg::Ptr, Arg::Ptr],
        |thread, args| accept(thread, args, 0),
    ),
    entry(
        288,
        "accept4",
        &[Arg::Fd, Arg::Ptr, Arg::Ptr, Arg::Hex],
        |thread, args| accept(thread, args, args[3] as u32),
    ),
    entry(
        51,
        "getsockname",
        &[Arg::Fd, Arg::Ptr, Arg::Ptr],
        sys_getsockname,
    ),
    entry(
        52,
        "getpeername",
        &[Arg::Fd, Arg::Ptr, Arg::Ptr],
        sys_getpeername,
    ),
    entry(48, "shutdown", &[Arg::Fd, Arg::Int], sys_shutdown),
    entry(
        44,
        "sendto",
        &[
            Arg::Fd,
            Arg::BufIn(2),
            Arg::Uint,
            MESSAGE_FLAGS,
            Arg::Ptr,
            Arg::Uint,
        ],
        sys_sendto,
    ),
    entry(
        45,
        "recvfrom",
        &[
            Arg::Fd,
            Arg::BufOut,
            Arg::Uint,
            MESSAGE_FLAGS,
            Arg::Ptr,
            Arg::Ptr,
        ],
        sys_recvfrom,
    ),
    entry(
        46,
        "sendmsg",
        &[Arg::Fd, Arg::Ptr, MESSAGE_FLAGS],
        socket_message::sys_sendmsg,
    ),
    entry(
        47,
        "recvmsg",
        &[Arg::Fd, Arg::Ptr, MESSAGE_FLAGS],
        socket_message::sys_recvmsg,
    ),
    entry(
        307,
        "sendmmsg",
        &[Arg::Fd, Arg::Ptr, Arg::Uint, MESSAGE_FLAGS],
        socket_message::sys_sendmmsg,
    ),
    entry(
        299,
        "recvmmsg",
        &[Arg::Fd, Arg::Ptr, Arg::Uint, MESSAGE_FLAGS, Arg::Ptr],
        socket_message::sys_recvmmsg,
    ),
    entry(
        54,
        "setsockopt",
        &[Arg::Fd, Arg::Int, Arg::Int, Arg::Ptr, Arg::Uint],
        socket_option::sys_setsockopt,
    ),
    entry(
        55,
        "getsockopt",
        &[Arg::Fd, Arg::Int, Arg::Int, Arg::Ptr, Arg::Ptr],
        socket_option::sys_getsockopt,
    ),
];

/// The description behind a descriptor that has to be a socket.
pub fn description(thread: &Thread, fd: u64) -> Result<Arc<OpenFile>> {
    let description = thread.process.files.read().usable(fd as i32)?;
    Socket::of(&description)?;
    Ok(description)
}

fn context(thread: &Thread) -> FsContext {
    thread.process.fs.read().clone()
}

// Family, type and protocol of socket and socketpair; also the flags that go with the type.
fn kind(args: [u64; 6]) -> Result<(Kind, u32)> {
    let [family, kind, protocol, ..] = args.map(|arg| arg as u32);
    let flags = kind & !TYPE_MASK;
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    if family != AF_UNIX.into() {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind & TYPE_MASK > 10 {
        return Err(Errno::EINVAL);
    }
    if protocol != 0 && protocol != AF_UNIX.into() {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let kind = Kind::of(kind & TYPE_MASK).ok_or(Errno::ESOCKTNOSUPPORT)?;
    Ok((kind, flags))
}

fn open(socket: Arc<Socket>, flags: u32) -> Arc<OpenFile> {
    OpenFile::new(socket, O_RDWR | flags & O_NONBLOCK)
}

fn sys_socket(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (kind, flags) = kind(args)?;
    install::one(
        thread,
        open(Socket::new(kind), flags),
        flags & O_CLOEXEC != 0,
    )
}

fn sys_socketpair(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let (kind, flags) = kind(args)?;
    let sockets = socket::pair(kind, transfer::credentials(thread)).map(|s| open(s, flags));
    install::pair(thread, sockets, flags & O_CLOEXEC != 0, |fds| {
        user::write(args[3], &fds)
    })?;
    Ok(0)
}

/// An address argument; empty when its size is.
pub fn read_address(address: u64, size: u64) -> Result<Vec<u8>> {
    match usize::try_from(size as i32) {
        Ok(size) if size <= ADDRESS_MAX => user::read_vec(address, size),
        _ => Err(Errno::EINVAL),
    }
}

/// Writes an address to where the application wants it, as far as there is room, and its whole size to `size`.
fn write_address(bytes: &[u8], address: u64, size: u64) -> Result<()> {
    let room: i32 = user::read(size)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    user::copy_out(address, &bytes[..room.min(bytes.len())])?;
    user::write(size, &(bytes.len() as u32))
}

fn sys_bind(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let address = Address::parse(&read_address(args[1], args[2])?)?;
    let socket = Socket::of(&description)?.shared();
    connection::bind(&context(thread), &socket, address)?;
    Ok(0)
}

fn sys_listen(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let credentials = transfer::credentials(thread);
    connection::listen(Socket::of(&description)?, args[1] as i32, credentials)?;
    Ok(0)
}

fn sys_connect(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let bytes = read_address(args[1], args[2])?;
    let socket = Socket::of(&description)?;
    let context = context(thread);
    if !socket.kind.connects() {
        // AF_UNSPEC takes the destination back.
        let address = match bytes.first_chunk() {
            Some([0, 0]) => None,
            _ => Some(Address::parse(&bytes)?.ok_or(Errno::EINVAL)?),
        };
        connection::aim(socket, &context, address)?;
        return Ok(0);
    }
    let address = Address::parse(&bytes)?.ok_or(Errno::EINVAL)?;
    let credentials = transfer::credentials(thread);
    let nonblocking = description.is_nonblocking();
    connection::connect(
        &socket.shared(),
        &context,
        address,
        credentials,
        nonblocking,
    )?;
    Ok(0)
}

fn accept(thread: &Thread, args: [u64; 6], flags: u32) -> Result<u64> {
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let description = description(thread, args[0])?;
    let listener = Socket::of(&description)?;
    let accepted = connection::accept(listener, description.is_nonblocking())?;
    if args[1] != 0 {
        let name = accepted.state.lock().peer_name.clone();
        write_address(&Address::bytes(name.as_ref()), args[1], args[2])?;
    }
    install::one(thread, open(accepted, flags), flags & O_CLOEXEC != 0)
}

fn sys_getsockname(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let name = Socket::of(&description)?.state.lock().name.clone();
    write_address(&Address::bytes(name.as_ref()), args[1], args[2])?;
    Ok(0)
}

fn sys_getpeername(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let name = {
        let state = Socket::of(&description)?.state.lock();
        if state.peer.is_none() {
            return Err(Errno::ENOTCONN);
        }
        state.peer_name.clone()
    };
    write_address(&Address::bytes(name.as_ref()), args[1], args[2])?;
    Ok(0)
}

fn sys_shutdown(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let how = args[1] as i32;
    if !(0..=2).contains(&how) {
        return Err(Errno::EINVAL);
    }
    Socket::of(&description)?.shut_down(how as u8 + 1);
    Ok(0)
}

/// The socket that an address names; `None` for the peer.
pub fn destination(thread: &Thread, from: &Socket, address: &[u8]) -> Result<Option<Arc<Socket>>> {
    if address.is_empty() || from.kind == Kind::Packets {
        return Ok(None);
    }
    if from.kind == Kind::Stream {
        // Refused before the address is looked at.
        let is_connected = from.state.lock().connected;
        return Err(if is_connected {
            Errno::EISCONN
        } else {
            Errno::EOPNOTSUPP
        });
    }
    let address = Address::parse(address)?.ok_or(Errno::EINVAL)?;
    names::find(&context(thread), from.kind, &address).map(Some)
}

/// Sends bytes, descriptors and credentials as `flags` (MSG_*) say; raises SIGPIPE where it is due.
pub fn send(
    description: &OpenFile,
    source: &mut UserBuffers,
    parcel: Parcel,
    flags: u32,
) -> Result<u64> {
    let socket = Socket::of(description)?;
    if flags & MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let nonblocking = description.is_nonblocking() || flags & MSG_DONTWAIT != 0;
    let sent = transfer::send(socket, source, parcel, nonblocking);
    if sent.is_broken_pipe(socket.kind) && flags & MSG_NOSIGNAL == 0 {
        pipe::broken();
    }
    sent.result().map(|n| n as u64)
}

/// How MSG_* flags say to receive.
pub fn receive_flags(description: &OpenFile, flags: u32) -> Result<Flags> {
    if flags & MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(Flags {
        nonblocking: description.is_nonblocking() || flags & MSG_DONTWAIT != 0,
        peek: flags & MSG_PEEK != 0,
        all: flags & MSG_WAITALL != 0,
    })
}

fn sys_sendto(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let address = match args[4] {
        0 => Vec::new(),
        address => read_address(address, args[5])?,
    };
    let socket = Socket::of(&description)?;
    let parcel = Parcel {
        files: Files::default(),
        credentials: transfer::credentials(thread),
        to: destination(thread, socket, &address)?,
    };
    let mut source = UserBuffers::single(args[1], args[2]);
    send(&description, &mut source, parcel, args[3] as u32)
}

fn sys_recvfrom(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let description = description(thread, args[0])?;
    let flags = args[3] as u32;
    let how = receive_flags(&description, flags)?;
    let mut sink = UserBuffers::single(args[1], args[2]);
    let received = transfer::receive(Socket::of(&description)?, &mut sink, how)?;
    if args[4] != 0 {
        let name = received
            .from
            .as_ref()
            .map(|from| Address::bytes(Some(from)));
        write_address(&name.unwrap_or_default(), args[4], args[5])?;
    }
    Ok(socket_message::length(&received, flags))
}
