//! What becomes of accounts whose number changes hands.

use std::time::Duration;

/// `[session]`, as far as it is about accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountRules {
    /// When a user changes their number.
    pub on_phone_change: OnPhoneChange,
    /// When a number comes back.
    pub recycled: Recycled,
    /// A number that was not used for so long may have changed hands.
    pub recycle_after: Duration,
}

/// What happens to the other sessions of a user who changes their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPhoneChange {
    /// They go on.
    Keep,
    /// They end.
    EndOthers,
}

/// Whose an account is that may have changed hands, as whoever came back says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// They are who had it.
    Keep,
    /// They are somebody else.
    Fresh,
}

/// Who logs in with a number that may have changed hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycled {
    /// Whoever had it.
    Keep,
    /// A new user.
    Fresh,
    /// Whoever the client says.
    Ask,
}
