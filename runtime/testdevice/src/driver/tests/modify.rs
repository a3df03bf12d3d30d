//! RESTRICT_PERMISSIONS, MODIFY_TYPES, REMOVE_PAGES.

use libc::{EFAULT, EINVAL, ENODEV, EPERM};
use mystikos_abi::sgx::{status, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_R, SECINFO_W};
use mystikos_sgx::Access;

use super::{errno, Bench, ABSENT, BASE, CODE, DATA, PAGE, SIZE, THREAD};
use crate::driver::mapping::Resolution;
use crate::driver::page_type::{REG, TCS, TRIM};
use crate::protection::Prot;
use crate::refusal::Result;
use crate::uapi::{request, ModifyTypes, RemovePages, RestrictPermissions};

fn restrict(offset: u64, permissions: u64) -> RestrictPermissions {
    RestrictPermissions {
        offset,
        length: PAGE,
        permissions,
        ..RestrictPermissions::default()
    }
}

fn modify(offset: u64, page_type: u64) -> ModifyTypes {
    ModifyTypes {
        offset,
        length: PAGE,
        page_type,
        ..ModifyTypes::default()
    }
}

fn remove(offset: u64) -> RemovePages {
    RemovePages {
        offset,
        length: PAGE,
        count: 0,
    }
}

impl Bench {
    fn restrict(&mut self, request: &RestrictPermissions) -> (RestrictPermissions, Result) {
        self.ioctl(request::RESTRICT_PERMISSIONS, request)
    }

    fn modify(&mut self, request: &ModifyTypes) -> (ModifyTypes, Result) {
        self.ioctl(request::MODIFY_TYPES, request)
    }

    fn remove(&mut self, request: &RemovePages) -> (RemovePages, Result) {
        self.ioctl(request::REMOVE_PAGES, request)
    }

    fn flags(&self, offset: u64) -> Option<u64> {
        self.encl
            .enclave
            .as_ref()
            .unwrap()
            .secinfo_flags(BASE + offset)
    }

    /// Touches a page that is mapped for everything.
    fn touch(&mut self, offset: u64) -> Resolution {
        self.encl.fault(
            BASE + offset,
            Access::Read,
            Some(Prot::all()),
            &mut self.machine,
        )
    }
}

#[test]
fn they_need_a_processor_with_sgx2() {
    let mut bench = Bench::initialised();
    bench.machine.sgx2 = false;
    assert_eq!(errno(bench.restrict(&restrict(DATA, SECINFO_R)).1), ENODEV);
    assert_eq!(errno(bench.modify(&modify(DATA, TRIM)).1), ENODEV);
    assert_eq!(errno(bench.remove(&remove(DATA)).1), ENODEV);
}

#[test]
fn they_come_after_init() {
    let mut bench = Bench::filled();
    assert_eq!(errno(bench.restrict(&restrict(DATA, SECINFO_R)).1), EINVAL);
    assert_eq!(errno(bench.modify(&modify(DATA, TRIM)).1), EINVAL);
    assert_eq!(errno(bench.remove(&remove(DATA)).1), EINVAL);
}

#[test]
fn they_read_and_write_their_argument() {
    let mut bench = Bench::initialised();
    for request in [
        request::RESTRICT_PERMISSIONS,
        request::MODIFY_TYPES,
        request::REMOVE_PAGES,
    ] {
        let result = bench
            .encl
            .ioctl(request, 0, &mut bench.process, &mut bench.machine);
        assert_eq!(errno(result), EFAULT);
    }
}

#[test]
fn ranges_are_whole_pages_of_the_enclave() {
    let mut bench = Bench::initialised();
    for (offset, length) in [
        (1, PAGE),
        (0, 0),
        (0, PAGE - 1),
        (SIZE, PAGE),
        (PAGE, SIZE),
        (PAGE, !0xfff),
    ] {
        let request = RestrictPermissions {
            offset,
            length,
            permissions: SECINFO_R,
            ..Default::default()
        };
        assert_eq!(errno(bench.restrict(&request).1), EINVAL);
        let request = ModifyTypes {
            offset,
            length,
            page_type: TRIM,
            ..Default::default()
        };
        assert_eq!(errno(bench.modify(&request).1), EINVAL);
        assert_eq!(
            errno(
                bench
                    .remove(&RemovePages {
                        offset,
                        length,
                        count: 0
                    })
                    .1
            ),
            EINVAL
        );
    }
}

#[test]
fn result_and_count_are_zero_before() {
    let mut bench = Bench::initialised();
    for (result, count) in [(1, 0), (0, 1)] {
        let request = RestrictPermissions {
            result,
            count,
            ..restrict(DATA, SECINFO_R)
        };
        assert_eq!(errno(bench.restrict(&request).1), EINVAL);
        let request = ModifyTypes {
            result,
            count,
            ..modify(DATA, TRIM)
        };
        assert_eq!(errno(bench.modify(&request).1), EINVAL);
    }
    assert_eq!(
        errno(
            bench
                .remove(&RemovePages {
                    count: 1,
                    ..remove(DATA)
                })
                .1
        ),
        EINVAL
    );
}

#[test]
fn permissions_are_r_w_and_x_and_w_needs_r() {
    let mut bench = Bench::initialised();
    for permissions in [8, 1 << 63, SECINFO_W, SECINFO_W | 4] {
        assert_eq!(
            errno(bench.restrict(&restrict(DATA, permissions)).1),
            EINVAL
        );
    }
}

#[test]
fn restricting_takes_away_and_never_gives() {
    let mut bench = Bench::initialised();
    let (left, result) = bench.restrict(&restrict(DATA, SECINFO_R));
    assert_eq!((left.count, left.result, result), (PAGE, 0, Ok(())));
    assert_eq!(bench.flags(DATA).unwrap() & 7, SECINFO_R);
    bench.restrict(&restrict(DATA, 7)).1.unwrap();
    assert_eq!(bench.flags(DATA).unwrap() & 7, SECINFO_R);
}

#[test]
fn only_regular_pages_are_restricted() {
    let mut bench = Bench::initialised();
    assert_eq!(
        errno(bench.restrict(&restrict(THREAD, SECINFO_R)).1),
        EINVAL
    );
}

#[test]
fn an_absent_page_stops_a_request() {
    let mut bench = Bench::initialised();
    let request = RestrictPermissions {
        length: 10 * PAGE,
        ..restrict(DATA, SECINFO_R)
    };
    let (left, result) = bench.restrict(&request);
    assert_eq!((left.count, errno(result)), (2 * PAGE, EFAULT));
    assert_eq!(errno(bench.modify(&modify(ABSENT, TRIM)).1), EFAULT);
    assert_eq!(errno(bench.remove(&remove(ABSENT)).1), EFAULT);
}

#[test]
fn a_page_that_waits_for_eaccept_cannot_be_modified() {
    let mut bench = Bench::initialised();
    assert_eq!(bench.touch(ABSENT), Resolution::Again);
    assert_eq!(
        bench.flags(ABSENT).unwrap() & SECINFO_PENDING,
        SECINFO_PENDING
    );
    let (left, result) = bench.restrict(&restrict(ABSENT, SECINFO_R));
    assert_eq!((left.count, errno(result)), (0, EFAULT));
    assert_eq!(left.result, u64::from(status::PAGE_NOT_MODIFIABLE));
    let (left, result) = bench.modify(&modify(ABSENT, TRIM));
    assert_eq!(
        (errno(result), left.result),
        (EFAULT, u64::from(status::PAGE_NOT_MODIFIABLE))
    );
}

#[test]
fn types_change_to_tcs_and_trim() {
    let mut bench = Bench::initialised();
    for kind in [0, REG, 3, 5, 0x100] {
        assert_eq!(errno(bench.modify(&modify(DATA, kind)).1), EINVAL);
    }
    bench.modify(&modify(DATA, TCS)).1.unwrap();
    bench.modify(&modify(DATA + PAGE, TRIM)).1.unwrap();
    assert_eq!(bench.flags(DATA), Some(TCS << 8 | SECINFO_MODIFIED));
    assert_eq!(bench.flags(DATA + PAGE), Some(TRIM << 8 | SECINFO_MODIFIED));
}

#[test]
fn a_tcs_can_only_be_trimmed() {
    let mut bench = Bench::initialised();
    assert_eq!(errno(bench.modify(&modify(THREAD, TCS)).1), EINVAL);
    bench.modify(&modify(THREAD, TRIM)).1.unwrap();
}

#[test]
fn what_becomes_a_tcs_was_readable_and_writable() {
    assert_eq!(
        errno(Bench::initialised().modify(&modify(CODE, TCS)).1),
        EPERM
    );
}

#[test]
fn what_became_a_tcs_may_be_mapped_as_one() {
    let mut bench = Bench::initialised();
    assert_eq!(bench.touch(ABSENT), Resolution::Again);
    let range = BASE + DATA..BASE + DATA + PAGE;
    bench.modify(&modify(DATA, TCS)).1.unwrap();
    bench
        .encl
        .may_map(&range, Prot::READ | Prot::WRITE, false)
        .unwrap();
    assert!(bench.encl.may_map(&range, Prot::EXEC, false).is_err());
}

#[test]
fn only_a_trimmed_page_that_was_accepted_is_removed() {
    let mut bench = Bench::initialised();
    assert_eq!(errno(bench.remove(&remove(DATA)).1), EPERM);
    bench.modify(&modify(DATA, TRIM)).1.unwrap();
    let (left, result) = bench.remove(&remove(DATA));
    assert_eq!((left.count, errno(result)), (0, EPERM));
    assert!(bench.flags(DATA).is_some());
}
