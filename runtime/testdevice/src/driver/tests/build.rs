//! CREATE, ADD_PAGES, INIT, PROVISION.

use libc::{EACCES, EAGAIN, EBUSY, EFAULT, EINVAL, EIO, ENOMEM, ENOTTY, EPERM};
use mystikos_abi::sgx::{
    SecInfo, Secs, ATTRIBUTE_PROVISIONKEY, SECINFO_MODIFIED, SECINFO_PENDING, SECINFO_TRIM,
    SECINFO_W,
};

use super::{
    errno, one_page, refused, secs, Bench, ABSENT, CODE, CONTENT, NOEXEC, PAGE, RW, RX, SIZE, TCS,
    UNMAPPED, UNREADABLE,
};
use crate::uapi::{request, AddPages};

/// CREATE with an SECS that differs.
fn create(edit: impl FnOnce(&mut Secs)) -> i32 {
    let mut secs = secs();
    edit(&mut secs);
    errno(Bench::new().create(&secs))
}

/// ADD_PAGES of one page, with a request that differs: bytes added and error number.
fn add(edit: impl FnOnce(&mut AddPages)) -> (u64, i32) {
    let mut request = one_page();
    edit(&mut request);
    let (left, result) = Bench::created().add_pages(request, SecInfo::new(RX));
    (left.count, errno(result))
}

/// ADD_PAGES with a SECINFO.
fn add_with(secinfo: SecInfo) -> i32 {
    errno(Bench::created().add_pages(one_page(), secinfo).1)
}

#[test]
fn while_a_request_is_served_others_are_ebusy() {
    let mut bench = Bench::created();
    bench.encl.set_busy(true);
    assert_eq!(
        refused(bench.add(0, RX)),
        (EBUSY, "sgx_ioctl: one request at a time")
    );
    bench.encl.set_busy(false);
    bench.add(0, RX).unwrap();
}

#[test]
fn an_unknown_request_is_enotty() {
    for request in [0x4008_a404, 0xa404, 0xc030_a402, 0x5401] {
        assert_eq!(errno(Bench::new().ioctl(request, &0u64).1), ENOTTY);
    }
}

#[test]
fn create_happens_once() {
    assert_eq!(errno(Bench::created().create(&secs())), EINVAL);
}

#[test]
fn create_reads_its_argument_and_the_secs() {
    let mut bench = Bench::new();
    let result = bench
        .encl
        .ioctl(request::CREATE, 0, &mut bench.process, &mut bench.machine);
    assert_eq!(errno(result), EFAULT);
    assert_eq!(errno(Bench::new().ioctl(request::CREATE, &0u64).1), EFAULT);
}

#[test]
fn the_size_is_a_power_of_two() {
    for size in [0, SIZE - 1, SIZE + PAGE, 3 * PAGE] {
        assert_eq!(create(|secs| secs.size = size), EINVAL);
    }
}

#[test]
fn ecreate_has_the_last_word_on_the_secs() {
    assert_eq!(create(|secs| secs.size = PAGE), EIO);
    assert_eq!(create(|secs| secs.baseaddr += PAGE), EIO);
    assert_eq!(create(|secs| secs.ssaframesize = 0), EIO);
    assert_eq!(create(|secs| secs.miscselect = 2), EIO);
    assert_eq!(create(|secs| secs.attributes.flags |= 1 << 40), EIO);
    assert_eq!(create(|secs| secs.attributes.xfrm = 1), EIO);
    assert_eq!(create(|secs| secs.attributes.xfrm = 0x103), EIO);
    assert_eq!(create(|secs| secs.reserved4[3833] = 1), EIO);
}

#[test]
fn an_enclave_that_was_refused_can_be_created_after_all() {
    let mut bench = Bench::new();
    let wrong = Secs {
        ssaframesize: 0,
        ..secs()
    };
    assert_eq!(errno(bench.create(&wrong)), EIO);
    bench.create(&secs()).unwrap();
}

#[test]
fn an_enclave_takes_a_page_for_its_secs_and_one_for_versions() {
    let mut bench = Bench::new();
    bench.machine.free = 1;
    assert_eq!(errno(bench.create(&secs())), ENOMEM);
    let mut bench = Bench::new();
    bench.create(&secs()).unwrap();
    assert_eq!(bench.machine.free, 998);
}

#[test]
fn pages_are_added_between_create_and_init() {
    assert_eq!(errno(Bench::new().add(0, RX)), EINVAL);
    assert_eq!(errno(Bench::initialised().add(ABSENT, RX)), EINVAL);
}

#[test]
fn the_source_is_aligned() {
    assert_eq!(add(|request| request.src += 8), (0, EINVAL));
}

#[test]
fn the_range_is_of_whole_pages_in_the_enclave() {
    assert_eq!(add(|request| request.offset = 1), (0, EINVAL));
    assert_eq!(add(|request| request.length = 0), (0, EINVAL));
    assert_eq!(add(|request| request.length = PAGE + 1), (0, EINVAL));
    assert_eq!(add(|request| request.offset = SIZE), (0, EINVAL));
    assert_eq!(add(|request| request.length = SIZE + PAGE), (0, EINVAL));
    assert_eq!(
        add(|request| (request.offset, request.length) = (PAGE, 0u64.wrapping_sub(PAGE))),
        (0, EINVAL)
    );
    Bench::created().add(SIZE - PAGE, RX).unwrap();
}

#[test]
fn secinfo_is_read() {
    assert_eq!(add(|request| request.secinfo = 0), (0, EFAULT));
}

#[test]
fn a_page_is_regular_or_a_tcs() {
    for kind in [0, 3 << 8, SECINFO_TRIM, 5 << 8, 0xff << 8] {
        assert_eq!(add_with(SecInfo::new(kind)), EINVAL);
    }
}

#[test]
fn what_is_writable_is_readable() {
    assert_eq!(add_with(SecInfo::new(0x200 | SECINFO_W)), EINVAL);
}

#[test]
fn a_tcs_has_no_permissions() {
    for permissions in 1..8 {
        assert_eq!(add_with(SecInfo::new(TCS | permissions)), EINVAL);
    }
}

#[test]
fn secinfo_has_no_other_flags_and_reserved_fields_are_zero() {
    for flag in [
        SECINFO_PENDING,
        SECINFO_MODIFIED,
        0x20,
        0x40,
        1 << 16,
        1 << 63,
    ] {
        assert_eq!(add_with(SecInfo::new(RX | flag)), EINVAL);
    }
    let mut secinfo = SecInfo::new(RX);
    secinfo.reserved[6] = 1 << 63;
    assert_eq!(add_with(secinfo), EINVAL);
}

#[test]
fn a_page_is_added_once() {
    let mut bench = Bench::created();
    bench.add(PAGE, RX).unwrap();
    assert_eq!(errno(bench.add(PAGE, RW)), EBUSY);
}

#[test]
fn the_source_is_mapped_executable_memory_that_can_be_read() {
    assert_eq!(add(|request| request.src = UNMAPPED), (0, EFAULT));
    assert_eq!(add(|request| request.src = UNREADABLE), (0, EFAULT));
    assert_eq!(add(|request| request.src = NOEXEC), (0, EACCES));
}

#[test]
fn count_tells_how_far_a_request_got() {
    // Two good pages before the one that may not be executed.
    let (count, errno) =
        add(|request| (request.src, request.length) = (NOEXEC - 2 * PAGE, 4 * PAGE));
    assert_eq!((count, errno), (2 * PAGE, EACCES));

    let mut bench = Bench::created();
    bench.add(2 * PAGE, RX).unwrap();
    let request = AddPages {
        length: 5 * PAGE,
        ..one_page()
    };
    let (left, result) = bench.add_pages(request, SecInfo::new(RX));
    assert_eq!((left.count, refused(result).0), (2 * PAGE, EBUSY));
    assert_eq!(bench.encl.pages.len(), 3);
}

#[test]
fn a_request_can_get_less_done_than_asked_for() {
    let mut bench = Bench::created();
    bench.machine.troubles.pages_at_once = Some(2);
    let request = AddPages {
        length: 5 * PAGE,
        ..one_page()
    };
    let (left, result) = bench.add_pages(request, SecInfo::new(RX));
    assert_eq!((left.count, result), (2 * PAGE, Ok(())));
}

#[test]
fn when_the_epc_is_used_up_pages_are_enomem() {
    let mut bench = Bench::created();
    bench.machine.free = 2;
    let request = AddPages {
        length: 5 * PAGE,
        ..one_page()
    };
    let (left, result) = bench.add_pages(request, SecInfo::new(RX));
    assert_eq!((left.count, refused(result).0), (2 * PAGE, ENOMEM));
}

#[test]
fn a_page_that_failed_is_given_back() {
    let mut bench = Bench::created();
    let free = bench.machine.free;
    let request = AddPages {
        src: NOEXEC,
        ..one_page()
    };
    assert_eq!(errno(bench.add_pages(request, SecInfo::new(RX)).1), EACCES);
    assert_eq!(bench.machine.free, free);
    bench.add(0, RX).unwrap();
}

#[test]
fn eadd_has_the_last_word_on_a_tcs() {
    let mut bench = Bench::created();
    bench.process.put(CONTENT + 100, &[1]);
    assert_eq!(errno(bench.add(0, TCS)), EIO);
}

#[test]
fn content_is_measured_when_asked_for() {
    let measured = |flags, byte| {
        let mut bench = Bench::created();
        bench.content(&[byte]);
        bench
            .add_pages(
                AddPages {
                    flags,
                    ..one_page()
                },
                SecInfo::new(RX),
            )
            .1
            .unwrap();
        assert_eq!(bench.machine.counts.eextend, 16 * flags);
        bench.encl.enclave.unwrap().mrenclave()
    };
    assert_eq!(measured(0, 1), measured(0, 2));
    assert_ne!(measured(1, 1), measured(1, 2));
    assert_ne!(measured(0, 1), measured(1, 1));
}

#[test]
fn a_request_that_fails_for_a_moment_changes_nothing() {
    let mut bench = Bench::new();
    bench.machine.troubles.transient = Some(EAGAIN);
    assert_eq!(errno(bench.create(&secs())), EAGAIN);
    bench.create(&secs()).unwrap();
    assert_eq!(errno(bench.add(0, RX)), EAGAIN);
    bench.add(0, RX).unwrap();
}

#[test]
fn init_happens_once_and_after_create() {
    let signature = Bench::filled().signer().sign();
    assert_eq!(errno(Bench::new().init(&signature)), EINVAL);
    assert_eq!(errno(Bench::initialised().init(&signature)), EINVAL);
}

#[test]
fn init_reads_the_signature() {
    assert_eq!(errno(Bench::filled().ioctl(request::INIT, &0u64).1), EFAULT);
}

#[test]
fn the_vendor_is_none_or_intel() {
    let mut bench = Bench::filled();
    let mut signer = bench.signer();
    signer.vendor = 1;
    assert_eq!(errno(bench.init(&signer.sign())), EINVAL);
    signer.vendor = 0x8086;
    bench.init(&signer.sign()).unwrap();
}

#[test]
fn what_the_signature_demands_the_processor_has() {
    let mut bench = Bench::filled();
    let mut signer = bench.signer();
    signer.attributes.flags |= 1 << 40;
    assert_eq!(errno(bench.init(&signer.sign())), EINVAL);
    // What the mask leaves free is not demanded.
    signer.attributemask.flags &= !(1 << 40);
    let mut other = bench.signer();
    other.miscselect |= 2;
    assert_eq!(errno(bench.init(&other.sign())), EINVAL);
    let mut other = bench.signer();
    other.attributes.xfrm |= 0x100;
    assert_eq!(errno(bench.init(&other.sign())), EINVAL);
    bench.init(&signer.sign()).unwrap();
}

#[test]
fn einit_names_its_error_in_the_log() {
    let mut bench = Bench::filled();
    let mut signer = bench.signer();
    signer.enclavehash[0] ^= 1;
    assert_eq!(
        refused(bench.init(&signer.sign())),
        (EPERM, "SGX_INVALID_MEASUREMENT")
    );
    let mut signature = bench.signer().sign();
    signature[1040] ^= 1;
    assert_eq!(
        refused(bench.init(&signature)),
        (EPERM, "SGX_INVALID_SIGNATURE")
    );
}

#[test]
fn without_launch_control_the_signer_is_refused() {
    let mut bench = Bench::new();
    bench.machine.processor.lepubkeyhash = Some([0; 32]);
    bench.create(&secs()).unwrap();
    bench.add(CODE, RX).unwrap();
    let signature = bench.signer().sign();
    assert_eq!(
        refused(bench.init(&signature)),
        (EPERM, "SGX_INVALID_EINITTOKEN")
    );
}

#[test]
fn the_provisioning_key_needs_a_descriptor() {
    let mut bench = Bench::new();
    let mut secs = secs();
    secs.attributes.flags |= ATTRIBUTE_PROVISIONKEY;
    bench.create(&secs).unwrap();
    let signature = bench.signer().sign();
    assert_eq!(errno(bench.init(&signature)), EACCES);
    assert_eq!(errno(bench.ioctl(request::PROVISION, &8u64).1), EINVAL);
    bench.ioctl(request::PROVISION, &9u64).1.unwrap();
    bench.init(&signature).unwrap();
}

#[test]
fn when_the_epc_is_lost_everything_is_eio() {
    let mut bench = Bench::filled();
    let signature = bench.signer().sign();
    bench.machine.lost = true;
    assert_eq!(errno(bench.add(ABSENT, RX)), EIO);
    assert_eq!(errno(bench.init(&signature)), EIO);
    let mut bench = Bench::new();
    bench.machine.lost = true;
    assert_eq!(errno(bench.create(&secs())), EIO);
}
