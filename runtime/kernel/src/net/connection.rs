//! bind, listen, connect, accept.

use alloc::sync::{Arc, Weak};

use super::address::Address;
use super::message::Credentials;
use super::names;
use super::socket::{Backlog, Socket, State, SHUT_READ};
use super::transfer::may_send;
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
            let peer = names::find(context, &address)?;
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
    let listener = names::find(context, &address)?;
    if listener.kind != socket.kind {
        return Err(Errno::EPROTOTYPE);
    }
    may_connect(&socket.state.lock())?;

    let accepted = Socket::new(socket.kind);
    let (name, theirs) = listener.wait(nonblocking, timeout, || enter(&listener, &accepted))??;
    {
        let mut state = accepted.state.lock();
        state.name = Some(name.clone());
        state.peer = Some(Arc::downgrade(socket));
        state.peer_name = socket.state.lock().name.clone();
        state.peer_credentials = Some(credentials);
        state.connected = true;
        state.embryo = true;
    }
    let refused = {
        let mut state = socket.state.lock();
        let refused = may_connect(&state);
        if refused.is_ok() {
            state.peer = Some(Arc::downgrade(&accepted));
            state.peer_name = Some(name);
            state.peer_credentials = Some(theirs);
            state.connected = true;
        }
        refused
    };
    refused?;
    offer(&listener, accepted)?;
    socket.queue.wake_all();
    Ok(())
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
