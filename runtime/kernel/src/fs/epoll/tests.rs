//! What an instance tells, and when.

use super::*;
use crate::fs::event::EventFd;
use crate::fs::io::{BufferSink, BufferSource};
use crate::fs::pipe;

const IN: u32 = Readiness::IN.bits();
const OUT: u32 = Readiness::OUT.bits();
const O_NONBLOCK: u32 = 0o4000;

fn interest(events: u32, data: u64) -> Interest {
    Interest { events, data }
}

fn event() -> Arc<OpenFile> {
    OpenFile::new(EventFd::new(0, false), O_NONBLOCK | 2)
}

fn signal(file: &OpenFile) {
    let one = 1u64.to_ne_bytes();
    file.file.write(file, &mut BufferSource(&one)).unwrap();
}

fn clear(file: &OpenFile) {
    file.file
        .read(file, &mut BufferSink::new(&mut [0; 8]))
        .unwrap();
}

fn data(found: Vec<Interest>) -> Vec<u64> {
    found.iter().map(|f| f.data).collect()
}

#[test]
fn level_triggered_items_are_told_until_they_are_not_ready() {
    let (epoll, file) = (Epoll::new(), event());
    epoll.add(3, &file, interest(IN, 7)).unwrap();
    assert!(epoll.take_ready(8).is_empty());
    signal(&file);
    assert_eq!(epoll.take_ready(8), [interest(IN, 7)]);
    assert_eq!(epoll.take_ready(8), [interest(IN, 7)]);
    clear(&file);
    assert!(epoll.take_ready(8).is_empty());
}

#[test]
fn edge_triggered_items_are_told_once_per_change() {
    let (epoll, file) = (Epoll::new(), event());
    epoll.add(3, &file, interest(IN | EDGE, 7)).unwrap();
    signal(&file);
    assert_eq!(data(epoll.take_ready(8)), [7]);
    assert!(epoll.take_ready(8).is_empty());
    signal(&file);
    assert_eq!(data(epoll.take_ready(8)), [7]);
}

#[test]
fn reading_is_no_edge_for_who_waits_to_read() {
    let (reader, writer) = pipe::pair(O_NONBLOCK);
    let epoll = Epoll::new();
    epoll.add(3, &reader, interest(IN | EDGE, 1)).unwrap();
    writer
        .file
        .write(&writer, &mut BufferSource(&[0; 65536]))
        .unwrap();
    assert_eq!(data(epoll.take_ready(8)), [1]);
    let mut buffer = [0; 5000];
    reader
        .file
        .read(&reader, &mut BufferSink::new(&mut buffer))
        .unwrap();
    assert!(epoll.take_ready(8).is_empty());
}

#[test]
fn one_shot_items_are_told_once_until_changed() {
    let (epoll, file) = (Epoll::new(), event());
    epoll.add(3, &file, interest(IN | ONESHOT, 7)).unwrap();
    signal(&file);
    assert_eq!(data(epoll.take_ready(8)), [7]);
    signal(&file);
    assert!(epoll.take_ready(8).is_empty());
    epoll.modify(3, &file, interest(IN | ONESHOT, 8)).unwrap();
    assert_eq!(data(epoll.take_ready(8)), [8]);
}

#[test]
fn no_item_starves_when_few_are_asked_for() {
    let epoll = Epoll::new();
    let files: Vec<_> = (0..3).map(|_| event()).collect();
    for (fd, file) in files.iter().enumerate() {
        epoll.add(fd as i32, file, interest(IN, fd as u64)).unwrap();
        signal(file);
    }
    let told: Vec<_> = (0..3).flat_map(|_| data(epoll.take_ready(2))).collect();
    assert_eq!(told, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn closing_a_description_takes_it_out() {
    let (epoll, file) = (Epoll::new(), event());
    signal(&file);
    epoll.add(3, &file, interest(IN, 7)).unwrap();
    let duplicate = file.clone();
    drop(file);
    assert_eq!(data(epoll.take_ready(8)), [7]);
    drop(duplicate);
    assert!(epoll.take_ready(8).is_empty());
    assert!(epoll.state.lock().items.is_empty());
}

#[test]
fn a_closed_instance_observes_nothing() {
    let (epoll, file) = (Epoll::new(), event());
    epoll.add(3, &file, interest(IN, 7)).unwrap();
    let item = Arc::downgrade(epoll.state.lock().items.values().next().unwrap());
    drop(epoll);
    assert!(item.upgrade().is_none());
    signal(&file);
}

#[test]
fn wrong_changes_are_refused() {
    let (epoll, file) = (Epoll::new(), event());
    let (add, change) = (interest(IN, 0), interest(OUT, 0));
    assert_eq!(epoll.modify(3, &file, change), Err(Errno::ENOENT));
    assert_eq!(epoll.delete(3, &file), Err(Errno::ENOENT));
    epoll.add(3, &file, add).unwrap();
    assert_eq!(epoll.add(3, &file, add), Err(Errno::EEXIST));
    assert_eq!(epoll.add(4, &file, add), Ok(()));
    let exclusive = interest(IN | EXCLUSIVE, 0);
    assert_eq!(epoll.modify(3, &file, exclusive), Err(Errno::EINVAL));
    let one_shot = interest(IN | EXCLUSIVE | ONESHOT, 0);
    assert_eq!(epoll.add(5, &file, one_shot), Err(Errno::EINVAL));
    assert_eq!(epoll.delete(3, &file), Ok(()));
}

#[test]
fn instances_may_be_watched_but_not_in_circles_nor_too_deep() {
    let open = || OpenFile::new(Epoll::new(), 2);
    let add = |outer: &OpenFile, inner: &Arc<OpenFile>| {
        Epoll::of(outer).unwrap().add(9, inner, interest(IN, 0))
    };
    let (outer, inner, file) = (open(), open(), event());
    add(&outer, &inner).unwrap();
    add(&inner, &file).unwrap();
    assert_eq!(add(&inner, &outer), Err(Errno::ELOOP));
    assert!(outer.file.readiness().is_empty());
    signal(&file);
    assert_eq!(outer.file.readiness(), READABLE);
    assert_eq!(Epoll::of(&outer).unwrap().take_ready(1).len(), 1);

    let tower: Vec<_> = (0..7).map(|_| open()).collect();
    let built: Vec<_> = tower.windows(2).map(|w| add(&w[1], &w[0])).collect();
    assert_eq!(built[..4], [Ok(()); 4]);
    assert_eq!(built[4..], [Err(Errno::ELOOP), Ok(())]);
}

#[test]
fn events_not_asked_for_are_not_told_but_for_errors() {
    let (reader, writer) = pipe::pair(O_NONBLOCK);
    let epoll = Epoll::new();
    epoll.add(4, &writer, interest(IN, 1)).unwrap();
    assert!(epoll.take_ready(8).is_empty());
    drop(reader);
    assert_eq!(epoll.take_ready(8)[0].events, Readiness::ERR.bits());
}
