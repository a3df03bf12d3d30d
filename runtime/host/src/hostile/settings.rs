//! `MYST_HOSTILE`: settings, separated by commas.

use core::sync::atomic::{AtomicPtr, Ordering};

use alloc::boxed::Box;

use crate::{fail, Result};

/// What the launcher is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Where all random numbers come from.
    pub seed: u64,
    /// How many of 256 replies are changed.
    pub rate: u64,
    /// So many calls are served honestly first.
    pub after: u64,
    /// Pages that the kernel asked for may be withheld while it is told that it has them (`PROTECT`).
    pub withhold: bool,
    /// Every second time that the kernel asks for pages that are not filled next, it is told that it has them, and no more.
    pub withdraw: bool,
    /// Threads that nobody asked for enter.
    pub visit: bool,
    /// What host areas to give ([`super::beginning::shown_area`]).
    pub area: &'static [u8],
    /// What start-up block to give ([`super::beginning::block`]).
    pub start: &'static [u8],
    /// File for [`super::report`].
    pub report: &'static [u8],
}

static SETTINGS: AtomicPtr<Settings> = AtomicPtr::new(core::ptr::null_mut());

/// The settings.
pub fn get() -> &'static Settings {
    static NONE: Settings = Settings {
        seed: 0,
        rate: 0,
        after: 0,
        withhold: false,
        withdraw: false,
        visit: false,
        area: b"",
        start: b"",
        report: b"",
    };
    let settings = SETTINGS.load(Ordering::Acquire);
    // SAFETY: null or what `init` has leaked.
    unsafe { settings.as_ref() }.unwrap_or(&NONE)
}

/// Reads them.
pub fn init(text: &'static [u8]) -> Result<()> {
    let mut settings = Settings::default();
    for setting in text.split(|&byte| byte == b',').filter(|s| !s.is_empty()) {
        let at = setting.iter().position(|&byte| byte == b'=');
        let (name, value) = setting.split_at(at.unwrap_or(setting.len()));
        let value = value.get(1..).unwrap_or(b"");
        match name {
            b"seed" => settings.seed = number(value)?,
            b"rate" => settings.rate = number(value)?,
            b"after" => settings.after = number(value)?,
            b"withhold" => settings.withhold = number(value)? != 0,
            b"withdraw" => settings.withdraw = number(value)? != 0,
            b"visit" => settings.visit = number(value)? != 0,
            b"area" => settings.area = value,
            b"start" => settings.start = value,
            b"report" => settings.report = value,
            _ => return Err(unknown(setting)),
        }
    }
    SETTINGS.store(Box::leak(Box::new(settings)), Ordering::Release);
    Ok(())
}

fn number(value: &[u8]) -> Result<u64> {
    let text = core::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| unknown(value))
}

/// A setting that does not exist.
pub fn unknown(text: &[u8]) -> crate::Failure {
    let text = alloc::string::String::from_utf8_lossy(text);
    fail!("MYST_HOSTILE: got {text}, expected a setting of runtime/host/src/hostile/settings.rs")
}
