//! The initial stack of a program (System V ABI, AMD64 supplement, 3.4.1), byte for byte as Linux builds it.

use alloc::vec::Vec;

use crate::{Errno, Result};

/// MAX_ARG_STRLEN: bytes of one string with its NUL.
const STRING_MAX: usize = 128 << 10;

/// AT_PLATFORM.
const PLATFORM: &[u8] = b"x86_64";

const AT_NULL: u64 = 0;
const AT_EXECFN: u64 = 31;
const AT_PLATFORM: u64 = 15;
const AT_RANDOM: u64 = 25;

/// What is to stand on the stack.
pub struct Contents<'a> {
    /// argv.
    pub arguments: &'a [Vec<u8>],
    /// envp.
    pub environment: &'a [Vec<u8>],
    /// Path by which the program was called.
    pub path: &'a [u8],
    /// Random bytes for AT_RANDOM.
    pub random: [u8; 16],
    /// The auxiliary vector but for the entries that point into the stack.
    pub auxv: &'a [(u64, u64)],
}

/// A finished stack.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// The stack pointer, a multiple of 16; `bytes` start here.
    pub pointer: u64,
    /// What stands from the stack pointer to the end of the stack.
    pub bytes: Vec<u8>,
    /// The whole auxiliary vector.
    pub auxv: Vec<(u64, u64)>,
}

/// Builds the stack that ends at `top`. E2BIG when arguments and environment take more than `limit` bytes, or one
/// string is too long.
pub fn build(contents: &Contents<'_>, top: u64, limit: u64) -> Result<Image> {
    let strings = strings(contents, limit)?;
    let at = |offset: usize| top - (strings.bytes.len() - offset) as u64;

    let mut auxv = contents.auxv.to_vec();
    auxv.push((AT_RANDOM, at(strings.random)));
    auxv.push((AT_EXECFN, at(strings.path)));
    auxv.push((AT_PLATFORM, at(strings.platform)));
    auxv.push((AT_NULL, 0));

    let mut words = alloc::vec![contents.arguments.len() as u64];
    words.extend(strings.arguments.iter().map(|&offset| at(offset)));
    words.push(0);
    words.extend(strings.environment.iter().map(|&offset| at(offset)));
    words.push(0);
    words.extend(auxv.iter().flat_map(|&(key, value)| [key, value]));

    let pointer = (at(0) - 8 * words.len() as u64) & !15;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize((at(0) - pointer) as usize, 0);
    bytes.extend_from_slice(&strings.bytes);
    Ok(Image {
        pointer,
        bytes,
        auxv,
    })
}

// The upper part of the stack, and where in it everything starts.
struct Strings {
    bytes: Vec<u8>,
    random: usize,
    platform: usize,
    arguments: Vec<usize>,
    environment: Vec<usize>,
    path: usize,
}

fn strings(contents: &Contents<'_>, limit: u64) -> Result<Strings> {
    let lists = contents.arguments.iter().chain(contents.environment);
    let mut size = contents.path.len() as u64 + 1;
    for string in lists {
        if string.len() >= STRING_MAX {
            return Err(Errno::E2BIG);
        }
        // Each string costs its pointer too.
        size += string.len() as u64 + 1 + 8;
    }
    if size > limit {
        return Err(Errno::E2BIG);
    }
    let mut bytes = contents.random.to_vec();
    let mut put = |text: &[u8]| {
        let offset = bytes.len();
        bytes.extend_from_slice(text);
        bytes.push(0);
        offset
    };
    let platform = put(PLATFORM);
    let arguments = contents.arguments.iter().map(|s| put(s)).collect();
    let environment = contents.environment.iter().map(|s| put(s)).collect();
    let path = put(contents.path);
    // Linux ends the stack with one zero word.
    bytes.extend_from_slice(&[0; 8]);
    Ok(Strings {
        bytes,
        random: 0,
        platform,
        arguments,
        environment,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u64 = 0x7000_0000;

    fn image(arguments: &[Vec<u8>], environment: &[Vec<u8>]) -> Image {
        let contents = Contents {
            arguments,
            environment,
            path: b"/bin/prog",
            random: *b"0123456789abcdef",
            auxv: &[(6, 4096)],
        };
        build(&contents, TOP, 1 << 20).unwrap()
    }

    fn word(image: &Image, index: usize) -> u64 {
        u64::from_le_bytes(image.bytes[8 * index..8 * index + 8].try_into().unwrap())
    }

    fn string(image: &Image, address: u64) -> Vec<u8> {
        let bytes = &image.bytes[(address - image.pointer) as usize..];
        bytes.split(|&b| b == 0).next().unwrap().to_vec()
    }

    #[test]
    fn arguments_environment_and_auxv_are_where_the_abi_says() {
        let image = image(
            &[b"prog".to_vec(), b"".to_vec()],
            &[b"A=1".to_vec(), b"B=".to_vec()],
        );
        assert_eq!(image.pointer % 16, 0);
        assert_eq!(image.pointer + image.bytes.len() as u64, TOP);
        assert_eq!(word(&image, 0), 2);
        assert_eq!(string(&image, word(&image, 1)), b"prog");
        assert_eq!(string(&image, word(&image, 2)), b"");
        assert_eq!(word(&image, 3), 0);
        assert_eq!(string(&image, word(&image, 4)), b"A=1");
        assert_eq!(string(&image, word(&image, 5)), b"B=");
        assert_eq!(word(&image, 6), 0);
        assert_eq!((word(&image, 7), word(&image, 8)), (6, 4096));
        let of = |key| image.auxv.iter().find(|(k, _)| *k == key).unwrap().1;
        assert_eq!(string(&image, of(AT_EXECFN)), b"/bin/prog");
        assert_eq!(string(&image, of(AT_PLATFORM)), b"x86_64");
        let random = (of(AT_RANDOM) - image.pointer) as usize;
        assert_eq!(&image.bytes[random..random + 16], b"0123456789abcdef");
        assert_eq!(image.auxv.last(), Some(&(0, 0)));
        assert_eq!(&image.bytes[image.bytes.len() - 8..], &[0; 8]);
    }

    #[test]
    fn the_stack_pointer_is_aligned_for_any_number_of_strings() {
        for count in 0..5 {
            let image = image(&alloc::vec![b"x".to_vec(); count], &[]);
            assert_eq!(image.pointer % 16, 0);
            assert_eq!(word(&image, 0), count as u64);
        }
    }

    #[test]
    fn too_much_is_e2big() {
        let build = |arguments: &[Vec<u8>]| {
            let contents = Contents {
                arguments,
                environment: &[],
                path: b"/p",
                random: [0; 16],
                auxv: &[],
            };
            build(&contents, TOP, 1 << 20).map(|i| i.pointer % 16)
        };
        assert_eq!(build(&[alloc::vec![b'x'; STRING_MAX - 1]]), Ok(0));
        assert_eq!(build(&[alloc::vec![b'x'; STRING_MAX]]), Err(Errno::E2BIG));
        let many = alloc::vec![alloc::vec![b'x'; 100_000]; 11];
        assert_eq!(build(&many), Err(Errno::E2BIG));
    }
}
