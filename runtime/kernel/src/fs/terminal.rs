//! ioctl(2) on a standard stream (ioctl_tty(2)): which requests go to the host, and how large their arguments are.

use mystikos_platform::{host, user};

use crate::process::Thread;
use crate::{Errno, Result};

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const FIONREAD: u32 = 0x541b;
const TCSBRKP: u32 = 0x5425;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;

/// Bytes of the kernel's `struct termios`: four words of flags, the line discipline, 19 control characters.
const TERMIOS: usize = 36;
/// Bytes of `struct termios2`: as above and two speeds.
const TERMIOS2: usize = 44;
/// Bytes of `struct winsize`.
const WINSIZE: usize = 8;

/// How the argument of a request is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Pointer to that many bytes, which the request fills.
    Out(usize),
    /// Pointer to that many bytes, which the request reads.
    In(usize),
    /// The argument itself.
    Value,
}

fn shape(request: u32) -> Option<Shape> {
    Some(match request {
        TCGETS => Shape::Out(TERMIOS),
        TCSETS | TCSETSW | TCSETSF => Shape::In(TERMIOS),
        TCGETS2 => Shape::Out(TERMIOS2),
        TCSETS2 | TCSETSW2 | TCSETSF2 => Shape::In(TERMIOS2),
        TIOCGWINSZ => Shape::Out(WINSIZE),
        TIOCSWINSZ => Shape::In(WINSIZE),
        FIONREAD | TIOCOUTQ => Shape::Out(4),
        TCSBRK | TCSBRKP | TCXONC | TCFLSH => Shape::Value,
        _ => return None,
    })
}

/// The host's stream is a terminal.
pub fn is_terminal(fd: u32) -> bool {
    host::ioctl(fd, TCGETS, &mut [0; TERMIOS]).is_ok()
}

/// Serves a request on the host's stream `fd`.
pub fn ioctl(thread: &Thread, fd: u32, request: u32, argument: u64) -> Result<u64> {
    match request {
        TIOCGPGRP | TIOCSPGRP | TIOCGSID => job_control(thread, fd, request, argument),
        _ => match shape(request) {
            Some(shape) => forward(fd, request, shape, argument),
            None if is_terminal(fd) => Err(Errno::EINVAL),
            None => Err(Errno::ENOTTY),
        },
    }
}

fn forward(fd: u32, request: u32, shape: Shape, argument: u64) -> Result<u64> {
    let mut buffer = [0; TERMIOS2];
    match shape {
        Shape::Out(size) => {
            host::ioctl(fd, request, &mut buffer[..size])?;
            check(request, &buffer)?;
            user::copy_out(argument, &buffer[..size])?;
        }
        Shape::In(size) => {
            // ENOTTY comes before EFAULT.
            if !is_terminal(fd) {
                return Err(Errno::ENOTTY);
            }
            user::copy_in(argument, &mut buffer[..size])?;
            host::ioctl(fd, request, &mut buffer[..size])?;
        }
        Shape::Value => {
            buffer[..8].copy_from_slice(&argument.to_ne_bytes());
            host::ioctl(fd, request, &mut buffer[..8])?;
        }
    }
    Ok(0)
}

/// Counts of bytes, by which programs size their buffers, are not negative.
fn check(request: u32, answer: &[u8]) -> Result<()> {
    match request {
        FIONREAD | TIOCOUTQ if answer[3] & 0x80 != 0 => Err(Errno::EIO),
        _ => Ok(()),
    }
}

// The program is the foreground process group and the session of its terminal: the host's process IDs mean nothing
// inside, and whether the host stops the launcher is the host's business.
fn job_control(thread: &Thread, fd: u32, request: u32, argument: u64) -> Result<u64> {
    if !is_terminal(fd) {
        return Err(Errno::ENOTTY);
    }
    let pid = thread.process.pid;
    match request {
        TIOCSPGRP => match user::read::<i32>(argument)? {
            group if group < 0 => Err(Errno::EINVAL),
            group if group as u32 == pid => Ok(0),
            _ => Err(Errno::ESRCH),
        },
        _ => user::write(argument, &pid).map(|()| 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_encoded_in_request_numbers_agree_with_the_shapes() {
        for request in [TCGETS2, TCSETS2, TCSETSW2, TCSETSF2] {
            let size = (request >> 16 & 0x3fff) as usize;
            assert!(matches!(shape(request), Some(Shape::In(n) | Shape::Out(n)) if n == size));
        }
    }

    #[test]
    fn a_negative_count_of_bytes_is_not_believed() {
        assert_eq!(check(FIONREAD, &i32::MAX.to_le_bytes()), Ok(()));
        assert_eq!(check(FIONREAD, &(-1i32).to_le_bytes()), Err(Errno::EIO));
        assert_eq!(check(TIOCOUTQ, &i32::MIN.to_le_bytes()), Err(Errno::EIO));
        assert_eq!(check(TCGETS, &[0xff; TERMIOS]), Ok(()));
    }

    #[test]
    fn unknown_requests_have_no_shape() {
        assert_eq!(shape(0x5412), None);
    }
}
