//! mmap, mprotect and page faults.

use std::ops::Range;

use libc::{EACCES, EINVAL, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED};
use mystikos_sgx::Access;

use super::{errno, Bench, ABSENT, BASE, CODE, DATA, PAGE, SIZE, THREAD};
use crate::driver::mapping::{Mode, Resolution};
use crate::protection::Prot;
use crate::refusal::Result;

const OPEN: Mode = Mode {
    read: true,
    write: true,
};
const RW: Prot = Prot::READ.union(Prot::WRITE);
const RX: Prot = Prot::READ.union(Prot::EXEC);

fn pages(offset: u64, count: u64) -> Range<u64> {
    BASE + offset..BASE + offset + count * PAGE
}

fn may_map(bench: &Bench, offset: u64, count: u64, prot: Prot) -> Result {
    bench.encl.may_map(&pages(offset, count), prot, false)
}

#[test]
fn mappings_are_shared() {
    let bench = Bench::initialised();
    for flags in [MAP_PRIVATE, MAP_PRIVATE | MAP_FIXED] {
        assert_eq!(errno(bench.encl.check_mmap(RW, flags, OPEN)), EINVAL);
    }
    for flags in [
        MAP_SHARED,
        MAP_SHARED | MAP_FIXED,
        MAP_SHARED | MAP_ANONYMOUS,
        libc::MAP_SHARED_VALIDATE,
    ] {
        bench.encl.check_mmap(RW, flags, OPEN).unwrap();
    }
}

#[test]
fn the_file_is_open_for_what_the_mapping_does() {
    let bench = Bench::initialised();
    let (read, write) = (
        Mode {
            write: false,
            ..OPEN
        },
        Mode {
            read: false,
            ..OPEN
        },
    );
    bench.encl.check_mmap(RX, MAP_SHARED, read).unwrap();
    assert_eq!(errno(bench.encl.check_mmap(RW, MAP_SHARED, read)), EACCES);
    assert_eq!(errno(bench.encl.check_mmap(RW, MAP_SHARED, write)), EACCES);
}

#[test]
fn no_page_gets_more_rights_than_it_was_added_with() {
    let bench = Bench::initialised();
    may_map(&bench, CODE, 1, RX).unwrap();
    may_map(&bench, DATA, 2, RW).unwrap();
    may_map(&bench, CODE, 4, Prot::READ).unwrap();
    assert_eq!(errno(may_map(&bench, CODE, 1, RW)), EACCES);
    assert_eq!(errno(may_map(&bench, DATA, 1, RX)), EACCES);
    // One page of many is enough.
    assert_eq!(errno(may_map(&bench, CODE, 4, RW)), EACCES);
}

#[test]
fn a_tcs_is_mapped_for_the_processor() {
    let bench = Bench::initialised();
    may_map(&bench, THREAD, 1, RW).unwrap();
    assert_eq!(errno(may_map(&bench, THREAD, 1, RX)), EACCES);
}

#[test]
fn absent_pages_set_no_limit() {
    may_map(&Bench::initialised(), ABSENT, 4, Prot::all()).unwrap();
}

#[test]
fn after_init_mappings_lie_in_elrange() {
    for range in [
        BASE - PAGE..BASE + PAGE,
        BASE + SIZE - PAGE..BASE + SIZE + PAGE,
        0..PAGE,
    ] {
        Bench::filled()
            .encl
            .may_map(&range, Prot::empty(), false)
            .unwrap();
        let refused = Bench::initialised()
            .encl
            .may_map(&range, Prot::empty(), false);
        assert_eq!(errno(refused), EACCES);
    }
}

#[test]
fn read_implies_exec_is_refused() {
    let bench = Bench::initialised();
    assert_eq!(errno(bench.encl.may_map(&pages(DATA, 1), RW, true)), EACCES);
}

#[test]
fn before_create_anything_may_be_mapped() {
    Bench::new()
        .encl
        .may_map(&(0..PAGE), Prot::all(), false)
        .unwrap();
}

#[test]
fn code_reaches_what_mapping_and_epcm_both_grant() {
    let bench = Bench::initialised();
    let reachable = |prot| -> Vec<_> {
        let range = pages(0, 16);
        bench
            .encl
            .reachable(&range, prot, &bench.machine)
            .map(|(page, prot)| (page - BASE, prot))
            .collect()
    };
    assert_eq!(
        reachable(Prot::READ),
        [
            (CODE, Prot::READ),
            (THREAD, Prot::empty()),
            (DATA, Prot::READ),
            (DATA + PAGE, Prot::READ)
        ]
    );
    // A page that the mapping gives more rights than it was added with is out of reach.
    assert_eq!(
        reachable(RW),
        [(THREAD, Prot::empty()), (DATA, RW), (DATA + PAGE, RW)]
    );
}

#[test]
fn the_processor_reaches_a_thread_only_through_a_mapping() {
    let bench = Bench::initialised();
    for (mapped, reached) in [
        (None, false),
        (Some(Prot::READ), false),
        (Some(RW), true),
        (Some(Prot::all()), false),
    ] {
        assert_eq!(bench.encl.is_mapped(BASE + THREAD, mapped), reached);
    }
    assert!(!bench.encl.is_mapped(BASE + ABSENT, Some(RW)));
}

fn fault(bench: &mut Bench, offset: u64, access: Access, mapped: Option<Prot>) -> Resolution {
    bench
        .encl
        .fault(BASE + offset, access, mapped, &mut bench.machine)
}

#[test]
fn an_access_that_the_mapping_forbids_is_a_plain_page_fault() {
    let mut bench = Bench::initialised();
    assert_eq!(
        fault(&mut bench, DATA, Access::Read, None),
        Resolution::Segv(4)
    );
    assert_eq!(
        fault(&mut bench, DATA, Access::Write, Some(Prot::READ)),
        Resolution::Segv(6)
    );
    assert_eq!(
        fault(&mut bench, DATA, Access::Execute, Some(RW)),
        Resolution::Segv(0x14)
    );
    assert_eq!(
        fault(&mut bench, DATA, Access::Read, Some(Prot::empty())),
        Resolution::Segv(4)
    );
}

#[test]
fn an_access_that_the_epcm_forbids_is_an_sgx_page_fault() {
    let mut bench = Bench::initialised();
    assert_eq!(
        fault(&mut bench, THREAD, Access::Read, Some(RW)),
        Resolution::Segv(0x8005)
    );
    assert_eq!(
        fault(&mut bench, THREAD, Access::Write, Some(RW)),
        Resolution::Segv(0x8007)
    );
}

#[test]
fn a_page_with_a_mapping_of_more_rights_is_a_bus_error() {
    let mut bench = Bench::initialised();
    assert_eq!(
        fault(&mut bench, CODE, Access::Read, Some(Prot::all())),
        Resolution::Bus(4)
    );
}

#[test]
fn an_absent_page_comes_into_being_once_the_enclave_runs() {
    let mut bench = Bench::filled();
    assert_eq!(
        fault(&mut bench, ABSENT, Access::Read, Some(RW)),
        Resolution::Bus(4)
    );
    let mut bench = Bench::initialised();
    let free = bench.machine.free;
    assert_eq!(
        fault(&mut bench, ABSENT, Access::Write, Some(RW)),
        Resolution::Again
    );
    assert_eq!(bench.machine.free, free - 1);
    // It waits for EACCEPT.
    assert_eq!(
        fault(&mut bench, ABSENT, Access::Read, Some(RW)),
        Resolution::Segv(0x8005)
    );
}

#[test]
fn without_sgx2_or_free_pages_an_absent_page_is_a_bus_error() {
    let mut bench = Bench::initialised();
    bench.machine.sgx2 = false;
    assert_eq!(
        fault(&mut bench, ABSENT, Access::Read, Some(RW)),
        Resolution::Bus(4)
    );
    bench.machine.sgx2 = true;
    bench.machine.free = 0;
    assert_eq!(
        fault(&mut bench, ABSENT, Access::Read, Some(RW)),
        Resolution::Bus(4)
    );
}

#[test]
fn a_lost_page_is_an_sgx_page_fault() {
    let mut bench = Bench::initialised();
    bench.machine.lost = true;
    assert_eq!(
        fault(&mut bench, DATA, Access::Read, Some(RW)),
        Resolution::Segv(0x8005)
    );
}
