//! Sections and descriptor of the package file. The file is a stranger's: everything is bounded before it is used.

use alloc::vec::Vec;

use mystikos_abi::package::{
    kind, DescriptorHeader, RegionRecord, DESCRIPTOR_MAGIC, FLAG_ZERO_BASED, FORMAT_VERSION,
    REGION_MEASURED, SECTIONS, SECTION_DESCRIPTOR, SOURCE_SECTION, SOURCE_TCS, SOURCE_ZERO,
};
use mystikos_abi::sgx::{sigstruct, ATTRIBUTE_DEBUG, SECINFO_R, SECINFO_REG, SECINFO_TCS};
use mystikos_abi::PAGE_SIZE;
use sha2::{Digest, Sha256};
use zerocopy::FromBytes;

use crate::{fail, Result};

/// Most region records a package may have: MaxThreads is at most 4096, with five regions a block.
const REGIONS_MAX: u32 = 32768;
/// Largest SECS.SIZE accepted: the address space of user mode.
const ENCLAVE_SIZE_MAX: u64 = 1 << 46;
/// Two TiB of pages; more would only keep the launcher hashing.
const PAGES_MAX: u64 = 1 << 29;

/// A checked package.
pub struct Package<'a> {
    /// The whole file.
    pub file: &'a [u8],
    /// Head of the descriptor.
    pub header: DescriptorHeader,
    /// Region records, ascending and disjoint.
    pub regions: Vec<RegionRecord>,
    /// SIGSTRUCT.
    pub sigstruct: &'a [u8; sigstruct::SIZE],
    sections: [(usize, usize); SECTIONS.len()],
}

impl<'a> Package<'a> {
    /// Reads the section table and the descriptor, and checks everything that the launcher relies on.
    pub fn parse(file: &'a [u8]) -> Result<Package<'a>> {
        let sections = sections(file)?;
        let (offset, size) = sections[SECTION_DESCRIPTOR];
        let descriptor = &file[offset..offset + size];
        let header = header(descriptor)?;
        let regions = regions(descriptor, &header, &sections)?;
        check_all_is_loaded(file, &regions, &sections)?;
        let at = header.sigstruct_offset as usize;
        let sigstruct = descriptor
            .get(at..at.saturating_add(sigstruct::SIZE))
            .filter(|_| header.sigstruct_size == sigstruct::SIZE as u64)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| damaged("SIGSTRUCT does not lie in the descriptor"))?;
        Ok(Package {
            file,
            header,
            regions,
            sigstruct,
            sections,
        })
    }

    /// Offset in the file, and size, of the bytes of a region that comes from a section.
    pub fn source(&self, region: &RegionRecord) -> (usize, usize) {
        let (offset, _) = self.sections[region.section as usize];
        (
            offset + region.source_offset as usize,
            region.source_size as usize,
        )
    }

    /// The base is 0.
    pub fn is_zero_based(&self) -> bool {
        self.header.flags & FLAG_ZERO_BASED != 0
    }

    /// The enclave may be debugged (ATTRIBUTES.DEBUG, which SIGSTRUCT must confirm).
    pub fn is_debug(&self) -> bool {
        self.header.attributes & ATTRIBUTE_DEBUG != 0
    }

    /// Offset of the first byte that any region uses, and one past the last.
    pub fn extent(&self) -> (u64, u64) {
        let first = self.regions.first().map_or(0, |r| r.offset);
        let last = self
            .regions
            .last()
            .map_or(0, |r| r.offset + r.page_count * PAGE_SIZE);
        (first, last)
    }

    /// The regions of one kind.
    pub fn of_kind(&self, kind: u32) -> impl Iterator<Item = &RegionRecord> {
        self.regions.iter().filter(move |r| r.kind == kind)
    }
}

fn damaged(what: &str) -> crate::Failure {
    fail!("this package is damaged: {what}")
}

fn number(file: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = file.get(at..at.checked_add(size)?)?;
    let mut all = [0; 8];
    all[..size].copy_from_slice(bytes);
    Some(u64::from_le_bytes(all))
}

/// Where each section of [`SECTIONS`] lies, from the ELF section header table.
fn sections(file: &[u8]) -> Result<[(usize, usize); SECTIONS.len()]> {
    const ENTRY: usize = 64;
    const COUNT_MAX: usize = 256;
    let table = || -> Option<(usize, usize, usize)> {
        let at = number(file, 0x28, 8)? as usize;
        let size = number(file, 0x3a, 2)? as usize;
        let count = number(file, 0x3c, 2)? as usize;
        let names = number(file, 0x3e, 2)? as usize;
        (size == ENTRY && count <= COUNT_MAX && names < count).then_some((at, count, names))
    };
    let (at, count, names) = table().ok_or_else(|| {
        fail!("this is the bare launcher, or its section table is damaged: package an application with `myst package-sgx`")
    })?;
    let entry = |index: usize| -> Option<(usize, usize, usize)> {
        let at = at.checked_add(index * ENTRY)?;
        let name = number(file, at, 4)? as usize;
        let offset = number(file, at + 24, 8)? as usize;
        let size = number(file, at + 32, 8)? as usize;
        let nobits = number(file, at + 4, 4)? == 8;
        let end = offset.checked_add(size)?;
        (nobits || end <= file.len()).then_some((name, offset, size))
    };
    let truncated = || damaged("a section reaches beyond the end of the file");
    if (count * ENTRY)
        .checked_add(at)
        .is_none_or(|end| end > file.len())
    {
        return Err(truncated());
    }
    let (_, names_at, names_size) = entry(names).ok_or_else(truncated)?;
    let mut found = [None; SECTIONS.len()];
    for index in 0..count {
        let (name, offset, size) = entry(index).ok_or_else(truncated)?;
        let name = file
            .get(names_at..names_at + names_size)
            .and_then(|names| names.get(name..))
            .and_then(|name| name.split(|&b| b == 0).next())
            .unwrap_or(&[]);
        let Some(which) = SECTIONS.iter().position(|s| s.as_bytes() == name) else {
            continue;
        };
        if offset + size > file.len() {
            return Err(truncated()); // SHT_NOBITS: no bytes of ours
        }
        if !(offset as u64).is_multiple_of(PAGE_SIZE) || found[which].is_some() {
            return Err(fail!(
                "this package is damaged: section {} is misplaced or there twice",
                SECTIONS[which]
            ));
        }
        found[which] = Some((offset, size));
    }
    if found[SECTION_DESCRIPTOR].is_none() {
        return Err(fail!(
            "this file holds no application (no section .mystenc): package one with `myst package-sgx`"
        ));
    }
    let mut all = [(0, 0); SECTIONS.len()];
    for (which, name) in SECTIONS.iter().enumerate() {
        all[which] = found[which]
            .ok_or_else(|| fail!("this package is damaged: section {name} is missing"))?;
    }
    Ok(all)
}

fn header(descriptor: &[u8]) -> Result<DescriptorHeader> {
    let (header, _) = DescriptorHeader::read_from_prefix(descriptor)
        .map_err(|_| damaged("the descriptor is too short"))?;
    if header.magic != DESCRIPTOR_MAGIC {
        return Err(damaged("the descriptor does not begin with its magic"));
    }
    if header.version != FORMAT_VERSION {
        return Err(fail!(
            "this package has format version {}, expected {FORMAT_VERSION}: its parts do not belong together",
            header.version
        ));
    }
    if header.size != descriptor.len() as u64 {
        return Err(damaged("the descriptor has another size than it says"));
    }
    let at = core::mem::offset_of!(DescriptorHeader, checksum);
    let mut hash = Sha256::new();
    hash.update(&descriptor[..at]);
    hash.update([0; 32]);
    hash.update(&descriptor[at + 32..]);
    if hash.finalize().as_slice() != header.checksum {
        return Err(damaged("the descriptor's checksum does not match"));
    }
    if header.flags & !FLAG_ZERO_BASED != 0
        || !header.enclave_size.is_power_of_two()
        || header.enclave_size > ENCLAVE_SIZE_MAX
        || header.region_count == 0
        || header.region_count > REGIONS_MAX
        || header.region_size as usize != size_of::<RegionRecord>()
    {
        return Err(damaged("the descriptor's head has impossible values"));
    }
    Ok(header)
}

fn regions(
    descriptor: &[u8],
    header: &DescriptorHeader,
    sections: &[(usize, usize); SECTIONS.len()],
) -> Result<Vec<RegionRecord>> {
    let size = header.region_count as usize * size_of::<RegionRecord>();
    let at = header.regions_offset as usize;
    let bytes = at
        .checked_add(size)
        .and_then(|end| descriptor.get(at..end))
        .ok_or_else(|| damaged("the region records do not lie in the descriptor"))?;
    let mut regions = Vec::with_capacity(header.region_count as usize);
    let mut end = 0;
    for (index, bytes) in bytes.chunks_exact(size_of::<RegionRecord>()).enumerate() {
        let region = RegionRecord::read_from_bytes(bytes)
            .map_err(|_| damaged("a region record is too short"))?;
        end = check(&region, end, header.enclave_size, sections).ok_or_else(|| {
            fail!("this package is damaged: region {index} has impossible values")
        })?;
        regions.push(region);
    }
    if regions.iter().map(|r| r.page_count).sum::<u64>() > PAGES_MAX {
        return Err(damaged("its regions are larger than any memory"));
    }
    Ok(regions)
}

/// Every byte of a section is taken by a region, or is zero between the kernel's segments. None is taken twice, but for a
/// page that two of these segments share.
fn check_all_is_loaded(
    file: &[u8],
    regions: &[RegionRecord],
    sections: &[(usize, usize); SECTIONS.len()],
) -> Result<()> {
    for (index, &(offset, size)) in sections.iter().enumerate().take(SECTION_DESCRIPTOR) {
        let bytes = &file[offset..offset + size];
        let taken = regions
            .iter()
            .filter(|r| r.source == SOURCE_SECTION && r.section as usize == index)
            .map(|r| (r.source_offset as usize, r.source_size as usize));
        let mut end = 0;
        for (start, length) in taken.chain([(size, 0)]) {
            if start < end - end % PAGE_SIZE as usize {
                return Err(damaged("a section has bytes that are loaded twice"));
            }
            if bytes[end.min(start)..start].iter().any(|&b| b != 0) {
                return Err(damaged("a section has bytes that are not measured"));
            }
            end = start + length;
        }
    }
    Ok(())
}

/// The end of a region whose values are possible, given the end of the one before it.
fn check(
    region: &RegionRecord,
    previous_end: u64,
    enclave_size: u64,
    sections: &[(usize, usize); SECTIONS.len()],
) -> Option<u64> {
    let size = region.page_count.checked_mul(PAGE_SIZE)?;
    let end = region.offset.checked_add(size)?;
    let placed = region.offset.is_multiple_of(PAGE_SIZE)
        && region.offset >= previous_end
        && region.page_count > 0
        && end <= enclave_size;
    let typed = match region.source {
        SOURCE_TCS => {
            region.secinfo == SECINFO_TCS && region.page_count == 1 && region.kind == kind::TCS
        }
        SOURCE_ZERO | SOURCE_SECTION => {
            region.secinfo & !7 == SECINFO_REG && region.kind != kind::TCS
        }
        _ => false,
    };
    let filled = region.source != SOURCE_SECTION || {
        let (_, section_size) = *sections.get(region.section as usize)?;
        let content_end = region.source_offset.checked_add(region.source_size)?;
        region.section as usize != SECTION_DESCRIPTOR
            && region.source_offset.is_multiple_of(PAGE_SIZE)
            && content_end <= section_size as u64
            && region.source_size.div_ceil(PAGE_SIZE) == region.page_count
    };
    let unused = match region.source {
        SOURCE_SECTION => (0, 0, 0),
        _ => (
            u64::from(region.section),
            region.source_offset,
            region.source_size,
        ),
    };
    // Measured zero pages do not occur, and what is measured must be readable to be measured again.
    let measurable = region.flags & REGION_MEASURED == 0
        || region.source == SOURCE_TCS
        || (region.source == SOURCE_SECTION && region.secinfo & SECINFO_R != 0);
    let known = (kind::KERNEL..=kind::EXEC_WINDOW).contains(&region.kind)
        && region.flags & !REGION_MEASURED == 0;
    (placed && typed && filled && measurable && known && unused == (0, 0, 0)).then_some(end)
}
