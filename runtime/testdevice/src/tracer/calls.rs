//! System calls that concern the device: opening it, looking at it, its requests.

use std::io;

use libc::{c_int, user_regs_struct};
use mystikos_abi::PAGE_SIZE;
use serde_json::{json, Value};
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use crate::caller::Calling;
use crate::driver::mapping::Mode;
use crate::files::{descriptor, Device, DeviceFile};
use crate::ptrace::{self, Tid};
use crate::refusal::{refusal, Refusal, Result};
use crate::space::FileId;
use crate::uapi::{self, request, AddPages, RestrictPermissions};

use super::Tracer;

/// Longer paths are not looked at.
const PATH_MAX: usize = 64;
/// Major number of misc devices.
const MISC_MAJOR: u32 = 10;

impl Tracer {
    /// PTRACE_EVENT_SECCOMP: one of the calls that the filter reports is about to be made.
    pub(super) fn on_call(&mut self, tid: Tid) -> io::Result<()> {
        let overlapping = self.overlapping.remove(&tid);
        let regs = ptrace::registers(tid)?;
        // Syscall User Dispatch lets calls pass from there.
        self.process(tid).call_site = regs.rip - 2;
        match regs.orig_rax as i64 {
            libc::SYS_open => self.on_open(tid, regs, regs.rdi, regs.rsi),
            libc::SYS_openat => self.on_open(tid, regs, regs.rsi, regs.rdx),
            libc::SYS_openat2 => {
                let mut flags = [0; 8];
                ptrace::read_memory(tid, regs.rdx, &mut flags);
                self.on_open(tid, regs, regs.rsi, u64::from_le_bytes(flags))
            }
            libc::SYS_access => self.on_access(tid, regs, regs.rdi, regs.rsi),
            libc::SYS_faccessat | libc::SYS_faccessat2 => {
                self.on_access(tid, regs, regs.rsi, regs.rdx)
            }
            libc::SYS_stat | libc::SYS_lstat => {
                let device = device_at(tid, regs.rdi);
                self.on_stat(tid, regs, device, regs.rsi)
            }
            libc::SYS_fstat => {
                let device = self.device_of(tid, regs.rdi);
                self.on_stat(tid, regs, device, regs.rsi)
            }
            libc::SYS_newfstatat => {
                let device = self.device_by_path_or_fd(tid, &regs);
                self.on_stat(tid, regs, device, regs.rdx)
            }
            libc::SYS_statx => {
                let device = self.device_by_path_or_fd(tid, &regs);
                self.on_statx(tid, regs, device)
            }
            libc::SYS_ioctl => self.on_ioctl(tid, regs, overlapping),
            libc::SYS_mmap => self.on_mmap(tid, regs),
            libc::SYS_mprotect | libc::SYS_pkey_mprotect => self.on_mprotect(tid, regs),
            libc::SYS_munmap => self.on_munmap(tid, regs),
            libc::SYS_mremap => self.on_mremap(tid, regs),
            libc::SYS_madvise => self.on_madvise(tid, regs),
            _ => self.resume(tid, 0),
        }
    }

    /// Whether the device file can be found, and opened.
    fn presence(&self, device: Device) -> Result {
        let presence = self.presence;
        let (absent, unreadable) = match device {
            Device::Enclave => (presence.absent, presence.unreadable),
            Device::Provision => (presence.absent || presence.no_provision, false),
        };
        if absent {
            Err(refusal(libc::ENOENT, "the device file is there"))
        } else if unreadable {
            Err(refusal(libc::EACCES, "the user may open the device file"))
        } else {
            Ok(())
        }
    }

    /// An open of a device file makes a file in memory.
    fn on_open(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        path: u64,
        flags: u64,
    ) -> io::Result<()> {
        let Some(device) = device_at(tid, path) else {
            return self.resume(tid, 0);
        };
        let allowed = self.presence(device);
        self.journal
            .outcome(tid, "open", json!(format!("{device:?}")), &allowed);
        if let Err(Refusal { errno, .. }) = allowed {
            return self.skip_call(tid, regs, -i64::from(errno));
        }
        let access = flags as c_int & libc::O_ACCMODE;
        let mode = Mode {
            read: access != libc::O_WRONLY,
            write: access != libc::O_RDONLY,
        };
        let close_on_exec = flags as c_int & libc::O_CLOEXEC != 0;
        let create = user_regs_struct {
            orig_rax: libc::SYS_memfd_create as u64,
            rdi: path, // its name is not used
            rsi: if close_on_exec {
                libc::MFD_CLOEXEC.into()
            } else {
                0
            },
            ..regs
        };
        ptrace::set_registers(tid, &create)?;
        let fd = self.finish_call(tid)?;
        if fd >= 0 {
            self.files.push(DeviceFile::opened(device, mode, tid, fd)?);
        }
        self.end_call(tid, regs, fd)
    }

    fn on_access(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        path: u64,
        mode: u64,
    ) -> io::Result<()> {
        let Some(device) = device_at(tid, path) else {
            return self.resume(tid, 0);
        };
        let result = match self.presence(device) {
            Err(Refusal {
                errno: libc::EACCES,
                ..
            }) if mode as c_int == libc::F_OK => 0,
            Err(Refusal { errno, .. }) => -i64::from(errno),
            Ok(()) => 0,
        };
        self.skip_call(tid, regs, result)
    }

    fn on_stat(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        device: Option<Device>,
        to: u64,
    ) -> io::Result<()> {
        let Some(device) = device else {
            return self.resume(tid, 0);
        };
        if self.is_absent(device) {
            return self.skip_call(tid, regs, -i64::from(libc::ENOENT));
        }
        // SAFETY: a structure of numbers.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        stat.st_mode = self.file_mode(device);
        stat.st_nlink = 1;
        stat.st_blksize = PAGE_SIZE as i64;
        stat.st_rdev = libc::makedev(MISC_MAJOR, device.minor());
        // SAFETY: plain old data, read as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const stat).cast::<u8>(), size_of::<libc::stat>())
        };
        self.answer(tid, regs, to, bytes)
    }

    fn on_statx(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        device: Option<Device>,
    ) -> io::Result<()> {
        let Some(device) = device else {
            return self.resume(tid, 0);
        };
        if self.is_absent(device) {
            return self.skip_call(tid, regs, -i64::from(libc::ENOENT));
        }
        // SAFETY: a structure of numbers.
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        stat.stx_mask = libc::STATX_BASIC_STATS;
        stat.stx_mode = self.file_mode(device) as u16;
        stat.stx_nlink = 1;
        stat.stx_blksize = PAGE_SIZE as u32;
        (stat.stx_rdev_major, stat.stx_rdev_minor) = (MISC_MAJOR, device.minor());
        // SAFETY: plain old data, read as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const stat).cast::<u8>(), size_of::<libc::statx>())
        };
        self.answer(tid, regs, regs.r8, bytes)
    }

    fn answer(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        to: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let written = ptrace::write_memory(tid, to, bytes);
        self.skip_call(
            tid,
            regs,
            if written { 0 } else { -i64::from(libc::EFAULT) },
        )
    }

    fn is_absent(&self, device: Device) -> bool {
        matches!(
            self.presence(device),
            Err(Refusal {
                errno: libc::ENOENT,
                ..
            })
        )
    }

    fn file_mode(&self, device: Device) -> u32 {
        libc::S_IFCHR
            | if self.presence(device).is_ok() {
                0o666
            } else {
                0o600
            }
    }

    fn device_by_path_or_fd(&mut self, tid: Tid, regs: &user_regs_struct) -> Option<Device> {
        match ptrace::read_string(tid, regs.rsi, PATH_MAX) {
            Some(path) if path.is_empty() => self.device_of(tid, regs.rdi),
            Some(path) => Device::of_path(&path),
            None => None,
        }
    }

    fn device_of(&self, tid: Tid, fd: u64) -> Option<Device> {
        self.file_of(tid, fd)
            .and_then(|id| Some(self.files.get(id)?.device))
    }

    /// The device file that a descriptor stands for.
    pub(super) fn file_of(&self, tid: Tid, fd: u64) -> Option<FileId> {
        if self.files.is_empty() {
            return None;
        }
        let descriptor = descriptor(tid, fd)?;
        self.files.iter().position(|file| file.is(descriptor))
    }

    /// A request to the driver.
    fn on_ioctl(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        overlapping: Option<FileId>,
    ) -> io::Result<()> {
        let id = self.file_of(tid, regs.rdi);
        let Some(id) = id.filter(|&id| self.files[id].device == Device::Enclave) else {
            return self.resume(tid, 0);
        };
        let (request, argument) = (regs.rsi as u32, regs.rdx);
        let pages = pages_of(tid, request, argument);
        let mut encl = std::mem::take(&mut self.files[id].encl);
        encl.set_busy(overlapping == Some(id));
        let mut caller = Calling::new(tid, &self.files, &self.files[id]);
        let result = encl.ioctl(request, argument, &mut caller, &mut self.machine);
        encl.set_busy(false);
        self.files[id].encl = encl;
        self.journal.outcome(
            tid,
            "ioctl",
            json!({ "name": uapi::name(request), "pages": pages }),
            &result,
        );
        if request == request::INIT && result.is_ok() {
            self.note_identity(id);
        }
        self.note_overlapping(id)?;

        self.call_is_skipped(tid, regs)?;
        if request == request::CREATE && result.is_ok() {
            self.place_mappings(tid, id, regs.rdi)?;
        }
        let base = self.files[id]
            .encl
            .range()
            .map_or(0, |elrange| elrange.start);
        if let Some((offset, length)) = pages {
            let start = base.wrapping_add(offset);
            if let Some(end) = start.checked_add(length) {
                self.apply_rights(tid, &(start..end))?;
            }
        }
        let value = result.map_or_else(|refusal| -i64::from(refusal.errno), |()| 0);
        self.end_call(tid, regs, value)
    }

    fn note_identity(&mut self, id: FileId) {
        let Some(enclave) = &self.files[id].encl.enclave else {
            return;
        };
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let secs = enclave.secs();
        self.journal.note(|| {
            json!({ "event": "initialised", "mrenclave": hex(&secs.mrenclave), "mrsigner": hex(&secs.mrsigner),
                "base": secs.baseaddr, "size": secs.size })
        });
    }

    /// Threads that have entered a system call meanwhile find the driver busy, as they would have.
    fn note_overlapping(&mut self, id: FileId) -> io::Result<()> {
        while let Some(stop) = ptrace::wait(-1, false)? {
            self.stops.push_back(stop);
        }
        for (tid, stop) in &self.stops {
            if matches!(stop, ptrace::Stop::Event(libc::PTRACE_EVENT_SECCOMP, _)) {
                self.overlapping.insert(*tid, id);
            }
        }
        Ok(())
    }

    /// Goes to the end of a system call without carrying it out, so that others can be injected.
    pub(super) fn call_is_skipped(&mut self, tid: Tid, regs: user_regs_struct) -> io::Result<()> {
        let skipped = user_regs_struct {
            orig_rax: u64::MAX,
            ..regs
        };
        ptrace::set_registers(tid, &skipped)?;
        self.finish_call(tid)?;
        Ok(())
    }

    /// Ends a system call at whose end a thread is stopped: it returns `result`, and other registers are as they were.
    pub(super) fn end_call(
        &mut self,
        tid: Tid,
        regs: user_regs_struct,
        result: i64,
    ) -> io::Result<()> {
        let after = user_regs_struct {
            rax: result as u64,
            orig_rax: u64::MAX,
            ..regs
        };
        ptrace::set_registers(tid, &after)?;
        self.resume(tid, 0)
    }
}

fn device_at(tid: Tid, path: u64) -> Option<Device> {
    Device::of_path(&ptrace::read_string(tid, path, PATH_MAX)?)
}

/// Offset and length of the pages that a request is about.
fn pages_of(tid: Tid, request: u32, argument: u64) -> Option<(u64, u64)> {
    match request {
        request::ADD_PAGES => {
            let mut add = AddPages::new_zeroed();
            ptrace::read_memory(tid, argument, add.as_mut_bytes())
                .then_some((add.offset, add.length))
        }
        request::RESTRICT_PERMISSIONS | request::MODIFY_TYPES | request::REMOVE_PAGES => {
            // All of them begin alike.
            let mut head = RestrictPermissions::new_zeroed();
            let bytes = &mut head.as_mut_bytes()[..16];
            ptrace::read_memory(tid, argument, bytes).then_some((head.offset, head.length))
        }
        _ => None,
    }
}

/// A range of addresses, for the log.
pub(super) fn shown(range: &std::ops::Range<u64>) -> Value {
    json!(format!("{:#x}-{:#x}", range.start, range.end))
}
