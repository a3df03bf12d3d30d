//! Reading the root file system image: CPIO newc (cpio(5)) as `docs/reference/package-format.md` describes it.
//!
//! Every offset and size is checked against the image; a malformed image gives an error, whatever its bytes are.

use core::fmt;

/// One entry of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where the header starts in the archive.
    pub offset: usize,
    /// Path without a leading slash; `.` is the root.
    pub path: &'a [u8],
    /// Number shared by the hard links of a file.
    pub ino: u32,
    /// File type and permissions (S_IF*).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links in the archive.
    pub nlink: u32,
    /// Modification time, seconds since the epoch.
    pub mtime: u32,
    /// Content of a file, target of a symbolic link.
    pub data: &'a [u8],
    /// Where the data starts in the archive.
    pub data_offset: usize,
}

/// What is wrong with an archive, and at which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Offset of the header concerned.
    pub offset: usize,
    /// What was found.
    pub what: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "root file system image, offset {}: {}",
            self.offset, self.what
        )
    }
}

const HEADER_SIZE: usize = 110;
const MAGIC: &[u8] = b"070701";
const TRAILER: &[u8] = b"TRAILER!!!";

/// The entries of an archive in order, ending at the trailer or after the first error.
pub struct Entries<'a> {
    bytes: &'a [u8],
    next: Option<usize>,
}

impl<'a> Entries<'a> {
    /// Starts at the beginning of an archive.
    pub fn new(bytes: &'a [u8]) -> Self {
        Entries {
            bytes,
            next: Some(0),
        }
    }

    /// The entry whose header is at `offset`, and the offset of the next header; `None` at the trailer.
    fn read(
        &self,
        offset: usize,
    ) -> core::result::Result<Option<(Entry<'a>, usize)>, &'static str> {
        let part = |from: usize, size: usize| {
            let end = from.checked_add(size).ok_or("impossible size")?;
            self.bytes
                .get(from..end)
                .ok_or("the image ends in the middle of an entry")
        };
        let header = part(offset, HEADER_SIZE)?;
        if !header.starts_with(MAGIC) {
            return Err("no newc header where one was expected");
        }
        let field = |index: usize| hexadecimal(&header[6 + 8 * index..14 + 8 * index]);

        let name_size = field(11)? as usize;
        let name = part(offset + HEADER_SIZE, name_size)?;
        let Some((0, path)) = name.split_last() else {
            return Err("a name without its final NUL");
        };
        if path.contains(&0) {
            return Err("a name with a NUL inside");
        }
        if path == TRAILER {
            return Ok(None);
        }
        let data_offset = align(offset + HEADER_SIZE + name_size)?;
        let data = part(data_offset, field(6)? as usize)?;
        let entry = Entry {
            offset,
            path,
            ino: field(0)?,
            mode: field(1)?,
            uid: field(2)?,
            gid: field(3)?,
            nlink: field(4)?,
            mtime: field(5)?,
            data,
            data_offset,
        };
        Ok(Some((entry, align(data_offset + data.len())?)))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = core::result::Result<Entry<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.next.take()?;
        match self.read(offset) {
            Ok(Some((entry, next))) => {
                self.next = Some(next);
                Some(Ok(entry))
            }
            Ok(None) => None,
            Err(what) => Some(Err(Corrupt { offset, what })),
        }
    }
}

fn align(offset: usize) -> core::result::Result<usize, &'static str> {
    offset
        .checked_next_multiple_of(4)
        .ok_or("impossible offset")
}

fn hexadecimal(digits: &[u8]) -> core::result::Result<u32, &'static str> {
    digits.iter().try_fold(0u32, |value, &digit| {
        let digit = char::from(digit)
            .to_digit(16)
            .ok_or("a header field that is not hexadecimal")?;
        Ok(value << 4 | digit)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes archives for tests.
    #[derive(Default)]
    pub(crate) struct Writer {
        bytes: Vec<u8>,
    }

    impl Writer {
        pub(crate) fn add(
            mut self,
            path: &str,
            mode: u32,
            ino: u32,
            nlink: u32,
            data: &[u8],
        ) -> Self {
            self.entry(path.as_bytes(), mode, ino, nlink, data);
            self
        }

        pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
            self.add(path, 0o100644, 1, 1, data)
        }

        pub(crate) fn directory(self, path: &str) -> Self {
            self.add(path, 0o40755, 1, 2, b"")
        }

        pub(crate) fn link(self, path: &str, target: &str) -> Self {
            self.add(path, 0o120777, 1, 1, target.as_bytes())
        }

        fn entry(&mut self, path: &[u8], mode: u32, ino: u32, nlink: u32, data: &[u8]) {
            self.bytes.extend_from_slice(MAGIC);
            let fields = [
                ino,
                mode,
                0,
                0,
                nlink,
                0,
                data.len() as u32,
                0,
                0,
                0,
                0,
                path.len() as u32 + 1,
                0,
            ];
            for field in fields {
                self.bytes
                    .extend_from_slice(format!("{field:08X}").as_bytes());
            }
            self.bytes.extend_from_slice(path);
            self.bytes.push(0);
            self.pad(4);
            self.bytes.extend_from_slice(data);
            self.pad(4);
        }

        fn pad(&mut self, to: usize) {
            self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
        }

        pub(crate) fn finish(mut self) -> Vec<u8> {
            self.entry(TRAILER, 0, 0, 1, b"");
            self.pad(512);
            self.bytes
        }
    }

    fn read(bytes: &[u8]) -> core::result::Result<Vec<Entry<'_>>, Corrupt> {
        Entries::new(bytes).collect()
    }

    fn sample() -> Vec<u8> {
        Writer::default()
            .directory(".")
            .file("a", b"hello")
            .link("b", "a")
            .finish()
    }

    #[test]
    fn entries_come_back_with_their_data_and_its_place() {
        let bytes = sample();
        let entries = read(&bytes).unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].path, b"a");
        assert_eq!(entries[1].data, b"hello");
        assert_eq!(&bytes[entries[1].data_offset..][..5], b"hello");
        assert_eq!(entries[2].mode, 0o120777);
    }

    #[test]
    fn an_image_cut_anywhere_before_its_trailer_ends_is_refused() {
        let bytes = sample();
        let trailer = bytes.windows(10).position(|w| w == TRAILER).unwrap();
        for size in 0..trailer + TRAILER.len() + 1 {
            assert!(read(&bytes[..size]).is_err(), "cut at {size}");
        }
    }

    #[test]
    fn no_changed_header_byte_reads_outside_the_image() {
        let bytes = sample();
        for at in 0..bytes.len() {
            for value in [0, b'0', b'7', b'F', b'f', 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                // Whatever comes out, it is slices of the image or an error.
                for entry in Entries::new(&changed).flatten() {
                    assert!(entry.data_offset + entry.data.len() <= changed.len());
                }
            }
        }
    }

    #[test]
    fn a_header_that_is_not_newc_is_named_with_its_offset() {
        let mut bytes = sample();
        let second = 112;
        bytes[second + 5] = b'2';
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.offset, second);
    }
}
