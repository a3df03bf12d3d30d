//! mremap(2).

use core::ops::Range;

use super::lock::{lock, lock_to_add};
use super::mapping::{self, Request};
use super::pages::Pages;
use super::space::{is_aligned, page_up, Content, Place};
use super::vma::{Prot, State, Vma};
use crate::{Errno, Result};

/// MREMAP_MAYMOVE.
const MAYMOVE: u64 = 1;
/// MREMAP_FIXED.
const FIXED: u64 = 2;
/// MREMAP_DONTUNMAP.
const DONTUNMAP: u64 = 4;

/// No mapping is larger.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// mremap(2) as called.
pub fn remap(old: u64, old_size: u64, new_size: u64, flags: u64, new: u64) -> Result<u64> {
    if flags & !(MAYMOVE | FIXED | DONTUNMAP) != 0
        || (flags & FIXED != 0 && flags & MAYMOVE == 0)
        || (flags & DONTUNMAP != 0 && (flags & MAYMOVE == 0 || old_size != new_size))
        || !is_aligned(old)
    {
        return Err(Errno::EINVAL);
    }
    let old_size = page_up(old_size).ok_or(Errno::EINVAL)?;
    let new_size = page_up(new_size).ok_or(Errno::EINVAL)?;
    if new_size == 0 || new_size > TASK_SIZE {
        return Err(Errno::EINVAL);
    }
    let old_end = old.checked_add(old_size).ok_or(Errno::EINVAL)?;

    if flags & (FIXED | DONTUNMAP) != 0 {
        return to_place(old..old_end, new_size, flags, new);
    }
    if old_size >= new_size {
        {
            let space = lock();
            if space.vmas().find(old).is_none() {
                return Err(Errno::EFAULT);
            }
        }
        if old_size > new_size {
            mapping::unmap(old + new_size..old_end)?;
        }
        return Ok(old);
    }
    let vma = source(old..old_end)?;
    if let Some(removed) = grow_in_place(old..old_end, new_size, &vma)? {
        return Ok(removed);
    }
    match flags & MAYMOVE {
        0 => Err(Errno::ENOMEM),
        _ => transfer(old..old_end, new_size, Place::Hint(0), false, &vma),
    }
}

// The single mapping that a range lies in.
fn source(range: Range<u64>) -> Result<Vma> {
    let space = lock();
    let (start, vma) = space.vmas().find(range.start).ok_or(Errno::EFAULT)?;
    if !vma.kind.is_owned() || range.end > vma.end {
        return Err(Errno::EFAULT);
    }
    // Duplicating a shared mapping (old size 0) would show one page at two places.
    if range.is_empty() {
        return Err(Errno::EINVAL);
    }
    let mut vma = vma.clone();
    if let Some(backing) = &mut vma.backing {
        backing.offset += range.start - start;
    }
    Ok(vma)
}

fn to_place(old: Range<u64>, new_size: u64, flags: u64, new: u64) -> Result<u64> {
    let place = match flags & FIXED {
        0 => Place::Hint(new),
        _ => {
            let end = new.checked_add(new_size).ok_or(Errno::EINVAL)?;
            if !is_aligned(new) || (new < old.end && old.start < end) {
                return Err(Errno::EINVAL);
            }
            Place::Fixed(new)
        }
    };
    let keep = flags & DONTUNMAP != 0;
    let old_size = old.end - old.start;
    let mut old = old;
    if !keep && old_size > new_size {
        source(old.clone())?;
        mapping::unmap(old.start + new_size..old.end)?;
        old.end = old.start + new_size;
    }
    let vma = source(old.clone())?;
    transfer(old, new_size, place, keep, &vma)
}

// More pages after the mapping, if there is room; the address if so.
fn grow_in_place(old: Range<u64>, new_size: u64, vma: &Vma) -> Result<Option<u64>> {
    if vma.end != old.end {
        return Ok(None);
    }
    let more = old.end..old.start.checked_add(new_size).ok_or(Errno::ENOMEM)?;
    {
        let space = lock();
        if !space.is_valid(&(old.start..more.end)) || !space.vmas().is_free(more.clone()) {
            return Ok(None);
        }
    }
    let old_size = old.end - old.start;
    let mut request =
        Request::anonymous(Place::NoReplace(more.start), new_size - old_size, vma.prot);
    request.kind = vma.kind;
    request.shared = vma.state.contains(State::SHARED);
    request.file = vma
        .backing
        .as_ref()
        .map(|b| (b.file.clone(), b.offset + old_size));
    match mapping::map(request) {
        Ok(_) => Ok(Some(old.start)),
        // Another thread was quicker.
        Err(Errno::EEXIST) => Ok(None),
        Err(errno) => Err(errno),
    }
}

// A new mapping with the content of the old one, which goes unless `keep`.
fn transfer(old: Range<u64>, new_size: u64, place: Place, keep: bool, vma: &Vma) -> Result<u64> {
    let old_size = old.end - old.start;
    // Code with bound system calls and shared windows belong to their addresses: these are mapped from the file again.
    let anew = vma.state.intersects(State::SHARED | State::BEYOND)
        || vma.backing.as_ref().is_some_and(|b| b.stubs.is_some());
    if let (true, Some(backing)) = (anew, &vma.backing) {
        if !keep {
            mapping::unmap(old.clone())?;
        }
        let mut request =
            Request::private(place, new_size, vma.prot, &backing.file, backing.offset);
        request.shared = vma.state.contains(State::SHARED);
        return mapping::map(request);
    }

    let new = match &vma.backing {
        Some(backing) if new_size > old_size => mapping::map(Request::private(
            place,
            new_size,
            vma.prot,
            &backing.file,
            backing.offset,
        ))?,
        _ => plain(new_size, place, vma)?,
    };
    let mut space = lock();
    let copied = copy(&mut space, old.clone(), new..new + new_size, vma);
    let kept = match keep {
        // The old pages are zero afterwards, and stay mapped.
        true => space.map(
            old.start,
            Vma {
                end: old.end,
                backing: None,
                ..vma.clone()
            },
            Content::Zero,
        ),
        false => space.unmap(old),
    };
    drop(space);
    drop(kept?);
    copied?;
    Ok(new)
}

// A mapping like `vma`, writable so that it can be filled with what that one holds.
fn plain(size: u64, place: Place, vma: &Vma) -> Result<u64> {
    let mut space = lock_to_add()?;
    let start = space.place(place, size)?;
    let mut new = Vma {
        end: start + size,
        ..vma.clone()
    };
    if !vma.state.contains(State::FRESH) {
        new.prot = Prot::RW;
    }
    let removed = space.map(start, new, Content::Zero)?;
    drop(space);
    drop(removed);
    Ok(start)
}

fn copy(space: &mut super::lock::Space, old: Range<u64>, new: Range<u64>, vma: &Vma) -> Result<()> {
    if vma.state.contains(State::FRESH) {
        return Ok(());
    }
    let size = old.end - old.start;
    if vma.prot.is_empty() {
        space.pages().protect(old.start, size, Prot::READ)?;
    }
    if vma.prot.effective() != Prot::RW.effective() {
        space.pages().protect(new.start, size, Prot::RW)?;
    }
    space.pages().copy(new.start, old.start, size)?;
    match vma.prot.effective() == Prot::RW.effective() {
        true => Ok(()),
        false => space.protect(new, vma.prot),
    }
}
