//! Binding of system calls: jumps written over the `syscall` sites that the packager found, to stubs that enter the kernel
//! through its gate. The format is `docs/reference/package-format.md`, section `.mystbind`.
//!
//! The stubs of one mapping lie together in pages of their own, near the code. They are written before those pages
//! become executable and never changed afterwards, so nothing is ever writable and executable at once. A site that
//! cannot be bound (its bytes differ, it reaches out of the mapping, no room is near) traps, which is slower and just
//! as right.

use alloc::vec::Vec;
use core::ops::Range;

use mystikos_abi::block::GS_GATE;
use mystikos_abi::package::{BindingsHeader, BoundFile, BoundSite, BINDINGS_MAGIC, FORMAT_VERSION};
use mystikos_platform::sync::Once;
use mystikos_platform::{memory, user};
use zerocopy::FromBytes;

use crate::mm::lock::lock;
use crate::mm::pages::Pages;
use crate::mm::{page_up, Kind, Prot};
use crate::{Errno, Result};

/// Bytes of the jump.
const JUMP: usize = 5;
/// Bytes of `lea rcx, [rip + …]`.
const LEA: usize = 7;
/// Bytes of `jmp gs:[gate]`.
const GATE_JUMP: usize = 8;

/// The binding table.
pub struct Bindings<'a> {
    files: &'a [BoundFile],
    sites: &'a [BoundSite],
}

impl<'a> Bindings<'a> {
    /// Reads and checks the table; `None` if it is malformed.
    pub fn parse(table: &'a [u8]) -> Option<Self> {
        if table.is_empty() {
            return Some(Bindings {
                files: &[],
                sites: &[],
            });
        }
        let (header, _) = BindingsHeader::read_from_prefix(table).ok()?;
        if header.magic != BINDINGS_MAGIC || header.version != FORMAT_VERSION {
            return None;
        }
        let files = slice(table, header.files_offset, u64::from(header.file_count))?;
        let sites = slice(table, header.sites_offset, header.site_count)?;
        let bindings = Bindings { files, sites };
        let ascending = files
            .windows(2)
            .all(|w| w[0].data_offset < w[1].data_offset);
        let sound = |file: &BoundFile| {
            let sites = bindings.sites_of(file)?;
            let ascending = sites
                .windows(2)
                .all(|w| w[0].patch_offset < w[1].patch_offset);
            let sound = ascending && sites.iter().all(|site| is_sound(site, file.size));
            sound.then_some(())
        };
        (ascending && files.iter().all(|file| sound(file).is_some())).then_some(bindings)
    }

    fn sites_of(&self, file: &BoundFile) -> Option<&'a [BoundSite]> {
        let first = usize::try_from(file.first_site).ok()?;
        let end = first.checked_add(usize::try_from(file.site_count).ok()?)?;
        self.sites.get(first..end)
    }

    /// Sites of the file whose data lies at `data_offset` of the image, as far as they lie wholly in a range of the file.
    pub fn sites(&self, data_offset: u64, size: u64, range: &Range<u64>) -> &'a [BoundSite] {
        let found = self
            .files
            .binary_search_by_key(&data_offset, |file| file.data_offset);
        let Some(file) = found.ok().map(|i| &self.files[i]) else {
            return &[];
        };
        let sites = match self.sites_of(file) {
            Some(sites) if file.size == size => sites,
            _ => return &[],
        };
        let first = sites.partition_point(|s| u64::from(s.patch_offset) < range.start);
        let end = sites
            .partition_point(|s| u64::from(s.patch_offset) + extent(s) as u64 <= range.end)
            .max(first);
        &sites[first..end]
    }
}

fn slice<T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable>(
    table: &[u8],
    offset: u64,
    count: u64,
) -> Option<&[T]> {
    let start = usize::try_from(offset).ok()?;
    let size = usize::try_from(count).ok()?.checked_mul(size_of::<T>())?;
    let bytes = table.get(start..start.checked_add(size)?)?;
    <[T]>::ref_from_bytes(bytes).ok()
}

// Bytes from the patch offset that belong to a site.
fn extent(site: &BoundSite) -> usize {
    displaced(site).max(JUMP)
}

fn displaced(site: &BoundSite) -> usize {
    usize::from(site.before) + 2 + usize::from(site.after)
}

fn is_sound(site: &BoundSite, size: u64) -> bool {
    let code = usize::from(site.before) + usize::from(site.after);
    code <= site.code.len()
        && displaced(site) >= JUMP
        && usize::from(site.return_delta) >= JUMP.min(displaced(site))
        && u64::from(site.patch_offset) + extent(site) as u64 <= size
}

// Before, `syscall`, after: what stands in the file.
fn original(site: &BoundSite) -> ([u8; 26], usize) {
    let before = usize::from(site.before);
    let after = usize::from(site.after);
    let mut bytes = [0; 26];
    bytes[..before].copy_from_slice(&site.code[..before]);
    bytes[before..before + 2].copy_from_slice(&[0x0f, 0x05]);
    bytes[before + 2..before + 2 + after].copy_from_slice(&site.code[before..before + after]);
    (bytes, before + 2 + after)
}

// The `syscall` itself stays where it is, because what is displaced before it makes room enough.
fn keeps_syscall(site: &BoundSite) -> bool {
    usize::from(site.before) >= JUMP && site.after == 0
}

fn stub_size(site: &BoundSite) -> usize {
    match keeps_syscall(site) {
        true => usize::from(site.before) + LEA + GATE_JUMP,
        false => usize::from(site.before) + LEA + GATE_JUMP + usize::from(site.after) + JUMP,
    }
}

// Appends the stub at address `at` for a site at address `site_at`, and gives the jump to it. `None` when out of reach.
//
// Where the `syscall` stays, the gate is told the program's own return address, so that signal frames show what they show
// on Linux and a restarted call runs the `syscall` itself; elsewhere it is the address after the gate's jump
// (docs/design/decisions/0005-syscall-binding.md).
fn assemble(stubs: &mut Vec<u8>, at: u64, site: &BoundSite, site_at: u64) -> Option<[u8; JUMP]> {
    let before = usize::from(site.before);
    let after = usize::from(site.after);
    let go_on = site_at + u64::from(site.return_delta);
    let after_lea = at + (before + LEA) as u64;
    let to_stub = displacement(site_at + JUMP as u64, at)?;
    let back = displacement(at + stub_size(site) as u64, go_on)?;
    let returns_to = match keeps_syscall(site) {
        true => displacement(after_lea, go_on)?,
        false => (GATE_JUMP as i32).to_le_bytes(),
    };

    stubs.extend_from_slice(&site.code[..before]);
    stubs.extend_from_slice(&[0x48, 0x8d, 0x0d]); // lea rcx, [rip + …]
    stubs.extend_from_slice(&returns_to);
    stubs.extend_from_slice(&[0x65, 0xff, 0x24, 0x25]); // jmp gs:[gate]
    stubs.extend_from_slice(&(GS_GATE as u32).to_le_bytes());
    if !keeps_syscall(site) {
        stubs.extend_from_slice(&site.code[before..before + after]);
        stubs.push(0xe9);
        stubs.extend_from_slice(&back);
    }

    let mut jump = [0xe9; JUMP];
    jump[1..].copy_from_slice(&to_stub);
    Some(jump)
}

fn displacement(from: u64, to: u64) -> Option<[u8; 4]> {
    let distance = i32::try_from(to.wrapping_sub(from) as i64).ok()?;
    Some(distance.to_le_bytes())
}

fn bindings() -> &'static Bindings<'static> {
    static BINDINGS: Once<Bindings<'static>> = Once::new();
    BINDINGS.call_once(|| {
        Bindings::parse(memory::layout().bindings())
            .expect("the measured binding table is malformed")
    })
}

/// Binds the sites in writable pages at `range`, which hold what the file (by its place and size in the image) has at
/// `offset`. Returns where the stubs are, if any site was bound.
pub fn bind(
    range: &Range<u64>,
    data_offset: u64,
    file_size: u64,
    offset: u64,
) -> Result<Option<Range<u64>>> {
    let in_file = offset..offset + (range.end - range.start);
    let sites = bindings().sites(data_offset, file_size, &in_file);
    if sites.is_empty() {
        return Ok(None);
    }
    let most: usize = sites.iter().map(stub_size).sum();
    let size = page_up(most as u64).ok_or(Errno::ENOMEM)?;
    let Some(area) = reserve(range, size) else {
        return Ok(None);
    };
    match write(sites, range.start.wrapping_sub(offset), &area, most) {
        Ok(()) => Ok(Some(area)),
        Err(errno) => {
            give_back(&area);
            Err(errno)
        }
    }
}

fn reserve(code: &Range<u64>, size: u64) -> Option<Range<u64>> {
    let mut space = lock();
    let start = space.place_near(code, size)?;
    space.pages().clear(start, size, Prot::RW, false).ok()?;
    let area = start..start + size;
    space.map_kernel(area.clone(), Prot::READ | Prot::EXEC, Kind::Stubs);
    Some(area)
}

fn give_back(area: &Range<u64>) {
    let mut space = lock();
    space.pages().release(area.start, area.end - area.start);
    let _ = space.forget_stubs(area.clone());
}

// `base`: the address of file offset 0.
fn write(sites: &[BoundSite], base: u64, area: &Range<u64>, most: usize) -> Result<()> {
    let mut stubs = Vec::new();
    stubs.try_reserve_exact(most).map_err(|_| Errno::ENOMEM)?;
    let mut jumps = Vec::new();
    jumps
        .try_reserve_exact(sites.len())
        .map_err(|_| Errno::ENOMEM)?;
    for site in sites {
        let site_at = base.wrapping_add(u64::from(site.patch_offset));
        let (expected, size) = original(site);
        let mut found = [0; 26];
        user::copy_in(site_at, &mut found[..size])?;
        if found[..size] != expected[..size] {
            continue;
        }
        let at = area.start + stubs.len() as u64;
        if let Some(jump) = assemble(&mut stubs, at, site, site_at) {
            jumps.push((site_at, jump));
        }
    }
    user::copy_out(area.start, &stubs)?;
    lock()
        .pages()
        .protect(area.start, area.end - area.start, Prot::READ | Prot::EXEC)?;
    for (site_at, jump) in &jumps {
        user::copy_out(*site_at, jump)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn site(patch_offset: u32, before: &[u8], after: &[u8]) -> BoundSite {
        let mut code = [0; 24];
        code[..before.len()].copy_from_slice(before);
        code[before.len()..before.len() + after.len()].copy_from_slice(after);
        BoundSite {
            patch_offset,
            return_delta: (before.len() + 2 + after.len()) as u8,
            before: before.len() as u8,
            after: after.len() as u8,
            reserved: 0,
            code,
        }
    }

    // 64-bit words, so that the table is aligned as it is in a package.
    fn table(files: &[BoundFile], sites: &[BoundSite]) -> Vec<u64> {
        let header = BindingsHeader {
            magic: BINDINGS_MAGIC,
            version: FORMAT_VERSION,
            file_count: files.len() as u32,
            site_count: sites.len() as u64,
            files_offset: 64,
            sites_offset: 64 + 32 * files.len() as u64,
            reserved: [0; 24],
        };
        let bytes = [header.as_bytes(), files.as_bytes(), sites.as_bytes()].concat();
        bytes
            .chunks(8)
            .map(|w| u64::from_ne_bytes(w.try_into().unwrap()))
            .collect()
    }

    const FILE: BoundFile = BoundFile {
        data_offset: 0x200,
        size: 0x3000,
        first_site: 0,
        site_count: 3,
    };

    fn sites() -> [BoundSite; 3] {
        [
            site(0x100, &[0xb8, 1, 0, 0, 0], &[]),
            site(0xffe, &[0xb8, 2, 0, 0, 0], &[]),
            site(0x2000, &[], &[0x48, 0x3d, 0, 0xf0, 0xff, 0xff]),
        ]
    }

    #[test]
    fn sites_are_found_by_file_and_only_wholly_inside_a_range() {
        let table = table(&[FILE], &sites());
        let bindings = Bindings::parse(table.as_bytes()).unwrap();
        let offsets = |range: Range<u64>| -> Vec<u32> {
            bindings
                .sites(0x200, 0x3000, &range)
                .iter()
                .map(|s| s.patch_offset)
                .collect()
        };
        assert_eq!(offsets(0..0x3000), [0x100, 0xffe, 0x2000]);
        assert_eq!(offsets(0..0x1000), [0x100]);
        assert_eq!(offsets(0x1000..0x3000), [0x2000]);
        assert!(bindings.sites(0x200, 0x2fff, &(0..0x3000)).is_empty());
        assert!(bindings.sites(0x201, 0x3000, &(0..0x3000)).is_empty());
    }

    #[test]
    fn an_empty_table_binds_nothing() {
        let bindings = Bindings::parse(&[]).unwrap();
        assert!(bindings.sites(0, 0, &(0..u64::MAX)).is_empty());
    }

    #[test]
    fn malformed_tables_are_refused() {
        let good = table(&[FILE], &sites());
        assert!(Bindings::parse(good.as_bytes()).is_some());
        let edited = |at: usize, value: u8| {
            let mut bad = good.clone();
            bad.as_mut_bytes()[at] = value;
            Bindings::parse(bad.as_bytes()).is_none()
        };
        assert!(edited(0, b'X'), "magic");
        assert!(edited(8, 2), "version");
        assert!(edited(12, 200), "file count");
        assert!(edited(19, 1), "site count");
        assert!(edited(31, 0xff), "files offset");
        assert!(edited(24, 65), "unaligned files offset");
        assert!(edited(64 + 24, 4), "more sites than there are");
        assert!(edited(64 + 8 + 1, 0x10), "site beyond the file");
        assert!(edited(96 + 5, 30), "displaced bytes beyond the record");
        assert!(edited(96 + 1, 0x20), "sites not ascending");
        assert!(edited(96 + 5, 2), "too few bytes for a jump");
        assert!(Bindings::parse(&good.as_bytes()[..40]).is_none(), "cut off");
    }

    #[test]
    fn no_damage_makes_the_parser_panic() {
        let good = table(&[FILE], &sites());
        for at in 0..good.as_bytes().len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad.as_mut_bytes()[at] = value;
                if let Some(bindings) = Bindings::parse(bad.as_bytes()) {
                    bindings.sites(0x200, 0x3000, &(0..0x3000));
                }
            }
        }
    }

    #[test]
    fn a_stub_runs_what_was_displaced_and_comes_back() {
        let mut stubs = Vec::new();
        let site = site(0x10, &[0xb8, 1, 0, 0, 0], &[0x48, 0x89, 0xc7]);
        let jump = assemble(&mut stubs, 0x20000, &site, 0x10010).unwrap();
        assert_eq!(jump, [0xe9, 0xeb, 0xff, 0, 0]);
        assert_eq!(&stubs[..5], &[0xb8, 1, 0, 0, 0]);
        assert_eq!(&stubs[5..12], &[0x48, 0x8d, 0x0d, 8, 0, 0, 0]);
        assert_eq!(&stubs[12..20], &[0x65, 0xff, 0x24, 0x25, 8, 0, 0, 0]);
        assert_eq!(&stubs[20..23], &[0x48, 0x89, 0xc7]);
        assert_eq!(stubs[23], 0xe9);
        let back = i32::from_le_bytes(stubs[24..28].try_into().unwrap());
        assert_eq!(0x20000 + 28 + i64::from(back), 0x10010 + 10);
    }

    #[test]
    fn where_the_syscall_stays_the_gate_is_told_the_programs_own_return_address() {
        let mut stubs = Vec::new();
        let site = site(0x10, &[0xb8, 1, 0, 0, 0], &[]);
        assemble(&mut stubs, 0x20000, &site, 0x10010).unwrap();
        assert_eq!(stubs.len(), 5 + 7 + 8);
        assert_eq!(&stubs[5..8], &[0x48, 0x8d, 0x0d]);
        let to = i32::from_le_bytes(stubs[8..12].try_into().unwrap());
        assert_eq!(0x20000 + 12 + i64::from(to), 0x10010 + 7);
        assert_eq!(&stubs[12..], &[0x65, 0xff, 0x24, 0x25, 8, 0, 0, 0]);
    }

    #[test]
    fn a_stub_out_of_reach_is_not_made() {
        let mut stubs = Vec::new();
        let site = site(0, &[0xb8, 1, 0, 0, 0], &[]);
        assert!(assemble(&mut stubs, 0x1_0000_0000, &site, 0x1000).is_none());
        assert!(stubs.is_empty());
    }
}
