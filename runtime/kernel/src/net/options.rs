//! Options of sockets (socket(7)) that are values of their own.

/// net.core.wmem_default and rmem_default, and also their maximum.
pub const BUFFER: usize = 212_992;
/// SOCK_MIN_SNDBUF and SOCK_MIN_RCVBUF.
pub const SEND_MIN: usize = 4608;
/// See [`SEND_MIN`].
pub const RECEIVE_MIN: usize = 2304;

/// What can be set.
#[derive(Clone, Debug)]
pub struct Options {
    /// SO_SNDBUF: how much may be sent and not read yet.
    pub send_buffer: usize,
    /// SO_RCVBUF; without effect, as for local sockets on Linux.
    pub receive_buffer: usize,
    /// SO_RCVTIMEO, nanoseconds.
    pub receive_timeout: Option<u64>,
    /// SO_SNDTIMEO, nanoseconds.
    pub send_timeout: Option<u64>,
    /// SO_RCVLOWAT.
    pub receive_least: u32,
    /// SO_PASSCRED: tell who sent a message.
    pub pass_credentials: bool,
    /// Flags that are kept and have no effect on local sockets: bit N stands for option N.
    pub flags: u64,
    /// SO_PRIORITY.
    pub priority: i32,
    /// SO_LINGER: on, seconds.
    pub linger: (bool, i32),
}

impl Default for Options {
    fn default() -> Self {
        Options {
            send_buffer: BUFFER,
            receive_buffer: BUFFER,
            receive_timeout: None,
            send_timeout: None,
            receive_least: 1,
            pass_credentials: false,
            flags: 0,
            priority: 0,
            linger: (false, 0),
        }
    }
}

/// What a size of a buffer that the application asks for becomes: as on Linux it is doubled to make room for overhead.
pub fn buffer_size(asked: u32, least: usize) -> usize {
    let asked = (asked as usize).min(BUFFER);
    (asked * 2).max(least)
}
