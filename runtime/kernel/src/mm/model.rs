//! Tests of the address space against a model that knows every page by itself.
//!
//! Random calls go to both; afterwards mappings, permissions and contents must agree. The pages are a plain array with
//! permissions, so a page that is given out dirty or left accessible shows.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::Range;

use super::pages::Pages;
use super::space::{AddressSpace, Content, Place, PAGE};
use super::vma::{Kind, Prot, Vma};
use crate::{Errno, Result};

const BASE: u64 = 0x10_0000;
const COUNT: usize = 64;
const WINDOW: Range<u64> = 0x1000..0x3000;

/// What a page holds (one byte for all of it) and allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    content: u8,
    prot: u32,
}

struct FakePages {
    zero: Cell<bool>,
    pages: RefCell<Vec<Page>>,
    // What the host refuses.
    no_discard: Cell<bool>,
    no_protect: Cell<bool>,
}

impl FakePages {
    fn each(&self, start: u64, size: u64, mut act: impl FnMut(&mut Page)) {
        assert!(start.is_multiple_of(PAGE) && size.is_multiple_of(PAGE) && size > 0);
        let first = ((start - BASE) / PAGE) as usize;
        for page in &mut self.pages.borrow_mut()[first..first + (size / PAGE) as usize] {
            act(page);
        }
    }
}

impl Pages for &FakePages {
    fn are_zero(&self) -> bool {
        self.zero.get()
    }

    fn protect(&self, start: u64, size: u64, prot: Prot) -> Result<()> {
        if self.no_protect.get() {
            return Err(Errno::ENOMEM);
        }
        self.each(start, size, |page| page.prot = prot.effective());
        Ok(())
    }

    fn discard(&self, start: u64, size: u64) -> Result<()> {
        assert!(self.zero.get());
        if self.no_discard.get() {
            self.zero.set(false);
            return Err(Errno::ENOMEM);
        }
        self.each(start, size, |page| page.content = 0);
        Ok(())
    }

    fn zero(&self, start: u64, size: u64) -> Result<()> {
        self.each(start, size, |page| {
            assert_eq!(page.prot, 3, "zeros are written to writable pages");
            page.content = 0;
        });
        Ok(())
    }

    fn copy(&self, _: u64, _: u64, _: u64) -> Result<()> {
        unreachable!("nothing here moves mappings")
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn range(&mut self) -> Range<usize> {
        let start = self.next(COUNT as u64) as usize;
        let size = 1 + self.next(12) as usize;
        start..(start + size).min(COUNT)
    }

    fn prot(&mut self) -> Prot {
        [Prot::empty(), Prot::READ, Prot::RW, Prot::READ | Prot::EXEC][self.next(4) as usize]
    }
}

/// A page as the application sees it; `None` is a hole.
type Model = Vec<Option<(Prot, u8)>>;

struct Pair<'a> {
    space: AddressSpace<&'a FakePages>,
    fake: &'a FakePages,
    model: Model,
}

fn addresses(range: &Range<usize>) -> Range<u64> {
    BASE + range.start as u64 * PAGE..BASE + range.end as u64 * PAGE
}

impl<'a> Pair<'a> {
    fn new(fake: &'a FakePages) -> Self {
        let end = BASE + COUNT as u64 * PAGE;
        Pair {
            space: AddressSpace::new(fake, BASE..end, WINDOW, end),
            fake,
            model: vec![None; COUNT],
        }
    }

    fn map(&mut self, range: Range<usize>, prot: Prot) {
        let at = addresses(&range);
        let start = self.space.place(Place::Fixed(at.start), at.end - at.start);
        assert_eq!(start, Ok(at.start));
        let vma = Vma::anonymous(at.end, prot, Kind::Plain);
        drop(self.space.map(at.start, vma, Content::Zero).unwrap());
        self.model[range].fill(Some((prot, 0)));
    }

    fn unmap(&mut self, range: Range<usize>) {
        drop(self.space.unmap(addresses(&range)).unwrap());
        self.model[range].fill(None);
    }

    fn protect(&mut self, range: Range<usize>, prot: Prot) {
        let hole = self.model[range.clone()].iter().position(Option::is_none);
        let done = range.start..hole.map_or(range.end, |hole| range.start + hole);
        for (protection, _) in self.model[done].iter_mut().flatten() {
            *protection = prot;
        }
        let expected = hole.map_or(Ok(()), |_| Err(Errno::ENOMEM));
        assert_eq!(self.space.protect(addresses(&range), prot), expected);
    }

    fn forget(&mut self, range: Range<usize>) {
        self.space.forget(addresses(&range)).unwrap();
        for (_, content) in self.model[range].iter_mut().flatten() {
            *content = 0;
        }
    }

    fn store(&mut self, range: Range<usize>, value: u8) {
        for index in range {
            if let Some((prot, content)) = &mut self.model[index] {
                if prot.contains(Prot::WRITE) {
                    *content = value;
                    self.fake.pages.borrow_mut()[index].content = value;
                }
            }
        }
    }

    fn check(&self) {
        for (index, expected) in self.model.iter().enumerate() {
            let page = self.fake.pages.borrow()[index];
            let found = self.space.vmas().find(BASE + index as u64 * PAGE);
            let found = found.map(|(_, vma)| vma.prot);
            assert_eq!(found, expected.map(|(prot, _)| prot), "page {index}");
            let prot = expected.map_or(Prot::empty(), |(prot, _)| prot);
            assert_eq!(page.prot, prot.effective(), "permissions of page {index}");
            match expected {
                Some((prot, content)) if !prot.is_empty() => {
                    assert_eq!(page.content, *content, "content of page {index}");
                }
                None if self.fake.zero.get() => assert_eq!(page.content, 0, "free page {index}"),
                _ => {}
            }
        }
        let all: Vec<_> = self.space.vmas().iter().collect();
        for pair in all.windows(2) {
            assert!(pair[0].1.end <= pair[1].0, "mappings overlap");
            let alike = pair[0].1.prot == pair[1].1.prot && pair[0].1.state == pair[1].1.state;
            assert!(pair[0].1.end < pair[1].0 || !alike, "neighbours not joined");
        }
    }

    fn check_room(&self, size: usize) {
        let free = |start: usize| {
            let range = self.model.get(start..start + size);
            range.is_some_and(|range| range.iter().all(Option::is_none))
        };
        let expected = (0..COUNT).rev().find(|&start| free(start));
        let expected = expected.map(|start| BASE + start as u64 * PAGE);
        let found = self.space.place(Place::Hint(0), size as u64 * PAGE);
        assert_eq!(found.ok(), expected, "highest room for {size} pages");
    }
}

fn run(zero: bool, seed: u64) {
    // Where the host makes no promise, what lies there at first is not zero.
    let page = Page {
        content: if zero { 0 } else { 0xcc },
        prot: 0,
    };
    let fake = of_pages(zero, page);
    let mut pair = Pair::new(&fake);
    let mut random = Random(seed);
    for _ in 0..400 {
        let range = random.range();
        match random.next(8) {
            0..=2 => pair.map(range, random.prot()),
            3 => pair.unmap(range),
            4 | 5 => pair.protect(range, random.prot()),
            6 => pair.forget(range),
            _ => pair.store(range, 1 + random.next(200) as u8),
        }
        pair.check();
        pair.check_room(1 + random.next(9) as usize);
    }
}

#[test]
fn random_calls_agree_with_the_model_where_pages_come_zero() {
    (0..40).for_each(|seed| run(true, seed));
}

#[test]
fn random_calls_agree_with_the_model_where_pages_come_hostile() {
    (0..40).for_each(|seed| run(false, seed));
}

fn of_pages(zero: bool, page: Page) -> FakePages {
    FakePages {
        zero: Cell::new(zero),
        pages: RefCell::new(vec![page; COUNT]),
        no_discard: Cell::new(false),
        no_protect: Cell::new(false),
    }
}

fn fresh(zero: bool) -> FakePages {
    let page = Page {
        content: 0,
        prot: 0,
    };
    of_pages(zero, page)
}

#[test]
fn pages_that_the_host_did_not_discard_are_cleared_before_they_are_given_out_again() {
    let fake = fresh(true);
    let mut pair = Pair::new(&fake);
    pair.map(10..14, Prot::RW);
    pair.store(10..14, 7);
    fake.no_discard.set(true);
    drop(pair.space.unmap(addresses(&(10..12))).unwrap());
    pair.model[10..12].fill(None);
    assert_eq!(fake.pages.borrow()[10].content, 7);
    pair.map(10..12, Prot::RW);
    pair.map(12..13, Prot::READ);
    pair.forget(13..14);
    pair.check();
}

#[test]
fn a_mapping_goes_even_if_the_host_does_not_take_its_pages() {
    for zero in [true, false] {
        let fake = fresh(zero);
        let mut pair = Pair::new(&fake);
        pair.map(10..14, Prot::RW);
        pair.map(20..22, Prot::RW);
        fake.no_protect.set(true);
        let range = addresses(&(8..24));
        drop(pair.space.unmap(range.clone()).unwrap());
        assert!(pair.space.vmas().is_free(range));
        fake.no_protect.set(false);
        pair.model.fill(None);
        for page in fake.pages.borrow_mut().iter_mut() {
            page.prot = 0;
        }
        pair.map(8..24, Prot::RW);
        pair.check();
    }
}

#[test]
fn pages_that_the_host_does_not_give_are_no_mapping() {
    let fake = fresh(true);
    let pair = Pair::new(&fake);
    let Pair { mut space, .. } = pair;
    fake.no_protect.set(true);
    let at = addresses(&(4..6));
    let vma = Vma::anonymous(at.end, Prot::RW, Kind::Plain);
    assert_eq!(
        space.map(at.start, vma, Content::Zero).err(),
        Some(Errno::ENOMEM)
    );
    assert!(space.vmas().is_free(at));
}

#[test]
fn places_follow_mmap() {
    let fake = fresh(true);
    let mut pair = Pair::new(&fake);
    pair.map(10..12, Prot::RW);
    let place = |place| pair.space.place(place, 2 * PAGE);
    let at = |page: u64| BASE + page * PAGE;
    assert_eq!(place(Place::Hint(at(20))), Ok(at(20)));
    assert_eq!(place(Place::Hint(at(20) - 1)), Ok(at(20)), "rounded up");
    assert_eq!(place(Place::Hint(at(11))), Ok(at(62)), "hint taken");
    assert_eq!(
        place(Place::Hint(0x7000_0000_0000)),
        Ok(at(62)),
        "hint outside"
    );
    assert_eq!(place(Place::Hint(u64::MAX)), Ok(at(62)), "absurd hint");
    assert_eq!(place(Place::Fixed(at(11))), Ok(at(11)));
    assert_eq!(place(Place::Fixed(at(11) + 1)), Err(Errno::EINVAL));
    assert_eq!(
        place(Place::Fixed(at(63))),
        Err(Errno::ENOMEM),
        "beyond the end"
    );
    assert_eq!(place(Place::Fixed(!0xfffu64)), Err(Errno::ENOMEM));
    assert_eq!(place(Place::NoReplace(at(11))), Err(Errno::EEXIST));
    assert_eq!(place(Place::NoReplace(at(12))), Ok(at(12)));
    assert_eq!(place(Place::Fixed(WINDOW.start)), Ok(WINDOW.start));
    assert_eq!(place(Place::Fixed(WINDOW.end - PAGE)), Err(Errno::ENOMEM));
    assert_eq!(place(Place::Below(at(10))), Ok(at(8)));
    assert_eq!(
        pair.space.place(Place::Hint(0), 100 * PAGE),
        Err(Errno::ENOMEM)
    );
}

#[test]
fn the_break_grows_until_something_is_in_the_way() {
    let fake = fresh(true);
    let mut pair = Pair::new(&fake);
    pair.map(10..12, Prot::RW);
    let start = BASE + 2 * PAGE;
    pair.space.set_break(start);
    let mut set = |to: u64| pair.space.set_break_end(to).0;
    assert_eq!(set(0), start);
    assert_eq!(set(start + 100), start + 100);
    assert_eq!(set(start + 8 * PAGE), start + 8 * PAGE, "up to the mapping");
    assert_eq!(set(start + 8 * PAGE + 1), start + 8 * PAGE, "not into it");
    assert_eq!(set(start + PAGE), start + PAGE);
    assert_eq!(set(start - 1), start + PAGE, "not below its start");
    assert_eq!(set(u64::MAX), start + PAGE);
    let (at, vma) = pair.space.vmas().find(start).unwrap();
    assert_eq!((at, vma.end, vma.kind), (start, start + PAGE, Kind::Break));
}

#[test]
fn the_kernels_own_mappings_are_out_of_reach() {
    let fake = fresh(true);
    let mut pair = Pair::new(&fake);
    let own = BASE + 5 * PAGE..BASE + 6 * PAGE;
    pair.space.map_kernel(own.clone(), Prot::RW, Kind::Kernel);
    let all = BASE..BASE + 10 * PAGE;
    drop(pair.space.unmap(all.clone()).unwrap());
    assert!(pair.space.vmas().find(own.start).is_some());
    assert_eq!(
        pair.space.protect(own.clone(), Prot::READ),
        Err(Errno::ENOMEM)
    );
    assert_eq!(
        pair.space.place(Place::Fixed(all.start), 10 * PAGE),
        Err(Errno::ENOMEM)
    );
}

#[test]
fn stubs_are_placed_within_reach_of_the_code() {
    let fake = fresh(true);
    let mut pair = Pair::new(&fake);
    pair.map(10..12, Prot::READ | Prot::EXEC);
    let code = addresses(&(10..12));
    assert_eq!(pair.space.place_near(&code, PAGE), Some(code.start - PAGE));
    pair.map(0..10, Prot::RW);
    assert_eq!(
        pair.space.place_near(&code, PAGE),
        Some(BASE + (COUNT as u64 - 1) * PAGE)
    );
    let far = 0x4_0000_0000..0x4_0000_1000;
    assert_eq!(pair.space.place_near(&far, PAGE), None);
}
