//! The names in a directory: found by hash, listed in the order in which they were made. A position in the listing
//! stays good whatever is added or removed meanwhile (readdir(3)).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::fs::dentry::Dentry;
use crate::{Errno, Result};

/// Names of one directory.
#[derive(Default)]
pub struct Directory {
    /// In ascending order of `position`; removed ones stay until there are many.
    slots: Vec<Slot>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
    next_position: u64,
    removed_slots: usize,
    /// Number of subdirectories: each adds a link to this directory.
    pub subdirectories: u64,
    /// The directory itself was removed; nothing can be made in it any more.
    pub removed: bool,
}

struct Slot {
    position: u64,
    child: Option<Child>,
}

/// A name and what it stands for.
pub struct Child {
    name: alloc::boxed::Box<[u8]>,
    /// The name in the tree.
    pub dentry: Arc<Dentry>,
}

/// Position of the first entry that is not `.` or `..`.
const FIRST: u64 = 2;

impl Directory {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.slots.len() - self.removed_slots
    }

    /// There are no names.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slot_of(&self, name: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        self.by_name
            .find(hash, |&index| self.has_name(index, name))
            .map(|&index| index as usize)
    }

    fn has_name(&self, index: u32, name: &[u8]) -> bool {
        matches!(&self.slots[index as usize].child, Some(child) if *child.name == *name)
    }

    /// What a name stands for.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Dentry>> {
        let slot = &self.slots[self.slot_of(name)?];
        slot.child.as_ref().map(|child| &child.dentry)
    }

    /// Adds a name that is not there yet.
    pub fn insert(&mut self, name: &[u8], dentry: Arc<Dentry>) -> Result<()> {
        self.slots.try_reserve(1).map_err(|_| Errno::ENOSPC)?;
        let Directory {
            slots,
            by_name,
            hasher,
            ..
        } = self;
        by_name
            .try_reserve(1, |&index| hash_of(slots, hasher, index))
            .map_err(|_| Errno::ENOSPC)?;
        let index = u32::try_from(slots.len()).map_err(|_| Errno::ENOSPC)?;
        let hash = hasher.hash_one(name);
        slots.push(Slot {
            position: FIRST + self.next_position,
            child: Some(Child {
                name: name.into(),
                dentry,
            }),
        });
        self.next_position += 1;
        by_name.insert_unique(hash, index, |&index| hash_of(slots, hasher, index));
        Ok(())
    }

    /// Lets a name stand for something else; returns what it stood for.
    pub fn replace(&mut self, name: &[u8], dentry: Arc<Dentry>) -> Option<Arc<Dentry>> {
        let slot = self.slot_of(name)?;
        let child = self.slots[slot].child.as_mut()?;
        Some(core::mem::replace(&mut child.dentry, dentry))
    }

    /// Takes a name away; returns what it stood for.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Dentry>> {
        let hash = self.hasher.hash_one(name);
        let slots = &self.slots;
        let entry = self.by_name.find_entry(
            hash,
            |&index| matches!(&slots[index as usize].child, Some(child) if *child.name == *name),
        );
        let (index, _) = entry.ok()?.remove();
        let child = self.slots[index as usize].child.take()?;
        self.removed_slots += 1;
        if self.removed_slots > 16 && self.removed_slots > self.slots.len() / 2 {
            self.compact();
        }
        Some(child.dentry)
    }

    /// Drops the slots of removed names. Needs no memory.
    fn compact(&mut self) {
        self.slots.retain(|slot| slot.child.is_some());
        self.removed_slots = 0;
        self.by_name.clear();
        let Directory {
            slots,
            by_name,
            hasher,
            ..
        } = self;
        for index in 0..slots.len() as u32 {
            let hash = hash_of(slots, hasher, index);
            by_name.insert_unique(hash, index, |&index| hash_of(slots, hasher, index));
        }
    }

    /// Names and what they stand for, from a position on; each with the position after it.
    pub fn from(&self, position: u64) -> impl Iterator<Item = (&[u8], &Arc<Dentry>, u64)> {
        let start = self.slots.partition_point(|slot| slot.position < position);
        self.slots[start..].iter().filter_map(|slot| {
            let child = slot.child.as_ref()?;
            Some((&*child.name, &child.dentry, slot.position + 1))
        })
    }
}

fn hash_of(slots: &[Slot], hasher: &DefaultHashBuilder, index: u32) -> u64 {
    match &slots[index as usize].child {
        Some(child) => hasher.hash_one(&*child.name),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::ramfs::RamFs;
    use crate::fs::ROOT_FS;

    fn names(directory: &Directory) -> Vec<Vec<u8>> {
        directory.from(0).map(|(name, ..)| name.to_vec()).collect()
    }

    #[test]
    fn names_are_found_listed_in_order_and_removed_as_in_a_model() {
        let dentry = RamFs::mount(&ROOT_FS);
        let mut directory = Directory::default();
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut state = 12345u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let name = format!("n{}", (state >> 16) % 300).into_bytes();
            let at = model.iter().position(|n| *n == name);
            assert_eq!(directory.get(&name).is_some(), at.is_some());
            match at {
                Some(at) => {
                    model.remove(at);
                    assert!(directory.remove(&name).is_some());
                }
                None => {
                    directory.insert(&name, dentry.clone()).unwrap();
                    model.push(name);
                }
            }
        }
        assert_eq!(names(&directory), model);
        assert_eq!(directory.len(), model.len());
    }

    #[test]
    fn removing_while_listing_skips_nothing() {
        let dentry = RamFs::mount(&ROOT_FS);
        let mut directory = Directory::default();
        for i in 0..1000 {
            directory
                .insert(format!("{i}").as_bytes(), dentry.clone())
                .unwrap();
        }
        let mut position = 0;
        let mut seen = 0;
        loop {
            let batch: Vec<(Vec<u8>, u64)> = directory
                .from(position)
                .take(7)
                .map(|(name, _, next)| (name.to_vec(), next))
                .collect();
            let Some((_, next)) = batch.last() else { break };
            position = *next;
            for (name, _) in &batch {
                seen += 1;
                directory.remove(name);
            }
        }
        assert_eq!(seen, 1000);
        assert!(directory.is_empty());
    }
}
