//! Local sockets (unix(7)): between the threads of a program, without a network.
//!
//! * [`socket`]: what every socket has: its state, its peer, what has arrived; readiness and end.
//! * [`address`]: names, and `struct sockaddr_un`.
//! * [`names`]: which socket is bound to a name.
//! * [`message`]: what travels: bytes, descriptors, credentials.
//! * [`connection`]: bind, listen, connect, accept.
//! * [`transfer`]: sending and receiving.
//! * [`options`]: socket options.

pub mod address;
pub mod connection;
pub mod message;
pub mod names;
pub mod options;
pub mod socket;
pub mod transfer;
