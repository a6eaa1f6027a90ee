//! A session: one login that lives on.
//!
//! Guarantees: [`Session::judge`] alone says what a refresh token is that is not the current one. The child of the
//! last rotation is given again for [`REPEAT_WITHIN`], to whoever holds its parent: mobile networks repeat. Any other
//! token of the family was used before, by its owner or by a thief, and nobody can tell which.

use std::time::Duration;

use super::address::Address;
use super::channel::Channel;
use super::ids::{SecretHash, SessionId, UserId};
use super::refresh::{RefreshToken, Successor};
use super::time::Timestamp;

/// How long a spent refresh token still gets the child that it got.
pub const REPEAT_WITHIN: Duration = Duration::from_secs(10);

/// A longer label is no label.
const MAX_LABEL_CHARS: usize = 64;

/// When sessions end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// After the last use.
    pub idle: Duration,
    /// After the login, however much it is used.
    pub whole: Duration,
}

impl Lifetimes {
    /// The end of a session that is used at `now`.
    #[must_use]
    pub fn end(self, created_at: Timestamp, now: Timestamp) -> Timestamp {
        now.plus(self.idle).min(created_at.plus(self.whole))
    }
}

/// What a person's device calls itself: up to 64 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLabel(String);

impl DeviceLabel {
    /// Reads one that a client sent, less the blanks around it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=MAX_LABEL_CHARS).contains(&text.chars().count()) && !text.contains(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// Takes one that the store gave back.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedWhy {
    /// Its own device logged out.
    Logout,
    /// Another device of the same user ended it.
    Remote,
    /// The same login, or on mesibo the next one, took its place.
    Replaced,
    /// A refresh token came that was used before.
    Reuse,
}

impl EndedWhy {
    /// As the database and the record hold it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Remote => "remote",
            Self::Replaced => "replaced",
            Self::Reuse => "reuse",
        }
    }
}

/// A session as the database holds it.
pub struct Session {
    /// Its public name.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// The set of apps that share an upstream.
    pub realm: String,
    /// The app that they logged in to.
    pub app_id: String,
    /// What they proved to hold.
    pub address: Address,
    /// How the code came, where that is known.
    pub channel: Option<Channel>,
    /// What the device calls itself.
    pub label: Option<DeviceLabel>,
    /// Where it was last used from, as limits count networks.
    pub network: String,
    /// When they logged in.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub last_used_at: Timestamp,
    /// It is over from then on.
    pub expires_at: Timestamp,
    /// When somebody ended it.
    pub ended_at: Option<Timestamp>,
    /// The last rotation of its refresh token.
    pub rotation: Option<Rotation>,
}

/// One refresh token took another's place.
pub struct Rotation {
    /// The one that was spent.
    pub spent: SecretHash,
    /// The one that came of it.
    pub successor: Successor,
    /// When.
    pub at: Timestamp,
}

/// What a refresh token is that is not the current one.
#[must_use]
pub enum Presented {
    /// The one that was spent a moment ago: here is its child again.
    Repeated(RefreshToken),
    /// One that was spent before.
    Reused,
    /// Of a session that is over.
    Over,
}

impl Session {
    /// Whether it still goes on.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && self.expires_at > now
    }

    /// Judges a refresh token of this family that is not the current one.
    pub fn judge(&self, token: &RefreshToken, now: Timestamp) -> Presented {
        if !self.is_live(now) {
            return Presented::Over;
        }
        let repeated = self.rotation.as_ref().filter(|rotation| {
            // Both ways: a clock that steps back must not open an old successor again for as long.
            let apart = rotation.at.wait_from(now).max(now.wait_from(rotation.at));
            rotation.spent.matches(&token.hash()) && apart < REPEAT_WITHIN
        });
        repeated
            .map_or(Presented::Reused, |rotation| Presented::Repeated(token.same_child(&rotation.successor)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    const DAY: Duration = Duration::from_hours(24);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn session(rotation: Option<Rotation>) -> Session {
        Session {
            id: SessionId::generate(&SeededEntropy::new(1)),
            user: UserId::from_stored("usr_1".to_owned()),
            realm: "chat".to_owned(),
            app_id: "app".to_owned(),
            address: Address::parse("+18005551234").expect("a number"),
            channel: Some(Channel::Sms),
            label: None,
            network: "192.0.2.1".to_owned(),
            created_at: at(0),
            last_used_at: at(0),
            expires_at: at(5000),
            ended_at: None,
            rotation,
        }
    }

    /// A name for what it is, and the child.
    fn judged(session: &Session, token: &RefreshToken, secs: i64) -> (&'static str, Option<RefreshToken>) {
        match session.judge(token, at(secs)) {
            Presented::Repeated(child) => ("repeated", Some(child)),
            Presented::Reused => ("reused", None),
            Presented::Over => ("over", None),
        }
    }

    #[test]
    fn a_spent_token_gets_the_same_child_for_ten_seconds_and_is_reuse_after_g4_g9() {
        let entropy = SeededEntropy::new(1);
        let parent = RefreshToken::generate(&entropy);
        let (child, successor) = parent.child(&entropy);
        let live = session(Some(Rotation { spent: parent.hash(), successor, at: at(1000) }));
        for secs in [991, 1000, 1009] {
            let (what, again) = judged(&live, &parent, secs);
            assert_eq!(what, "repeated", "{secs}");
            assert!(again.is_some_and(|again| again.hash().matches(&child.hash())));
        }
        for secs in [700, 990, 1010, 1300] {
            assert_eq!(judged(&live, &parent, secs).0, "reused", "{secs}");
        }
        let forged = RefreshToken::generate(&entropy);
        assert_eq!(judged(&live, &forged, 1001).0, "reused");
        assert_eq!(judged(&session(None), &parent, 1001).0, "reused");
    }

    #[test]
    fn nothing_is_given_again_once_the_session_is_over_g5() {
        let entropy = SeededEntropy::new(1);
        let parent = RefreshToken::generate(&entropy);
        let (_, successor) = parent.child(&entropy);
        let rotation = || Some(Rotation { spent: parent.hash(), successor, at: at(4999) });
        assert_eq!(judged(&session(rotation()), &parent, 4999).0, "repeated");
        assert_eq!(judged(&session(rotation()), &parent, 5000).0, "over");
        let ended = Session { ended_at: Some(at(4999)), ..session(rotation()) };
        assert_eq!(judged(&ended, &parent, 4999).0, "over");
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old_whichever_is_first() {
        let lifetimes = Lifetimes { idle: DAY * 30, whole: DAY * 180 };
        let born = at(0);
        assert_eq!(lifetimes.end(born, born), born.plus(DAY * 30));
        assert_eq!(lifetimes.end(born, born.plus(DAY * 150)), born.plus(DAY * 180));
        assert_eq!(lifetimes.end(born, born.plus(DAY * 170)), born.plus(DAY * 180));
    }

    #[test]
    fn a_label_is_short_and_plain() {
        assert_eq!(DeviceLabel::parse(" Ann's phone ").expect("plain").as_str(), "Ann's phone");
        assert!(DeviceLabel::parse(&"ü".repeat(64)).is_some());
        for bad in ["", "  ", "a\nb", "a\0", "\u{9b}31m", &"x".repeat(65)] {
            assert_eq!(DeviceLabel::parse(bad), None, "{bad:?}");
        }
    }
}
