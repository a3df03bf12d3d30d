//! /sys: the little of it that programs read.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::dentry::Dentry;
use super::pseudo::{mount_at, Fixed, FixedDirectory};
use super::ramfs::image::mount_over;
use super::SYS_FS;
use crate::process;

const ROOT: &[Fixed] = &[
    Fixed::directory(
        "devices",
        &[Fixed::directory(
            "system",
            &[
                Fixed::directory(
                    "cpu",
                    &[
                        Fixed::text("kernel_max", || b"8191\n".to_vec()),
                        Fixed::text("offline", || b"\n".to_vec()),
                        Fixed::text("online", cpus),
                        Fixed::text("possible", cpus),
                        Fixed::text("present", cpus),
                    ],
                ),
                Fixed::directory(
                    "node",
                    &[
                        Fixed::text("has_cpu", || b"0\n".to_vec()),
                        Fixed::text("online", || b"0\n".to_vec()),
                        Fixed::text("possible", || b"0\n".to_vec()),
                    ],
                ),
            ],
        )],
    ),
    Fixed::directory("fs", &[Fixed::directory("cgroup", &[])]),
    Fixed::directory(
        "kernel",
        &[Fixed::directory(
            "mm",
            &[Fixed::directory(
                "transparent_hugepage",
                &[
                    Fixed::text("defrag", || {
                        b"always defer defer+madvise madvise [never]\n".to_vec()
                    }),
                    Fixed::text("enabled", || b"always madvise [never]\n".to_vec()),
                    Fixed::text("hpage_pmd_size", || b"2097152\n".to_vec()),
                ],
            )],
        )],
    ),
];

/// Mounts /sys.
pub fn mount(root: &Arc<Dentry>) {
    let directory = Arc::new(FixedDirectory(ROOT));
    let sys = mount_at(&SYS_FS, directory, root, b"sys");
    mount_over(root, b"sys", &sys);
}

/// A list of CPUs as the kernel writes it.
fn cpus() -> Vec<u8> {
    match process::cpu_count() {
        1 => b"0\n".to_vec(),
        count => format!("0-{}\n", count - 1).into_bytes(),
    }
}
