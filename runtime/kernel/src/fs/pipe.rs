//! Pipes and FIFOs.

use crate::Errno;

/// What a writer gets whose last reader is gone: EPIPE, after SIGPIPE.
pub fn broken() -> Errno {
    Errno::EPIPE
}
