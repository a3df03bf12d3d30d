//! Building an enclave, and what can go wrong with it.

use mystikos_abi::sgx::MISCSELECT_EXINFO;
use mystikos_testdevice::uapi::request;

use crate::code::command;
use crate::enclave::{
    add, build, create, errno, init, initialise, ioctl, pages, secs, sign, Built, PAGE,
};
use crate::under_device;

#[test]
fn the_device_file_is_not_there() {
    under_device(
        &["--absent"],
        "building::the_device_file_is_not_there",
        || {
            assert!(!std::path::Path::new("/dev/sgx_enclave").exists());
            assert_eq!(errno(create(MISCSELECT_EXINFO).map(|_| ())), libc::ENOENT);
        },
    );
}

#[test]
fn the_device_file_may_not_be_opened() {
    under_device(
        &["--unreadable"],
        "building::the_device_file_may_not_be_opened",
        || {
            assert!(std::path::Path::new("/dev/sgx_enclave").exists());
            assert_eq!(errno(create(MISCSELECT_EXINFO).map(|_| ())), libc::EACCES);
        },
    );
}

#[test]
fn the_launch_key_is_another_one() {
    under_device(
        &["--deny-launch"],
        "building::the_launch_key_is_another_one",
        || {
            assert_eq!(
                errno(initialise(MISCSELECT_EXINFO).map(|_| ())),
                libc::EPERM
            );
        },
    );
}

#[test]
fn the_epc_is_too_small() {
    // SECS, version array, and five pages.
    under_device(
        &["--epc-pages", "7"],
        "building::the_epc_is_too_small",
        || {
            let built = create(MISCSELECT_EXINFO).expect("CREATE");
            let added: Vec<_> = pages().iter().map(|page| add(&built, page)).collect();
            let good = added
                .iter()
                .take_while(|(count, result)| *count == PAGE && result.is_ok())
                .count();
            assert_eq!(good, 5);
            let (count, result) = added.into_iter().nth(5).expect("more pages");
            assert_eq!((count, errno(result)), (0, libc::ENOMEM));
        },
    );
}

#[test]
fn content_from_a_noexec_mount() {
    under_device(
        &["--noexec"],
        "building::content_from_a_noexec_mount",
        || {
            let built = create(MISCSELECT_EXINFO).expect("CREATE");
            assert_eq!(errno(add(&built, &pages()[0]).1), libc::EACCES);
        },
    );
}

#[test]
fn a_processor_with_sgx1_only() {
    under_device(&["--sgx1"], "building::a_processor_with_sgx1_only", || {
        assert_eq!(errno(create(MISCSELECT_EXINFO).map(|_| ())), libc::EIO);
        let built = initialise(0).expect("without EXINFO");
        built.map_all();
        assert_eq!(built.enter([command::ADD, 1, 2]).0.rdi, 3);
    });
}

#[test]
fn requests_that_fail_for_a_moment() {
    for errno in ["EAGAIN", "EBUSY", "EINTR"] {
        under_device(
            &["--transient", errno],
            "building::requests_that_fail_for_a_moment",
            || {
                assert_eq!(build().enter([command::ADD, 1, 2]).0.rdi, 3);
            },
        );
    }
}

#[test]
fn a_measurement_that_is_not_signed() {
    under_device(&[], "building::a_measurement_that_is_not_signed", || {
        let built = create(MISCSELECT_EXINFO).expect("CREATE");
        let all = pages();
        for page in &all {
            add(&built, page).1.expect("ADD_PAGES");
        }
        let mut other = all.clone();
        other[0].content[4095] ^= 1;
        let secs = secs(built.base, MISCSELECT_EXINFO);
        assert_eq!(errno(init(&built, &sign(&secs, &other))), libc::EPERM);
        init(&built, &sign(&secs, &all)).expect("INIT with the right one");
    });
}

#[test]
fn enclaves_are_as_many_as_open_files() {
    under_device(&[], "building::enclaves_are_as_many_as_open_files", || {
        let all: Vec<Built> = (0..3).map(|_| build()).collect();
        for built in &all {
            assert_eq!(built.enter([command::ADD, 1, 2]).0.rdi, 3);
        }
    });
}

#[test]
fn requests_at_the_same_time_are_ebusy() {
    under_device(&[], "building::requests_at_the_same_time_are_ebusy", || {
        let built = create(MISCSELECT_EXINFO).expect("CREATE");
        // EINIT takes a while to find out that the measurement is another one.
        let signature = sign(&secs(built.base, MISCSELECT_EXINFO), &pages());
        let attempt = || {
            let mut argument = signature.as_ptr() as u64;
            errno(ioctl(&built.device, request::INIT, &mut argument))
        };
        std::thread::scope(|scope| {
            let ask = || {
                (0..10_000)
                    .map(|_| attempt())
                    .find(|&errno| errno != libc::EPERM)
            };
            let other = scope.spawn(ask);
            let told = [ask(), other.join().expect("no panic")];
            assert!(told.contains(&Some(libc::EBUSY)), "{told:?}");
        });
    });
}
