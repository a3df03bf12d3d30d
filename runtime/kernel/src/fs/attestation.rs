//! /dev/attestation: who this enclave is, told by the processor. Names and formats are those that Gramine made a convention.
//!
//! Outside of an enclave (`linux` target) there is only `attestation_type`: programs look for the other files to learn
//! whether there is anything to attest.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mystikos_abi::sgx::{keypolicy, TargetInfo};
use mystikos_platform::enclave;
use mystikos_platform::enclu::{self, Key, Refused, REPORTDATA_SIZE};
use zerocopy::{FromBytes, IntoBytes};

use super::dentry::Dentry;
use super::inode::Kind;
use super::pseudo::{mount_at, Content, Directory, Name, Node, What};
use super::ramfs::image::mount_over;
use super::ATTESTATION_FS;
use crate::process::thread;
use crate::{Errno, Result};

const TARGETINFO_SIZE: usize = size_of::<TargetInfo>();

/// What a process has written for its next report.
#[derive(Clone)]
pub struct State {
    user_report_data: [u8; REPORTDATA_SIZE],
    target_info: [u8; TARGETINFO_SIZE],
}

impl Default for State {
    fn default() -> Self {
        State {
            user_report_data: [0; REPORTDATA_SIZE],
            target_info: [0; TARGETINFO_SIZE],
        }
    }
}

impl State {
    fn slot(&mut self, slot: Slot) -> &mut [u8] {
        match slot {
            Slot::UserReportData => &mut self.user_report_data,
            Slot::TargetInfo => &mut self.target_info,
        }
    }
}

/// Mounts /dev/attestation.
pub fn mount(dev: &Arc<Dentry>) {
    let directory: Arc<dyn Directory> = match enclave::in_enclave() {
        true => Arc::new(Entries(INSIDE)),
        false => Arc::new(Entries(OUTSIDE)),
    };
    let root = mount_at(&ATTESTATION_FS, directory, dev, b"attestation");
    mount_over(dev, b"attestation", &root);
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Entry {
    Keys,
    File(File),
}

#[derive(Clone, Copy)]
enum File {
    AttestationType,
    MyTargetInfo,
    Report,
    Key(u16),
    Slot(Slot),
}

/// A file that the program writes.
#[derive(Clone, Copy)]
enum Slot {
    UserReportData,
    TargetInfo,
}

const TYPE: (&str, Entry) = ("attestation_type", Entry::File(File::AttestationType));
const OUTSIDE: &[(&str, Entry)] = &[TYPE];
const INSIDE: &[(&str, Entry)] = &[
    TYPE,
    ("keys", Entry::Keys),
    ("my_target_info", Entry::File(File::MyTargetInfo)),
    ("report", Entry::File(File::Report)),
    ("target_info", Entry::File(File::Slot(Slot::TargetInfo))),
    (
        "user_report_data",
        Entry::File(File::Slot(Slot::UserReportData)),
    ),
];
const KEYS: &[(&str, Entry)] = &[
    (
        "_sgx_mrenclave",
        Entry::File(File::Key(keypolicy::MRENCLAVE)),
    ),
    ("_sgx_mrsigner", Entry::File(File::Key(keypolicy::MRSIGNER))),
];

struct Entries(&'static [(&'static str, Entry)]);

impl Directory for Entries {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let found = self.0.iter().find(|(known, _)| known.as_bytes() == name);
        let (_, entry) = found.ok_or(Errno::ENOENT)?;
        Ok(match *entry {
            Entry::Keys => Node {
                mode: 0o555,
                what: What::Directory(Arc::new(Entries(KEYS))),
            },
            Entry::File(file) => Node {
                mode: match file {
                    File::Slot(_) => 0o666,
                    _ => 0o444,
                },
                what: What::Content(Arc::new(file)),
            },
        })
    }

    fn list(&self) -> Result<Vec<Name>> {
        let names = self
            .0
            .iter()
            .zip(0..)
            .map(|((name, entry), position)| Name {
                position,
                name: name.as_bytes().into(),
                kind: match entry {
                    Entry::Keys => Kind::Directory,
                    Entry::File(_) => Kind::Regular,
                },
            });
        Ok(names.collect())
    }

    fn nlink(&self) -> u64 {
        let directories = self.0.iter().filter(|(_, e)| matches!(e, Entry::Keys));
        2 + directories.count() as u64
    }
}

/// No way to have a report signed for others is built yet.
const ATTESTATION_TYPE: &[u8] = b"none";

impl Content for File {
    fn read(&self) -> Result<Vec<u8>> {
        match *self {
            File::AttestationType => Ok(ATTESTATION_TYPE.to_vec()),
            File::MyTargetInfo => Ok(enclu::target_info().map_err(errno)?.as_bytes().to_vec()),
            File::Report => report(&state(|state| state.clone())),
            File::Key(policy) => {
                let mut key = Key::default();
                enclu::seal_key(policy, &mut key).map_err(errno)?;
                Ok(key.bytes().to_vec())
            }
            File::Slot(slot) => Ok(state(|state| state.slot(slot).to_vec())),
        }
    }

    fn size(&self) -> Option<u64> {
        Some(match self {
            File::AttestationType => ATTESTATION_TYPE.len(),
            File::MyTargetInfo | File::Slot(Slot::TargetInfo) => TARGETINFO_SIZE,
            File::Report => size_of::<mystikos_abi::sgx::Report>(),
            File::Key(_) => enclu::KEY_SIZE,
            File::Slot(Slot::UserReportData) => REPORTDATA_SIZE,
        } as u64)
    }

    fn is_live(&self) -> bool {
        matches!(self, File::Slot(_))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        match *self {
            File::Slot(slot) => state(|state| store(state.slot(slot), offset, bytes)),
            _ => Err(Errno::EACCES),
        }
    }

    fn truncate(&self, size: u64) -> Result<()> {
        match *self {
            File::Slot(slot) => state(|state| cut(state.slot(slot), size)),
            _ => Err(Errno::EACCES),
        }
    }
}

fn state<R>(act: impl FnOnce(&mut State) -> R) -> R {
    act(&mut thread::current().process.attestation.lock())
}

/// Puts bytes where they belong. A write from the start is a new value, which is zero where it is shorter: so one that is
/// written in pieces is the same as one that is written at once. There is no room for a longer value, and nothing of it
/// is dropped silently.
fn store(value: &mut [u8], offset: u64, bytes: &[u8]) -> Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let left = usize::try_from(offset)
        .ok()
        .and_then(|offset| value.get_mut(offset..))
        .unwrap_or_default();
    if left.is_empty() {
        return Err(Errno::ENOSPC);
    }
    let n = left.len().min(bytes.len());
    left[..n].copy_from_slice(&bytes[..n]);
    if offset == 0 {
        left[n..].fill(0);
    }
    Ok(n)
}

/// ftruncate(2) and O_TRUNC: zeros from there on; the value is always as long.
fn cut(value: &mut [u8], size: u64) -> Result<()> {
    let rest = usize::try_from(size)
        .ok()
        .and_then(|size| value.get_mut(size..))
        .ok_or(Errno::EINVAL)?;
    rest.fill(0);
    Ok(())
}

fn report(state: &State) -> Result<Vec<u8>> {
    let target = TargetInfo::read_from_bytes(&state.target_info).map_err(|_| Errno::EINVAL)?;
    let report = enclu::report(&target, &state.user_report_data).map_err(errno)?;
    Ok(report.as_bytes().to_vec())
}

/// A target that no processor takes is the program's mistake.
fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::Reserved => Errno::EINVAL,
        Refused::NoEnclave | Refused::Status(_) => Errno::EACCES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_written_in_pieces_is_the_value_written_at_once() {
        let mut value = [0xff; 8];
        assert_eq!(store(&mut value, 0, b"abc"), Ok(3));
        assert_eq!(&value, b"abc\0\0\0\0\0", "the rest is zero");
        assert_eq!(store(&mut value, 3, b"de"), Ok(2));
        assert_eq!(store(&mut value, 7, b"h"), Ok(1));
        assert_eq!(&value, b"abcde\0\0h");
        assert_eq!(store(&mut value, 0, b"xy"), Ok(2));
        assert_eq!(&value, b"xy\0\0\0\0\0\0", "a new value");
        assert_eq!(store(&mut value, 0, b""), Ok(0));
        assert_eq!(&value, b"xy\0\0\0\0\0\0", "nothing written");
    }

    #[test]
    fn what_has_no_room_is_told() {
        let mut value = [0; 8];
        assert_eq!(store(&mut value, 0, b"123456789"), Ok(8));
        assert_eq!(&value, b"12345678");
        assert_eq!(store(&mut value, 6, b"abc"), Ok(2));
        for offset in [8, 9, u64::MAX] {
            assert_eq!(store(&mut value, offset, b"x"), Err(Errno::ENOSPC));
        }
        assert_eq!(&value, b"123456ab");
    }

    #[test]
    fn a_cut_value_is_zero_behind_the_cut() {
        let mut value = *b"12345678";
        assert_eq!(cut(&mut value, 8), Ok(()));
        assert_eq!(cut(&mut value, 9), Err(Errno::EINVAL));
        assert_eq!(cut(&mut value, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(&value, b"12345678");
        assert_eq!(cut(&mut value, 3), Ok(()));
        assert_eq!(&value, b"123\0\0\0\0\0");
        assert_eq!(cut(&mut value, 0), Ok(()));
        assert_eq!(value, [0; 8]);
    }

    #[test]
    fn outside_of_an_enclave_only_the_type_is_there() {
        let names = |entries: Entries| {
            let listed = entries.list().unwrap();
            listed
                .into_iter()
                .map(|n| n.name.into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Entries(OUTSIDE)), [b"attestation_type".to_vec()]);
        assert!(Entries(OUTSIDE).lookup(b"report").is_err());
        assert_eq!(names(Entries(INSIDE)).len(), 6);
        assert_eq!(names(Entries(KEYS)).len(), 2);
        assert_eq!(File::AttestationType.read().unwrap(), b"none");
        assert_eq!(File::MyTargetInfo.read(), Err(Errno::EACCES));
        assert_eq!(File::Key(keypolicy::MRSIGNER).read(), Err(Errno::EACCES));
    }

    #[test]
    fn a_report_for_an_impossible_target_is_the_programs_mistake() {
        assert_eq!(errno(Refused::Reserved), Errno::EINVAL);
        assert_eq!(report(&State::default()), Err(Errno::EACCES));
    }
}
