//! What Sendbird's error codes ask of us.
//!
//! Source: the list of error codes of the Platform API's documentation. HTTP statuses say less: nearly all faults come
//! with 400, a wrong API token included.

/// Who can do what about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The user is to be created.
    NoSuchUser,
    /// Another login has created the user meanwhile.
    UserExists,
    /// Sendbird's operator has closed the user.
    Closed,
    /// Sendbird does not take what it was sent: a setting of ours, an imported id, a name.
    BadParameter,
    /// The API token is wrong, or may not do this.
    BadToken,
    /// This is not the application's API.
    WrongAddress,
    /// The application is off, or does not serve this server.
    NotServed,
    /// The plan is used up.
    NoQuota,
    /// Too many calls.
    Throttled,
    /// Trying again may help.
    Down,
}

/// What a code means. Nothing where the list does not say, or what it says is about chat and not about us.
pub(super) fn meaning(code: u64) -> Option<Meaning> {
    match code {
        400_201 => Some(Meaning::NoSuchUser),
        400_202 => Some(Meaning::UserExists),
        400_300 | 400_301 => Some(Meaning::Closed),
        400_100..=400_107 | 400_110..=400_114 | 400_151 | 400_203 | 400_305 | 400_403 => {
            Some(Meaning::BadParameter)
        }
        400_108 | 400_401 | 400_402 => Some(Meaning::BadToken),
        400_304 | 400_404 | 400_930 => Some(Meaning::WrongAddress),
        400_307 | 403_100 => Some(Meaning::NotServed),
        400_306 => Some(Meaning::NoQuota),
        500_910 => Some(Meaning::Throttled),
        400_500 | 400_501 | 400_920 | 500_900..=500_909 => Some(Meaning::Down),
        _ => None,
    }
}
