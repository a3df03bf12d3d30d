//! How a thread in the enclave is made to look at what is pending.
//!
//! A signal finds a thread that is in the enclave at the AEP, about to resume: RIP at ENCLU, EAX = ERESUME. The handler changes
//! EAX to EENTER. So the kernel's exception entry runs first, sees in the SSA frame that it was an interrupt, and leaves to be
//! resumed; no handler waits on its stack meanwhile.
//!
//! A thread outside notes the interrupt in its host area, where the kernel looks after a host call. That leaves the way
//! from the last look to ERESUME, some instructions of the launcher and of the vDSO, which cannot be told apart from outside:
//! there the thread goes on by single steps (TF), up to the AEP or off that way.
//!
//! There are as many SSA frames as NSSA says, and each asynchronous exit uses one up to its ERESUME. So an interrupt that finds the
//! thread in the exception entry itself is only noted: the entry is made once more before the thread is resumed.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mystikos_abi::sgx::enclu as leaf;

use crate::conduct;
use crate::signals;
use crate::sys::Registers;
use crate::threads;

/// ENCLU.
pub const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];
const TF: u64 = 1 << 8;

/// What a host thread knows of its stay in the enclave; see [`signals::Local`].
#[derive(Default)]
pub struct Local {
    tcs: AtomicU64,
    /// On the way to ERESUME.
    resuming: AtomicBool,
    /// By single steps.
    stepping: AtomicBool,
    /// In the kernel's exception entry, with a frame that waits to be resumed.
    handling: AtomicBool,
    /// The software driver's part.
    pub processor: super::software::Processor,
}

impl Local {
    /// Before the first entry.
    pub fn begin(&self, tcs: u64) {
        self.tcs.store(tcs, Ordering::Relaxed);
    }

    /// Left by an exception: the exception entry comes next.
    pub fn handle(&self) {
        self.handling.store(true, Ordering::SeqCst);
    }

    /// On the way to ERESUME from now on. True when an interrupt came before that, so that the kernel is entered instead.
    pub fn must_enter(&self, interrupted: &AtomicBool) -> bool {
        self.resuming.store(true, Ordering::SeqCst);
        let enter = interrupted.swap(false, Ordering::SeqCst);
        self.handling.store(enter, Ordering::SeqCst);
        enter
    }

    /// Back from the enclave.
    pub fn done(&self) {
        self.resuming.store(false, Ordering::SeqCst);
    }

    /// At ENCLU, to enter or resume this thread.
    fn at_enclu(&self, registers: &Registers) -> bool {
        // SAFETY: RIP is executable memory of the launcher or the vDSO, of which at least the instruction is mapped: the
        // thread is outside the enclave.
        let code = unsafe { (registers.rip as *const [u8; 3]).read() };
        code == ENCLU && registers.rbx == self.tcs.load(Ordering::Relaxed)
    }

    /// At the AEP, about to resume: has the kernel look first.
    fn look_first(&self, local: &signals::Local, registers: &mut Registers) {
        if self.handling.swap(true, Ordering::SeqCst) {
            threads::interrupted_outside(local);
        } else {
            registers.rax = u64::from(leaf::EENTER);
            registers.rdi = conduct::told_vector(0);
        }
    }
}

/// Handles an interrupt whose signal frame shows a thread outside or at the AEP.
pub fn interrupt(local: &signals::Local, registers: &mut Registers) {
    let own = &local.enclave;
    if own.at_enclu(registers) && registers.rax == u64::from(leaf::ERESUME) {
        own.look_first(local, registers);
    } else if own.resuming.load(Ordering::SeqCst) {
        own.stepping.store(true, Ordering::SeqCst);
        registers.rflags |= TF;
    } else {
        threads::interrupted_outside(local);
    }
}

/// Handles a single step of a thread outside; false when it is not by us.
pub fn step(local: &signals::Local, registers: &mut Registers) -> bool {
    let own = &local.enclave;
    if !own.stepping.load(Ordering::SeqCst) {
        return false;
    }
    let arrived = own.at_enclu(registers);
    if arrived || !own.resuming.load(Ordering::SeqCst) {
        own.stepping.store(false, Ordering::SeqCst);
        registers.rflags &= !TF;
        if arrived && registers.rax == u64::from(leaf::ERESUME) {
            own.look_first(local, registers);
        } else {
            threads::interrupted_outside(local);
        }
    }
    true
}
