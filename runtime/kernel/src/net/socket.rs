//! What every local socket has.
//!
//! Locks: a thread holds the state of at most one socket at a time, and drops messages and peers only after letting go
//! of it, because that may wake, close and lock others.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mystikos_platform::sync::Mutex;
use mystikos_platform::user;

use super::address::Address;
use super::message::{Credentials, Message};
use super::names::Binding;
use super::options::Options;
use super::transfer::{self, Flags};
use crate::fs::file::{File, OpenFile, Readiness, Stat};
use crate::fs::io::{Sink, Source};
use crate::fs::pipe;
use crate::process::wait::{wait_until, Interrupted, WaitQueue};
use crate::process::{thread, Thread};
use crate::{time, Errno, Result};

const S_IFSOCK: u32 = 0o140000;
const FIONREAD: u32 = 0x541b;
const TIOCOUTQ: u32 = 0x5411;

/// Device number of sockets in fstat(2); no file system of the kernel has it.
const DEVICE: u64 = 0x8;

const READABLE: Readiness = Readiness::IN.union(Readiness::RDNORM);
const WRITABLE: Readiness = Readiness::OUT.union(Readiness::WRNORM);

/// How a socket carries data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_STREAM: a connection that carries bytes.
    Stream = 1,
    /// SOCK_DGRAM: messages, with or without a connection.
    Datagram = 2,
    /// SOCK_SEQPACKET: a connection that carries messages.
    Packets = 5,
}

impl Kind {
    /// From the SOCK_* value.
    pub fn of(number: u32) -> Option<Kind> {
        Some(match number {
            1 => Kind::Stream,
            // SOCK_RAW means the same here.
            2 | 3 => Kind::Datagram,
            5 => Kind::Packets,
            _ => return None,
        })
    }

    /// Data goes only through connections.
    pub fn connects(self) -> bool {
        self != Kind::Datagram
    }
}

/// Connections that wait for accept.
pub struct Backlog {
    /// More than that many have to wait.
    pub limit: usize,
    /// In the order they came.
    pub pending: VecDeque<Arc<Socket>>,
    /// Who listens.
    pub credentials: Credentials,
}

/// SHUT_RD of a socket's state.
pub const SHUT_READ: u8 = 1;
/// SHUT_WR.
pub const SHUT_WRITE: u8 = 2;
/// Both.
pub const SHUT_BOTH: u8 = 3;

/// What changes in a socket's life.
#[derive(Default)]
pub struct State {
    /// Has been connected (for good), but for datagrams.
    pub connected: bool,
    /// Listens.
    pub backlog: Option<Backlog>,
    /// The other end, or where datagrams go.
    pub peer: Option<Weak<Socket>>,
    /// The name that the peer had when the connection was made.
    pub peer_name: Option<Address>,
    /// Who the peer was then (SO_PEERCRED).
    pub peer_credentials: Option<Credentials>,
    /// What has arrived.
    pub messages: VecDeque<Message>,
    /// SHUT_* bits.
    pub shut: u8,
    /// To be told once (SO_ERROR).
    pub error: Option<Errno>,
    /// Own name.
    pub name: Option<Address>,
    /// The name taken by this very socket (accepted ones have their listener's name).
    pub binding: Option<Binding>,
    /// Not accepted yet.
    pub embryo: bool,
}

/// A local socket.
pub struct Socket {
    me: Weak<Socket>,
    /// How it carries data.
    pub kind: Kind,
    number: u64,
    /// What changes.
    pub state: Mutex<State>,
    /// Settings.
    pub options: Mutex<Options>,
    /// Room taken by what was sent and not read yet.
    pub in_flight: AtomicUsize,
    /// Woken when anything above changed.
    pub queue: WaitQueue,
}

impl Socket {
    /// A socket without name and peer.
    pub fn new(kind: Kind) -> Arc<Socket> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new_cyclic(|me| Socket {
            me: me.clone(),
            kind,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            options: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            queue: WaitQueue::new(),
        })
    }

    /// The socket behind a description: ENOTSOCK if it is something else.
    pub fn of(description: &OpenFile) -> Result<&Socket> {
        let socket = description.file.as_any().downcast_ref();
        socket.ok_or(Errno::ENOTSOCK)
    }

    /// Itself as its files share it; it is alive, since someone calls it.
    pub fn shared(&self) -> Arc<Socket> {
        self.me.upgrade().expect("a socket in use is alive")
    }

    /// The other end; `None` when there is none or it is closed.
    pub fn peer(&self) -> Option<Arc<Socket>> {
        self.state.lock().peer.as_ref().and_then(Weak::upgrade)
    }

    /// Number by which /proc/self/fd names the socket (`socket:[1]`).
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    /// There is so much room for sending that it is worth waking for.
    fn has_room(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) * 4 <= self.options.lock().send_buffer
    }

    /// Something that was sent has been read.
    pub fn told_of_room(&self) {
        if self.has_room() {
            self.queue.wake(WRITABLE);
        }
    }

    /// Waits on the socket until `ready` gives something: at once EAGAIN when it is not to block, and after `timeout`.
    pub fn wait<T>(
        &self,
        nonblocking: bool,
        timeout: Option<u64>,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if nonblocking {
            return ready().ok_or(Errno::EAGAIN);
        }
        let deadline = timeout.map(|timeout| time::monotonic().saturating_add(timeout));
        wait_until(&[&self.queue], deadline, ready).map_err(|reason| match reason {
            Interrupted::TimedOut => Errno::EAGAIN,
            // With a timeout the call is not restarted: it would wait anew.
            Interrupted::Signal if timeout.is_some() => Errno::EINTR,
            Interrupted::Signal => Errno::ERESTARTSYS,
        })
    }

    /// shutdown(2), with SHUT_* bits.
    pub fn shut_down(&self, bits: u8) {
        let peer = {
            let mut state = self.state.lock();
            state.shut |= bits;
            state.peer.as_ref().and_then(Weak::upgrade)
        };
        self.queue.wake_all();
        if let Some(peer) = peer.filter(|_| self.kind.connects()) {
            // Its reading is this one's writing.
            let theirs = (bits & SHUT_READ) << 1 | (bits & SHUT_WRITE) >> 1;
            peer.state.lock().shut |= theirs;
            peer.queue.wake_all();
        }
    }

    /// Bytes that can be read now (SIOCINQ): of datagrams only the first counts.
    fn readable_bytes(&self) -> Result<usize> {
        let state = self.state.lock();
        if state.backlog.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut lengths = state.messages.iter().map(|m| m.rest().len());
        Ok(match self.kind {
            Kind::Datagram => lengths.next().unwrap_or(0),
            _ => lengths.sum(),
        })
    }
}

/// Two sockets connected to each other (socketpair(2)).
pub fn pair(kind: Kind, credentials: Credentials) -> [Arc<Socket>; 2] {
    let (a, b) = (Socket::new(kind), Socket::new(kind));
    for (one, other) in [(&a, &b), (&b, &a)] {
        let mut state = one.state.lock();
        state.peer = Some(Arc::downgrade(other));
        state.peer_credentials = Some(credentials);
        state.connected = kind.connects();
    }
    [a, b]
}

impl Drop for Socket {
    fn drop(&mut self) {
        let state = core::mem::take(self.state.get_mut());
        let peer = state.peer.as_ref().and_then(Weak::upgrade);
        if let Some(peer) = peer.filter(|_| self.kind.connects() && state.connected) {
            let mut theirs = peer.state.lock();
            theirs.shut = SHUT_BOTH;
            // What the peer sent will never be read.
            if state.embryo || !state.messages.is_empty() {
                theirs.error = Some(Errno::ECONNRESET);
            }
            drop(theirs);
            peer.queue.wake_all();
        }
    }
}

impl File for Socket {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: DEVICE,
            ino: self.number,
            mode: S_IFSOCK | 0o777,
            nlink: 1,
            blksize: 4096,
            ..Stat::default()
        })
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let flags = Flags {
            nonblocking: description.is_nonblocking(),
            ..Flags::default()
        };
        transfer::receive(self, sink, flags).map(|received| received.bytes)
    }

    fn write(&self, description: &OpenFile, source: &mut dyn Source) -> Result<usize> {
        let parcel = transfer::Parcel::plain(transfer::credentials(&thread::current()));
        let sent = transfer::send(self, source, parcel, description.is_nonblocking());
        if sent.is_broken_pipe(self.kind) {
            pipe::broken();
        }
        sent.result()
    }

    fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let mut ready = Readiness::empty();
        ready.set(Readiness::ERR, state.error.is_some());
        if state.shut & SHUT_READ != 0 {
            ready |= READABLE | Readiness::RDHUP;
        }
        ready.set(Readiness::HUP, state.shut == SHUT_BOTH);
        let pending = state.backlog.as_ref().map(|b| !b.pending.is_empty());
        if pending.unwrap_or(!state.messages.is_empty()) {
            ready |= READABLE;
        }
        let listens = state.backlog.is_some();
        if self.kind.connects() && !state.connected && !listens {
            ready |= Readiness::HUP;
        }
        drop(state);
        if !listens && self.has_room() {
            ready |= WRITABLE;
        }
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ioctl(&self, _thread: &Thread, request: u32, argument: u64) -> Result<u64> {
        let value = match request {
            FIONREAD => self.readable_bytes()?,
            TIOCOUTQ => self.in_flight.load(Ordering::Relaxed),
            _ => return Err(Errno::ENOTTY),
        };
        user::write(argument, &(value as u32)).map(|()| 0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
