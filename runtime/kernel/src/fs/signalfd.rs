//! Signals as a file (signalfd(2)).

use alloc::sync::Arc;
use core::any::Any;

use linux_raw_sys::general as raw;
use mystikos_platform::sync::Mutex;
use zerocopy::{Immutable, IntoBytes};

use super::anonymous;
use super::file::{File, OpenFile, Readiness, Stat};
use super::io::{Sink, Source};
use crate::process::wait::{wait_until, WaitQueue};
use crate::process::{thread, Process};
use crate::signal::{self, info::SigInfo, set::SigSet};
use crate::{Errno, Result};

/// `struct signalfd_siginfo`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Record {
    signo: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    tid: u32,
    band: u32,
    overrun: u32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    addr_lsb: u16,
    padding: u16,
    syscall: i32,
    call_addr: u64,
    arch: u32,
    reserved: [u8; 28],
}

const SIZE: usize = size_of::<Record>();
const _: () = assert!(SIZE == 128);

impl Record {
    fn of(info: &SigInfo) -> Record {
        let mut record = Record {
            signo: info.signal(),
            errno: info.errno,
            code: info.code,
            ..Record::default()
        };
        match (info.code, info.signal()) {
            (raw::SI_TIMER, _) => {
                record.tid = info.timer_id();
                record.overrun = (info.fields[0] >> 32) as u32;
                record.ptr = info.value();
                record.int = info.value() as i32;
            }
            (code, _) if code < 0 => {
                record.pid = info.pid();
                record.uid = info.uid();
                record.ptr = info.value();
                record.int = info.value() as i32;
            }
            (1.., raw::SIGSEGV | raw::SIGBUS | raw::SIGILL | raw::SIGFPE | raw::SIGTRAP) => {
                record.addr = info.address();
            }
            _ => {
                record.pid = info.pid();
                record.uid = info.uid();
            }
        }
        record
    }
}

/// Signals that wait to be read, instead of being delivered.
pub struct SignalFd {
    wanted: Mutex<SigSet>,
    // A program lives as long as its files, so that one refers to the other does no harm.
    process: Arc<Process>,
}

impl SignalFd {
    /// For signals sent to the process or the thread that reads.
    pub fn new(process: Arc<Process>, wanted: SigSet) -> Arc<SignalFd> {
        Arc::new(SignalFd {
            wanted: Mutex::new(wanted.blockable()),
            process,
        })
    }

    /// Replaces the set of signals.
    pub fn set_wanted(&self, wanted: SigSet) {
        *self.wanted.lock() = wanted.blockable();
        self.process.signals.arrival.wake_all();
    }

    fn take(&self) -> Option<SigInfo> {
        let wanted = *self.wanted.lock();
        signal::take_pending(&thread::current(), wanted)
    }
}

impl File for SignalFd {
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous::stat())
    }

    fn read(&self, description: &OpenFile, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < SIZE {
            return Err(Errno::EINVAL);
        }
        let queue = &self.process.signals.arrival;
        let mut next = match self.take() {
            None if description.is_nonblocking() => return Err(Errno::EAGAIN),
            None => Some(wait_until(&[queue], None, || self.take())?),
            found => found,
        };
        let mut done = 0;
        while let Some(info) = next {
            match sink.put(Record::of(&info).as_bytes()) {
                Ok(SIZE) => done += SIZE,
                _ if done == 0 => return Err(Errno::EFAULT),
                _ => break,
            }
            next = match sink.remaining() >= SIZE {
                true => self.take(),
                false => None,
            };
        }
        Ok(done)
    }

    fn write(&self, _description: &OpenFile, _source: &mut dyn Source) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    fn seek(&self, _description: &OpenFile, _offset: i64, _whence: u32) -> Result<u64> {
        // Without a position, but no error.
        Ok(0)
    }

    fn readiness(&self) -> Readiness {
        let wanted = *self.wanted.lock();
        match signal::pending_of(&thread::current(), wanted).is_empty() {
            true => Readiness::empty(),
            false => Readiness::IN,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.process.signals.arrival)
    }

    fn anonymous_name(&self) -> Option<&'static str> {
        Some("signalfd")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_tell_what_the_kind_of_signal_has() {
        let sent = Record::of(&SigInfo::sent(10, 0, 7, 9));
        assert_eq!((sent.signo, sent.pid, sent.uid), (10, 7, 9));
        let timer = Record::of(&SigInfo::timer(14, 3, 2, 0x1_0000_0005));
        assert_eq!((timer.tid, timer.overrun), (3, 2));
        assert_eq!((timer.ptr, timer.int), (0x1_0000_0005, 5));
        let fault = Record::of(&SigInfo::fault(raw::SIGSEGV, 1, 0x1000));
        assert_eq!((fault.addr, fault.pid), (0x1000, 0));
    }
}
