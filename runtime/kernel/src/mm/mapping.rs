//! mmap(2) and what follows from it: files loaded into mappings, system calls bound, shared windows.
//!
//! The lock of the address space is held while mappings change, never while a file is read: the new mapping is noted
//! first, its pages are writable until the content is in them, and the permissions asked for come last. The application
//! learns of the mapping only after that.

use alloc::sync::Arc;
use core::ops::Range;

use super::lock::{lock, lock_to_add};
use super::pages::Pages;
use super::shared::{self, Window};
use super::space::{page_up, Content, Place, PAGE};
use super::vma::{Backing, Kind, Prot, State, Vma};
use crate::fs::dev::MemoryDevice;
use crate::fs::file::OpenFile;
use crate::fs::io::UserBuffers;
use crate::loader::binding;
use crate::{Errno, Result};

/// A new mapping, checked as far as it can be without looking at the address space.
pub struct Request {
    /// Where.
    pub place: Place,
    /// Bytes, a multiple of the page size, not 0.
    pub size: u64,
    /// Permissions.
    pub prot: Prot,
    /// MAP_SHARED.
    pub shared: bool,
    /// What it is for.
    pub kind: Kind,
    /// File and offset.
    pub file: Option<(Arc<OpenFile>, u64)>,
}

impl Request {
    /// Private anonymous memory.
    pub fn anonymous(place: Place, size: u64, prot: Prot) -> Self {
        Request {
            place,
            size,
            prot,
            shared: false,
            kind: Kind::Plain,
            file: None,
        }
    }

    /// A private mapping of a file.
    pub fn private(place: Place, size: u64, prot: Prot, file: &Arc<OpenFile>, offset: u64) -> Self {
        Request {
            file: Some((file.clone(), offset)),
            ..Request::anonymous(place, size, prot)
        }
    }
}

/// What mmap(2) makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mappable {
    /// Its content.
    Content,
    /// Zeros (/dev/zero).
    Zeros,
}

/// What mmap(2) makes of a file; ENODEV when it cannot be mapped.
pub fn mappable(file: &OpenFile) -> Result<Mappable> {
    const S_IFMT: u32 = 0o170000;
    const S_IFREG: u32 = 0o100000;
    let device = file.file.as_any().downcast_ref::<MemoryDevice>();
    if device.is_some_and(MemoryDevice::is_zero) {
        return Ok(Mappable::Zeros);
    }
    match file.file.stat()?.mode & S_IFMT {
        S_IFREG => Ok(Mappable::Content),
        _ => Err(Errno::ENODEV),
    }
}

/// Makes a mapping; returns its address.
pub fn map(request: Request) -> Result<u64> {
    if let Place::Fixed(at) = request.place {
        // What is replaced ends first, while its pages can still be read.
        let end = at.checked_add(request.size).ok_or(Errno::ENOMEM)?;
        close_windows(&(at..end), false)?;
    }
    let content = request.file.as_ref().map(|(file, _)| mappable(file));
    match (&request.file, content.transpose()?) {
        (Some((file, offset)), Some(Mappable::Content)) if request.shared => {
            map_shared(&request, file, *offset)
        }
        (Some((file, offset)), Some(Mappable::Content)) => map_private(&request, file, *offset),
        _ => map_anonymous(&request),
    }
}

// Closes the windows in a range, if there are any; usually there is none, and this is one look.
fn close_windows(range: &Range<u64>, may_keep: bool) -> Result<bool> {
    let any = lock()
        .vmas()
        .touching(range.clone())
        .any(|(_, vma)| vma.backing.as_ref().is_some_and(|b| b.window.is_some()));
    match any {
        true => shared::close(range, may_keep),
        false => Ok(true),
    }
}

fn map_anonymous(request: &Request) -> Result<u64> {
    let mut space = lock_to_add()?;
    let start = space.place(request.place, request.size)?;
    let mut vma = Vma::anonymous(start + request.size, request.prot, request.kind);
    vma.state.set(State::SHARED, request.shared);
    vma.state
        .set(State::GROWS_DOWN, request.kind == Kind::Stack);
    let removed = space.map(start, vma, Content::Zero)?;
    drop(space);
    drop(removed);
    Ok(start)
}

/// How many bytes of a mapping have a place in the file, rounded up to pages.
fn filled(file: &OpenFile, offset: u64, size: u64) -> Result<u64> {
    let end = page_up(file.file.stat()?.size).ok_or(Errno::EOVERFLOW)?;
    Ok(end.saturating_sub(offset).min(size))
}

fn map_private(request: &Request, file: &Arc<OpenFile>, offset: u64) -> Result<u64> {
    let filled = filled(file, offset, request.size)?;
    let measured = file.file.image_offset();

    let mut space = lock_to_add()?;
    let start = space.place(request.place, request.size)?;
    let mut vma = Vma::anonymous(start + request.size, request.prot, request.kind);
    vma.backing = Some(Backing::new(file, offset));
    let unchanging = measured.is_some() && !request.prot.contains(Prot::WRITE);
    vma.state.set(State::PRISTINE, unchanging);
    let range = start..start + request.size;
    let binds = request.prot.contains(Prot::EXEC) && measured.is_some();

    // The dynamic loader maps a whole library first and then its segments over it: what is there already is not read
    // a second time.
    if filled == request.size
        && measured.is_some()
        && space.is_pristine(range.clone(), file, offset)
    {
        let removed = space.remap_pristine(start, vma, binds)?;
        drop(space);
        drop(removed);
        if binds {
            bind(range.clone(), file, offset)?;
            lock().finish(range, request.prot)?;
        }
        return Ok(start);
    }

    let removed = space.map(start, vma, Content::File { filled })?;
    drop(space);
    drop(removed);
    let loaded = start..start + filled;
    load(&loaded, file, offset)?;
    if binds {
        bind(loaded.clone(), file, offset)?;
    }
    if filled > 0 {
        lock().finish(loaded, request.prot)?;
    }
    Ok(start)
}

fn map_shared(request: &Request, file: &Arc<OpenFile>, offset: u64) -> Result<u64> {
    let filled = filled(file, offset, request.size)?;
    let stat = file.file.stat()?;
    let id = (stat.dev, stat.ino);
    if filled > 0 {
        let must = match request.place {
            Place::Fixed(at) | Place::NoReplace(at) => Some(at),
            Place::Hint(_) | Place::Below(_) => None,
        };
        let range = offset..offset + request.size;
        if let Some(shown) = shared::share(id, &range, request.prot, must)? {
            return Ok(shown);
        }
    }

    let mut space = lock_to_add()?;
    let start = space.place(request.place, request.size)?;
    let mut vma = Vma::anonymous(start + request.size, request.prot, request.kind);
    vma.state = State::SHARED;
    vma.state.set(State::READ_ONLY, !file.is_writable());
    vma.backing = Some(Backing::new(file, offset));
    let removed = space.map(start, vma, Content::File { filled })?;
    drop(space);
    drop(removed);
    if filled > 0 {
        let loaded = start..start + filled;
        load(&loaded, file, offset)?;
        let window = Window::new(id, start, offset, filled);
        file.file.map_shared(window.clone())?;
        let mut space = lock();
        space.set_window(loaded.clone(), &window);
        space.finish(loaded, request.prot)?;
    }
    Ok(start)
}

/// Fills writable pages from a file; what lies beyond its end in the last page becomes zero.
fn load(range: &Range<u64>, file: &Arc<OpenFile>, offset: u64) -> Result<()> {
    let size = range.end - range.start;
    let mut done = 0;
    while done < size {
        let mut sink = UserBuffers::single(range.start + done, size - done);
        match file.file.read_at(offset + done, &mut sink)? {
            0 => break,
            n => done += n as u64,
        }
    }
    match done < size {
        true => mystikos_platform::user::zero(range.start + done, (size - done) as usize),
        false => Ok(()),
    }
}

/// Binds the system calls of code in writable pages that hold a file's content from `offset`.
fn bind(range: Range<u64>, file: &Arc<OpenFile>, offset: u64) -> Result<()> {
    let Some(image_offset) = file.file.image_offset() else {
        return Ok(());
    };
    let size = file.file.stat()?.size;
    let stubs = binding::bind(&range, image_offset, size, offset)?;
    lock().set_bound(range, stubs.map(Arc::new));
    Ok(())
}

/// munmap(2) of an aligned range that is not empty.
pub fn unmap(range: Range<u64>) -> Result<()> {
    // One of several users of a window goes: its pages stay for the others.
    if !close_windows(&range, true)? {
        return Ok(());
    }
    let removed = lock().unmap(range)?;
    drop(removed);
    Ok(())
}

/// mprotect(2) of an aligned range that is not empty.
pub fn protect(range: Range<u64>, prot: Prot) -> Result<()> {
    let mut space = lock_to_add()?;
    let plain = |vma: &Vma| vma.backing.is_none();
    if space
        .vmas()
        .touching(range.clone())
        .all(|(_, vma)| plain(vma))
    {
        return space.protect(range, prot);
    }
    let parts = space.file_parts(range.clone());
    drop(space);

    for (part, vma, backing) in &parts {
        let shared = vma.state.contains(State::SHARED);
        if shared && prot.contains(Prot::WRITE) && !shared::may_write(part, vma) {
            return Err(Errno::EACCES);
        }
        let unbound = !vma.state.intersects(State::BOUND | State::BEYOND) && !shared;
        let measured = backing.file.file.image_offset().is_some();
        if prot.contains(Prot::EXEC) && unbound && measured {
            open(part)?;
            bind(part.clone(), &backing.file, backing.offset)?;
        }
    }
    lock().protect(range, prot)
}

// Makes pages writable for the kernel to change them; what the mapping asks for is set afterwards.
fn open(part: &Range<u64>) -> Result<()> {
    lock()
        .pages()
        .protect(part.start, part.end - part.start, Prot::RW)
}

/// MADV_DONTNEED: anonymous memory is zero afterwards, private mappings of files hold the file's content again.
pub fn forget(range: Range<u64>) -> Result<()> {
    let mut space = lock();
    space.forget(range.clone())?;
    let parts = space.file_parts(range.clone());
    drop(space);
    for (part, vma, backing) in parts {
        if vma
            .state
            .intersects(State::SHARED | State::BEYOND | State::PRISTINE)
        {
            continue;
        }
        let loaded = reload(&part, &vma, &backing);
        lock().finish(part, vma.prot)?;
        loaded?;
    }
    Ok(())
}

fn reload(part: &Range<u64>, vma: &Vma, backing: &Backing) -> Result<()> {
    open(part)?;
    load(part, &backing.file, backing.offset)?;
    match vma.state.contains(State::BOUND) {
        true => bind(part.clone(), &backing.file, backing.offset),
        false => Ok(()),
    }
}

/// Pages beyond the end of a file become accessible when the file has grown. Tells whether `address` is now.
pub fn grow_with_file(address: u64) -> Result<bool> {
    let page = super::space::page_down(address);
    let found = lock().file_parts(page..page + PAGE).pop();
    let Some((_, vma, backing)) = found else {
        return Ok(false);
    };
    if !vma.state.contains(State::BEYOND) || filled(&backing.file, backing.offset, PAGE)? == 0 {
        return Ok(false);
    }
    let mut request = Request::private(
        Place::Fixed(page),
        PAGE,
        vma.prot,
        &backing.file,
        backing.offset,
    );
    request.shared = vma.state.contains(State::SHARED);
    map(request)?;
    Ok(true)
}
