//! What a person proves to hold: a phone number or a mailbox.

use super::email::{Email, EmailError};
use super::phone::{Country, Phone, PhoneError};

/// A canonical address: limits, hashes, the database and the provider all see the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Reached by SMS, voice or a messenger.
    Phone(Phone),
    /// Reached by mail.
    Email(Email),
}

/// A text that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has no `@` and is no number.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// It has an `@` and is no mailbox.
    #[error(transparent)]
    Email(#[from] EmailError),
}

impl Address {
    /// Reads what an operator types: a mailbox where there is an `@`, otherwise a number in any spelling.
    ///
    /// # Errors
    /// As the parser of that kind.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.contains('@') {
            Ok(Self::Email(Email::parse(text)?))
        } else {
            Ok(Self::Phone(Phone::parse_lenient(text)?))
        }
    }

    /// Takes one that the store gave back.
    #[must_use]
    pub fn from_stored(text: String) -> Option<Self> {
        if text.contains('@') {
            Email::parse(&text).ok().map(Self::Email)
        } else {
            Phone::from_stored(text).map(Self::Phone)
        }
    }

    /// The canonical text: E.164 or the mailbox.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Phone(phone) => phone.e164(),
            Self::Email(email) => email.as_str(),
        }
    }

    /// For logs and answers.
    #[must_use]
    pub fn masked(&self) -> String {
        match self {
            Self::Phone(phone) => phone.masked(),
            Self::Email(email) => email.masked(),
        }
    }

    /// Where a number belongs; mailboxes belong nowhere.
    #[must_use]
    pub fn country(&self) -> Option<Country> {
        match self {
            Self::Phone(phone) => Some(phone.country()),
            Self::Email(_) => None,
        }
    }
}
