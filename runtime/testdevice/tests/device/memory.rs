//! Mappings of an enclave, and pages that change while it runs.

use std::os::fd::AsRawFd;

use mystikos_abi::sgx::{
    enclu, SecInfo, MISCSELECT_EXINFO, SECINFO_PENDING, SECINFO_PR, SECINFO_R, SECINFO_W,
};
use mystikos_testdevice::uapi::{request, ModifyTypes, RemovePages, RestrictPermissions};
use zerocopy::IntoBytes;

use crate::code::{command, Run};
use crate::enclave::{
    build, create, errno, initialise, ioctl, map, protect, Built, ABSENT, CODE, DATA, PAGE,
    PROT_RW, PROT_RX, READ_ONLY, RW, SIZE, THREADS,
};
use crate::under_device;

const ERESUME: u32 = 3;
const EEXIT: u32 = 4;

/// ENCLU in the enclave with these operands: RAX and RFLAGS afterwards, `None` if it faulted.
fn leaf(built: &Built, leaf: u32, operands: [u64; 3]) -> Option<u64> {
    let (left, run) = built.enter([command::ENCLU, leaf.into(), &raw const operands as u64]);
    (run.function == EEXIT).then_some(left.rdi)
}

/// Puts a structure into the enclave.
fn put(built: &Built, offset: u64, bytes: &[u8]) {
    for (i, word) in bytes.chunks(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("whole words"));
        let (_, run) = built.enter([command::WRITE, built.at(offset + 8 * i as u64), word]);
        assert_eq!(run.function, EEXIT);
    }
}

#[test]
fn rights_beyond_those_that_a_page_was_added_with_are_refused() {
    under_device(
        &[],
        "memory::rights_beyond_those_that_a_page_was_added_with_are_refused",
        || {
            let built = initialise(MISCSELECT_EXINFO).expect("an enclave");
            for (offset, prot) in [
                (READ_ONLY, PROT_RW),
                (CODE, PROT_RW),
                (DATA, PROT_RX),
                (THREADS[0], PROT_RX),
            ] {
                assert_eq!(errno(built.map(offset, PAGE, prot)), libc::EACCES);
            }
            built.map_all();
            assert_eq!(errno(protect(built.at(CODE), PAGE, PROT_RW)), libc::EACCES);
            // Of the three pages, one may not be written.
            assert_eq!(
                errno(protect(built.at(CODE), 3 * PAGE, PROT_RW)),
                libc::EACCES
            );
            assert_eq!(built.enter([command::ADD, 1, 2]).0.rdi, 3);
        },
    );
}

#[test]
fn private_mappings_are_refused() {
    under_device(&[], "memory::private_mappings_are_refused", || {
        let built = initialise(MISCSELECT_EXINFO).expect("an enclave");
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
        let mapped = map(
            built.at(CODE),
            PAGE,
            PROT_RX,
            flags,
            built.device.as_raw_fd(),
        );
        assert_eq!(errno(mapped), libc::EINVAL);
    });
}

#[test]
fn after_init_nothing_is_mapped_outside_the_enclave() {
    under_device(
        &[],
        "memory::after_init_nothing_is_mapped_outside_the_enclave",
        || {
            let built = create(MISCSELECT_EXINFO).expect("CREATE");
            let outside = || {
                map(
                    0,
                    PAGE,
                    libc::PROT_NONE,
                    libc::MAP_SHARED,
                    built.device.as_raw_fd(),
                )
            };
            outside().expect("allowed before");
            let built = initialise(MISCSELECT_EXINFO).expect("an enclave");
            let mapped = map(
                0,
                PAGE,
                libc::PROT_NONE,
                libc::MAP_SHARED,
                built.device.as_raw_fd(),
            );
            assert_eq!(errno(mapped), libc::EACCES);
        },
    );
}

#[test]
fn mappings_made_before_the_enclave_is_created_show_it() {
    under_device(
        &[],
        "memory::mappings_made_before_the_enclave_is_created_show_it",
        || {
            use std::fs::OpenOptions;
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/sgx_enclave")
                .expect("a device");
            let base = crate::enclave::reserve();
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            for (offset, prot) in [(CODE, PROT_RX), (DATA, PROT_RW), (THREADS[0], PROT_RW)] {
                let size = if offset == THREADS[0] { 4 * PAGE } else { PAGE };
                map(base + offset, size, prot, flags, device.as_raw_fd()).expect("mmap");
            }
            let built = crate::enclave::finish(device, base, MISCSELECT_EXINFO);
            assert_eq!(built.enter([command::ADD, 1, 2]).0.rdi, 3);
            assert_eq!(
                built.enter([command::READ, built.at(DATA), 0]).0.rdi,
                u64::from(u32::from_le_bytes(*b"data"))
            );
        },
    );
}

#[test]
fn a_thread_whose_pages_are_not_mapped_cannot_be_entered() {
    under_device(
        &[],
        "memory::a_thread_whose_pages_are_not_mapped_cannot_be_entered",
        || {
            let built = build();
            for (offset, prot) in [
                (THREADS[0], libc::PROT_READ),
                (THREADS[0] + PAGE, libc::PROT_NONE),
            ] {
                protect(built.at(offset), PAGE, prot).expect("mprotect");
                let (left, run) = built.enter([command::ADD, 1, 2]);
                assert_eq!(
                    (left.result, run.function, run.vector, run.address),
                    (0, 2, 14, built.at(offset))
                );
                protect(built.at(offset), PAGE, PROT_RW).expect("mprotect");
            }
            assert_eq!(built.enter([command::ADD, 1, 2]).0.rdi, 3);
        },
    );
}

#[test]
fn protection_of_the_program_holds_in_the_enclave() {
    under_device(
        &[],
        "memory::protection_of_the_program_holds_in_the_enclave",
        || {
            let built = build();
            let address = built.at(DATA);
            protect(address, PAGE, libc::PROT_READ).expect("mprotect");
            let mut exits = Vec::new();
            built.enter_handled([command::WRITE, address, 1], |run| {
                exits.push((run.function, run.vector, run.error));
                protect(address, PAGE, PROT_RW).expect("mprotect");
                // The access is made again.
                if run.function == ERESUME {
                    ERESUME as i32
                } else {
                    0
                }
            });
            assert_eq!(exits, [(ERESUME, 14, 6), (EEXIT, 14, 6)]);
            assert_eq!(built.enter([command::READ, address, 0]).0.rdi, 1);
        },
    );
}

#[test]
fn a_page_comes_into_being_when_it_is_touched_and_must_be_accepted() {
    under_device(
        &[],
        "memory::a_page_comes_into_being_when_it_is_touched_and_must_be_accepted",
        || {
            let built = build();
            let page = built.at(ABSENT);
            built.map(ABSENT, PAGE, PROT_RW).expect("mmap");
            let (_, run) = built.enter_handled([command::READ, page, 0], |run| {
                if run.function == EEXIT {
                    return 0;
                }
                // The page is there then, but not the enclave's yet.
                assert_eq!((run.vector, run.error), (14, 0x8005));
                // Accepted on the other thread, away from the interrupted access.
                let mut other = Run::new(built.at(THREADS[1]));
                let secinfo = SecInfo::new(RW | SECINFO_PENDING);
                for (i, word) in secinfo.as_bytes().chunks(8).enumerate() {
                    let word = u64::from_le_bytes(word.try_into().expect("words"));
                    built.enter_with(
                        2,
                        [command::WRITE, built.at(DATA + 8 * i as u64), word],
                        &mut other,
                    );
                }
                let operands = [built.at(DATA), page, 0];
                let arguments = [
                    command::ENCLU,
                    enclu::EACCEPT.into(),
                    &raw const operands as u64,
                ];
                assert_eq!(built.enter_with(2, arguments, &mut other).rdi, 0);
                ERESUME as i32
            });
            assert_eq!(run.function, EEXIT);
            assert_eq!(built.enter([command::WRITE, page, 9]).1.function, EEXIT);
            assert_eq!(built.enter([command::READ, page, 0]).0.rdi, 9);
        },
    );
}

#[test]
fn eaccept_itself_brings_a_page_into_being() {
    under_device(
        &[],
        "memory::eaccept_itself_brings_a_page_into_being",
        || {
            let built = build();
            built.map(ABSENT, PAGE, PROT_RW).expect("mmap");
            put(&built, DATA, SecInfo::new(RW | SECINFO_PENDING).as_bytes());
            assert_eq!(
                leaf(
                    &built,
                    enclu::EACCEPT,
                    [built.at(DATA), built.at(ABSENT), 0]
                ),
                Some(0)
            );
            assert_eq!(
                built
                    .enter([command::WRITE, built.at(ABSENT), 9])
                    .1
                    .function,
                EEXIT
            );
        },
    );
}

#[test]
fn without_sgx2_an_absent_page_stays_absent() {
    under_device(
        &["--sgx1"],
        "memory::without_sgx2_an_absent_page_stays_absent",
        || {
            let built = initialise(0).expect("an enclave");
            built.map_all();
            built.map(ABSENT, PAGE, PROT_RW).expect("mmap");
            let (_, run) = built.enter([command::READ, built.at(ABSENT), 0]);
            assert_eq!((run.function, run.vector, run.error), (ERESUME, 14, 4));
            let mut restrict = RestrictPermissions::default();
            assert_eq!(
                errno(ioctl(
                    &built.device,
                    request::RESTRICT_PERMISSIONS,
                    &mut restrict
                )),
                libc::ENODEV
            );
        },
    );
}

#[test]
fn restricted_permissions_hold_at_once_and_are_accepted() {
    under_device(
        &[],
        "memory::restricted_permissions_hold_at_once_and_are_accepted",
        || {
            let built = build();
            let mut restrict = RestrictPermissions {
                offset: DATA + PAGE,
                length: PAGE,
                permissions: SECINFO_R,
                ..RestrictPermissions::default()
            };
            ioctl(&built.device, request::RESTRICT_PERMISSIONS, &mut restrict)
                .expect("RESTRICT_PERMISSIONS");
            assert_eq!((restrict.count, restrict.result), (PAGE, 0));
            let page = built.at(DATA + PAGE);
            put(
                &built,
                DATA,
                SecInfo::new(RW & !SECINFO_W | SECINFO_PR).as_bytes(),
            );
            assert_eq!(
                leaf(&built, enclu::EACCEPT, [built.at(DATA), page, 0]),
                Some(0)
            );
            let (_, run) = built.enter([command::WRITE, page, 1]);
            assert_eq!((run.function, run.vector, run.error), (ERESUME, 14, 0x8007));
        },
    );
}

#[test]
fn emodpe_extends_what_may_be_done() {
    under_device(&[], "memory::emodpe_extends_what_may_be_done", || {
        let built = build();
        let mut restrict = RestrictPermissions {
            offset: DATA + PAGE,
            length: PAGE,
            permissions: SECINFO_R,
            ..RestrictPermissions::default()
        };
        ioctl(&built.device, request::RESTRICT_PERMISSIONS, &mut restrict)
            .expect("RESTRICT_PERMISSIONS");
        let page = built.at(DATA + PAGE);
        put(
            &built,
            DATA,
            SecInfo::new(RW & !SECINFO_W | SECINFO_PR).as_bytes(),
        );
        assert_eq!(
            leaf(&built, enclu::EACCEPT, [built.at(DATA), page, 0]),
            Some(0)
        );
        put(&built, DATA, SecInfo::new(RW).as_bytes());
        assert!(leaf(&built, enclu::EMODPE, [built.at(DATA), page, 0]).is_some());
        assert_eq!(built.enter([command::WRITE, page, 5]).1.function, EEXIT);
        assert_eq!(built.enter([command::READ, page, 0]).0.rdi, 5);
    });
}

#[test]
fn a_page_is_removed_when_the_enclave_has_agreed() {
    under_device(
        &[],
        "memory::a_page_is_removed_when_the_enclave_has_agreed",
        || {
            let built = build();
            let (offset, length) = (DATA + PAGE, PAGE);
            let mut remove = RemovePages {
                offset,
                length,
                count: 0,
            };
            assert_eq!(
                errno(ioctl(&built.device, request::REMOVE_PAGES, &mut remove)),
                libc::EPERM
            );
            let mut modify = ModifyTypes {
                offset,
                length,
                page_type: 4,
                ..ModifyTypes::default()
            };
            ioctl(&built.device, request::MODIFY_TYPES, &mut modify).expect("MODIFY_TYPES");
            remove.count = 0;
            assert_eq!(
                errno(ioctl(&built.device, request::REMOVE_PAGES, &mut remove)),
                libc::EPERM
            );
            // TRIM, MODIFIED.
            put(&built, DATA, SecInfo::new(0x400 | 0x10).as_bytes());
            assert_eq!(
                leaf(
                    &built,
                    enclu::EACCEPT,
                    [built.at(DATA), built.at(offset), 0]
                ),
                Some(0)
            );
            remove.count = 0;
            ioctl(&built.device, request::REMOVE_PAGES, &mut remove).expect("REMOVE_PAGES");
            assert_eq!(remove.count, PAGE);
        },
    );
}

#[test]
fn an_unmapped_enclave_is_gone() {
    under_device(&[], "memory::an_unmapped_enclave_is_gone", || {
        let built = build();
        // SAFETY: nothing of this program lies there.
        let unmapped = unsafe { libc::munmap(built.base as *mut _, SIZE as usize) };
        assert_eq!(unmapped, 0);
        let (left, run) = built.enter([command::ADD, 1, 2]);
        assert_eq!((left.result, run.function, run.vector), (0, 2, 14));
    });
}

#[test]
fn what_was_in_the_epc_is_lost_when_the_machine_sleeps() {
    under_device(
        &["--lose-after", "3"],
        "memory::what_was_in_the_epc_is_lost_when_the_machine_sleeps",
        || {
            let built = build();
            for _ in 0..3 {
                assert_eq!(built.enter([command::ADD, 1, 2]).1.function, EEXIT);
            }
            let (left, run) = built.enter([command::ADD, 1, 2]);
            assert_eq!((left.result, run.function, run.vector), (0, 2, 14));
            assert_ne!(run.error & 0x8000, 0);
        },
    );
}

#[test]
fn the_guard_finds_who_reaches_for_enclave_memory_from_outside() {
    let name = "memory::the_guard_finds_who_reaches_for_enclave_memory_from_outside";
    under_device(&["--guard"], name, || {
        let built = build();
        assert_eq!(
            built.enter([command::WRITE, built.at(DATA), 5]).1.function,
            EEXIT
        );
        assert_eq!(built.enter([command::READ, built.at(DATA), 0]).0.rdi, 5);
        let mut ends = [0; 2];
        // SAFETY: a pipe; write(2) is given memory that it must find unreadable.
        let written = unsafe {
            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
            libc::write(ends[1], built.at(DATA) as *const _, 8)
        };
        assert_eq!(
            (written, std::io::Error::last_os_error().raw_os_error()),
            (-1, Some(libc::EFAULT))
        );
    });
}
