//! A vDSO with `__vdso_sgx_enter_enclave`, as that of a kernel with SGX has it, for a kernel without.
//!
//! It has all functions of the machine's own vDSO as well, by their addresses there.

use std::arch::global_asm;

use object::elf;
use object::read::elf::ElfFile64;
use object::write::elf::{FileHeader, ProgramHeader, Sym, Verdef, Writer};
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

/// Why an image cannot be made.
pub type Error = Box<dyn std::error::Error>;

global_asm!(include_str!("../../sgx/enter_enclave.s"));

extern "C" {
    static sgx_enter_enclave: u8;
    static sgx_enter_enclave_enclu: u8;
    static sgx_enter_enclave_fixup: u8;
    static sgx_enter_enclave_end: u8;
}

/// Bytes that an image needs at most.
pub const SIZE: usize = 8192;

const VERSION: &[u8] = b"LINUX_2.6";
const SONAME: &[u8] = b"linux-vdso.so.1";
const ENTER: &[u8] = b"__vdso_sgx_enter_enclave";

/// An image, and where in it things are.
pub struct Image {
    /// ELF64 shared object, to be mapped as a whole.
    pub bytes: Vec<u8>,
    /// Offset of the ENCLU.
    pub enclu: u64,
    /// Offset at which an exception at the ENCLU continues.
    pub fixup: u64,
}

struct Function {
    name: Vec<u8>,
    weak: bool,
    value: u64,
    size: u64,
}

/// The image for address `base`, with the functions of `own`, the machine's vDSO, which is mapped at `own_base`.
pub fn image(own: &[u8], own_base: u64, base: u64) -> Result<Image, Error> {
    let text = enter_enclave();
    let offset = |symbol: *const u8| symbol as u64 - text.as_ptr() as u64;
    let mut functions = functions_of(own, own_base, base)?;
    functions.push(Function {
        name: ENTER.to_vec(),
        weak: false,
        value: 0, // known once everything before the text is laid out
        size: text.len() as u64,
    });
    let (bytes, start) = write(&mut functions, text)?;
    Ok(Image {
        bytes,
        enclu: start + offset(&raw const sgx_enter_enclave_enclu),
        fixup: start + offset(&raw const sgx_enter_enclave_fixup),
    })
}

fn enter_enclave() -> &'static [u8] {
    let (start, end) = (
        &raw const sgx_enter_enclave,
        &raw const sgx_enter_enclave_end,
    );
    // SAFETY: both symbols belong to the same piece of assembly, which is constant.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// Functions of the machine's vDSO, with values that count from `base`.
fn functions_of(
    own: &[u8],
    own_base: u64,
    base: u64,
) -> Result<Vec<Function>, object::read::Error> {
    let file = ElfFile64::<Endianness>::parse(own)?;
    let functions = file.dynamic_symbols().filter(|symbol| {
        symbol.is_definition()
            && symbol.kind() == SymbolKind::Text
            && symbol.name_bytes() != Ok(ENTER)
    });
    functions
        .map(|symbol| {
            Ok(Function {
                name: symbol.name_bytes()?.to_vec(),
                weak: symbol.is_weak(),
                value: own_base.wrapping_add(symbol.address()).wrapping_sub(base),
                size: symbol.size(),
            })
        })
        .collect()
}

/// Writes the file in the order of the kernel's own: hashes, symbols, strings, versions, dynamic section, text. Returns
/// it with the offset of the text.
fn write(functions: &mut [Function], text: &[u8]) -> Result<(Vec<u8>, u64), object::write::Error> {
    let names: Vec<Vec<u8>> = functions.iter().map(|f| f.name.clone()).collect();
    let count = functions.len() as u32;
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Endianness::Little, true, &mut bytes);

    writer.reserve_file_header();
    writer.reserve_program_headers(2);
    let soname = writer.add_dynamic_string(SONAME);
    let version = writer.add_dynamic_string(VERSION);
    let ids: Vec<_> = names
        .iter()
        .map(|name| writer.add_dynamic_string(name))
        .collect();
    for _ in functions.iter() {
        writer.reserve_dynamic_symbol_index();
    }
    writer.reserve_hash_section_index();
    writer.reserve_gnu_hash_section_index();
    writer.reserve_dynsym_section_index();
    writer.reserve_dynstr_section_index();
    writer.reserve_gnu_versym_section_index();
    writer.reserve_gnu_verdef_section_index();
    writer.reserve_dynamic_section_index();
    writer.reserve_shstrtab_section_index();
    let hash = writer.reserve_hash(1, count + 1);
    let gnu_hash = writer.reserve_gnu_hash(1, 1, count);
    let symbols = writer.reserve_dynsym();
    let strings = writer.reserve_dynstr()?;
    let versym = writer.reserve_gnu_versym();
    let verdef = writer.reserve_gnu_verdef(2, 2);
    let tables = [
        (elf::DT_HASH, hash),
        (elf::DT_GNU_HASH, gnu_hash),
        (elf::DT_STRTAB, strings),
        (elf::DT_SYMTAB, symbols),
        (elf::DT_STRSZ, writer.dynstr_len().into()),
        (elf::DT_SYMENT, 24),
        (elf::DT_VERDEF, verdef),
        (elf::DT_VERDEFNUM, 2),
        (elf::DT_VERSYM, versym),
        (elf::DT_NULL, 0),
    ];
    let dynamic = writer.reserve_dynamic(tables.len() + 1);
    let start = writer.reserve(text.len() as u64, 16);
    writer.reserve_shstrtab()?;
    writer.reserve_section_headers();
    let size = writer.reserved_len();
    if let Some(enter) = functions.last_mut() {
        enter.value = start;
    }

    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_DYN,
        e_machine: elf::EM_X86_64,
        e_entry: 0,
        e_flags: elf::FileFlags(0),
    })?;
    writer.write_align_program_headers();
    let mut segment = |p_type, p_flags, at, size, p_align| {
        writer.write_program_header(&ProgramHeader {
            p_type,
            p_flags,
            p_offset: at,
            p_vaddr: at,
            p_paddr: at,
            p_filesz: size,
            p_memsz: size,
            p_align,
        });
    };
    segment(elf::PT_LOAD, elf::PF_R | elf::PF_X, 0, size, 4096);
    segment(
        elf::PT_DYNAMIC,
        elf::PF_R,
        dynamic,
        16 * (tables.len() as u64 + 1),
        8,
    );
    writer.write_hash(1, count + 1, |i| {
        let name = names.get((i as usize).checked_sub(1)?)?;
        Some(elf::hash(name))
    });
    writer.write_gnu_hash(1, 0, 1, 1, count, |i| elf::gnu_hash(&names[i as usize]));
    writer.write_null_dynamic_symbol();
    for (function, id) in functions.iter().zip(&ids) {
        let bind = if function.weak {
            elf::STB_WEAK
        } else {
            elf::STB_GLOBAL
        };
        let symbol = Sym {
            section: None,
            st_name: writer.dynamic_string_offset(Some(*id)),
            st_info: elf::SymbolInfo::new(bind, elf::STT_FUNC),
            st_other: elf::SymbolOther(0),
            // Of no section in particular: an absolute symbol would not be moved to where the image lies.
            st_shndx: elf::SymbolSection(1),
            st_value: function.value,
            st_size: function.size,
        };
        writer.write_dynamic_symbol(&symbol);
    }
    writer.write_dynstr();
    writer.write_null_gnu_versym();
    for _ in functions.iter() {
        writer.write_gnu_versym(elf::VersymIndex(2));
    }
    writer.write_align_gnu_verdef();
    for (index, flags, id, name) in [
        (1, elf::VER_FLG_BASE, soname, SONAME),
        (2, elf::VersionFlags(0), version, VERSION),
    ] {
        let name_offset = writer.dynamic_string_offset(Some(id));
        writer.write_gnu_verdef(&Verdef {
            version: elf::VER_DEF_CURRENT,
            flags,
            index: elf::VersionIndex(index),
            aux_count: 1,
            name: name_offset,
            hash: elf::hash(name),
        });
    }
    writer.write_align_dynamic();
    writer.write_dynamic_string(elf::DT_SONAME, soname)?;
    for (tag, value) in tables {
        writer.write_dynamic(tag, value)?;
    }
    writer.write_align(16);
    writer.write(text);
    writer.write_shstrtab();
    writer.write_null_section_header();
    writer.write_hash_section_header(hash);
    writer.write_gnu_hash_section_header(gnu_hash);
    writer.write_dynsym_section_header(symbols, 1);
    writer.write_dynstr_section_header(strings);
    writer.write_gnu_versym_section_header(versym);
    writer.write_gnu_verdef_section_header(verdef);
    writer.write_dynamic_section_header(dynamic);
    writer.write_shstrtab_section_header();
    Ok((bytes, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This machine's own vDSO, as the program that is traced finds it.
    fn own() -> (&'static [u8], u64) {
        // SAFETY: the kernel maps a whole shared object there for as long as the process lives.
        unsafe {
            let base = libc::getauxval(libc::AT_SYSINFO_EHDR);
            (std::slice::from_raw_parts(base as *const u8, 8192), base)
        }
    }

    #[test]
    fn readelf_finds_nothing_to_complain_about() {
        let (original, own_base) = own();
        let image = image(original, own_base, own_base + 0x10000).unwrap();
        let path = std::env::temp_dir().join(format!("vdso-{}.so", std::process::id()));
        std::fs::write(&path, image.bytes).unwrap();
        let read = std::process::Command::new("readelf")
            .args(["-Wa", "--dyn-syms"])
            .arg(&path)
            .output();
        let _ = std::fs::remove_file(&path);
        let read = read.unwrap();
        assert_eq!(String::from_utf8_lossy(&read.stderr), "");
        assert!(
            String::from_utf8_lossy(&read.stdout).contains("__vdso_sgx_enter_enclave@@LINUX_2.6")
        );
    }

    fn address(file: &ElfFile64<'_, Endianness>, name: &str) -> Option<u64> {
        let found = file.dynamic_symbols().find(|s| s.name() == Ok(name))?;
        Some(found.address())
    }

    #[test]
    fn the_image_has_the_functions_of_the_machine_where_they_are_and_the_enclave_entry() {
        let (original, own_base) = own();
        let base = 0x7000_0000_0000;
        let image = image(original, own_base, base).unwrap();
        assert!(image.bytes.len() <= SIZE);
        let (file, before) = (
            ElfFile64::<Endianness>::parse(&*image.bytes).unwrap(),
            ElfFile64::<Endianness>::parse(original).unwrap(),
        );
        for name in ["__vdso_clock_gettime", "__vdso_time"] {
            assert_eq!(
                base.wrapping_add(address(&file, name).unwrap()),
                own_base + address(&before, name).unwrap()
            );
        }
        let enter = address(&file, "__vdso_sgx_enter_enclave").unwrap();
        assert_eq!(image.bytes[enter as usize..][..4], [0x55, 0x48, 0x89, 0xe5]);
        assert_eq!(image.bytes[image.enclu as usize..][..3], [0x0f, 0x01, 0xd7]);
        assert!(enter < image.enclu && image.enclu < image.fixup);
    }
}
