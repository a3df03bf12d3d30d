//! What files have in common that exist without a name: eventfd, timerfd, signalfd, epoll.

use super::file::Stat;

/// Device number of such files in fstat(2); no file system of the kernel has it.
const DEVICE: u64 = 0xf;

/// Facts for fstat(2): Linux gives them no file type.
pub fn stat() -> Stat {
    Stat {
        dev: DEVICE,
        ino: 1,
        mode: 0o600,
        nlink: 1,
        blksize: 4096,
        ..Stat::default()
    }
}
