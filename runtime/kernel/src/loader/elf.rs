//! ELF files: what of one is loaded where (elf(5)). Everything read from the file is checked; nothing in it is trusted.

use alloc::vec::Vec;
use core::ops::Range;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::fs::file::OpenFile;
use crate::fs::io::BufferSink;
use crate::mm::{page_down, page_up, Prot, PAGE};
use crate::{Errno, Result};

/// `Elf64_Ehdr` after `e_ident`.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    phoff: u64,
    shoff: u64,
    flags: u32,
    ehsize: u16,
    phentsize: u16,
    phnum: u16,
    shentsize: u16,
    shnum: u16,
    shstrndx: u16,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

const HEADER_SIZE: usize = size_of::<Header>();
const PHENTSIZE: usize = size_of::<ProgramHeader>();

/// First bytes of every ELF file.
pub const MAGIC: &[u8; 4] = b"\x7fELF";
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;
/// Program headers that Linux reads at most, in bytes.
const HEADERS_MAX: usize = 65536;
/// PATH_MAX.
const INTERPRETER_MAX: u64 = 4096;
/// No address of a program reaches further.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Larger alignment of segments is not kept: it would eat the address space.
const ALIGN_MAX: u64 = 2 << 20;

/// A `PT_LOAD` segment. Addresses are as linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// First address.
    pub address: u64,
    /// Bytes from the file.
    pub file_size: u64,
    /// Bytes in memory.
    pub memory_size: u64,
    /// Permissions.
    pub prot: Prot,
}

impl Segment {
    /// First page.
    pub fn start(&self) -> u64 {
        page_down(self.address)
    }

    /// Address after the bytes from the file.
    pub fn file_end(&self) -> u64 {
        self.address + self.file_size
    }

    /// Address after the last page; addresses are below TASK_SIZE, so nothing overflows.
    pub fn end(&self) -> u64 {
        (self.address + self.memory_size).next_multiple_of(PAGE)
    }
}

/// What of an ELF file matters for running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Loaded where there is room (ET_DYN), else at the linked addresses (ET_EXEC).
    pub relocatable: bool,
    /// `e_entry`.
    pub entry: u64,
    /// Address of the program headers in memory, 0 when they are not loaded.
    pub headers: u64,
    /// Number of program headers.
    pub header_count: u64,
    /// Segments in ascending order.
    pub segments: Vec<Segment>,
    /// Largest alignment of a segment.
    pub align: u64,
    /// Where in the file the path of the interpreter is.
    pub interpreter: Option<Range<u64>>,
    /// PT_GNU_STACK asks for an executable stack.
    pub executable_stack: bool,
}

impl Program {
    /// Pages from the first to the last segment.
    pub fn span(&self) -> Range<u64> {
        let start = self.segments.first().map_or(0, Segment::start);
        let end = self
            .segments
            .iter()
            .map(Segment::end)
            .max()
            .unwrap_or(start);
        start..end
    }

    /// Reads the headers of a file; ENOEXEC when it is not a program for this machine, or damaged.
    pub fn read(file: &OpenFile) -> Result<Program> {
        let header = read_exactly(file, 0, HEADER_SIZE)?;
        let (offset, size) = Program::headers_at(&header)?;
        let headers = read_exactly(file, offset, size)?;
        Program::parse(&header, &headers)
    }

    fn headers_at(header: &[u8]) -> Result<(u64, usize)> {
        let header = Header::read_from_prefix(header)
            .map(|(header, _)| header)
            .map_err(|_| Errno::ENOEXEC)?;
        let size = usize::from(header.phnum) * PHENTSIZE;
        let good = header.ident[..4] == MAGIC[..]
            && header.ident[4] == 2
            && header.ident[5] == 1
            && header.ident[6] == 1
            && matches!(header.kind, ET_EXEC | ET_DYN)
            && header.machine == EM_X86_64
            && usize::from(header.phentsize) == PHENTSIZE
            && (1..=HEADERS_MAX).contains(&size)
            && header.phoff.checked_add(size as u64).is_some();
        match good {
            true => Ok((header.phoff, size)),
            false => Err(Errno::ENOEXEC),
        }
    }

    /// Makes sense of the file header and the program headers.
    pub fn parse(header: &[u8], headers: &[u8]) -> Result<Program> {
        let (phoff, _) = Program::headers_at(header)?;
        let header = Header::read_from_prefix(header)
            .map(|(header, _)| header)
            .map_err(|_| Errno::ENOEXEC)?;
        let mut program = Program {
            relocatable: header.kind == ET_DYN,
            entry: header.entry,
            headers: 0,
            header_count: u64::from(header.phnum),
            segments: Vec::new(),
            align: PAGE,
            interpreter: None,
            executable_stack: false,
        };
        for bytes in headers.chunks_exact(PHENTSIZE) {
            let (entry, _) = ProgramHeader::read_from_prefix(bytes).map_err(|_| Errno::ENOEXEC)?;
            program.take(&entry)?;
        }
        program.finish(phoff)
    }

    fn take(&mut self, entry: &ProgramHeader) -> Result<()> {
        match entry.kind {
            PT_LOAD if entry.memsz > 0 => {
                self.segments.push(segment(entry)?);
                if entry.align.is_power_of_two() {
                    self.align = self.align.max(entry.align.min(ALIGN_MAX));
                }
            }
            PT_INTERP if self.interpreter.is_none() => {
                if !(2..=INTERPRETER_MAX).contains(&entry.filesz) {
                    return Err(Errno::ENOEXEC);
                }
                let end = entry.offset.checked_add(entry.filesz);
                self.interpreter = Some(entry.offset..end.ok_or(Errno::ENOEXEC)?);
            }
            PT_PHDR => self.headers = entry.vaddr,
            PT_GNU_STACK => self.executable_stack = entry.flags & PF_X != 0,
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self, phoff: u64) -> Result<Program> {
        let ascending = self
            .segments
            .windows(2)
            .all(|w| w[0].address <= w[1].address);
        if self.segments.is_empty() || !ascending {
            return Err(Errno::ENOEXEC);
        }
        // As Linux: the headers are where the segment that holds their offset puts them.
        let holder = self
            .segments
            .iter()
            .find(|s| (s.offset..s.offset + s.file_size).contains(&phoff));
        if let Some(holder) = holder {
            self.headers = holder.address + (phoff - holder.offset);
        }
        Ok(self)
    }

    /// The path of the interpreter.
    pub fn interpreter_path(&self, file: &OpenFile) -> Result<Option<Vec<u8>>> {
        let Some(range) = &self.interpreter else {
            return Ok(None);
        };
        let mut path = read_exactly(file, range.start, (range.end - range.start) as usize)?;
        if path.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        path.truncate(path.iter().position(|&b| b == 0).unwrap_or(path.len()));
        match path.is_empty() {
            true => Err(Errno::ENOEXEC),
            false => Ok(Some(path)),
        }
    }
}

fn segment(entry: &ProgramHeader) -> Result<Segment> {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, entry.flags & PF_R != 0);
    prot.set(Prot::WRITE, entry.flags & PF_W != 0);
    prot.set(Prot::EXEC, entry.flags & PF_X != 0);
    let end = entry.vaddr.checked_add(entry.memsz).and_then(page_up);
    let file_end = entry.offset.checked_add(entry.filesz).and_then(page_up);
    let good = entry.filesz <= entry.memsz
        && entry.offset % PAGE == entry.vaddr % PAGE
        && end.is_some_and(|end| end <= TASK_SIZE)
        && file_end.is_some_and(|end| i64::try_from(end).is_ok());
    match good {
        true => Ok(Segment {
            offset: entry.offset,
            address: entry.vaddr,
            file_size: entry.filesz,
            memory_size: entry.memsz,
            prot,
        }),
        false => Err(Errno::ENOEXEC),
    }
}

fn read_exactly(file: &OpenFile, offset: u64, size: usize) -> Result<Vec<u8>> {
    let bytes = read_up_to(file, offset, size)?;
    match bytes.len() == size {
        true => Ok(bytes),
        false => Err(Errno::ENOEXEC),
    }
}

/// Reads up to `size` bytes (which the caller has bounded), fewer only at the end of the file.
pub fn read_up_to(file: &OpenFile, offset: u64, size: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(size, 0);
    let mut done = 0;
    while done < size {
        let mut sink = BufferSink::new(&mut bytes[done..]);
        match file.file.read_at(offset + done as u64, &mut sink)? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u16, phnum: u16) -> Vec<u8> {
        let mut h = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        h.extend(kind.to_le_bytes());
        h.extend(62u16.to_le_bytes());
        h.extend(1u32.to_le_bytes());
        h.extend(0x1040u64.to_le_bytes());
        h.extend(64u64.to_le_bytes());
        h.extend(0u64.to_le_bytes());
        h.extend(0u32.to_le_bytes());
        h.extend(64u16.to_le_bytes());
        h.extend(56u16.to_le_bytes());
        h.extend(phnum.to_le_bytes());
        h.extend([0; 6]);
        h
    }

    fn entry(kind: u32, flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Vec<u8> {
        let mut e = kind.to_le_bytes().to_vec();
        e.extend(flags.to_le_bytes());
        for word in [offset, vaddr, vaddr, filesz, memsz, 0x1000] {
            e.extend(word.to_le_bytes());
        }
        e
    }

    fn headers() -> Vec<u8> {
        [
            entry(PT_INTERP, 4, 0x318, 0x318, 0x1c, 0x1c),
            entry(PT_LOAD, 4, 0, 0, 0x600, 0x600),
            entry(PT_LOAD, 5, 0x1000, 0x1000, 0x200, 0x200),
            entry(PT_LOAD, 6, 0x2df0, 0x3df0, 0x220, 0x1228),
            entry(PT_GNU_STACK, 6, 0, 0, 0, 0),
        ]
        .concat()
    }

    #[test]
    fn a_program_is_read_as_readelf_shows_it() {
        let program = Program::parse(&header(ET_DYN, 5), &headers()).unwrap();
        assert!(program.relocatable && !program.executable_stack);
        assert_eq!(program.entry, 0x1040);
        assert_eq!(program.headers, 64);
        assert_eq!(program.header_count, 5);
        assert_eq!(program.span(), 0..0x6000);
        assert_eq!(program.interpreter, Some(0x318..0x334));
        assert_eq!(program.segments[1].prot, Prot::READ | Prot::EXEC);
        assert_eq!(program.segments[2].file_end(), 0x4010);
    }

    #[test]
    fn what_is_not_a_program_for_this_machine_is_refused() {
        let refused = |at: usize, value: u8| {
            let mut bad = header(ET_DYN, 5);
            bad[at] = value;
            Program::parse(&bad, &headers()) == Err(Errno::ENOEXEC)
        };
        assert!(refused(0, 0), "magic");
        assert!(refused(4, 1), "32 bits");
        assert!(refused(5, 2), "big-endian");
        assert!(refused(16, 1), "relocatable object");
        assert!(refused(16, 4), "core file");
        assert!(refused(18, 3), "i386");
        assert!(refused(54, 32), "size of program headers");
        assert!(refused(56, 0), "no program headers");
        assert!(
            refused(39, 0xff) || refused(57, 0xff),
            "headers beyond the end"
        );
        assert_eq!(Program::parse(b"\x7fELF", &[]), Err(Errno::ENOEXEC));
    }

    #[test]
    fn absurd_segments_are_refused() {
        let refused =
            |bad: Vec<u8>| Program::parse(&header(ET_DYN, 1), &bad) == Err(Errno::ENOEXEC);
        assert!(
            refused(entry(PT_LOAD, 4, 0, 0, 2, 1)),
            "more file than memory"
        );
        assert!(refused(entry(PT_LOAD, 4, 0, 1, 1, 1)), "not congruent");
        assert!(
            refused(entry(PT_LOAD, 4, 0, 0, 0, u64::MAX)),
            "wraps around"
        );
        assert!(
            refused(entry(PT_LOAD, 4, 0, TASK_SIZE, 1, 1)),
            "not a user address"
        );
        assert!(refused(entry(PT_LOAD, 4, !0xfffu64, 0, 1, 1)), "offset");
        assert!(
            refused(entry(PT_INTERP, 4, 0, 0, 1, 1)),
            "empty interpreter"
        );
        assert!(
            refused(entry(PT_INTERP, 4, 0, 0, 5000, 1)),
            "long interpreter"
        );
        assert!(
            refused(entry(PT_GNU_STACK, 4, 0, 0, 0, 0)),
            "nothing to load"
        );
        let swapped = [
            entry(PT_LOAD, 4, 0, 0x2000, 1, 1),
            entry(PT_LOAD, 4, 0, 0x1000, 1, 1),
        ];
        assert!(refused(swapped.concat()), "not ascending");
    }

    #[test]
    fn no_damage_makes_the_parser_panic() {
        let (header, headers) = (header(ET_DYN, 5), headers());
        for at in 0..header.len() + headers.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let (mut a, mut b) = (header.clone(), headers.clone());
                match at.checked_sub(a.len()) {
                    None => a[at] = value,
                    Some(at) => b[at] = value,
                }
                if let Ok(program) = Program::parse(&a, &b) {
                    let span = program.span();
                    assert!(span.start <= span.end && span.end <= TASK_SIZE);
                    assert!(program.segments.iter().all(|s| s.file_end() <= s.end()));
                }
            }
        }
    }
}
