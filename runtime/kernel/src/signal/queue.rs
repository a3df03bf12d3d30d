//! Signals that wait for delivery.

use alloc::collections::VecDeque;

use super::info::SigInfo;
use super::set::{SigSet, RTMIN};
use crate::{Errno, Result};

/// Most signals that wait in one queue (a bound on kernel memory; RLIMIT_SIGPENDING tells it).
pub const LIMIT: usize = 4096;

/// Pending signals of a thread or of a process.
///
/// A standard signal is pending at most once and keeps the information of the first. Real-time signals queue up, in
/// the order in which they were sent.
#[derive(Debug, Default)]
pub struct Queue {
    signals: VecDeque<SigInfo>,
    set: SigSet,
}

impl Queue {
    /// An empty queue.
    pub const fn new() -> Self {
        Queue {
            signals: VecDeque::new(),
            set: SigSet::EMPTY,
        }
    }

    /// Signals that are pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds a signal. EAGAIN when a real-time signal finds the queue full; a standard signal always gets in.
    pub fn push(&mut self, info: SigInfo) -> Result<()> {
        let signal = info.signal();
        if signal < RTMIN && self.set.contains(signal) {
            return Ok(());
        }
        if signal >= RTMIN && self.signals.len() >= LIMIT {
            return Err(Errno::EAGAIN);
        }
        self.signals.try_reserve(1).map_err(|_| Errno::EAGAIN)?;
        self.signals.push_back(info);
        self.set = self.set.union(SigSet::of(signal));
        Ok(())
    }

    /// Takes the signal of `wanted` that is to be delivered first.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signal = self.set.intersection(wanted).first()?;
        let at = self.signals.iter().position(|s| s.signal() == signal)?;
        let info = self.signals.remove(at)?;
        if !self.signals.iter().any(|s| s.signal() == signal) {
            self.set = self.set.without(SigSet::of(signal));
        }
        Some(info)
    }

    /// Forgets all signals of a set (their action has become to ignore them).
    pub fn discard(&mut self, signals: SigSet) {
        self.signals.retain(|s| !signals.contains(s.signal()));
        self.set = self.set.without(signals);
    }

    /// Changes the first pending signal that `change` accepts, such as the overrun count of a timer's.
    pub fn update(&mut self, mut change: impl FnMut(&mut SigInfo) -> bool) -> bool {
        self.signals.iter_mut().any(&mut change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: SigSet = SigSet(u64::MAX);

    fn info(signal: u32, value: u64) -> SigInfo {
        SigInfo::timer(signal, 0, 0, value)
    }

    #[test]
    fn a_standard_signal_is_pending_once_with_the_first_information() {
        let mut queue = Queue::new();
        queue.push(info(10, 1)).unwrap();
        queue.push(info(10, 2)).unwrap();
        assert_eq!(queue.take(ALL).unwrap().value(), 1);
        assert!(queue.take(ALL).is_none());
        assert!(queue.set().is_empty());
    }

    #[test]
    fn real_time_signals_come_in_order_and_lower_numbers_first() {
        let mut queue = Queue::new();
        for (signal, value) in [(40, 1), (34, 2), (40, 3), (34, 4)] {
            queue.push(info(signal, value)).unwrap();
        }
        let order: Vec<u64> = core::iter::from_fn(|| queue.take(ALL))
            .map(|i| i.value())
            .collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn only_wanted_signals_are_taken() {
        let mut queue = Queue::new();
        queue.push(info(10, 1)).unwrap();
        queue.push(info(12, 2)).unwrap();
        assert_eq!(queue.take(SigSet::of(12)).unwrap().value(), 2);
        assert!(queue.take(SigSet::of(12)).is_none());
        assert_eq!(queue.set(), SigSet::of(10));
    }

    #[test]
    fn a_full_queue_refuses_real_time_signals_only() {
        let mut queue = Queue::new();
        for value in 0..LIMIT as u64 {
            queue.push(info(40, value)).unwrap();
        }
        assert_eq!(queue.push(info(41, 0)), Err(Errno::EAGAIN));
        assert_eq!(queue.push(info(15, 0)), Ok(()));
    }

    #[test]
    fn discarded_signals_are_gone() {
        let mut queue = Queue::new();
        queue.push(info(17, 1)).unwrap();
        queue.push(info(40, 2)).unwrap();
        queue.discard(SigSet::of(17));
        assert_eq!(queue.set(), SigSet::of(40));
        assert_eq!(queue.take(ALL).unwrap().value(), 2);
    }
}
