//! Sending and receiving.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::address::Address;
use super::message::{Charge, Credentials, Files, Message};
use super::socket::{Kind, Socket, State, SHUT_READ, SHUT_WRITE};
use crate::fs::file::Readiness;
use crate::fs::io::{Sink, Source};
use crate::process::Thread;
use crate::{Errno, Result};

/// Most bytes of a stream that travel as one message.
const PIECE: usize = 32 * 1024;
/// A datagram has to leave that much of the send buffer free, as on Linux.
const RESERVE: usize = 32;

const ARRIVED: Readiness = Readiness::IN.union(Readiness::RDNORM);

/// How to receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Do not block (O_NONBLOCK, MSG_DONTWAIT).
    pub nonblocking: bool,
    /// Leave it there (MSG_PEEK).
    pub peek: bool,
    /// Until everything asked for is there (MSG_WAITALL).
    pub all: bool,
}

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

/// What was received.
#[derive(Default)]
pub struct Received {
    /// Bytes stored.
    pub bytes: usize,
    /// Bytes the message had (not for streams).
    pub length: usize,
    /// Descriptors that came along.
    pub files: Files,
    /// Who sent it; `None` when nothing came.
    pub credentials: Option<Credentials>,
    /// The sender's name.
    pub from: Option<Address>,
}

/// Receives into `sink`.
pub fn receive(socket: &Socket, sink: &mut dyn Sink, flags: Flags) -> Result<Received> {
    match socket.kind {
        Kind::Stream => receive_stream(socket, sink, flags),
        _ => receive_message(socket, sink, flags),
    }
}

fn receive_stream(socket: &Socket, sink: &mut dyn Sink, flags: Flags) -> Result<Received> {
    if !socket.state.lock().connected {
        return Err(Errno::EINVAL);
    }
    let (timeout, least, alone) = {
        let options = socket.options.lock();
        let least = options.receive_least as usize;
        (options.receive_timeout, least, options.pass_credentials)
    };
    let target = match flags.all {
        true => sink.remaining(),
        false => least.min(sink.remaining()),
    };
    let mut received = Received::default();
    let mut skipped = 0;
    loop {
        let outcome = socket.wait(flags.nonblocking, timeout, || {
            let mut state = socket.state.lock();
            if state.messages.len() > skipped {
                return Some(Ok(true));
            }
            if received.bytes > 0 && received.bytes >= target {
                return Some(Ok(false));
            }
            if let Some(error) = state.error.take() {
                return Some(Err(error));
            }
            (state.shut & SHUT_READ != 0).then_some(Ok(false))
        });
        match outcome {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => break,
            Ok(Err(error)) | Err(error) if received.bytes == 0 => return Err(error),
            _ => break,
        }
        let step = take_piece(socket, sink, flags.peek, skipped, alone, &mut received);
        match step {
            Ok(Piece::More) => skipped += usize::from(flags.peek),
            Ok(Piece::Last) => break,
            Err(error) if received.bytes == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(received)
}

enum Piece {
    /// The next one may follow.
    More,
    /// Reading ends here.
    Last,
}

// Moves one message of a stream, or what fits of it. Reading ends after descriptors, and before bytes of someone else
// when the reader wants to know who sent them.
fn take_piece(
    socket: &Socket,
    sink: &mut dyn Sink,
    peek: bool,
    index: usize,
    alone: bool,
    received: &mut Received,
) -> Result<Piece> {
    let done;
    let last;
    {
        let mut state = socket.state.lock();
        // Another reader may have been faster.
        let Some(message) = state.messages.get_mut(index) else {
            return Ok(Piece::More);
        };
        if alone
            && received
                .credentials
                .is_some_and(|c| c != message.credentials)
        {
            return Ok(Piece::Last);
        }
        let n = match message.rest().is_empty() {
            true => 0,
            false => sink.put(message.rest())?,
        };
        received.bytes += n;
        received.credentials = Some(message.credentials);
        received.from = message.from.clone();
        let has_files = !message.files.is_empty();
        if has_files {
            received.files = match peek {
                true => message.files.clone(),
                false => core::mem::take(&mut message.files),
            };
        }
        last = has_files || sink.remaining() == 0;
        if !peek {
            message.start += n;
        }
        done = match message.rest().is_empty() && !peek {
            true => state.messages.remove(index),
            false => None,
        };
    }
    drop(done);
    Ok(if last { Piece::Last } else { Piece::More })
}

fn receive_message(socket: &Socket, sink: &mut dyn Sink, flags: Flags) -> Result<Received> {
    if socket.kind.connects() && !socket.state.lock().connected {
        return Err(Errno::ENOTCONN);
    }
    let timeout = socket.options.lock().receive_timeout;
    let message = socket.wait(flags.nonblocking, timeout, || {
        let mut state = socket.state.lock();
        if state.messages.is_empty() {
            if let Some(error) = state.error.take() {
                return Some(Err(error));
            }
            return is_ended(socket, &state, flags).then_some(Ok(None));
        }
        Some(take_message(&mut state, sink, flags.peek).map(Some))
    })??;
    let (received, _done) = message.unwrap_or_default();
    Ok(received)
}

// Nothing will come any more. A datagram socket that does not block answers EAGAIN even then, as on Linux.
fn is_ended(socket: &Socket, state: &State, flags: Flags) -> bool {
    state.shut & SHUT_READ != 0 && (socket.kind.connects() || !flags.nonblocking)
}

// Takes the first message; what does not fit is lost with it. The message is returned to be dropped without the lock.
fn take_message(
    state: &mut State,
    sink: &mut dyn Sink,
    peek: bool,
) -> Result<(Received, Option<Message>)> {
    let Some(message) = state.messages.front() else {
        return Ok(Default::default());
    };
    let fits = sink.remaining().min(message.data.len());
    let stored = match fits {
        0 => Ok(0),
        _ => sink.put(&message.data[..fits]),
    };
    let mut received = Received {
        length: message.data.len(),
        credentials: Some(message.credentials),
        from: message.from.clone(),
        ..Received::default()
    };
    if peek {
        received.files = message.files.clone();
        received.bytes = stored?;
        return Ok((received, None));
    }
    let mut message = state.messages.pop_front();
    if let Some(message) = &mut message {
        received.files = core::mem::take(&mut message.files);
    }
    received.bytes = stored?;
    Ok((received, message))
}

#[cfg(test)]
mod tests {
    use super::super::socket;
    use super::*;
    use crate::fs::file::{File, OpenFile};
    use crate::fs::io::{BufferSink, BufferSource};
    use crate::fs::pipe;

    const NOW: Flags = Flags {
        nonblocking: true,
        peek: false,
        all: false,
    };

    fn pair(kind: Kind) -> [Arc<Socket>; 2] {
        socket::pair(kind, Credentials::default())
    }

    fn put(socket: &Socket, bytes: &[u8]) -> Sent {
        let parcel = Parcel::plain(Credentials::default());
        send(socket, &mut BufferSource(bytes), parcel, true)
    }

    fn get(socket: &Socket, size: usize, flags: Flags) -> Result<Vec<u8>> {
        let mut buffer = alloc::vec![0; size];
        let n = receive(socket, &mut BufferSink::new(&mut buffer), flags)?.bytes;
        buffer.truncate(n);
        Ok(buffer)
    }

    #[test]
    fn streams_forget_where_writes_ended() {
        let [a, b] = pair(Kind::Stream);
        put(&a, b"ab");
        put(&a, b"cde");
        assert_eq!(get(&b, 3, NOW).unwrap(), b"abc");
        let peek = Flags { peek: true, ..NOW };
        assert_eq!(get(&b, 9, peek).unwrap(), b"de");
        assert_eq!(get(&b, 9, NOW).unwrap(), b"de");
        assert_eq!(get(&b, 9, NOW), Err(Errno::EAGAIN));
    }

    #[test]
    fn large_writes_come_through_whole() {
        let [a, b] = pair(Kind::Stream);
        let bytes: Vec<u8> = (0..100_000u32).map(|i| i as u8 ^ (i >> 8) as u8).collect();
        assert_eq!(put(&a, &bytes).result(), Ok(bytes.len()));
        let got: Vec<u8> = core::iter::from_fn(|| get(&b, 7777, NOW).ok())
            .flatten()
            .collect();
        assert!(got == bytes);
    }

    #[test]
    fn datagrams_keep_their_ends_and_lose_what_does_not_fit() {
        let [a, b] = pair(Kind::Datagram);
        put(&a, b"abc");
        put(&a, b"");
        put(&a, b"de");
        assert_eq!(get(&b, 2, NOW).unwrap(), b"ab");
        assert_eq!(get(&b, 2, NOW).unwrap(), b"");
        assert_eq!(get(&b, 9, NOW).unwrap(), b"de");
    }

    #[test]
    fn the_send_buffer_is_given_back_by_reading() {
        let [a, b] = pair(Kind::Stream);
        let mut sent = 0;
        while let Ok(n) = put(&a, &[0; 8192]).result() {
            sent += n;
        }
        assert!(!a.readiness().contains(Readiness::OUT));
        while sent > 0 {
            sent -= get(&b, 65536, NOW).unwrap().len();
        }
        assert!(a.readiness().contains(Readiness::OUT));
        assert_eq!(a.in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn closing_ends_the_stream_of_the_peer_after_what_was_sent() {
        let [a, b] = pair(Kind::Stream);
        put(&a, b"x");
        drop(a);
        assert_eq!(get(&b, 9, NOW).unwrap(), b"x");
        assert_eq!(get(&b, 9, NOW).unwrap(), b"");
        assert_eq!(put(&b, b"y").result(), Err(Errno::EPIPE));
        assert!(b.readiness().contains(Readiness::HUP | Readiness::RDHUP));
    }

    #[test]
    fn closing_with_unread_bytes_resets_the_peer() {
        let [a, b] = pair(Kind::Stream);
        put(&b, b"unread");
        drop(a);
        assert_eq!(get(&b, 9, NOW), Err(Errno::ECONNRESET));
        assert_eq!(get(&b, 9, NOW).unwrap(), b"");
    }

    #[test]
    fn a_datagram_socket_loses_its_peer_once() {
        let [a, b] = pair(Kind::Datagram);
        drop(b);
        assert_eq!(put(&a, b"x").result(), Err(Errno::ECONNREFUSED));
        assert_eq!(put(&a, b"x").result(), Err(Errno::ENOTCONN));
    }

    #[test]
    fn half_a_connection_can_be_shut_down() {
        let [a, b] = pair(Kind::Stream);
        put(&a, b"x");
        a.shut_down(SHUT_WRITE);
        assert_eq!(put(&a, b"y").result(), Err(Errno::EPIPE));
        assert_eq!(get(&b, 9, NOW).unwrap(), b"x");
        assert_eq!(get(&b, 9, NOW).unwrap(), b"");
        put(&b, b"z");
        assert_eq!(get(&a, 9, NOW).unwrap(), b"z");
    }

    #[test]
    fn reading_ends_after_descriptors() {
        let [a, b] = pair(Kind::Stream);
        let (reader, _writer) = pipe::pair(0);
        put(&a, b"1");
        let parcel = Parcel {
            files: Files::new(alloc::vec![reader]),
            ..Parcel::plain(Credentials::default())
        };
        send(&a, &mut BufferSource(b"2"), parcel, true);
        put(&a, b"3");
        let mut buffer = [0; 9];
        let mut received = receive(&b, &mut BufferSink::new(&mut buffer), NOW).unwrap();
        assert_eq!(&buffer[..received.bytes], b"12");
        assert_eq!(received.files.take().len(), 1);
        assert_eq!(get(&b, 9, NOW).unwrap(), b"3");
    }

    #[test]
    fn sockets_within_sockets_are_dropped_without_recursion() {
        let mut inner = OpenFile::new(Socket::new(Kind::Stream), 2);
        for _ in 0..20_000 {
            let [a, b] = pair(Kind::Stream);
            let parcel = Parcel {
                files: Files::new(alloc::vec![inner]),
                ..Parcel::plain(Credentials::default())
            };
            send(&a, &mut BufferSource(b"x"), parcel, true);
            inner = OpenFile::new(b, 2);
        }
        drop(inner);
    }
}
