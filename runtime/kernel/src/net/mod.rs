//! Local sockets.
