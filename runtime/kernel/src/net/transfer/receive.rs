//! Out of a socket's own queue.

use crate::fs::io::Sink;
use crate::net::address::Address;
use crate::net::message::{Credentials, Files, Message};
use crate::net::socket::{Kind, Socket, State, SHUT_READ};
use crate::{Errno, Result};

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
