//! What a right code is good for.
//!
//! Guarantees: a code is good for one thing. Its purpose is part of what it is hashed with, and of how its challenge is
//! found; what is not a login also names the session that asked, so that no other session can use the code.

use std::borrow::Cow;

use super::ids::SessionId;

/// What a right code is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A session.
    Login,
    /// The user of this session has this number from now on.
    ChangePhone(SessionId),
    /// The user of this session also logs in with this mailbox from now on.
    LinkEmail(SessionId),
}

impl Purpose {
    /// What operators and gateways call a login.
    pub const LOGIN: &str = "login";
    /// A change of number.
    pub const CHANGE_PHONE: &str = "change_phone";
    /// A new mailbox.
    pub const LINK_EMAIL: &str = "link_email";
    /// All of them.
    pub const KINDS: [&str; 3] = [Self::LOGIN, Self::CHANGE_PHONE, Self::LINK_EMAIL];

    /// What operators and gateways call it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Login => Self::LOGIN,
            Self::ChangePhone(_) => Self::CHANGE_PHONE,
            Self::LinkEmail(_) => Self::LINK_EMAIL,
        }
    }

    /// As the database and the hash hold it.
    #[must_use]
    pub fn as_str(&self) -> Cow<'_, str> {
        match self {
            Self::Login => Cow::Borrowed("login"),
            Self::ChangePhone(session) => Cow::Owned(format!("change:{session}")),
            Self::LinkEmail(session) => Cow::Owned(format!("link:{session}")),
        }
    }

    /// Reads what [`Purpose::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "login" {
            return Some(Self::Login);
        }
        let (kind, session) = text.split_once(':')?;
        let session = SessionId::parse(session)?;
        match kind {
            "change" => Some(Self::ChangePhone(session)),
            "link" => Some(Self::LinkEmail(session)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn each_reads_back_and_no_two_are_written_alike() {
        let entropy = SeededEntropy::new(1);
        let (one, other) = (SessionId::generate(&entropy), SessionId::generate(&entropy));
        let all = [
            Purpose::Login,
            Purpose::ChangePhone(one.clone()),
            Purpose::ChangePhone(other),
            Purpose::LinkEmail(one),
        ];
        for purpose in &all {
            assert_eq!(Purpose::parse(&purpose.as_str()).as_ref(), Some(purpose));
            assert_eq!(all.iter().filter(|another| another.as_str() == purpose.as_str()).count(), 1);
        }
        for strange in ["", "logout", "change", "change:", "change:usr_1", "login:ses_1"] {
            assert_eq!(Purpose::parse(strange), None, "{strange}");
        }
    }
}
