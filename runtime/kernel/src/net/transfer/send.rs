//! Into the queue of the other end, within what the send buffer has room for.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use crate::fs::file::Readiness;
use crate::fs::io::Source;
use crate::net::message::{Charge, Credentials, Files, Message};
use crate::net::socket::{Kind, Socket, SHUT_READ, SHUT_WRITE};
use crate::process::Thread;
use crate::{Errno, Result};

/// Most bytes of a stream that travel as one message.
const PIECE: usize = 32 * 1024;
/// A datagram has to leave that much of the send buffer free, as on Linux.
const RESERVE: usize = 32;

const ARRIVED: Readiness = Readiness::IN.union(Readiness::RDNORM);

/// What goes along with the bytes.
pub struct Parcel {
    /// Descriptors.
    pub files: Files,
    /// Who sends.
    pub credentials: Credentials,
    /// Where to, if not to the peer.
    pub to: Option<Arc<Socket>>,
}

impl Parcel {
    /// Nothing but bytes, to the peer.
    pub fn plain(credentials: Credentials) -> Parcel {
        Parcel {
            files: Files::default(),
            credentials,
            to: None,
        }
    }
}

/// Who the calling thread is to the other end.
pub fn credentials(thread: &Thread) -> Credentials {
    let credentials = thread.process.credentials.lock();
    Credentials {
        pid: thread.process.pid,
        uid: credentials.user.effective,
        gid: credentials.group.effective,
    }
}

/// How far sending came, and what ended it early.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    bytes: usize,
    stopped: Option<Errno>,
}

impl Sent {
    fn failed(error: Errno) -> Sent {
        Sent {
            bytes: 0,
            stopped: Some(error),
        }
    }

    /// The result of the call: an error counts only when nothing was sent.
    pub fn result(self) -> Result<usize> {
        match self.stopped {
            Some(error) if self.bytes == 0 => Err(error),
            _ => Ok(self.bytes),
        }
    }

    /// SIGPIPE is due, unless the sender does not want it.
    pub fn is_broken_pipe(&self, kind: Kind) -> bool {
        kind == Kind::Stream && self.bytes == 0 && self.stopped == Some(Errno::EPIPE)
    }
}

/// Sends what `source` has.
pub fn send(
    socket: &Socket,
    source: &mut dyn Source,
    mut parcel: Parcel,
    nonblocking: bool,
) -> Sent {
    if socket.kind != Kind::Stream {
        return match send_message(socket, source, parcel, nonblocking) {
            Ok(bytes) => Sent {
                bytes,
                stopped: None,
            },
            Err(error) => Sent::failed(error),
        };
    }
    let is_connected = socket.state.lock().connected;
    let error = match (parcel.to.is_some(), is_connected) {
        (true, true) => Some(Errno::EISCONN),
        (true, false) => Some(Errno::EOPNOTSUPP),
        (false, false) => Some(Errno::ENOTCONN),
        (false, true) => None,
    };
    if let Some(error) = error {
        return Sent::failed(error);
    }
    if socket.state.lock().shut & SHUT_WRITE != 0 {
        return Sent::failed(Errno::EPIPE);
    }
    let mut sent = Sent {
        bytes: 0,
        stopped: None,
    };
    while source.remaining() > 0 {
        match send_piece(socket, source, &mut parcel, nonblocking) {
            Ok(n) => sent.bytes += n,
            Err(error) => {
                sent.stopped = Some(error);
                break;
            }
        }
    }
    sent
}

fn send_piece(
    socket: &Socket,
    source: &mut dyn Source,
    parcel: &mut Parcel,
    nonblocking: bool,
) -> Result<usize> {
    let size = source.remaining().min(PIECE);
    let charge = wait_for_room(socket, size, nonblocking)?;
    let data = collect(source, size)?;
    let n = data.len();
    let message = Message {
        data,
        start: 0,
        files: core::mem::take(&mut parcel.files),
        credentials: parcel.credentials,
        from: socket.state.lock().name.clone(),
        charge,
    };
    let peer = socket.peer().ok_or(Errno::EPIPE)?;
    deliver(&peer, message)?;
    Ok(n)
}

// A datagram or packet: all of it or nothing.
fn send_message(
    socket: &Socket,
    source: &mut dyn Source,
    parcel: Parcel,
    nonblocking: bool,
) -> Result<usize> {
    if socket.kind.connects() {
        let mut state = socket.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if !state.connected {
            return Err(Errno::ENOTCONN);
        }
    }
    let to = parcel.to.filter(|_| !socket.kind.connects());
    let is_addressed = to.is_some();
    let has_peer = socket.state.lock().peer.is_some();
    if !is_addressed && !has_peer {
        return Err(Errno::ENOTCONN);
    }
    let size = source.remaining();
    if size + RESERVE > socket.options.lock().send_buffer {
        return Err(Errno::EMSGSIZE);
    }
    let charge = wait_for_room(socket, size, nonblocking)?;
    let data = collect(source, size)?;
    if data.len() < size {
        return Err(Errno::EFAULT);
    }
    let Some(to) = to.or_else(|| socket.peer()) else {
        return Err(lost_peer(socket));
    };
    may_send(socket, &to)?;
    let message = Message {
        data,
        start: 0,
        files: parcel.files,
        credentials: parcel.credentials,
        from: socket.state.lock().name.clone(),
        charge,
    };
    deliver(&to, message)?;
    Ok(size)
}

// A datagram socket whose peer is gone is told so once, and is not connected any more.
fn lost_peer(socket: &Socket) -> Errno {
    if socket.kind.connects() {
        return Errno::EPIPE;
    }
    let mut state = socket.state.lock();
    let before = (state.peer.take(), state.peer_name.take());
    drop(state);
    drop(before);
    Errno::ECONNREFUSED
}

/// A datagram socket with a peer takes datagrams from no one else: EPERM.
pub fn may_send(socket: &Socket, to: &Arc<Socket>) -> Result<()> {
    if to.kind != socket.kind {
        return Err(Errno::EPROTOTYPE);
    }
    let only = to.state.lock().peer.clone();
    match only {
        Some(peer) if !core::ptr::eq(peer.as_ptr(), socket) => Err(Errno::EPERM),
        _ => Ok(()),
    }
}

// Waits until the send buffer is not exceeded, and takes the room.
fn wait_for_room(socket: &Socket, size: usize, nonblocking: bool) -> Result<Charge> {
    let (limit, timeout) = {
        let options = socket.options.lock();
        (options.send_buffer, options.send_timeout)
    };
    socket.wait(nonblocking, timeout, || {
        let mut state = socket.state.lock();
        if let Some(error) = state.error.take() {
            return Some(Err(error));
        }
        if state.shut & SHUT_WRITE != 0 {
            return Some(Err(Errno::EPIPE));
        }
        (socket.in_flight.load(Ordering::Acquire) < limit).then_some(Ok(()))
    })??;
    Ok(Charge::new(&socket.shared(), size))
}

fn collect(source: &mut dyn Source, size: usize) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    data.try_reserve_exact(size).map_err(|_| Errno::ENOBUFS)?;
    data.resize(size, 0);
    if size > 0 {
        let n = source.take(&mut data)?;
        data.truncate(n);
    }
    Ok(data)
}

fn deliver(to: &Arc<Socket>, message: Message) -> Result<()> {
    let refused = {
        let mut state = to.state.lock();
        if state.shut & SHUT_READ != 0 {
            Some(message)
        } else {
            state.messages.push_back(message);
            None
        }
    };
    if refused.is_some() {
        return Err(Errno::EPIPE);
    }
    to.queue.wake(ARRIVED);
    Ok(())
}
