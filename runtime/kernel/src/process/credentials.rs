//! Users and groups of the process, and what they allow.

use alloc::vec::Vec;

use crate::{Errno, Result};

/// Highest capability that Linux 5.15 knows (CAP_CHECKPOINT_RESTORE).
pub const CAP_LAST: u32 = 40;
/// All capabilities.
pub const CAP_ALL: u64 = (1 << (CAP_LAST + 1)) - 1;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
/// NGROUPS_MAX.
pub const GROUPS_MAX: usize = 65536;
/// "Leave as it is" in setresuid(2) and its like.
const KEEP: u32 = u32::MAX;

/// One kind of IDs: real, effective, saved, and that used for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
    /// Used for files.
    pub files: u32,
}

impl Ids {
    /// All four alike.
    pub const fn all(id: u32) -> Self {
        Ids {
            real: id,
            effective: id,
            saved: id,
            files: id,
        }
    }

    fn holds(&self, id: u32) -> bool {
        id == self.real || id == self.effective || id == self.saved
    }

    /// setuid(2): all of them for the privileged, else the effective one.
    fn set(&mut self, id: u32, privileged: bool) -> Result<()> {
        if id == KEEP {
            return Err(Errno::EINVAL);
        }
        if privileged {
            self.real = id;
            self.saved = id;
        } else if id != self.real && id != self.saved {
            return Err(Errno::EPERM);
        }
        self.effective = id;
        self.files = id;
        Ok(())
    }

    /// setreuid(2).
    fn set_real_effective(&mut self, real: u32, effective: u32, privileged: bool) -> Result<()> {
        let real_allowed = real == KEEP || real == self.real || real == self.effective;
        if !privileged && !(real_allowed && (effective == KEEP || self.holds(effective))) {
            return Err(Errno::EPERM);
        }
        let before = self.real;
        if real != KEEP {
            self.real = real;
        }
        if effective != KEEP {
            self.effective = effective;
        }
        if real != KEEP || (effective != KEEP && effective != before) {
            self.saved = self.effective;
        }
        self.files = self.effective;
        Ok(())
    }

    /// setresuid(2).
    fn set_all(&mut self, wanted: [u32; 3], privileged: bool) -> Result<()> {
        let allowed = |id: &u32| *id == KEEP || self.holds(*id);
        if !privileged && !wanted.iter().all(allowed) {
            return Err(Errno::EPERM);
        }
        let [real, effective, saved] = wanted;
        for (id, place) in [
            (real, &mut self.real),
            (effective, &mut self.effective),
            (saved, &mut self.saved),
        ] {
            if id != KEEP {
                *place = id;
            }
        }
        self.files = self.effective;
        Ok(())
    }

    /// setfsuid(2): returns the one before, whether or not it was changed.
    fn set_files(&mut self, id: u32, privileged: bool) -> u32 {
        let before = self.files;
        if id != KEEP && (privileged || self.holds(id) || id == before) {
            self.files = id;
        }
        before
    }
}

/// Credentials of the process (all threads share them).
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Users.
    pub user: Ids,
    /// Groups.
    pub group: Ids,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Effective capabilities.
    pub effective: u64,
    /// Inheritable capabilities.
    pub inheritable: u64,
    /// PR_SET_KEEPCAPS.
    pub keep_capabilities: bool,
}

impl Credentials {
    /// Of a program started by this user and group.
    pub fn new(uid: u32, gid: u32) -> Self {
        let capabilities = if uid == 0 { CAP_ALL } else { 0 };
        Credentials {
            user: Ids::all(uid),
            group: Ids::all(gid),
            groups: Vec::new(),
            permitted: capabilities,
            effective: capabilities,
            inheritable: 0,
            keep_capabilities: false,
        }
    }

    /// A capability is effective.
    pub fn has(&self, capability: u32) -> bool {
        self.effective >> capability & 1 != 0
    }

    /// Changes the user IDs; capabilities follow as capabilities(7) tells.
    fn change_user(&mut self, change: impl FnOnce(&mut Ids, bool) -> Result<()>) -> Result<()> {
        let privileged = self.has(CAP_SETUID);
        let before = self.user;
        change(&mut self.user, privileged)?;
        let had_root = [before.real, before.effective, before.saved].contains(&0);
        let has_root = [self.user.real, self.user.effective, self.user.saved].contains(&0);
        if had_root && !has_root && !self.keep_capabilities {
            self.permitted = 0;
            self.effective = 0;
        }
        if before.effective == 0 && self.user.effective != 0 {
            self.effective = 0;
        }
        if before.effective != 0 && self.user.effective == 0 {
            self.effective = self.permitted;
        }
        Ok(())
    }

    /// setuid(2).
    pub fn set_uid(&mut self, id: u32) -> Result<()> {
        self.change_user(|ids, privileged| ids.set(id, privileged))
    }

    /// setreuid(2).
    pub fn set_reuid(&mut self, real: u32, effective: u32) -> Result<()> {
        self.change_user(|ids, privileged| ids.set_real_effective(real, effective, privileged))
    }

    /// setresuid(2).
    pub fn set_resuid(&mut self, wanted: [u32; 3]) -> Result<()> {
        self.change_user(|ids, privileged| ids.set_all(wanted, privileged))
    }

    /// setfsuid(2).
    pub fn set_fsuid(&mut self, id: u32) -> u32 {
        self.user.set_files(id, self.has(CAP_SETUID))
    }

    /// setgid(2).
    pub fn set_gid(&mut self, id: u32) -> Result<()> {
        self.group.set(id, self.has(CAP_SETGID))
    }

    /// setregid(2).
    pub fn set_regid(&mut self, real: u32, effective: u32) -> Result<()> {
        let privileged = self.has(CAP_SETGID);
        self.group.set_real_effective(real, effective, privileged)
    }

    /// setresgid(2).
    pub fn set_resgid(&mut self, wanted: [u32; 3]) -> Result<()> {
        self.group.set_all(wanted, self.has(CAP_SETGID))
    }

    /// setfsgid(2).
    pub fn set_fsgid(&mut self, id: u32) -> u32 {
        self.group.set_files(id, self.has(CAP_SETGID))
    }

    /// May set its groups.
    pub fn may_set_groups(&self) -> bool {
        self.has(CAP_SETGID)
    }

    /// capset(2): capabilities can be given up, not won.
    pub fn set_capabilities(
        &mut self,
        effective: u64,
        permitted: u64,
        inheritable: u64,
    ) -> Result<()> {
        let known = |set: u64| set & CAP_ALL;
        let (effective, permitted, inheritable) =
            (known(effective), known(permitted), known(inheritable));
        if permitted & !self.permitted != 0
            || effective & !permitted != 0
            || inheritable & !(self.inheritable | self.permitted) != 0
        {
            return Err(Errno::EPERM);
        }
        self.effective = effective;
        self.permitted = permitted;
        self.inheritable = inheritable;
        Ok(())
    }
}

/// The ID that a map (`host:enclave` pairs separated by commas) gives the host's ID; root when it is not in the map.
pub fn mapped(map: &[u8], host: u32) -> u32 {
    let number = |text: &[u8]| core::str::from_utf8(text).ok()?.parse::<u32>().ok();
    map.split(|&b| b == b',')
        .filter_map(|pair| {
            let colon = pair.iter().position(|&b| b == b':')?;
            Some((number(&pair[..colon])?, number(&pair[colon + 1..])?))
        })
        .find(|(from, _)| *from == host)
        .map_or(0, |(_, to)| to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_names_the_user_and_root_is_the_rest() {
        assert_eq!(mapped(b"1000:5,1001:6", 1001), 6);
        assert_eq!(mapped(b"1000:5", 7), 0);
        assert_eq!(mapped(b"", 1000), 0);
        assert_eq!(mapped(b"x:1,1000", 1000), 0);
    }

    #[test]
    fn root_that_becomes_a_user_cannot_go_back() {
        let mut c = Credentials::new(0, 0);
        c.set_uid(1000).unwrap();
        assert_eq!(c.user, Ids::all(1000));
        assert_eq!((c.permitted, c.effective), (0, 0));
        assert_eq!(c.set_uid(0), Err(Errno::EPERM));
        assert_eq!(c.set_gid(5), Err(Errno::EPERM));
    }

    #[test]
    fn a_saved_user_may_be_taken_up_again() {
        let mut c = Credentials::new(0, 0);
        c.set_resuid([KEEP, 1000, 0]).unwrap();
        assert!(!c.has(CAP_SETUID));
        c.set_resuid([KEEP, 0, KEEP]).unwrap();
        assert!(c.has(CAP_SETUID));
        assert_eq!(c.set_uid(KEEP), Err(Errno::EINVAL));
    }

    #[test]
    fn setreuid_keeps_the_effective_user_as_the_saved_one() {
        let mut c = Credentials::new(0, 0);
        c.set_reuid(1000, 1001).unwrap();
        let ids = c.user;
        assert_eq!((ids.real, ids.effective, ids.saved), (1000, 1001, 1001));
        assert_eq!(c.set_reuid(5, KEEP), Err(Errno::EPERM));
        c.set_reuid(1001, 1000).unwrap();
        assert_eq!((c.user.real, c.user.effective), (1001, 1000));
    }

    #[test]
    fn capabilities_only_shrink() {
        let mut c = Credentials::new(0, 0);
        c.set_capabilities(1, 3, 0).unwrap();
        assert_eq!(c.set_capabilities(1, 7, 0), Err(Errno::EPERM));
        assert_eq!(c.set_capabilities(2, 1, 0), Err(Errno::EPERM));
    }

    #[test]
    fn setfsuid_always_tells_the_one_before() {
        let mut c = Credentials::new(1000, 1000);
        assert_eq!(c.set_fsuid(5), 1000);
        assert_eq!(c.set_fsuid(KEEP), 1000);
    }
}
