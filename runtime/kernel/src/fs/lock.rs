//! Advisory locks on files: of whole files (flock(2)) and of byte ranges (fcntl_locking(2)).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use mystikos_platform::sync::Mutex;

use super::file::OpenFile;
use super::inode::Inode;
use crate::process::wait::{wait_until, WaitQueue};
use crate::{Errno, Result};

/// Who holds a lock on a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process (F_SETLK).
    Process(u32),
    /// An open file description, by its address (F_OFD_SETLK).
    Description(usize),
}

impl Owner {
    /// What stands for a description as long as it is open.
    pub fn address(description: &OpenFile) -> usize {
        core::ptr::from_ref(description) as usize
    }
}

/// A lock on bytes `start..=end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Range {
    pub owner: Owner,
    pub exclusive: bool,
    pub start: u64,
    pub end: u64,
}

impl Range {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }

    fn excludes(&self, other: &Range) -> bool {
        self.owner != other.owner
            && (self.exclusive || other.exclusive)
            && self.overlaps(other.start, other.end)
    }
}

/// Locks on one file.
#[derive(Default)]
struct Held {
    ranges: Vec<Range>,
    /// Descriptions that hold the whole file, and whether exclusively.
    wholes: Vec<(usize, bool)>,
}

impl Held {
    /// The first lock that stands in the way, in the order in which Linux looks: owner by owner as they came, and
    /// those of one owner by position.
    fn conflict(&self, wanted: &Range) -> Option<Range> {
        self.ranges.iter().find(|r| r.excludes(wanted)).copied()
    }

    fn insert(&mut self, new: Range) {
        let own = |range: &Range| range.owner == new.owner;
        let later = |range: &Range| own(range) && range.start > new.start;
        let after_own = self.ranges.iter().rposition(own).map(|last| last + 1);
        let before = self.ranges.iter().position(later).or(after_own);
        let at = before.unwrap_or(self.ranges.len());
        self.ranges.insert(at, new);
    }

    /// Takes a range away from an owner's locks; those that reach over it stay on both sides.
    fn cut(&mut self, owner: Owner, start: u64, end: u64) -> Result<()> {
        self.ranges.try_reserve(2).map_err(|_| Errno::ENOLCK)?;
        let mut index = 0;
        while index < self.ranges.len() {
            let range = self.ranges[index];
            if range.owner != owner || !range.overlaps(start, end) {
                index += 1;
                continue;
            }
            self.ranges.remove(index);
            if range.start < start {
                self.insert(Range {
                    end: start - 1,
                    ..range
                });
            }
            if range.end > end {
                self.insert(Range {
                    start: end + 1,
                    ..range
                });
            }
        }
        Ok(())
    }

    fn add(&mut self, mut new: Range) -> Result<()> {
        self.cut(new.owner, new.start, new.end)?;
        // Neighbours of the same kind become one.
        self.ranges.retain(|range| {
            let same = range.owner == new.owner && range.exclusive == new.exclusive;
            let before = range.end.checked_add(1) == Some(new.start);
            let after = new.end.checked_add(1) == Some(range.start);
            if same && before {
                new.start = range.start;
            }
            if same && after {
                new.end = range.end;
            }
            !(same && (before || after))
        });
        self.insert(new);
        Ok(())
    }
}

struct Locked {
    /// Keeps the file, so that its address stands for it.
    _inode: Arc<dyn Inode>,
    held: Held,
}

static FILES: Mutex<Option<HashMap<usize, Locked>>> = Mutex::new(None);

/// Number of files with locks: nothing is looked up while there are none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

static RELEASED: WaitQueue = WaitQueue::new();

fn key(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode) as *const () as usize
}

/// Acts on the locks of a file, and forgets it when none are left.
fn with<R>(inode: &Arc<dyn Inode>, act: impl FnOnce(&mut Held) -> R) -> Result<R> {
    let mut files = FILES.lock();
    let files = files.get_or_insert_with(HashMap::default);
    files.try_reserve(1).map_err(|_| Errno::ENOLCK)?;
    let locked = files.entry(key(inode)).or_insert_with(|| Locked {
        _inode: inode.clone(),
        held: Held::default(),
    });
    let result = act(&mut locked.held);
    let empty = locked.held.ranges.is_empty() && locked.held.wholes.is_empty();
    let forgotten = match empty {
        true => files.remove(&key(inode)),
        false => None,
    };
    COUNT.store(files.len(), Ordering::Relaxed);
    drop(forgotten);
    Ok(result)
}

/// A lock that stands in the way of another.
pub fn conflict(inode: &Arc<dyn Inode>, wanted: &Range) -> Option<Range> {
    with(inode, |held| held.conflict(wanted)).ok().flatten()
}

/// Takes a lock on a range, replacing what its owner holds there; EAGAIN if it does not `wait`.
pub fn acquire(inode: &Arc<dyn Inode>, wanted: Range, wait: bool) -> Result<()> {
    let attempt = || {
        let taken = with(inode, |held| match held.conflict(&wanted) {
            Some(_) => None,
            None => Some(held.add(wanted)),
        });
        match taken {
            Ok(result) => result,
            Err(error) => Some(Err(error)),
        }
    };
    let result = match attempt() {
        Some(result) => result,
        None if wait => wait_until(&[&RELEASED], None, attempt)?,
        None => Err(Errno::EAGAIN),
    };
    // An exclusive lock may have become a shared one.
    RELEASED.wake_all();
    result
}

/// Gives up a range.
pub fn release(inode: &Arc<dyn Inode>, owner: Owner, start: u64, end: u64) -> Result<()> {
    with(inode, |held| held.cut(owner, start, end))??;
    RELEASED.wake_all();
    Ok(())
}

/// Gives up all ranges of an owner.
pub fn release_records(inode: &Arc<dyn Inode>, owner: Owner) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let _ = with(inode, |held| held.ranges.retain(|r| r.owner != owner));
    RELEASED.wake_all();
}

/// Locks a whole file for a description (`exclusive` or shared), or unlocks it with `None`; EAGAIN if it does not `wait`.
pub fn whole(
    inode: &Arc<dyn Inode>,
    description: &OpenFile,
    exclusive: Option<bool>,
    wait: bool,
) -> Result<()> {
    let me = Owner::address(description);
    // Changing the kind of a lock gives the old one up first (flock(2)).
    with(inode, |held| {
        held.wholes
            .retain(|&(owner, kind)| owner != me || Some(kind) == exclusive)
    })?;
    RELEASED.wake_all();
    let Some(exclusive) = exclusive else {
        return Ok(());
    };
    let attempt = || {
        let taken = with(inode, |held| {
            if held.wholes.contains(&(me, exclusive)) {
                return Some(Ok(()));
            }
            if held.wholes.iter().any(|&(_, kind)| kind || exclusive) {
                return None;
            }
            if held.wholes.try_reserve(1).is_err() {
                return Some(Err(Errno::ENOLCK));
            }
            held.wholes.push((me, exclusive));
            Some(Ok(()))
        });
        match taken {
            Ok(result) => result,
            Err(error) => Some(Err(error)),
        }
    };
    match attempt() {
        Some(result) => result,
        None if wait => wait_until(&[&RELEASED], None, attempt)?,
        None => Err(Errno::EAGAIN),
    }
}

/// A description is no more: its locks end.
pub(super) fn description_dropped(description: &OpenFile) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let Some(dentry) = &description.dentry else {
        return;
    };
    let me = Owner::address(description);
    let _ = with(&dentry.inode, |held| {
        held.wholes.retain(|&(owner, _)| owner != me);
        held.ranges.retain(|r| r.owner != Owner::Description(me));
    });
    RELEASED.wake_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Owner = Owner::Process(1);
    const OTHER: Owner = Owner::Description(2);

    fn range(owner: Owner, exclusive: bool, start: u64, end: u64) -> Range {
        Range {
            owner,
            exclusive,
            start,
            end,
        }
    }

    /// What every byte is locked as, byte by byte.
    fn bytes(held: &Held, owner: Owner) -> Vec<Option<bool>> {
        (0..64)
            .map(|at| {
                let found: Vec<bool> = held
                    .ranges
                    .iter()
                    .filter(|r| r.owner == owner && r.overlaps(at, at))
                    .map(|r| r.exclusive)
                    .collect();
                assert!(found.len() <= 1, "a byte is locked twice");
                found.first().copied()
            })
            .collect()
    }

    #[test]
    fn ranges_behave_as_bytes_that_are_locked_one_by_one() {
        let mut held = Held::default();
        let mut model = vec![None; 64];
        let mut state = 99u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u64::from((state >> 16) % below)
        };
        for _ in 0..5000 {
            let start = next(60);
            let end = start + next(64 - start as u32);
            match next(3) {
                0 => {
                    held.cut(ME, start, end).unwrap();
                    model[start as usize..=end as usize].fill(None);
                }
                kind => {
                    held.add(range(ME, kind == 1, start, end)).unwrap();
                    model[start as usize..=end as usize].fill(Some(kind == 1));
                }
            }
            assert_eq!(bytes(&held, ME), model);
        }
    }

    #[test]
    fn only_exclusive_locks_of_others_stand_in_the_way() {
        let mut held = Held::default();
        held.add(range(ME, false, 10, 19)).unwrap();
        assert_eq!(held.conflict(&range(OTHER, false, 0, u64::MAX)), None);
        assert!(held.conflict(&range(OTHER, true, 19, 19)).is_some());
        assert_eq!(held.conflict(&range(OTHER, true, 20, 30)), None);
        assert_eq!(held.conflict(&range(ME, true, 0, u64::MAX)), None);
    }

    #[test]
    fn neighbours_become_one_lock() {
        let mut held = Held::default();
        held.add(range(ME, true, 0, 9)).unwrap();
        held.add(range(ME, true, 20, u64::MAX)).unwrap();
        held.add(range(ME, true, 10, 19)).unwrap();
        assert_eq!(held.ranges, [range(ME, true, 0, u64::MAX)]);
    }
}
