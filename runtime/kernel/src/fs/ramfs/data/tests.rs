//! Content of files against a vector of bytes.

use super::*;
use crate::fs::io::{BufferSink, BufferSource};
use mystikos_platform::sync::Mutex;

struct Random(u32);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % limit
    }
}

fn read(data: &Data, offset: usize, size: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; size];
    let n = data
        .read(offset as u64, &mut BufferSink::new(&mut buffer))
        .unwrap();
    buffer.truncate(n);
    buffer
}

/// A range in "application memory": a vector.
struct Window {
    offset: u64,
    bytes: Mutex<Vec<u8>>,
}

impl SharedRange for Window {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn size(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        let at = (offset - self.offset) as usize;
        to.copy_from_slice(&self.bytes.lock()[at..at + to.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<()> {
        let at = (offset - self.offset) as usize;
        self.bytes.lock()[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }
}

const LIMIT: usize = 40_000;

fn step(random: &mut Random, data: &mut Data, model: &mut Vec<u8>) {
    let (offset, size) = (random.below(LIMIT), random.below(9000));
    match random.below(5) {
        0 => {
            data.truncate(offset as u64).unwrap();
            model.resize(offset, 0);
        }
        1 => {
            data.punch(offset as u64, size as u64 + 1).unwrap();
            let end = (offset + size + 1).min(model.len());
            if offset < end {
                model[offset..end].fill(0);
            }
        }
        2 => {
            let keep_size = random.below(2) == 0;
            data.allocate(offset as u64, size as u64 + 1, keep_size)
                .unwrap();
            if !keep_size && offset + size + 1 > model.len() {
                model.resize(offset + size + 1, 0);
            }
        }
        _ => {
            let bytes: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
            let n = data
                .write(offset as u64, &mut BufferSource(&bytes))
                .unwrap();
            assert_eq!(n, size);
            if size > 0 {
                model.resize(model.len().max(offset + size), 0);
                model[offset..offset + size].copy_from_slice(&bytes);
            }
        }
    }
}

#[test]
fn content_is_what_a_vector_would_hold() {
    let image: &'static [u8] = (0..20_000u32)
        .map(|i| (i * 7) as u8)
        .collect::<Vec<_>>()
        .leak();
    let mut random = Random(42);
    for _ in 0..40 {
        let size = random.below(image.len());
        let mut data = Data::measured(&image[..size], 512);
        let mut model = image[..size].to_vec();
        assert_eq!(data.image_offset(), (size > 0).then_some(512));
        for _ in 0..60 {
            step(&mut random, &mut data, &mut model);
            assert_eq!(data.size(), model.len() as u64);
            let (offset, size) = (random.below(LIMIT + 10), random.below(20_000));
            let end = (offset + size).min(model.len());
            assert_eq!(read(&data, offset, size), model[offset.min(end)..end]);
        }
        assert_eq!(read(&data, 0, LIMIT * 2), model);
    }
}

#[test]
fn reading_and_writing_go_through_what_is_mapped_shared() {
    let mut random = Random(7);
    for _ in 0..30 {
        let mut data = Data::default();
        let mut model = Vec::new();
        for _ in 0..10 {
            step(&mut random, &mut data, &mut model);
        }
        let offset = random.below(5) * PAGE;
        let size = (1 + random.below(4)) * PAGE;
        let mut bytes = read(&data, offset, size);
        bytes.resize(size, 0);
        let window = Arc::new(Window {
            offset: offset as u64,
            bytes: Mutex::new(bytes),
        });
        let range: Arc<dyn SharedRange> = window.clone();
        data.map_shared(range.clone()).unwrap();
        for _ in 0..20 {
            step(&mut random, &mut data, &mut model);
            // The application writes to its memory.
            let at = random.below(size);
            if offset + at < model.len() {
                let byte = random.below(256) as u8;
                window.bytes.lock()[at] = byte;
                model[offset + at] = byte;
            }
            assert_eq!(read(&data, 0, LIMIT * 2), model);
            // And sees what is written to the file.
            let seen = window.bytes.lock().clone();
            let end = (offset + size).min(model.len());
            assert_eq!(
                seen[..end.saturating_sub(offset)],
                model[offset.min(end)..end]
            );
        }
        data.unmap_shared(&range).unwrap();
        assert_eq!(read(&data, 0, LIMIT * 2), model);
    }
}

#[test]
fn what_was_not_written_takes_no_memory() {
    let mut data = Data::default();
    data.truncate(1 << 50).unwrap();
    assert_eq!(data.blocks(), 0);
    data.write((1 << 40) + 5, &mut BufferSource(b"x")).unwrap();
    assert_eq!(data.blocks(), 8);
    assert_eq!(data.seek(0, false), Ok(1 << 40));
    assert_eq!(data.seek(1 << 40, true), Ok((1 << 40) + PAGE as u64));
    assert_eq!(data.seek((1 << 40) + PAGE as u64, false), Err(Errno::ENXIO));
    assert_eq!(data.truncate(u64::MAX), Err(Errno::EFBIG));
}

#[test]
fn any_change_ends_being_what_was_measured() {
    let image = &b"measured"[..];
    let changes: [fn(&mut Data); 4] = [
        |data| {
            data.write(0, &mut BufferSource(b"m")).unwrap();
        },
        |data| data.truncate(3).unwrap(),
        |data| data.truncate(30).unwrap(),
        |data| data.punch(0, 1).unwrap(),
    ];
    for change in changes {
        let mut data = Data::measured(image, 1000);
        assert_eq!(data.image_offset(), Some(1000));
        change(&mut data);
        assert_eq!(data.image_offset(), None);
    }
}
