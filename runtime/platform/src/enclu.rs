//! What the processor does for an enclave that asks: reports of its identity and keys that only it can derive (EREPORT and
//! EGETKEY, SDM volume 3D, 40.4).

use core::arch::asm;

use mystikos_abi::sgx::{
    enclu as leaf, keyname, Attributes, KeyRequest, Report, TargetInfo, ATTRIBUTE_DEBUG,
    ATTRIBUTE_INIT,
};
use zerocopy::FromZeros;

use crate::enclave;

/// Bytes of REPORTDATA.
pub const REPORTDATA_SIZE: usize = 64;
/// Bytes of a key.
pub const KEY_SIZE: usize = 16;

/// A key, where the processor writes it: it is not moved, and nothing of it is left when it goes.
#[derive(Default)]
#[repr(C, align(16))]
pub struct Key([u8; KEY_SIZE]);

impl Key {
    /// The key itself. Copies of it are the caller's to wipe.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Clears bytes that nobody reads any more.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // SAFETY: nothing is executed. The compiler does not know that, so it has to keep the stores.
    unsafe { asm!("/* {} */", in(reg) bytes.as_mut_ptr(), options(nostack, preserves_flags)) };
}

/// Why there is no report or key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The kernel does not run in an enclave.
    NoEnclave,
    /// Reserved fields are in use: the processor would raise #GP.
    Reserved,
    /// The processor's error code ([`mystikos_abi::sgx::status`]).
    Status(u32),
}

/// Operands of ENCLU are aligned, and lie in the enclave: on the kernel's stack.
#[repr(C, align(512))]
struct Operand<T>(T);

/// EREPORT: a report of this enclave over `data`, which the target can check.
pub fn report(target: &TargetInfo, data: &[u8; REPORTDATA_SIZE]) -> Result<Report, Refused> {
    if !enclave::in_enclave() {
        return Err(Refused::NoEnclave);
    }
    if !is_clear(target) {
        return Err(Refused::Reserved);
    }
    let target = Operand(*target);
    let data = Operand(*data);
    let mut report = Operand(Report::new_zeroed());
    // SAFETY: the operands are aligned as EREPORT asks for, lie in the enclave, and reserved fields are zero, so it does not
    // fault; it writes nothing but the report. RBX is put back.
    unsafe {
        asm!(
            "xchg {target}, rbx",
            ".byte 0x0f, 0x01, 0xd7", // ENCLU
            "xchg {target}, rbx",
            target = inout(reg) &raw const target => _,
            in("eax") leaf::EREPORT,
            in("rcx") &raw const data,
            in("rdx") &raw mut report,
            options(nostack)
        );
    }
    Ok(report.0)
}

fn is_clear(target: &TargetInfo) -> bool {
    target.reserved1 == [0; 2] && target.reserved2 == [0; 8] && target.reserved3 == [0; 384]
}

/// The TARGETINFO of this enclave: who makes a report for it gives this to EREPORT.
pub fn target_info() -> Result<TargetInfo, Refused> {
    let own = report(&TargetInfo::new_zeroed(), &[0; REPORTDATA_SIZE])?;
    Ok(TargetInfo {
        measurement: own.mrenclave,
        attributes: own.attributes,
        configsvn: own.configsvn,
        miscselect: own.miscselect,
        configid: own.configid,
        ..TargetInfo::new_zeroed()
    })
}

/// ATTRIBUTEMASK of sealing keys: an enclave that may be debugged, or one that differs in a flag not yet defined, has
/// another key; the flags and the extended state that change with the machine make no difference. As the SGX SDK's default.
const FLAGS_MASK: u64 = ATTRIBUTE_INIT | ATTRIBUTE_DEBUG | 8 | 0xff << 56;
/// MISCMASK of sealing keys: the bits that Intel says may concern security.
const MISC_MASK: u32 = 0xf000_0000;

/// EGETKEY: the sealing key of this enclave by one of [`mystikos_abi::sgx::keypolicy`], at its current security versions.
pub fn seal_key(policy: u16, key: &mut Key) -> Result<(), Refused> {
    let own = report(&TargetInfo::new_zeroed(), &[0; REPORTDATA_SIZE])?;
    let request = KeyRequest {
        keyname: keyname::SEAL,
        keypolicy: policy,
        isvsvn: own.isvsvn,
        cpusvn: own.cpusvn,
        attributemask: Attributes {
            flags: FLAGS_MASK,
            xfrm: 0,
        },
        miscmask: MISC_MASK,
        configsvn: own.configsvn,
        ..KeyRequest::new_zeroed()
    };
    get_key(&request, key)
}

/// EGETKEY. The caller sets no reserved field and no policy that needs KSS without having it.
fn get_key(request: &KeyRequest, key: &mut Key) -> Result<(), Refused> {
    let request = Operand(*request);
    let (status, failed): (u32, u8);
    // SAFETY: the operands are aligned as EGETKEY asks for and lie in the enclave; it writes nothing but the key. A request
    // with reserved fields would raise #GP, and there is none. RBX is put back.
    unsafe {
        asm!(
            "xchg {request}, rbx",
            ".byte 0x0f, 0x01, 0xd7", // ENCLU
            "setz {failed}",
            "xchg {request}, rbx",
            request = inout(reg) &raw const request => _,
            failed = lateout(reg_byte) failed,
            inout("eax") leaf::EGETKEY => status,
            in("rcx") &raw mut *key,
            options(nostack)
        );
    }
    match failed {
        0 => Ok(()),
        _ => Err(Refused::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_an_enclave_there_is_neither_report_nor_key() {
        let target = TargetInfo::new_zeroed();
        assert_eq!(report(&target, &[0; 64]).err(), Some(Refused::NoEnclave));
        assert_eq!(target_info().err(), Some(Refused::NoEnclave));
        let mut key = Key::default();
        assert_eq!(seal_key(1, &mut key), Err(Refused::NoEnclave));
        assert_eq!(key.bytes(), [0; KEY_SIZE]);
    }

    #[test]
    fn nothing_of_a_key_is_left_when_it_goes() {
        let mut place = core::mem::ManuallyDrop::new(Key([0x55; KEY_SIZE]));
        let at = (&raw const place).cast::<u8>();
        // SAFETY: dropped once, and the memory stays: a `Key` is bytes, of which any are valid.
        let left = unsafe {
            core::mem::ManuallyDrop::drop(&mut place);
            core::slice::from_raw_parts(at, KEY_SIZE)
        };
        assert_eq!(left, [0; KEY_SIZE]);
    }

    #[test]
    fn a_target_with_reserved_fields_is_not_given_to_the_processor() {
        let clear = TargetInfo::new_zeroed();
        assert!(is_clear(&clear));
        let mut used = [clear; 3];
        used[0].reserved1[1] = 1;
        used[1].reserved2[7] = 1;
        used[2].reserved3[383] = 1;
        assert!(used.iter().all(|target| !is_clear(target)));
    }
}
