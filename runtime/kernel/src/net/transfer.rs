//! Sending and receiving.
//!
//! * [`mod@send`]: into the queue of the other end, within what the send buffer has room for.
//! * [`mod@receive`]: out of one's own queue.

mod receive;
mod send;

pub use receive::{receive, Flags, Received};
pub use send::{credentials, may_send, send, Parcel, Sent};

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::sync::atomic::Ordering;

    use super::*;
    use crate::fs::file::{File, OpenFile, Readiness};
    use crate::fs::io::{BufferSink, BufferSource};
    use crate::fs::pipe;
    use crate::net::message::{Credentials, Files};
    use crate::net::socket::{self, Kind, Socket, SHUT_WRITE};
    use crate::{Errno, Result};

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
