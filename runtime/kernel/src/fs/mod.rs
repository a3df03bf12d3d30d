//! Files, file systems, pipes, polling.
//!
//! * [`file`]: what an open file can do, whatever it is.
//! * [`fd`]: a process's table of file descriptors.
//! * [`io`]: where data goes to and comes from.
//! * [`path`]: path resolution, working directory.
//! * [`open`]: opening files by name.
//! * [`names`]: making, removing and renaming files.
//! * [`attributes`]: owners, permissions, times.
//! * [`dentry`], [`inode`]: names, and what a file system provides for each file.
//! * [`ramfs`], [`cpio`]: the root file system, from the measured image.
//! * [`dev`]: device files; [`attestation`]: reports and keys of the enclave.
//! * [`proc`], [`sys`]: what the kernel tells of itself; [`pseudo`]: how.
//! * [`lock`]: advisory locks on files.
//! * [`pipe`]: pipes and FIFOs.
//! * [`poll`]: waiting for several files at once.
//! * [`epoll`]: watching many files.
//! * [`event`], [`timerfd`], [`signalfd`]: counters, timers and signals as files.
//! * [`anonymous`]: what files without a name have in common.
//! * [`stream`]: the host's standard streams as files.
//! * [`terminal`]: ioctls on them.

pub mod anonymous;
pub mod attestation;
pub mod attributes;
pub mod clock;
pub mod cpio;
pub mod dentry;
pub mod dev;
pub mod epoll;
pub mod event;
pub mod fd;
pub mod file;
pub mod inode;
pub mod io;
pub mod lock;
pub mod names;
pub mod open;
pub mod path;
pub mod pipe;
pub mod poll;
pub mod proc;
pub mod pseudo;
pub mod ramfs;
pub mod signalfd;
pub mod stream;
pub mod sys;
pub mod terminal;
pub mod timerfd;

use alloc::sync::Arc;

use mystikos_platform::sync::Once;

use self::dentry::Dentry;
use self::file::OpenFile;
use self::inode::{anonymous_dev, FsInfo};
use self::path::FsContext;
use self::ramfs::RamFs;
use crate::Result;

const RAMFS_MAGIC: u64 = 0x8584_58f6;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The root file system.
pub static ROOT_FS: FsInfo = memory_fs("ramfs", RAMFS_MAGIC, 2);
/// /dev.
pub static DEV_FS: FsInfo = memory_fs("devtmpfs", TMPFS_MAGIC, 5);
/// /dev/shm.
pub static SHM_FS: FsInfo = memory_fs("tmpfs", TMPFS_MAGIC, 6);
/// Memory files.
pub static MEMORY_FS: FsInfo = memory_fs("tmpfs", TMPFS_MAGIC, 1);

/// /proc.
pub static PROC_FS: FsInfo = telling_fs("proc", 0x9fa0, 3);
/// /dev/attestation.
pub static ATTESTATION_FS: FsInfo = telling_fs("attestation", TMPFS_MAGIC, 7);
/// /sys.
pub static SYS_FS: FsInfo = telling_fs("sysfs", 0x6265_6572, 4);

const fn telling_fs(name: &'static str, magic: u64, minor: u64) -> FsInfo {
    FsInfo {
        name,
        magic,
        dev: anonymous_dev(minor),
        read_only: false,
        in_memory: false,
    }
}

/// What has no name: pipes, sockets, events.
pub static PIPE_FS: FsInfo = FsInfo {
    name: "pipefs",
    magic: 0x5049_5045,
    dev: anonymous_dev(14),
    read_only: false,
    in_memory: false,
};

const fn memory_fs(name: &'static str, magic: u64, minor: u64) -> FsInfo {
    FsInfo {
        name,
        magic,
        dev: anonymous_dev(minor),
        read_only: false,
        in_memory: true,
    }
}

static ROOT: Once<Arc<Dentry>> = Once::new();

/// The root of the tree; empty before [`init`].
pub fn root() -> Arc<Dentry> {
    ROOT.call_once(|| RamFs::mount(&ROOT_FS)).clone()
}

/// Mounts the root file system from its measured image, and what Linux programs expect in it.
pub fn init(image: &'static [u8]) {
    let root = match ramfs::image::mount(&ROOT_FS, image) {
        Ok(root) => root,
        Err(error) => panic!("{error}"),
    };
    dev::mount(&root);
    proc::mount(&root);
    sys::mount(&root);
    ramfs::image::ensure_directory(&root, b"tmp", 0o1777);
    ROOT.call_once(|| root);
}

/// Bytes that files in memory can have at all, and those still free.
pub fn space() -> (u64, u64) {
    let usage = crate::mm::usage();
    (usage.total, usage.room)
}

/// Opens a file by its absolute path, or by one relative to the working directory.
pub fn open_file(context: &FsContext, path: &[u8], flags: u32, mode: u32) -> Result<Arc<OpenFile>> {
    let request = open::Request {
        flags,
        mode,
        rules: path::Rules::empty(),
    };
    open::find(context, &context.cwd, path, request)?.open()
}
