//! When to interrupt threads in the enclave: by a timer, at moments that a seed decides as far as they are decided here.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static DUE: AtomicBool = AtomicBool::new(false);

/// Source of interrupts.
pub struct Ticks {
    state: u64,
}

impl Ticks {
    /// Interrupts on average every `period`, none without one. One for the process: it uses its SIGALRM.
    pub fn start(period: Option<Duration>, seed: u64) -> io::Result<Ticks> {
        if let Some(period) = period {
            arm(period / 2)?;
        }
        Ok(Ticks {
            state: seed.wrapping_mul(2).wrapping_add(1),
        })
    }

    /// Whether the timer has expired since the last call.
    pub fn is_due(&self) -> bool {
        DUE.swap(false, Ordering::Relaxed)
    }

    /// Every other time, at random (xorshift64): the timer runs twice as often as wanted.
    pub fn toss(&mut self) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 32 & 1 == 0
    }
}

/// Without SA_RESTART, so that a wait for the next stop ends.
fn arm(period: Duration) -> io::Result<()> {
    extern "C" fn on_alarm(_: libc::c_int) {
        DUE.store(true, Ordering::Relaxed);
    }
    let interval = libc::timeval {
        tv_sec: period.as_secs() as i64,
        tv_usec: i64::from(period.subsec_micros().max(1)),
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: a handler that stores to a static; structures of numbers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        if libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) != 0
            || libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
