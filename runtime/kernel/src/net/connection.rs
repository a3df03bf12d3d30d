//! bind, listen, connect, accept.

use alloc::sync::Arc;

use super::address::Address;
use super::message::Credentials;
use super::names;
use super::socket::{Backlog, Socket, State, SHUT_BOTH, SHUT_READ};
use super::transfer::may_send;
use crate::fs::file::Readiness;
use crate::fs::path::FsContext;
use crate::{Errno, Result};

/// net.core.somaxconn.
const BACKLOG_MAX: usize = 4096;

/// bind(2); without a name the kernel chooses one.
pub fn bind(context: &FsContext, socket: &Arc<Socket>, address: Option<Address>) -> Result<()> {
    if socket.state.lock().name.is_some() {
        // Asking for any name is content with the one there is.
        return address.map_or(Ok(()), |_| Err(Errno::EINVAL));
    }
    let (address, binding) = match address {
        Some(address) => {
            let binding = names::bind(context, socket, &address)?;
            (address, binding)
        }
        None => names::bind_any(context, socket)?,
    };
    let mut state = socket.state.lock();
    if state.name.is_some() {
        // Another thread was faster; the name is given back without the lock.
        drop(state);
        drop(binding);
        return Err(Errno::EINVAL);
    }
    state.name = Some(address);
    state.binding = Some(binding);
    Ok(())
}

/// listen(2).
pub fn listen(socket: &Socket, backlog: i32, credentials: Credentials) -> Result<()> {
    if !socket.kind.connects() {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut state = socket.state.lock();
    if state.name.is_none() || state.connected {
        return Err(Errno::EINVAL);
    }
    // A negative number means as many as possible.
    let limit = usize::try_from(backlog).unwrap_or(BACKLOG_MAX);
    let limit = limit.min(BACKLOG_MAX);
    match &mut state.backlog {
        Some(backlog) => backlog.limit = limit,
        None => {
            state.backlog = Some(Backlog {
                limit,
                pending: Default::default(),
                credentials,
            });
        }
    }
    drop(state);
    socket.queue.wake_all();
    Ok(())
}

/// connect(2) of a datagram socket: where its datagrams go; `None` takes that back.
pub fn aim(socket: &Socket, context: &FsContext, address: Option<Address>) -> Result<()> {
    let (peer, name) = match address {
        Some(address) => {
            let peer = names::find(context, socket.kind, &address)?;
            may_send(socket, &peer)?;
            (Some(Arc::downgrade(&peer)), Some(address))
        }
        None => (None, None),
    };
    let mut state = socket.state.lock();
    let before = core::mem::replace(&mut state.peer, peer);
    state.peer_name = name;
    drop(state);
    drop(before);
    socket.queue.wake_all();
    Ok(())
}

/// connect(2) of a socket with connections.
pub fn connect(
    socket: &Arc<Socket>,
    context: &FsContext,
    address: Address,
    credentials: Credentials,
    nonblocking: bool,
) -> Result<()> {
    let timeout = socket.options.lock().send_timeout;
    let listener = names::find(context, socket.kind, &address)?;
    if listener.kind != socket.kind {
        return Err(Errno::EPROTOTYPE);
    }
    let own_name = socket.state.lock().name.clone();

    // Complete before anyone sees it: whoever listens may accept it at once.
    let accepted = Socket::new(socket.kind);
    *accepted.state.lock() = State {
        name: Some(address.clone()),
        peer: Some(Arc::downgrade(socket)),
        peer_name: own_name,
        peer_credentials: Some(credentials),
        connected: true,
        embryo: true,
        ..State::default()
    };
    let listening = listener.wait(nonblocking, timeout, || {
        let room = has_room(&listener).transpose()?;
        let allowed = room.and_then(|()| may_connect(&socket.state.lock()));
        match allowed {
            Ok(()) => enter(&listener, &accepted),
            Err(error) => Some(Err(error)),
        }
    });
    let listening = listening.and_then(|entered| entered).inspect_err(|_| {
        // It ends without having been the other end of anything.
        let peer = accepted.state.lock().peer.take();
        drop(peer);
    })?;
    listener.queue.wake(Readiness::IN | Readiness::RDNORM);

    let result = {
        let mut state = socket.state.lock();
        may_connect(&state).map(|()| {
            state.peer = Some(Arc::downgrade(&accepted));
            state.peer_name = Some(address);
            state.peer_credentials = Some(listening);
            state.connected = true;
        })
    };
    if result.is_err() {
        // Another thread connected the socket in the meantime: this end has no other.
        accepted.state.lock().peer = None;
        accepted.shut_down(SHUT_BOTH);
    }
    socket.queue.wake_all();
    result
}

// The backlog of a socket that listens; ECONNREFUSED when it does not (any more).
fn backlog(state: &mut State) -> Result<&mut Backlog> {
    match state.shut & SHUT_READ {
        0 => state.backlog.as_mut().ok_or(Errno::ECONNREFUSED),
        _ => Err(Errno::ECONNREFUSED),
    }
}

fn has_room(listener: &Socket) -> Result<Option<()>> {
    let mut state = listener.state.lock();
    let backlog = backlog(&mut state)?;
    Ok((backlog.pending.len() <= backlog.limit).then_some(()))
}

// Puts a connection into the backlog if there is room; tells who listens.
fn enter(listener: &Socket, accepted: &Arc<Socket>) -> Option<Result<Credentials>> {
    let mut state = listener.state.lock();
    let backlog = match backlog(&mut state) {
        Ok(backlog) => backlog,
        Err(error) => return Some(Err(error)),
    };
    if backlog.pending.len() > backlog.limit {
        return None;
    }
    backlog.pending.push_back(accepted.clone());
    Some(Ok(backlog.credentials))
}

/// accept(2).
pub fn accept(listener: &Socket, nonblocking: bool) -> Result<Arc<Socket>> {
    if !listener.kind.connects() {
        return Err(Errno::EOPNOTSUPP);
    }
    let timeout = listener.options.lock().receive_timeout;
    let accepted = listener.wait(nonblocking, timeout, || {
        let mut state = listener.state.lock();
        let is_shut = state.shut & SHUT_READ != 0;
        let Some(backlog) = &mut state.backlog else {
            return Some(Err(Errno::EINVAL));
        };
        match backlog.pending.pop_front() {
            Some(socket) => Some(Ok(socket)),
            None if is_shut => Some(Err(Errno::EINVAL)),
            None => None,
        }
    })??;
    accepted.state.lock().embryo = false;
    // There is room for another one.
    listener.queue.wake(Readiness::OUT);
    Ok(accepted)
}

fn may_connect(state: &State) -> Result<()> {
    if state.connected {
        return Err(Errno::EISCONN);
    }
    match state.backlog {
        Some(_) => Err(Errno::EINVAL),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::Kind;
    use super::super::transfer::{self, Flags};
    use super::*;
    use crate::fs::file::File;
    use crate::fs::io::BufferSink;

    fn context() -> FsContext {
        FsContext::default()
    }

    fn name(name: &str) -> Address {
        Address::Abstract(name.as_bytes().to_vec())
    }

    fn listening(at: &str) -> Arc<Socket> {
        let socket = Socket::new(Kind::Stream);
        bind(&context(), &socket, Some(name(at))).unwrap();
        listen(&socket, 0, Credentials::default()).unwrap();
        socket
    }

    fn connecting(to: &str) -> Result<Arc<Socket>> {
        let socket = Socket::new(Kind::Stream);
        let credentials = Credentials::default();
        connect(&socket, &context(), name(to), credentials, true).map(|()| socket)
    }

    #[test]
    fn connections_are_accepted_in_their_order() {
        let listener = listening("order");
        assert_eq!(accept(&listener, true).err(), Some(Errno::EAGAIN));
        let client = connecting("order").unwrap();
        assert!(listener.readiness().contains(Readiness::IN));
        let server = accept(&listener, true).unwrap();
        assert!(Arc::ptr_eq(&server.peer().unwrap(), &client));
        assert!(Arc::ptr_eq(&client.peer().unwrap(), &server));
    }

    #[test]
    fn a_full_backlog_makes_others_wait() {
        let listener = listening("full");
        let _first = connecting("full").unwrap();
        assert_eq!(connecting("full").err(), Some(Errno::EAGAIN));
        accept(&listener, true).unwrap();
        connecting("full").unwrap();
    }

    #[test]
    fn a_connection_is_not_disturbed_by_another_attempt() {
        let listener = listening("twice");
        let client = connecting("twice").unwrap();
        let _server = accept(&listener, true).unwrap();
        let credentials = Credentials::default();
        let again = connect(&client, &context(), name("twice"), credentials, true);
        assert_eq!(again, Err(Errno::EISCONN));
        assert_eq!(client.state.lock().shut, 0);
    }

    #[test]
    fn names_are_free_again_when_their_socket_is_closed() {
        let first = listening("again");
        let second = Socket::new(Kind::Stream);
        let taken = bind(&context(), &second, Some(name("again")));
        assert_eq!(taken, Err(Errno::EADDRINUSE));
        drop(first);
        assert_eq!(connecting("again").err(), Some(Errno::ECONNREFUSED));
        bind(&context(), &second, Some(name("again"))).unwrap();
        assert_eq!(connecting("again").err(), Some(Errno::ECONNREFUSED));
    }

    #[test]
    fn a_connection_that_was_never_accepted_is_reset() {
        let listener = listening("reset");
        let client = connecting("reset").unwrap();
        drop(listener);
        let mut sink = [0; 1];
        let read = transfer::receive(&client, &mut BufferSink::new(&mut sink), Flags::default());
        assert_eq!(read.err(), Some(Errno::ECONNRESET));
    }

    #[test]
    fn kinds_of_sockets_do_not_mix() {
        let _listener = listening("kinds");
        let socket = Socket::new(Kind::Packets);
        let credentials = Credentials::default();
        let connected = connect(&socket, &context(), name("kinds"), credentials, true);
        assert_eq!(connected, Err(Errno::ECONNREFUSED));
        bind(&context(), &socket, Some(name("kinds"))).unwrap();
    }
}
