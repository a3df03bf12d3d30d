//! `siginfo_t`: why a signal was sent.

use linux_raw_sys::general as raw;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `siginfo_t` of x86-64: 128 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct SigInfo {
    /// Signal number.
    pub signo: i32,
    /// An errno, usually 0.
    pub errno: i32,
    /// SI_* or a reason of the particular signal.
    pub code: i32,
    /// Zero.
    pub padding: i32,
    /// What follows depends on `code`: see the constructors.
    pub fields: [u64; 14],
}

const _: () = assert!(size_of::<SigInfo>() == raw::SI_MAX_SIZE as usize);

fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl SigInfo {
    fn new(signal: u32, code: i32) -> SigInfo {
        SigInfo {
            signo: signal as i32,
            code,
            ..SigInfo::default()
        }
    }

    /// Sent by a process: kill(2) (SI_USER) or tgkill(2) (SI_TKILL).
    pub fn sent(signal: u32, code: i32, pid: u32, uid: u32) -> SigInfo {
        let mut info = SigInfo::new(signal, code);
        info.fields[0] = pair(pid, uid);
        info
    }

    /// Sent by the kernel itself.
    pub fn kernel(signal: u32) -> SigInfo {
        SigInfo::new(signal, raw::SI_KERNEL as i32)
    }

    /// A fault at an address.
    pub fn fault(signal: u32, code: u32, address: u64) -> SigInfo {
        let mut info = SigInfo::new(signal, code as i32);
        info.fields[0] = address;
        info
    }

    /// Expiry of a POSIX timer.
    pub fn timer(signal: u32, id: u32, overrun: u32, value: u64) -> SigInfo {
        let mut info = SigInfo::new(signal, raw::SI_TIMER);
        info.fields[0] = pair(id, overrun);
        info.fields[1] = value;
        info
    }

    /// Sending process (si_pid), where `code` gives the field that meaning.
    pub fn pid(&self) -> u32 {
        self.fields[0] as u32
    }

    /// Real user of the sending process (si_uid).
    pub fn uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// The value that came along (si_value).
    pub fn value(&self) -> u64 {
        self.fields[1]
    }

    /// Faulting address (si_addr).
    pub fn address(&self) -> u64 {
        self.fields[0]
    }

    /// Kernel timer ID (si_timerid) of a SI_TIMER signal.
    pub fn timer_id(&self) -> u32 {
        self.fields[0] as u32
    }

    /// The signal's number.
    pub fn signal(&self) -> u32 {
        self.signo as u32
    }
}
