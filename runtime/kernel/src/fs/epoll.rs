//! Watching many files (epoll(7)).
//!
//! Each watched file has an [`Item`], which observes the file's wait queue. A wake puts the item into the list of those
//! that may be ready; waiting looks only at that list. An item that is found ready is told of, and goes back to the end
//! of the list unless it is edge-triggered or one-shot; one that is not ready leaves the list until the next wake.
//!
//! Files of which something can come true without a wake (timers, the host's streams, other instances with such files)
//! are listed too: before the list of ready items is looked at, they are asked to catch up ([`File::refresh`]).
//!
//! Locks: `scan` (one thread at a time goes through the list, so that none sees it while it is being put back), then
//! `state`, which is never held while a file is asked something. A wake takes only `state`.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};

use mystikos_platform::sync::Mutex;

use super::anonymous;
use super::file::{File, OpenFile, Readiness, Stat, Unqueued, Watcher};
use super::io::{Sink, Source};
use super::poll::wait_unqueued;
use crate::process::wait::{Interrupted, Observer, WaitQueue};
use crate::{Errno, Result};

/// Wake only some of several instances that watch one file: accepted, and all are woken, as Linux may too.
pub const EXCLUSIVE: u32 = 1 << 28;
/// Keep the machine awake: accepted, as without the capability for it.
pub const WAKEUP: u32 = 1 << 29;
/// Tell once, until the item is changed.
pub const ONESHOT: u32 = 1 << 30;
/// Tell of changes only.
pub const EDGE: u32 = 1 << 31;

/// Not events but how to tell of them.
const MODES: u32 = EXCLUSIVE | WAKEUP | ONESHOT | EDGE;
/// What may go together with [`EXCLUSIVE`].
const EXCLUSIVE_OK: u32 = MODES & !ONESHOT
    | Readiness::IN.bits()
    | Readiness::OUT.bits()
    | Readiness::ERR.bits()
    | Readiness::HUP.bits();
/// Told of whether asked for or not.
const ALWAYS: u32 = Readiness::ERR.bits() | Readiness::HUP.bits();

/// How many instances deep one may watch another.
const DEPTH_MAX: u32 = 4;

const READABLE: Readiness = Readiness::IN.union(Readiness::RDNORM);

/// What is asked about a file, and the value to tell it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Events and modes (EPOLL*).
    pub events: u32,
    /// `epoll_data_t`.
    pub data: u64,
}

impl Interest {
    fn readiness(&self) -> Readiness {
        Readiness::from_bits_truncate(self.events & !MODES)
    }
}

/// Descriptor and description: what an item is found by.
type Key = (i32, usize);

/// One watched file.
struct Item {
    key: Key,
    epoll: Weak<Epoll>,
    file: Weak<OpenFile>,
    interest: Mutex<Interest>,
    /// In the list of those that may be ready.
    listed: AtomicBool,
}

impl Item {
    fn interest(&self) -> Interest {
        *self.interest.lock()
    }

    // After a one-shot item was told of: nothing more until it is changed.
    fn disable(&self) {
        self.interest.lock().events &= MODES;
    }
}

impl Observer for Item {
    fn woken(self: Arc<Self>, events: Readiness) {
        if self.interest().readiness().intersects(events) {
            if let Some(epoll) = self.epoll.upgrade() {
                epoll.list(&self);
                epoll.queue.wake(READABLE);
            }
        }
    }
}

impl Watcher for Item {
    fn closed(self: Arc<Self>, file: &dyn File) {
        if let Some(queue) = file.wait_queue() {
            queue.forget(&(self.clone() as Arc<dyn Observer>));
        }
        if let Some(epoll) = self.epoll.upgrade() {
            epoll.remove(&self);
        }
    }
}

#[derive(Default)]
struct State {
    items: BTreeMap<Key, Arc<Item>>,
    /// Items that may be ready, first come first served.
    ready: VecDeque<Arc<Item>>,
    /// Items whose files can become ready without a wake.
    unqueued: Vec<Arc<Item>>,
}

/// An epoll instance.
pub struct Epoll {
    me: Weak<Epoll>,
    state: Mutex<State>,
    scan: Mutex<()>,
    queue: WaitQueue,
}

/// Held while an instance is put under another one, so that no two such changes make a circle together.
static NESTING: Mutex<()> = Mutex::new(());

impl Epoll {
    /// An instance that watches nothing.
    pub fn new() -> Arc<Epoll> {
        Arc::new_cyclic(|me| Epoll {
            me: me.clone(),
            state: Mutex::default(),
            scan: Mutex::new(()),
            queue: WaitQueue::new(),
        })
    }

    /// The instance behind a description.
    pub fn of(description: &OpenFile) -> Option<&Epoll> {
        description.file.as_any().downcast_ref()
    }

    /// EPOLL_CTL_ADD.
    pub fn add(&self, fd: i32, file: &Arc<OpenFile>, mut interest: Interest) -> Result<()> {
        let nested = Epoll::of(file);
        if interest.events & EXCLUSIVE != 0
            && (nested.is_some() || interest.events & !EXCLUSIVE_OK != 0)
        {
            return Err(Errno::EINVAL);
        }
        let _guard = nested.map(|_| NESTING.lock());
        if let Some(nested) = nested {
            nested.check_below(self, 0)?;
        }
        interest.events |= ALWAYS;
        let key = (fd, Arc::as_ptr(file) as usize);
        let item = Arc::new(Item {
            key,
            epoll: self.me.clone(),
            file: Arc::downgrade(file),
            interest: Mutex::new(interest),
            listed: AtomicBool::new(false),
        });
        {
            let mut state = self.state.lock();
            if state.items.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            state.items.insert(key, item.clone());
            if file.file.unqueued(Readiness::all()).is_some() {
                state.unqueued.push(item.clone());
            }
        }
        if let Some(queue) = file.file.wait_queue() {
            queue.observe(item.clone());
        }
        file.watch(item.clone());
        self.changed(&item, file);
        Ok(())
    }

    /// EPOLL_CTL_MOD.
    pub fn modify(&self, fd: i32, file: &Arc<OpenFile>, mut interest: Interest) -> Result<()> {
        let item = self.find(fd, file)?;
        if (interest.events | item.interest().events) & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        interest.events |= ALWAYS;
        *item.interest.lock() = interest;
        self.changed(&item, file);
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    pub fn delete(&self, fd: i32, file: &Arc<OpenFile>) -> Result<()> {
        let item = self.find(fd, file)?;
        if let Some(queue) = file.file.wait_queue() {
            queue.forget(&(item.clone() as Arc<dyn Observer>));
        }
        file.unwatch(&(item.clone() as Arc<dyn Watcher>));
        self.remove(&item);
        Ok(())
    }

    fn find(&self, fd: i32, file: &Arc<OpenFile>) -> Result<Arc<Item>> {
        let key = (fd, Arc::as_ptr(file) as usize);
        let state = self.state.lock();
        state.items.get(&key).cloned().ok_or(Errno::ENOENT)
    }

    // A circle, or too deep a tower of instances: ELOOP.
    fn check_below(&self, top: &Epoll, depth: u32) -> Result<()> {
        if core::ptr::eq(self, top) || depth >= DEPTH_MAX {
            return Err(Errno::ELOOP);
        }
        let items: Vec<Arc<Item>> = self.state.lock().items.values().cloned().collect();
        for file in items.iter().filter_map(|item| item.file.upgrade()) {
            if let Some(below) = Epoll::of(&file) {
                below.check_below(top, depth + 1)?;
            }
        }
        Ok(())
    }

    // A new or changed item may be ready already; and who sleeps may have to sleep for something else.
    fn changed(&self, item: &Arc<Item>, file: &OpenFile) {
        let ready = file.file.readiness();
        if item.interest().readiness().intersects(ready) {
            self.list(item);
        }
        self.queue.wake(READABLE);
    }

    fn list(&self, item: &Arc<Item>) {
        if !item.listed.swap(true, Ordering::AcqRel) {
            self.state.lock().ready.push_back(item.clone());
        }
    }

    // Forgets an item; if it is listed, it leaves the list as one that is not interested in anything.
    fn remove(&self, item: &Arc<Item>) {
        item.interest.lock().events = 0;
        let mut state = self.state.lock();
        let known = state.items.remove(&item.key);
        state.unqueued.retain(|other| !Arc::ptr_eq(other, item));
        drop(state);
        drop(known);
    }

    // Lets files catch up that do not wake their queues. A look at the host's streams may use up a wake of this thread,
    // so they come first: what the wake tells of is seen afterwards.
    fn catch_up(&self) {
        let items = self.state.lock().unqueued.clone();
        let mut rest = Vec::new();
        for item in items {
            let interest = item.interest().readiness();
            let Some(file) = item.file.upgrade() else {
                continue;
            };
            let unqueued = file.file.unqueued(interest).unwrap_or_default();
            if interest.is_empty() {
                continue;
            } else if unqueued.streams != [0; 3] {
                file.file.refresh();
            } else {
                rest.push(file);
            }
        }
        for file in rest {
            file.file.refresh();
        }
    }

    // The next item that may be ready, with its file and what of its interest is true.
    fn next(&self) -> Option<(Arc<Item>, Interest, Readiness)> {
        let item = self.state.lock().ready.pop_front()?;
        // From here on a wake lists the item again.
        item.listed.swap(false, Ordering::AcqRel);
        let interest = item.interest();
        let ready = match item.file.upgrade() {
            Some(file) if !interest.readiness().is_empty() => {
                file.file.readiness() & interest.readiness()
            }
            _ => Readiness::empty(),
        };
        Some((item, interest, ready))
    }

    /// Takes what is ready now, at most `most` items: events and data of each.
    pub fn take_ready(&self, most: usize) -> Vec<Interest> {
        self.catch_up();
        let mut found = Vec::new();
        let mut again = Vec::new();
        {
            let _scan = self.scan.lock();
            let listed = self.state.lock().ready.len();
            for _ in 0..listed {
                if found.len() == most {
                    break;
                }
                let Some((item, interest, ready)) = self.next() else {
                    break;
                };
                if ready.is_empty() {
                    continue;
                }
                found.push(Interest {
                    events: ready.bits(),
                    data: interest.data,
                });
                if interest.events & ONESHOT != 0 {
                    item.disable();
                } else if interest.events & EDGE == 0 {
                    again.push(item);
                }
            }
            for item in &again {
                self.list(item);
            }
        }
        // Another thread that waits may take what is left.
        if !found.is_empty() && !self.state.lock().ready.is_empty() {
            self.queue.wake(READABLE);
        }
        found
    }

    /// Waits until something is ready and takes it; nothing when the deadline (monotonic nanoseconds) comes first.
    pub fn wait(
        &self,
        most: usize,
        deadline: Option<u64>,
    ) -> core::result::Result<Vec<Interest>, Interrupted> {
        let found = wait_unqueued(
            &[&self.queue],
            deadline,
            || self.sleep_for(),
            || Some(self.take_ready(most)).filter(|found| !found.is_empty()),
        );
        match found {
            Err(Interrupted::TimedOut) => Ok(Vec::new()),
            found => found,
        }
    }

    // What to sleep for beside the queue.
    fn sleep_for(&self) -> Unqueued {
        let items = self.state.lock().unqueued.clone();
        let mut all = Unqueued::default();
        for item in items {
            let interest = item.interest();
            let Some(file) = item.file.upgrade() else {
                continue;
            };
            let unqueued = match interest.events & EDGE {
                _ if interest.readiness().is_empty() => None,
                0 => file.file.unqueued(interest.readiness()),
                _ => file.file.unqueued_edges(interest.readiness()),
            };
            all.merge(unqueued.unwrap_or_default());
        }
        all
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for item in core::mem::take(&mut self.state.get_mut().items).into_values() {
            let Some(file) = item.file.upgrade() else {
                continue;
            };
            if let Some(queue) = file.file.wait_queue() {
                queue.forget(&(item.clone() as Arc<dyn Observer>));
            }
            file.unwatch(&(item as Arc<dyn Watcher>));
        }
    }
}

impl File for Epoll {
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::stat())
    }

    fn read(&self, _description: &OpenFile, _sink: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    fn write(&self, _description: &OpenFile, _source: &mut dyn Source) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    fn seek(&self, _description: &OpenFile, _offset: i64, _whence: u32) -> Result<u64> {
        // Without a position, but no error.
        Ok(0)
    }

    fn readiness(&self) -> Readiness {
        self.catch_up();
        let _scan = self.scan.lock();
        let listed = self.state.lock().ready.len();
        for _ in 0..listed {
            match self.next() {
                Some((item, _, ready)) if !ready.is_empty() => {
                    self.list(&item);
                    return READABLE;
                }
                Some(_) => {}
                None => break,
            }
        }
        Readiness::empty()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn unqueued(&self, _events: Readiness) -> Option<Unqueued> {
        Some(self.sleep_for())
    }

    fn refresh(&self) {
        self.catch_up();
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("eventpoll")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
