//! How facts about files look in application memory.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::fs::file::Stat;
use crate::fs::inode::Time;

const NANOSECONDS: Time = 1_000_000_000;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Timespec {
    pub sec: i64,
    pub nsec: i64,
}

impl From<Time> for Timespec {
    fn from(time: Time) -> Self {
        Timespec {
            sec: time.div_euclid(NANOSECONDS) as i64,
            nsec: time.rem_euclid(NANOSECONDS) as i64,
        }
    }
}

/// `struct stat`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub struct UserStat {
    dev: u64,
    ino: u64,
    nlink: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    padding: u32,
    rdev: u64,
    size: u64,
    blksize: u64,
    blocks: u64,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
    unused: [u64; 3],
}

const _: () = assert!(core::mem::size_of::<UserStat>() == 144);

impl From<&Stat> for UserStat {
    fn from(stat: &Stat) -> Self {
        UserStat {
            dev: stat.dev,
            ino: stat.ino,
            nlink: stat.nlink,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            padding: 0,
            rdev: stat.rdev,
            size: stat.size,
            blksize: stat.blksize,
            blocks: stat.blocks,
            atime: stat.atime.into(),
            mtime: stat.mtime.into(),
            ctime: stat.ctime.into(),
            unused: [0; 3],
        }
    }
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct StatxTime {
    sec: i64,
    nsec: u32,
    reserved: u32,
}

impl From<Time> for StatxTime {
    fn from(time: Time) -> Self {
        StatxTime {
            sec: time.div_euclid(NANOSECONDS) as i64,
            nsec: time.rem_euclid(NANOSECONDS) as u32,
            reserved: 0,
        }
    }
}

/// `struct statx`.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub struct UserStatx {
    mask: u32,
    blksize: u32,
    attributes: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    spare0: u16,
    ino: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    atime: StatxTime,
    btime: StatxTime,
    ctime: StatxTime,
    mtime: StatxTime,
    rdev_major: u32,
    rdev_minor: u32,
    dev_major: u32,
    dev_minor: u32,
    spare: [u64; 14],
}

const _: () = assert!(core::mem::size_of::<UserStatx>() == 256);

/// STATX_BASIC_STATS: all that is known; there are no birth times.
const BASIC_STATS: u32 = 0x7ff;

impl From<&Stat> for UserStatx {
    fn from(stat: &Stat) -> Self {
        UserStatx {
            mask: BASIC_STATS,
            blksize: stat.blksize as u32,
            attributes: 0,
            nlink: stat.nlink as u32,
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.mode as u16,
            spare0: 0,
            ino: stat.ino,
            size: stat.size,
            blocks: stat.blocks,
            attributes_mask: 0,
            atime: stat.atime.into(),
            btime: StatxTime::default(),
            ctime: stat.ctime.into(),
            mtime: stat.mtime.into(),
            rdev_major: major(stat.rdev),
            rdev_minor: minor(stat.rdev),
            dev_major: major(stat.dev),
            dev_minor: minor(stat.dev),
            spare: [0; 14],
        }
    }
}

/// Major number of a device.
pub fn major(device: u64) -> u32 {
    ((device >> 8) & 0xfff | (device >> 32) & !0xfff) as u32
}

/// Minor number of a device.
pub fn minor(device: u64) -> u32 {
    (device & 0xff | (device >> 12) & !0xff) as u32
}

/// `struct statfs`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct UserStatfs {
    pub kind: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub fsid: [u32; 2],
    pub namelen: u64,
    pub frsize: u64,
    pub flags: u64,
    pub spare: [u64; 4],
}

const _: () = assert!(core::mem::size_of::<UserStatfs>() == 120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_have_positive_nanoseconds() {
        let time = Timespec::from(-1);
        assert_eq!((time.sec, time.nsec), (-1, 999_999_999));
    }

    #[test]
    fn device_numbers_come_apart_as_they_were_put_together() {
        let device = crate::fs::dev::device(0x12345, 0x6789a);
        assert_eq!((major(device), minor(device)), (0x12345, 0x6789a));
    }
}
