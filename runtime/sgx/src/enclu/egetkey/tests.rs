//! Tests of EGETKEY: what each key depends on, what it does not, and who gets it.

use mystikos_abi::sgx::{
    keyname, keypolicy, KeyRequest, ATTRIBUTE_DEBUG, ATTRIBUTE_EINITTOKENKEY, ATTRIBUTE_KSS,
    ATTRIBUTE_PROVISIONKEY, SECINFO_R, SECINFO_REG,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::cpu::rflags;
use crate::testing::{
    absent_fault, peek, poke, Memory, Operand, Page, Plan, Signer, Thread, ABSENT, DATA,
};
use crate::{Enclave, Fault, Leaf, Status, SIMULATED_CPUSVN};

const KEYREQUEST: u64 = DATA;
const KEY: u64 = DATA + 0x210;
const UNTOUCHED: [u8; 16] = [0x5a; 16];

const NAMES: [u16; 5] = [
    keyname::EINITTOKEN,
    keyname::PROVISION,
    keyname::PROVISION_SEAL,
    keyname::REPORT,
    keyname::SEAL,
];
/// The keys that a KEYREQUEST's SVNs and masks go into.
const MASKED: [u16; 4] = [
    keyname::EINITTOKEN,
    keyname::PROVISION,
    keyname::PROVISION_SEAL,
    keyname::SEAL,
];

/// An enclave that may have every key.
fn plan() -> Plan {
    let mut plan = Plan::with_kss();
    plan.secs.attributes.flags |= ATTRIBUTE_PROVISIONKEY | ATTRIBUTE_EINITTOKENKEY;
    plan
}

fn sign(signer: &mut Signer) {
    signer.isvfamilyid = [0xfa; 16];
    signer.isvextprodid = [0xe8; 16];
}

/// A request for the current versions that leaves no attribute out.
fn request(keyname: u16) -> KeyRequest {
    KeyRequest {
        keyname,
        isvsvn: 4,
        cpusvn: SIMULATED_CPUSVN,
        attributemask: mystikos_abi::sgx::Attributes {
            flags: u64::MAX,
            xfrm: u64::MAX,
        },
        miscmask: u32::MAX,
        ..KeyRequest::new_zeroed()
    }
}

fn seal(keypolicy: u16) -> KeyRequest {
    KeyRequest {
        keypolicy,
        ..request(keyname::SEAL)
    }
}

fn ask(enclave: &mut Enclave<Memory>, request: &KeyRequest) -> Result<[u8; 16], u64> {
    let mut thread = Thread::inside(enclave);
    poke(enclave, KEYREQUEST, request.as_bytes());
    poke(enclave, KEY, &UNTOUCHED);
    thread.regs.rflags |= rflags::STATUS;
    let asked = thread.call(enclave, Leaf::Egetkey, [KEYREQUEST, KEY, 0]);
    assert_eq!(asked, Ok(()));
    let (error, zf) = (thread.regs.rax, thread.regs.rflags & rflags::ZF != 0);
    assert_eq!(thread.regs.rflags & rflags::STATUS, 0);
    assert_eq!(zf, error != 0);
    let key = peek(enclave, KEY);
    thread.leaf(enclave, Leaf::Eexit).expect("EEXIT");
    assert_eq!(key == UNTOUCHED, error != 0);
    if error == 0 {
        Ok(key)
    } else {
        Err(error)
    }
}

/// The key that an enclave gets which differs from the usual one.
fn key_of(plan: &Plan, edit: impl FnOnce(&mut Signer), request: &KeyRequest) -> [u8; 16] {
    let mut enclave = plan.build_signed(|signer| {
        sign(signer);
        edit(signer);
    });
    ask(&mut enclave, request).expect("a key")
}

fn usual(request: &KeyRequest) -> [u8; 16] {
    key_of(&plan(), |_| {}, request)
}

/// Whether a key is another one for another signed identity.
fn depends_on(request: &KeyRequest, edit: impl FnOnce(&mut Signer)) -> bool {
    usual(request) != key_of(&plan(), edit, request)
}

/// Whether a key is another one for an enclave that was made otherwise.
fn depends_on_making(request: &KeyRequest, edit: impl FnOnce(&mut Plan)) -> bool {
    let mut other = plan();
    edit(&mut other);
    usual(request) != key_of(&other, |_| {}, request)
}

/// Whether a key is another one for another request.
fn depends_on_asking(request: &KeyRequest, edit: impl FnOnce(&mut KeyRequest)) -> bool {
    let mut other = *request;
    edit(&mut other);
    usual(request) != usual(&other)
}

fn another_measurement(plan: &mut Plan) {
    let page = Page::new(ABSENT, SECINFO_REG | SECINFO_R, &[]);
    plan.pages.push(page);
}

fn refused(request: &KeyRequest, status: Status) {
    let mut enclave = plan().build_signed(sign);
    let expected = Err(u64::from(status.code()));
    assert_eq!(ask(&mut enclave, request), expected);
}

#[test]
fn keys_of_different_names_differ_and_are_the_same_again() {
    let mut keys = NAMES.map(|name| usual(&request(name)));
    assert_eq!(keys, NAMES.map(|name| usual(&request(name))));
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_key_that_others_computed_before_stays_the_same() {
    // Data that was sealed in the simulator is to be read again: this key must not change. It was computed with Python's
    // struct and cryptography.
    let known = 0x77cf_0153_5586_e8f9_362c_f674_58ca_8983_u128;
    let key = usual(&seal(keypolicy::MRSIGNER));
    assert_eq!(key, known.to_be_bytes());
}

#[test]
fn a_seal_key_is_bound_to_mrenclave_by_policy() {
    assert!(depends_on_making(
        &seal(keypolicy::MRENCLAVE),
        another_measurement
    ));
    assert!(!depends_on_making(
        &seal(keypolicy::MRSIGNER),
        another_measurement
    ));
    assert!(!depends_on_making(&seal(0), another_measurement));
}

#[test]
fn a_seal_key_is_bound_to_mrsigner_by_policy() {
    // There is only one signing key here, so the SECS is given another signer.
    let other_signer = |policy| {
        let mut enclave = plan().build_signed(sign);
        enclave.secs.mrsigner = [9; 32];
        ask(&mut enclave, &seal(policy)).expect("a key") != usual(&seal(policy))
    };
    assert!(other_signer(keypolicy::MRSIGNER));
    assert!(!other_signer(keypolicy::MRENCLAVE));
}

#[test]
fn every_other_key_but_the_report_key_is_bound_to_mrsigner_and_not_to_mrenclave() {
    for name in [
        keyname::EINITTOKEN,
        keyname::PROVISION,
        keyname::PROVISION_SEAL,
    ] {
        let mut enclave = plan().build_signed(sign);
        enclave.secs.mrsigner = [9; 32];
        let key = ask(&mut enclave, &request(name)).expect("a key");
        assert_ne!(key, usual(&request(name)));
        assert!(!depends_on_making(&request(name), another_measurement));
    }
    let mut enclave = plan().build_signed(sign);
    enclave.secs.mrsigner = [9; 32];
    let key = ask(&mut enclave, &request(keyname::REPORT)).expect("a key");
    assert_eq!(key, usual(&request(keyname::REPORT)));
    assert!(depends_on_making(
        &request(keyname::REPORT),
        another_measurement
    ));
}

#[test]
fn keys_are_bound_to_the_product_unless_policy_says_otherwise() {
    let product = |signer: &mut Signer| signer.isvprodid = 77;
    for name in MASKED {
        assert!(depends_on(&request(name), product), "key {name}");
    }
    assert!(!depends_on(&request(keyname::REPORT), product));
    for name in [keyname::SEAL, keyname::PROVISION_SEAL] {
        let request = KeyRequest {
            keypolicy: keypolicy::NOISVPRODID,
            ..request(name)
        };
        assert!(!depends_on(&request, product));
    }
    // The others do not look at the policy.
    for name in [keyname::EINITTOKEN, keyname::PROVISION] {
        let request = KeyRequest {
            keypolicy: keypolicy::NOISVPRODID,
            ..request(name)
        };
        assert!(depends_on(&request, product));
    }
}

#[test]
fn family_and_extended_product_are_bound_by_policy() {
    let family = |signer: &mut Signer| signer.isvfamilyid = [1; 16];
    let product = |signer: &mut Signer| signer.isvextprodid = [1; 16];
    for name in [keyname::SEAL, keyname::PROVISION_SEAL] {
        let with = |keypolicy| KeyRequest {
            keypolicy,
            ..request(name)
        };
        assert!(depends_on(&with(keypolicy::ISVFAMILYID), family));
        assert!(!depends_on(&with(keypolicy::ISVEXTPRODID), family));
        assert!(depends_on(&with(keypolicy::ISVEXTPRODID), product));
        assert!(!depends_on(&with(keypolicy::ISVFAMILYID), product));
    }
}

#[test]
fn the_configuration_is_bound_by_policy() {
    let configuration = |plan: &mut Plan| plan.secs.configid[0] ^= 1;
    for name in [keyname::SEAL, keyname::PROVISION_SEAL] {
        let bound = KeyRequest {
            keypolicy: keypolicy::CONFIGID,
            ..request(name)
        };
        assert!(depends_on_making(&bound, configuration));
        assert!(depends_on_asking(&bound, |request| request.configsvn = 1));
        assert!(!depends_on_making(&request(name), configuration));
        assert!(!depends_on_asking(&request(name), |request| request
            .configsvn =
            1));
    }
    assert!(depends_on_making(&request(keyname::REPORT), configuration));
    assert!(depends_on_making(&request(keyname::REPORT), |plan| plan
        .secs
        .configsvn =
        4));
}

#[test]
fn the_policy_itself_is_part_of_the_sealing_keys() {
    for name in [keyname::SEAL, keyname::PROVISION_SEAL] {
        // No field differs: MRSIGNER is in a provisioning seal key in any case, and zero with this SECS.
        let key = |keypolicy| {
            let mut enclave = plan().build_signed(sign);
            enclave.secs.mrsigner = [0; 32];
            let request = KeyRequest {
                keypolicy,
                ..request(name)
            };
            ask(&mut enclave, &request).expect("a key")
        };
        assert_ne!(key(0), key(keypolicy::MRSIGNER));
    }
}

#[test]
fn older_versions_have_other_keys_and_later_ones_none() {
    for name in MASKED {
        assert!(depends_on_asking(&request(name), |request| request.isvsvn = 3));
        assert!(depends_on_asking(&request(name), |request| request
            .cpusvn[0] -=
            1));
        let later = KeyRequest {
            isvsvn: 5,
            ..request(name)
        };
        refused(&later, Status::InvalidIsvSvn);
        for at in [0, 15] {
            let mut later = request(name);
            later.cpusvn[at] += 1;
            refused(&later, Status::InvalidCpuSvn);
        }
    }
}

#[test]
fn a_later_enclave_gets_the_key_of_an_earlier_one() {
    let later = key_of(&plan(), |signer| signer.isvsvn = 9, &request(keyname::SEAL));
    assert_eq!(later, usual(&request(keyname::SEAL)));
}

#[test]
fn the_report_key_is_for_the_current_versions_whatever_is_asked() {
    let report = request(keyname::REPORT);
    assert!(!depends_on_asking(&report, |request| request.isvsvn = 9));
    assert!(!depends_on_asking(&report, |request| request.cpusvn = [0xff; 16]));
    assert!(!depends_on_asking(&report, |request| request
        .attributemask =
        Default::default()));
    assert!(!depends_on_asking(&report, |request| request.miscmask = 0));
    assert!(depends_on_making(&report, |plan| plan.processor.cpusvn[0] -= 1));
}

#[test]
fn a_later_configuration_than_the_enclaves_has_no_sealing_keys() {
    for name in MASKED {
        let later = KeyRequest {
            configsvn: 6,
            ..request(name)
        };
        if matches!(name, keyname::SEAL | keyname::PROVISION_SEAL) {
            refused(&later, Status::InvalidIsvSvn);
        } else {
            // It goes into none of these.
            assert_eq!(usual(&later), usual(&request(name)));
        }
    }
}

#[test]
fn keyid_makes_other_keys_of_those_that_wear_out() {
    let id = |request: &mut KeyRequest| request.keyid[31] = 1;
    for name in [keyname::EINITTOKEN, keyname::REPORT, keyname::SEAL] {
        assert!(depends_on_asking(&request(name), id));
    }
    for name in [keyname::PROVISION, keyname::PROVISION_SEAL] {
        assert!(!depends_on_asking(&request(name), id));
    }
}

#[test]
fn the_owners_epoch_is_not_in_the_provisioning_keys() {
    let epoch = |plan: &mut Plan| plan.processor.owner_epoch = [1; 16];
    for name in [keyname::EINITTOKEN, keyname::REPORT, keyname::SEAL] {
        assert!(depends_on_making(&request(name), epoch));
    }
    for name in [keyname::PROVISION, keyname::PROVISION_SEAL] {
        assert!(!depends_on_making(&request(name), epoch));
    }
}

#[test]
fn attributes_outside_the_mask_do_not_count_but_for_init_and_debug() {
    for name in MASKED {
        let mut masked = request(name);
        masked.attributemask = Default::default();
        masked.miscmask = 0;
        let release = |plan: &mut Plan| plan.secs.attributes.flags &= !ATTRIBUTE_DEBUG;
        assert!(depends_on_making(&masked, release), "key {name}");
        assert!(depends_on_making(&request(name), release));
        let narrow = |plan: &mut Plan| plan.secs.attributes.xfrm = 3;
        assert!(!depends_on_making(&masked, narrow));
        assert!(depends_on_making(&request(name), narrow));
        let misc = |plan: &mut Plan| plan.secs.miscselect = 0;
        assert!(!depends_on_making(&masked, misc));
        assert!(depends_on_making(&request(name), misc));
    }
    let full = request(keyname::REPORT);
    assert!(depends_on_making(&full, |plan| plan.secs.attributes.xfrm = 3));
    assert!(depends_on_making(&full, |plan| plan.secs.miscselect = 0));
}

#[test]
fn the_masks_themselves_are_part_of_keys() {
    // A bit that no attribute has.
    let attribute = |request: &mut KeyRequest| request.attributemask.flags = !(1 << 62);
    let misc = |request: &mut KeyRequest| request.miscmask = !(1 << 30);
    for name in [keyname::PROVISION, keyname::PROVISION_SEAL, keyname::SEAL] {
        assert!(depends_on_asking(&request(name), attribute));
        assert!(depends_on_asking(&request(name), misc));
    }
    assert!(!depends_on_asking(&request(keyname::EINITTOKEN), attribute));
    assert!(!depends_on_asking(&request(keyname::EINITTOKEN), misc));
}

#[test]
fn provisioning_keys_need_their_attribute() {
    let mut without = plan();
    without.secs.attributes.flags &= !ATTRIBUTE_PROVISIONKEY;
    for name in [keyname::PROVISION, keyname::PROVISION_SEAL] {
        let mut enclave = without.build_signed(sign);
        assert_eq!(ask(&mut enclave, &request(name)), Err(2));
    }
}

#[test]
fn the_einit_token_key_needs_its_attribute() {
    let mut without = plan();
    without.secs.attributes.flags &= !ATTRIBUTE_EINITTOKENKEY;
    let mut enclave = without.build_signed(sign);
    let asked = ask(&mut enclave, &request(keyname::EINITTOKEN));
    assert_eq!(asked, Err(2));
}

#[test]
fn a_name_that_does_not_exist_has_no_key() {
    for name in [5, 0xffff] {
        refused(&request(name), Status::InvalidKeyName);
    }
}

fn gp(plan: &Plan, bytes: &[u8], at: u64) {
    let mut enclave = plan.build();
    let mut thread = Thread::inside(&mut enclave);
    poke(
        &mut enclave,
        KEYREQUEST,
        request(keyname::REPORT).as_bytes(),
    );
    poke(&mut enclave, KEYREQUEST + at, bytes);
    let asked = thread.call(&mut enclave, Leaf::Egetkey, [KEYREQUEST, KEY, 0]);
    assert_eq!(asked, Err(Fault::Gp));
}

#[test]
fn reserved_fields_are_zero() {
    for at in [6, 7, 78, 511] {
        gp(&plan(), &[1], at);
    }
    for policy in [0x40u16, 0x8000] {
        gp(&plan(), &policy.to_le_bytes(), 2);
    }
}

#[test]
fn configuration_and_policies_of_kss_need_kss() {
    let mut plan = Plan::new();
    assert_eq!(plan.secs.attributes.flags & ATTRIBUTE_KSS, 0);
    for policy in [4u16, 8, 0x10, 0x20] {
        gp(&plan, &policy.to_le_bytes(), 2);
    }
    gp(&plan, &[1, 0], 76);
    assert!(ask(&mut plan.build(), &seal(3)).is_ok());
    plan.secs.attributes.flags |= ATTRIBUTE_KSS;
    let mut enclave = plan.build();
    assert!(ask(&mut enclave, &seal(0x3f)).is_ok());
}

fn operand(index: usize, align: u64, write: bool) -> Operand {
    Operand {
        leaf: Leaf::Egetkey,
        right: [KEYREQUEST, KEY, 0],
        index,
        align,
        write,
    }
}

#[test]
fn keyrequest_is_aligned_in_the_enclave_and_readable() {
    operand(0, 512, false).is_checked();
}

#[test]
fn the_key_is_aligned_in_the_enclave_and_writable() {
    operand(1, 16, true).is_checked();
}

#[test]
fn operands_are_checked_in_their_order_and_before_the_request() {
    let mut enclave = plan().build_signed(sign);
    let thread = Thread::inside(&mut enclave);
    poke(&mut enclave, KEYREQUEST + 6, &[1]);
    for (operands, fault) in [
        ([ABSENT, 1, 0], absent_fault(ABSENT, false)),
        ([KEYREQUEST, ABSENT, 0], absent_fault(ABSENT, true)),
        ([KEYREQUEST, KEY, 0], Fault::Gp),
    ] {
        let asked = thread.clone().call(&mut enclave, Leaf::Egetkey, operands);
        assert_eq!(asked, Err(fault));
    }
}

#[test]
fn errors_come_in_the_order_of_the_checks() {
    let mut without = plan();
    without.secs.attributes.flags &= !(ATTRIBUTE_PROVISIONKEY | ATTRIBUTE_EINITTOKENKEY);
    for name in MASKED {
        let mut wrong = KeyRequest {
            cpusvn: [0xff; 16],
            isvsvn: 9,
            configsvn: 9,
            ..request(name)
        };
        if name != keyname::SEAL {
            let asked = ask(&mut without.build_signed(sign), &wrong);
            assert_eq!(asked, Err(u64::from(Status::InvalidAttribute.code())));
        }
        refused(&wrong, Status::InvalidCpuSvn);
        wrong.cpusvn = SIMULATED_CPUSVN;
        refused(&wrong, Status::InvalidIsvSvn);
    }
    let unknown = KeyRequest {
        cpusvn: [0xff; 16],
        ..request(5)
    };
    refused(&unknown, Status::InvalidKeyName);
}
