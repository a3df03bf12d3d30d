//! Symbols of the CRT image, which is measured with the kernel and mapped as it is.

use mystikos_platform::memory;

/// Address of a function that the CRT image exports.
pub fn symbol(name: &str) -> Option<u64> {
    let layout = memory::layout();
    offset(layout.crt(), name).map(|offset| layout.crt_address() + offset)
}

fn word(image: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = image.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

const PT_DYNAMIC: u64 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;

/// Value of a dynamic symbol (elf(5)); in this image offsets are addresses.
fn offset(image: &[u8], name: &str) -> Option<u64> {
    let headers = word(image, 32)?;
    let count = word(image, 56)? & 0xffff;
    let dynamic = (0..count)
        .map(|i| headers.wrapping_add(56 * i))
        .find(|&at| word(image, at).is_some_and(|w| w & 0xffff_ffff == PT_DYNAMIC))?;
    let dynamic = word(image, dynamic.checked_add(8)?)?;
    let entry = |tag| {
        (0..64)
            .map(|i| dynamic.wrapping_add(16 * i))
            .find(|&at| word(image, at) == Some(tag))
            .and_then(|at| word(image, at.checked_add(8)?))
    };
    let (hash, strings, symbols) = (entry(DT_HASH)?, entry(DT_STRTAB)?, entry(DT_SYMTAB)?);
    // The hash table's second word is the number of symbols.
    let count = word(image, hash)? >> 32;
    let found = (0..count.min(1024))
        .map(|i| symbols.wrapping_add(24 * i))
        .find(|&at| {
            let start = word(image, at).map(|w| strings.wrapping_add(w & 0xffff_ffff));
            let text = start.and_then(|s| image.get(usize::try_from(s).ok()?..));
            text.is_some_and(|t| t.starts_with(name.as_bytes()) && t.get(name.len()) == Some(&0))
        })?;
    word(image, found.checked_add(8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_none_has_no_symbols() {
        assert_eq!(offset(b"", "x"), None);
        assert_eq!(offset(&[0xff; 4096], "x"), None);
    }
}
