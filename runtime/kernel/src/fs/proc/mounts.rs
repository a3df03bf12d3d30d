//! What is mounted: /proc/PID/{mounts,mountinfo}.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::fs::inode::FsInfo;
use crate::fs::{ATTESTATION_FS, DEV_FS, PROC_FS, ROOT_FS, SHM_FS, SYS_FS};

/// Mounted file systems and where, parents first.
const MOUNTED: [(&FsInfo, &str); 6] = [
    (&ROOT_FS, "/"),
    (&DEV_FS, "/dev"),
    (&SHM_FS, "/dev/shm"),
    (&ATTESTATION_FS, "/dev/attestation"),
    (&PROC_FS, "/proc"),
    (&SYS_FS, "/sys"),
];

fn options(fs: &FsInfo) -> &'static str {
    match fs.read_only {
        true => "ro,noatime",
        false => "rw,noatime",
    }
}

/// The number under which mountinfo shows a file system, by its device; 0 for what is not mounted.
pub fn number_of(dev: u64) -> usize {
    let at = MOUNTED.iter().position(|(fs, _)| fs.dev == dev);
    at.map_or(0, |at| at + 1)
}

/// /proc/PID/mounts (fstab(5)).
pub fn mounts() -> Vec<u8> {
    let lines = MOUNTED.iter().map(|(fs, at)| {
        let options = options(fs);
        format!("{} {at} {} {options} 0 0\n", fs.name, fs.name)
    });
    lines.collect::<String>().into_bytes()
}

/// /proc/PID/mountinfo (proc_pid_mountinfo(5)).
pub fn mountinfo() -> Vec<u8> {
    let lines = MOUNTED.iter().zip(1..).map(|((fs, at), id)| {
        let parent = match *at {
            "/" => 0,
            "/dev/shm" | "/dev/attestation" => 2,
            _ => 1,
        };
        let options = options(fs);
        format!(
            "{id} {parent} 0:{} / {at} {options} - {} {} {options}\n",
            fs.dev & 0xff,
            fs.name,
            fs.name
        )
    });
    lines.collect::<String>().into_bytes()
}

/// /proc/PID/mountstats.
pub fn mountstats() -> Vec<u8> {
    let lines = MOUNTED.iter().map(|(fs, at)| {
        format!(
            "device {} mounted on {at} with fstype {}\n",
            fs.name, fs.name
        )
    });
    lines.collect::<String>().into_bytes()
}

/// /proc/filesystems.
pub fn filesystems() -> Vec<u8> {
    let names = ["ramfs", "tmpfs", "devtmpfs", "proc", "sysfs", "pipefs"];
    let lines = names.iter().map(|name| format!("nodev\t{name}\n"));
    lines.collect::<String>().into_bytes()
}
