//! Threads of an enclave: TCS and SSA frames, and what EENTER, ERESUME, EDECCSSA and AEX do alike with them.

use mystikos_abi::sgx::{
    GprSgx, Tcs, ATTRIBUTE_AEXNOTIFY, ATTRIBUTE_MODE64BIT, TCS_AEXNOTIFY, TCS_DBGOPTIN,
};
use mystikos_abi::PAGE_SIZE;
use zerocopy::{FromBytes, IntoBytes};

use crate::cpu::{canonical, rflags, Cpu};
use crate::enclave::Enclave;
use crate::epcm::{Access, Epc, PageType};
use crate::fault::Fault;
use crate::xsave::{enabled, Frame};

/// TCS.STATE of a thread that a logical processor is in the enclave on.
pub(crate) const ACTIVE: u64 = 1;
/// TCS.STATE of a thread that can be entered.
pub(crate) const INACTIVE: u64 = 0;

impl<M: Epc> Enclave<M> {
    /// The checks of EENTER and ERESUME up to the SSA frame; the TCS that RBX points at.
    pub(crate) fn enterable(&self, cpu: &Cpu<'_>) -> Result<Tcs, Fault> {
        let linear = cpu.regs.rbx;
        if !linear.is_multiple_of(PAGE_SIZE) {
            return Err(Fault::Gp);
        }
        let entry = self.resolve(linear, Access::Read)?;
        // The AEP.
        if !canonical(cpu.regs.rcx) {
            return Err(Fault::Gp);
        }
        if !self.is_tcs(linear) {
            return Err(entry.page_fault(linear, Access::Read));
        }
        let tcs = self.read_tcs(linear);
        let aligned = |offset: u64| offset.is_multiple_of(PAGE_SIZE);
        if !aligned(tcs.ossa) || !aligned(tcs.ofsbase) || !aligned(tcs.ogsbase) {
            return Err(Fault::Gp);
        }
        if tcs.flags & !(TCS_DBGOPTIN | TCS_AEXNOTIFY) != 0 || !self.initialised() {
            return Err(Fault::Gp);
        }
        let attributes = self.attributes();
        let xcr0 = enabled(cpu.xsave, &self.processor.xsave, self.processor.xcr0);
        if attributes.flags & ATTRIBUTE_MODE64BIT == 0 || attributes.xfrm & !xcr0 != 0 {
            return Err(Fault::Gp);
        }
        let (thread, enclave) = (
            tcs.flags & TCS_AEXNOTIFY != 0,
            attributes.flags & ATTRIBUTE_AEXNOTIFY != 0,
        );
        if tcs.flags & TCS_DBGOPTIN == 0 && thread != enclave {
            return Err(Fault::Gp);
        }
        Ok(tcs)
    }

    /// Where SSA frame number `number` begins, once all pages that are written at an exit are found to be there: those of
    /// the XSAVE area, and the last one with GPRSGX and the MISC region.
    pub(crate) fn ssa_frame(&self, tcs: &Tcs, number: u32) -> Result<u64, Fault> {
        let size = self.ssa_frame_size();
        let ssa = self
            .secs
            .baseaddr
            .wrapping_add(tcs.ossa)
            .wrapping_add(size.wrapping_mul(u64::from(number)));
        let xsize = self
            .processor
            .xsave
            .size(self.attributes().xfrm)
            .unwrap_or(0) as u64;
        for page in (0..xsize).step_by(PAGE_SIZE as usize) {
            self.ssa_page(ssa.wrapping_add(page))?;
        }
        self.ssa_page(gpr_address(ssa, size) & !(PAGE_SIZE - 1))?;
        Ok(ssa)
    }

    fn ssa_page(&self, linear: u64) -> Result<(), Fault> {
        let entry = self.entry(linear);
        let rights = entry.rights();
        if entry.settled(PageType::Reg) && rights.read && rights.write {
            Ok(())
        } else {
            Err(entry.page_fault(linear, Access::Write))
        }
    }

    /// Bytes of an SSA frame.
    pub(crate) fn ssa_frame_size(&self) -> u64 {
        u64::from(self.secs.ssaframesize) * PAGE_SIZE
    }

    /// Address that an offset in the enclave stands for.
    pub(crate) fn linear(&self, offset: u64) -> u64 {
        self.secs.baseaddr.wrapping_add(offset)
    }

    /// The TCS at a linear address, which is known to be one.
    pub(crate) fn read_tcs(&self, linear: u64) -> Tcs {
        let mut tcs = Tcs::default();
        if let Some(offset) = self.offset(linear) {
            self.memory.read(offset, tcs.as_mut_bytes());
        }
        tcs
    }

    /// Replaces the TCS at a linear address.
    pub(crate) fn write_tcs(&mut self, linear: u64, tcs: &Tcs) {
        if let Some(offset) = self.offset(linear) {
            self.memory.write(offset, tcs.as_bytes());
        }
    }

    /// GPRSGX of the SSA frame that begins at `ssa`, which is known to be there.
    pub(crate) fn read_gpr(&self, ssa: u64) -> GprSgx {
        let mut bytes = [0; size_of::<GprSgx>()];
        if let Some(offset) = self.offset(gpr_address(ssa, self.ssa_frame_size())) {
            self.memory.read(offset, &mut bytes);
        }
        GprSgx::read_from_bytes(&bytes).unwrap_or_default()
    }

    /// Writes into the SSA frame that begins at `ssa`, at an offset from GPRSGX; negative ones lie in the MISC region.
    pub(crate) fn write_at_gpr(&mut self, ssa: u64, from_gpr: i64, bytes: &[u8]) {
        let address = gpr_address(ssa, self.ssa_frame_size()).wrapping_add_signed(from_gpr);
        if let Some(offset) = self.offset(address) {
            self.memory.write(offset, bytes);
        }
    }

    /// The XSAVE area of the SSA frame that begins at `ssa`, which is known to be there.
    pub(crate) fn xsave_area(&mut self, ssa: u64) -> Option<Frame<'_, M>> {
        Some(Frame {
            offset: self.offset(ssa)?,
            memory: &mut self.memory,
            layout: &self.processor.xsave,
            xfrm: self.secs.attributes.xfrm,
        })
    }

    /// Enclave mode begins on the thread in RBX, with `ssa` as the current frame: TCS, hidden registers, TF.
    ///
    /// On an opt-in entry TF stays, and the processor would raise #DB after the first instruction's boundary; the
    /// caller's single-stepping does just that.
    pub(crate) fn begin(&mut self, cpu: &mut Cpu<'_>, mut tcs: Tcs, ssa: u64) {
        let state = &mut *cpu.state;
        state.enclave_mode = true;
        state.tcs = cpu.regs.rbx;
        state.ssa = ssa;
        state.save_fs = cpu.fs_base;
        state.save_gs = cpu.gs_base;
        state.dbgoptin = tcs.flags & TCS_DBGOPTIN != 0;
        state.save_tf = cpu.regs.rflags & rflags::TF != 0;
        if !state.dbgoptin {
            cpu.regs.rflags &= !rflags::TF;
        }
        tcs.state = ACTIVE;
        tcs.aep = cpu.regs.rcx;
        self.write_tcs(cpu.regs.rbx, &tcs);
        self.active = self.active.saturating_add(1);
    }

    /// Enclave mode ends, by EEXIT or AEX: TCS, FS and GS, TF.
    pub(crate) fn end(&mut self, cpu: &mut Cpu<'_>, mut tcs: Tcs) {
        let state = &mut *cpu.state;
        cpu.fs_base = state.save_fs;
        cpu.gs_base = state.save_gs;
        if !state.dbgoptin {
            cpu.regs.rflags &= !rflags::TF;
            if state.save_tf {
                cpu.regs.rflags |= rflags::TF;
            }
        }
        tcs.state = INACTIVE;
        self.write_tcs(state.tcs, &tcs);
        state.enclave_mode = false;
        self.active = self.active.saturating_sub(1);
    }
}

/// Where GPRSGX lies in the SSA frame of this size that begins at `ssa`: at its end.
fn gpr_address(ssa: u64, size: u64) -> u64 {
    ssa.wrapping_add(size)
        .wrapping_sub(size_of::<GprSgx>() as u64)
}
