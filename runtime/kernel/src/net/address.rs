//! Names of local sockets.

use alloc::vec::Vec;

use crate::{Errno, Result};

/// AF_UNIX.
pub const AF_UNIX: u16 = 1;
/// Bytes of `struct sockaddr_un`: the family and 108 bytes of path.
const SIZE_MAX: usize = 110;
/// Bytes of the family.
const FAMILY: usize = 2;

/// The name of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A path in the file system.
    Path(Vec<u8>),
    /// A name of its own kind, of any bytes.
    Abstract(Vec<u8>),
}

impl Address {
    /// From a `struct sockaddr_un` of any length; `None` when it holds only the family.
    pub fn parse(bytes: &[u8]) -> Result<Option<Address>> {
        let (family, name) = bytes
            .split_first_chunk::<FAMILY>()
            .filter(|_| bytes.len() <= SIZE_MAX)
            .ok_or(Errno::EINVAL)?;
        if u16::from_ne_bytes(*family) != AF_UNIX {
            return Err(Errno::EINVAL);
        }
        Ok(match name {
            [] => None,
            [0, name @ ..] => Some(Address::Abstract(name.to_vec())),
            path => {
                let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
                Some(Address::Path(path[..end].to_vec()))
            }
        })
    }

    /// As `struct sockaddr_un`; a socket without a name has only the family.
    pub fn bytes(address: Option<&Address>) -> Vec<u8> {
        let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
        match address {
            Some(Address::Path(path)) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
            Some(Address::Abstract(name)) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
            None => {}
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_through_sockaddr_un() {
        for name in [
            Some(Address::Path(b"/tmp/x".to_vec())),
            Some(Address::Abstract(b"a\0b".to_vec())),
            Some(Address::Abstract(Vec::new())),
            None,
        ] {
            let bytes = Address::bytes(name.as_ref());
            assert_eq!(Address::parse(&bytes), Ok(name));
        }
    }

    #[test]
    fn a_path_ends_at_its_nul() {
        let parsed = Address::parse(b"\x01\0/a\0rubbish");
        assert_eq!(parsed, Ok(Some(Address::Path(b"/a".to_vec()))));
    }

    #[test]
    fn what_is_no_local_address_is_invalid() {
        for bytes in [&b""[..], b"\x01", b"\x02\0/a", &[1; 111]] {
            assert_eq!(Address::parse(bytes), Err(Errno::EINVAL));
        }
    }
}
