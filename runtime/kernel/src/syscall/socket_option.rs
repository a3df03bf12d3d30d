//! Options of sockets (getsockopt(2), socket(7), unix(7)).

use alloc::vec::Vec;

use mystikos_platform::user;
use zerocopy::IntoBytes;

use super::net::description;
use crate::net::address::AF_UNIX;
use crate::net::options::{buffer_size, Options, RECEIVE_MIN, SEND_MIN};
use crate::net::socket::Socket;
use crate::process::Thread;
use crate::{Errno, Result};

const SOL_SOCKET: i32 = 1;

const SO_DEBUG: u32 = 1;
const SO_REUSEADDR: u32 = 2;
const SO_TYPE: u32 = 3;
const SO_ERROR: u32 = 4;
const SO_DONTROUTE: u32 = 5;
const SO_BROADCAST: u32 = 6;
const SO_SNDBUF: u32 = 7;
const SO_RCVBUF: u32 = 8;
const SO_KEEPALIVE: u32 = 9;
const SO_OOBINLINE: u32 = 10;
const SO_PRIORITY: u32 = 12;
const SO_LINGER: u32 = 13;
const SO_PASSCRED: u32 = 16;
const SO_PEERCRED: u32 = 17;
const SO_RCVLOWAT: u32 = 18;
const SO_SNDLOWAT: u32 = 19;
const SO_RCVTIMEO: u32 = 20;
const SO_SNDTIMEO: u32 = 21;
const SO_TIMESTAMP: u32 = 29;
const SO_ACCEPTCONN: u32 = 30;
const SO_SNDBUFFORCE: u32 = 32;
const SO_RCVBUFFORCE: u32 = 33;
const SO_PROTOCOL: u32 = 38;
const SO_DOMAIN: u32 = 39;

const MICROSECOND: u64 = 1000;
const SECOND: u64 = 1_000_000_000;

/// getsockopt(2).
pub fn sys_getsockopt(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [fd, level, name, address, size, _] = args;
    let description = description(thread, fd)?;
    if level as i32 != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let room: i32 = user::read(size)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let value = get(Socket::of(&description)?, name as u32)?;
    let stored = room.min(value.len());
    user::copy_out(address, &value[..stored])?;
    user::write(size, &(stored as u32))?;
    Ok(0)
}

fn get(socket: &Socket, name: u32) -> Result<Vec<u8>> {
    let options = socket.options.lock().clone();
    let number = match name {
        SO_TYPE => socket.kind as u32,
        SO_DOMAIN => AF_UNIX.into(),
        SO_PROTOCOL => 0,
        SO_ERROR => socket.take_error().map_or(0, |error| error.raw() as u32),
        SO_ACCEPTCONN => socket.state.lock().backlog.is_some().into(),
        SO_SNDBUF => options.send_buffer as u32,
        SO_RCVBUF => options.receive_buffer as u32,
        SO_PASSCRED => options.pass_credentials.into(),
        SO_RCVLOWAT => options.receive_least,
        SO_SNDLOWAT => 1,
        SO_PRIORITY => options.priority as u32,
        SO_RCVTIMEO => return Ok(timeval(options.receive_timeout)),
        SO_SNDTIMEO => return Ok(timeval(options.send_timeout)),
        SO_LINGER => {
            let (on, seconds) = options.linger;
            return Ok([i32::from(on), seconds].as_bytes().to_vec());
        }
        SO_PEERCRED => {
            let peer = socket.state.lock().peer_credentials;
            // Nobody: process 0, and the user and group that stand for none.
            let nobody = [0, u32::MAX, u32::MAX];
            let peer = peer.map_or(nobody, |peer| [peer.pid, peer.uid, peer.gid]);
            return Ok(peer.as_bytes().to_vec());
        }
        name if is_flag(name) => (options.flags >> name & 1) as u32,
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(number.to_ne_bytes().to_vec())
}

// Options that are on or off, and mean nothing to local sockets.
fn is_flag(name: u32) -> bool {
    matches!(
        name,
        SO_DEBUG
            | SO_REUSEADDR
            | SO_DONTROUTE
            | SO_BROADCAST
            | SO_KEEPALIVE
            | SO_OOBINLINE
            | SO_TIMESTAMP
    )
}

/// setsockopt(2).
pub fn sys_setsockopt(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let [fd, level, name, address, size, _] = args;
    if (size as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let description = description(thread, fd)?;
    if level as i32 != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let (name, size) = (name as u32, size as u32);
    // All but three are a number.
    let words: [i32; 4] = match (name, size) {
        (_, ..4) => return Err(Errno::EINVAL),
        (SO_RCVTIMEO | SO_SNDTIMEO, ..16) | (SO_LINGER, ..8) => return Err(Errno::EINVAL),
        (SO_RCVTIMEO | SO_SNDTIMEO, _) => user::read(address)?,
        (SO_LINGER, _) => {
            let [on, seconds]: [i32; 2] = user::read(address)?;
            [on, seconds, 0, 0]
        }
        _ => [user::read(address)?, 0, 0, 0],
    };
    set(&mut Socket::of(&description)?.options.lock(), name, words)?;
    Ok(0)
}

fn set(options: &mut Options, name: u32, words: [i32; 4]) -> Result<()> {
    let value = words[0];
    match name {
        SO_SNDBUF | SO_SNDBUFFORCE => options.send_buffer = buffer_size(value as u32, SEND_MIN),
        SO_RCVBUF | SO_RCVBUFFORCE => {
            options.receive_buffer = buffer_size(value as u32, RECEIVE_MIN);
        }
        SO_PASSCRED => options.pass_credentials = value != 0,
        SO_RCVLOWAT => {
            let least = if value < 0 { i32::MAX } else { value.max(1) };
            options.receive_least = least as u32;
        }
        SO_PRIORITY => options.priority = value,
        SO_LINGER => options.linger = (value != 0, words[1]),
        SO_RCVTIMEO => set_timeout(&mut options.receive_timeout, words)?,
        SO_SNDTIMEO => set_timeout(&mut options.send_timeout, words)?,
        name if is_flag(name) => {
            options.flags = options.flags & !(1 << name) | u64::from(value != 0) << name;
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

// A `struct timeval`: zero means for ever, a negative time not to wait at all.
fn set_timeout(timeout: &mut Option<u64>, words: [i32; 4]) -> Result<()> {
    let word = |i: usize| i64::from(words[i] as u32) | i64::from(words[i + 1]) << 32;
    let (seconds, microseconds) = (word(0), word(2));
    if !(0..1_000_000).contains(&microseconds) {
        return Err(Errno::EDOM);
    }
    *timeout = match u64::try_from(seconds) {
        Err(_) => Some(0),
        Ok(seconds) => {
            let microseconds = microseconds as u64 * MICROSECOND;
            let all = seconds.saturating_mul(SECOND).saturating_add(microseconds);
            Some(all).filter(|&all| all > 0)
        }
    };
    Ok(())
}

fn timeval(timeout: Option<u64>) -> Vec<u8> {
    let timeout = timeout.unwrap_or(0);
    let parts = [timeout / SECOND, timeout % SECOND / MICROSECOND];
    parts.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_told() {
        let mut options = Options::default();
        set(&mut options, SO_RCVTIMEO, [2, 0, 500_000, 0]).unwrap();
        assert_eq!(options.receive_timeout, Some(2_500_000_000));
        assert_eq!(timeval(options.receive_timeout), [2u64, 500_000].as_bytes());
        assert_eq!(
            set(&mut options, SO_RCVTIMEO, [0, 0, 1_000_000, 0]),
            Err(Errno::EDOM)
        );
        set(&mut options, SO_RCVTIMEO, [0; 4]).unwrap();
        assert_eq!(options.receive_timeout, None);
    }

    #[test]
    fn sizes_of_buffers_are_doubled_within_limits() {
        let mut options = Options::default();
        for (asked, stored) in [(10_000, 20_000), (1, SEND_MIN), (-1, 425_984)] {
            set(&mut options, SO_SNDBUF, [asked, 0, 0, 0]).unwrap();
            assert_eq!(options.send_buffer, stored);
        }
    }
}
