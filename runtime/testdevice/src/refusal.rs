//! How the driver says no: the error number that Linux returns, and the rule that was broken, for the log.

/// Error number and broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// As in errno(3).
    pub errno: i32,
    /// What the kernel demands, or what it ran out of.
    pub rule: &'static str,
}

/// What a check returns.
pub type Result<T = ()> = std::result::Result<T, Refusal>;

/// A refusal with `errno`, because of `rule`.
pub const fn refusal(errno: i32, rule: &'static str) -> Refusal {
    Refusal { errno, rule }
}

/// Ok when `holds`, else the refusal.
pub fn demand(holds: bool, errno: i32, rule: &'static str) -> Result {
    if holds {
        Ok(())
    } else {
        Err(refusal(errno, rule))
    }
}
