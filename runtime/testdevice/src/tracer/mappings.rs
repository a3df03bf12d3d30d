//! System calls that change the program's mappings of the device.

use std::io;
use std::ops::Range;

use libc::{c_int, user_regs_struct};
use mystikos_abi::PAGE_SIZE;
use serde_json::json;

use crate::files::Device;
use crate::protection::Prot;
use crate::ptrace::{self, Tid};
use crate::refusal::{refusal, Result};
use crate::space::{FileId, Mapping};

use super::calls::shown;
use super::Tracer;

/// personality(2): readable memory can be executed.
const READ_IMPLIES_EXEC: u64 = 0x0040_0000;
/// MAP_FIXED_NOREPLACE is as fixed as MAP_FIXED.
const FIXED: c_int = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE;

impl Tracer {
    pub(super) fn on_mmap(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let flags = regs.r10 as c_int;
        let file = match flags & libc::MAP_ANONYMOUS {
            0 => self.file_of(tid, regs.r8),
            _ => None,
        };
        match file.filter(|&id| self.files[id].device == Device::Enclave) {
            Some(id) => self.map_device(tid, regs, id),
            None => self.map_other(tid, regs),
        }
    }

    /// Something else may take the place of a mapping of the device.
    fn map_other(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let range = pages(regs.rdi, regs.rsi);
        if regs.r10 as c_int & libc::MAP_FIXED == 0 || !self.process(tid).space.touches(&range) {
            return self.resume(tid, 0);
        }
        if self.finish_call(tid)? as u64 == range.start {
            self.process(tid).space.unmap(range);
        }
        self.resume(tid, 0)
    }

    /// A mapping of an enclave: shared memory without rights, in which pages get theirs one by one.
    fn map_device(&mut self, tid: Tid, regs: user_regs_struct, id: FileId) -> io::Result<()> {
        let (flags, prot) = (regs.r10 as c_int, Prot::of_bits(regs.rdx));
        let implied = reads_imply_exec(tid);
        // Where the kernel chooses the place, that is checked afterwards.
        let asked = pages(regs.rdi, if flags & FIXED == 0 { 0 } else { regs.rsi });
        let file = &self.files[id];
        let mut checked = file.encl.check_mmap(prot, flags, file.mode);
        if checked.is_ok() && !asked.is_empty() {
            checked = file.encl.may_map(&asked, prot, implied);
        }
        if let Err(refusal) = checked {
            self.note_mapping(tid, "mmap", &asked, prot, &checked);
            return self.skip_call(tid, regs, -i64::from(refusal.errno));
        }
        let kept = flags & !(libc::MAP_TYPE | libc::MAP_POPULATE);
        let call = user_regs_struct {
            rdx: libc::PROT_NONE as u64,
            r10: (kept | libc::MAP_SHARED | libc::MAP_NORESERVE) as u64,
            r9: 0, // the driver does not look at it
            ..regs
        };
        ptrace::set_registers(tid, &call)?;
        let address = self.finish_call(tid)?;
        if address < 0 {
            return self.end_call(tid, regs, address);
        }
        let range = pages(address as u64, regs.rsi);
        let checked = self.files[id].encl.may_map(&range, prot, implied);
        self.note_mapping(tid, "mmap", &range, prot, &checked);
        if let Err(refusal) = checked {
            self.inject(
                tid,
                libc::SYS_munmap,
                [range.start, range.end - range.start, 0, 0, 0, 0],
            )?;
            return self.end_call(tid, regs, -i64::from(refusal.errno));
        }
        self.process(tid)
            .space
            .map(range.clone(), Mapping { file: id, prot }, Prot::empty());
        self.place_mapping(tid, id, regs.r8, &range)?;
        self.apply_rights(tid, &range)?;
        self.end_call(tid, regs, address)
    }

    /// Gives mappings that were made before CREATE the content of the ELRANGE, now that it is known where that lies.
    pub(super) fn place_mappings(&mut self, tid: Tid, id: FileId, fd: u64) -> io::Result<()> {
        let everywhere = 0..u64::MAX;
        for (range, _) in self.process(tid).space.of_file(id, &everywhere) {
            self.place_mapping(tid, id, fd, &range)?;
        }
        Ok(())
    }

    /// The part of a mapping that lies in ELRANGE shows what lies there; what it could show outside is nothing.
    fn place_mapping(
        &mut self,
        tid: Tid,
        id: FileId,
        fd: u64,
        range: &Range<u64>,
    ) -> io::Result<()> {
        let Some(elrange) = self.files[id].encl.range() else {
            return Ok(());
        };
        let part = range.start.max(elrange.start)..range.end.min(elrange.end);
        // It has the offset 0 already.
        if part.is_empty() || (part.start == elrange.start && range.start == part.start) {
            return Ok(());
        }
        let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let (size, offset) = (part.end - part.start, part.start - elrange.start);
        let args = [
            part.start,
            size,
            libc::PROT_NONE as u64,
            flags as u64,
            fd,
            offset,
        ];
        let address = self.inject(tid, libc::SYS_mmap, args)?;
        if address as u64 != part.start {
            return Err(io::Error::other(format!(
                "the enclave's memory cannot be mapped: {address}"
            )));
        }
        Ok(())
    }

    pub(super) fn on_mprotect(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let range = pages(regs.rdi, regs.rsi);
        if !self.process(tid).space.touches(&range) || !regs.rdi.is_multiple_of(PAGE_SIZE) {
            return self.resume(tid, 0);
        }
        let implied = reads_imply_exec(tid);
        self.call_is_skipped(tid, regs)?;
        // As the kernel does it: mapping by mapping, until one refuses.
        for (part, mapping) in self.process(tid).space.pieces(&range) {
            let result = match mapping {
                Some(mapping) => {
                    self.protect_device(tid, &part, mapping.file, Prot::of_bits(regs.rdx), implied)?
                }
                None => {
                    let size = part.end - part.start;
                    self.inject(
                        tid,
                        regs.orig_rax as i64,
                        [part.start, size, regs.rdx, regs.r10, 0, 0],
                    )?
                }
            };
            if result != 0 {
                return self.end_call(tid, regs, result);
            }
        }
        self.end_call(tid, regs, 0)
    }

    fn protect_device(
        &mut self,
        tid: Tid,
        range: &Range<u64>,
        id: FileId,
        prot: Prot,
        implied: bool,
    ) -> io::Result<i64> {
        let checked = self.files[id].encl.may_map(range, prot, implied);
        self.note_mapping(tid, "mprotect", range, prot, &checked);
        if let Err(refusal) = checked {
            return Ok(-i64::from(refusal.errno));
        }
        self.process(tid).space.protect(range.clone(), prot);
        self.apply_rights(tid, range)?;
        Ok(0)
    }

    pub(super) fn on_munmap(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let range = pages(regs.rdi, regs.rsi);
        if !self.process(tid).space.touches(&range) {
            return self.resume(tid, 0);
        }
        if self.finish_call(tid)? == 0 {
            self.process(tid).space.unmap(range);
        }
        self.resume(tid, 0)
    }

    /// Such mappings cannot grow (VM_DONTEXPAND), and at another address they would be of no use.
    pub(super) fn on_mremap(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let rule = refusal(libc::EFAULT, "mremap: not a mapping of the device");
        self.refuse_on_device(tid, regs, "mremap", Err(rule))
    }

    /// These advices are not for VM_PFNMAP.
    pub(super) fn on_madvise(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let discards = [libc::MADV_DONTNEED, libc::MADV_FREE, libc::MADV_REMOVE];
        if !discards.contains(&(regs.rdx as c_int)) {
            return self.resume(tid, 0);
        }
        let rule = refusal(
            libc::EINVAL,
            "madvise: not of a mapping of the device (VM_PFNMAP)",
        );
        self.refuse_on_device(tid, regs, "madvise", Err(rule))
    }

    fn refuse_on_device(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        name: &str,
        result: Result,
    ) -> io::Result<()> {
        let range = pages(regs.rdi, regs.rsi);
        match result {
            Err(refusal) if self.process(tid).space.touches(&range) => {
                self.journal
                    .outcome(tid, name, json!({ "range": shown(&range) }), &result);
                self.skip_call(tid, regs, -i64::from(refusal.errno))
            }
            _ => self.resume(tid, 0),
        }
    }

    fn note_mapping(
        &mut self,
        tid: Tid,
        name: &str,
        range: &Range<u64>,
        prot: Prot,
        result: &Result,
    ) {
        let what = json!({ "range": shown(range), "prot": prot.bits() });
        self.journal.outcome(tid, name, what, result);
    }
}

/// Whole pages; empty if the range overflows.
fn pages(start: u64, size: u64) -> Range<u64> {
    let end = size
        .checked_next_multiple_of(PAGE_SIZE)
        .and_then(|size| start.checked_add(size));
    start..end.unwrap_or(start)
}

fn reads_imply_exec(tid: Tid) -> bool {
    let personality =
        std::fs::read_to_string(format!("/proc/{tid}/personality")).unwrap_or_default();
    u64::from_str_radix(personality.trim(), 16).is_ok_and(|bits| bits & READ_IMPLIES_EXEC != 0)
}
