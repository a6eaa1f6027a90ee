//! A challenge: one attempt to prove an address, and the only place where a code is accepted.
//!
//! Guarantees: [`Challenge::judge`] alone says whether a code is right; it sees only codes within their own
//! lifetimes and compares in constant time. Up to three codes of one challenge are valid at once, so that late
//! messages work, under one count of guesses.

use std::time::Duration;

use super::address::Address;
use super::channel::Channel;
use super::code::CodeHash;
use super::ids::{ChallengeId, MessageId, SecretHash, UserId};
use super::pepper::Salt;
use super::purpose::Purpose;
use super::time::Timestamp;

/// How long a challenge can be resent to and guessed at.
pub const LIFETIME: Duration = Duration::from_mins(20);

/// How long a right code may be turned into a token.
pub const GRANT_LIFETIME: Duration = Duration::from_mins(10);

/// How often a code that was right may be posted again.
pub const REPEATS: i32 = 5;

/// How long after minting a `/v1` client may ask again with the same secret and code: the answer may have been lost.
pub const REPEAT_AFTER_MINT: Duration = Duration::from_mins(1);

/// Codes of one challenge that may be valid at once.
const SLOTS: usize = 3;

/// Another network cannot push out a code that is younger.
const EVICTION_AGE: Duration = Duration::from_mins(2);

/// The wire that a challenge belongs to. The other one never sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// mesibo's private login API, on `/`.
    Mesibo,
    /// Our own API.
    V1,
}

impl Dialect {
    /// As written in configuration and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mesibo => "mesibo",
            Self::V1 => "v1",
        }
    }

    /// Reads what [`Dialect::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Mesibo, Self::V1].into_iter().find(|dialect| dialect.as_str() == text)
    }
}

/// How a code left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// The message that carried it.
    pub message: MessageId,
    /// Which way that went.
    pub channel: Channel,
    /// The network that asked for it: see [`super::network::ClientIp::key`].
    pub network: String,
}

/// A code that was sent.
#[derive(Clone)]
pub struct Slot {
    /// The code, hashed.
    pub hash: CodeHash,
    /// How it left.
    pub carrier: Carrier,
    /// When it left.
    pub sent_at: Timestamp,
    /// It is dead from then on.
    pub expires_at: Timestamp,
}

/// The codes of a challenge, oldest first.
#[derive(Clone, Default)]
pub struct Slots(Vec<Slot>);

impl Slots {
    /// From the database.
    #[must_use]
    pub fn new(slots: Vec<Slot>) -> Self {
        Self(slots)
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }

    /// Those that are valid at `now`.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter(move |slot| slot.expires_at > now)
    }

    /// Those without the one that a message would have carried; `None` when it is not among them.
    #[must_use]
    pub fn without(&self, message: &MessageId) -> Option<Self> {
        let kept: Vec<Slot> =
            self.0.iter().filter(|slot| slot.carrier.message != *message).cloned().collect();
        (kept.len() < self.0.len()).then_some(Self(kept))
    }

    /// Puts a new code in, in place of an expired one or the oldest.
    ///
    /// # Errors
    /// With the time from which it would succeed, when it would push out another network's fresh code.
    pub fn place(&self, slot: Slot, now: Timestamp) -> Result<Self, Timestamp> {
        let mut slots: Vec<Slot> = self.live(now).cloned().collect();
        if let [oldest, rest @ ..] = slots.as_slice()
            && slots.len() >= SLOTS
        {
            let free_at = oldest.sent_at.plus(EVICTION_AGE);
            if oldest.carrier.network != slot.carrier.network && free_at > now {
                return Err(free_at);
            }
            slots = rest.to_vec();
        }
        slots.push(slot);
        Ok(Self(slots))
    }
}

/// A challenge as the database holds it.
#[derive(Clone)]
pub struct Challenge {
    /// Its public name.
    pub id: ChallengeId,
    /// The wire it belongs to.
    pub dialect: Dialect,
    /// What a right code is good for.
    pub purpose: Purpose,
    /// The app it was started by.
    pub app_id: String,
    /// The set of apps that share an upstream.
    pub realm: String,
    /// Whom it is about.
    pub address: Address,
    /// What the starter holds, in `/v1`.
    pub secret_hash: Option<SecretHash>,
    /// The pepper that its codes are hashed under.
    pub key_id: String,
    /// Its salt.
    pub salt: Salt,
    /// Counts changes of its codes: a write that saw another version does nothing.
    pub version: i32,
    /// Guesses that were charged.
    pub guesses: i32,
    /// How often the code that was right was posted again.
    pub repeats: i32,
    /// It can be neither resent to nor guessed at from then on.
    pub expires_at: Timestamp,
    /// How far it came.
    pub state: State,
}

/// How far a challenge came.
#[derive(Clone)]
pub enum State {
    /// It waits for a code.
    Waiting(Slots),
    /// A right code came in.
    Proved(Proof),
}

/// A right code, and the grant that it turned into.
#[derive(Clone)]
pub struct Proof {
    /// The code, until a token is minted.
    pub code: Option<CodeHash>,
    /// How it came, where that is known.
    pub channel: Option<Channel>,
    /// The grant.
    pub grant: Grant,
}

/// The right to mint one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// For whom.
    pub user: UserId,
    /// Whether this login made the user.
    pub is_new_user: bool,
    /// It is void from then on.
    pub expires_at: Timestamp,
    /// Somebody mints with it until then.
    pub lease_until: Timestamp,
    /// When it was spent.
    pub minted_at: Option<Timestamp>,
}

/// What a guess is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// A live code of a waiting challenge, and how that left.
    Right(Carrier),
    /// The code that already proved the address; its grant is open, or its answer may have been lost.
    RightAgain,
    /// Another.
    Wrong,
}

impl Challenge {
    /// How many codes a guess would be compared with at `now`. None: there is nothing to guess.
    #[must_use]
    pub fn comparisons(&self, now: Timestamp) -> i32 {
        let count = match &self.state {
            State::Waiting(slots) => slots.live(now).count(),
            State::Proved(proof) => usize::from(proof.open_code(self.dialect, now).is_some()),
        };
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// Judges a guess, hashed in this challenge's place. Every live code is compared, in constant time.
    pub fn judge(&self, guess: &CodeHash, now: Timestamp) -> Verdict {
        match &self.state {
            State::Waiting(slots) => {
                let compared: Vec<_> = slots.live(now).map(|slot| (slot, slot.hash.matches(guess))).collect();
                let right = compared.into_iter().find(|(_, same)| bool::from(*same));
                right.map_or(Verdict::Wrong, |(slot, _)| Verdict::Right(slot.carrier.clone()))
            }
            State::Proved(proof) => match proof.open_code(self.dialect, now) {
                Some(code) if bool::from(code.matches(guess)) => Verdict::RightAgain,
                Some(_) | None => Verdict::Wrong,
            },
        }
    }
}

impl Proof {
    /// The code, while posting it again means anything: until a token is minted, and in `/v1`, where nobody else
    /// holds the secret, for a moment after.
    fn open_code(&self, dialect: Dialect, now: Timestamp) -> Option<&CodeHash> {
        let open = match (self.grant.minted_at, dialect) {
            (None, Dialect::Mesibo | Dialect::V1) => self.grant.expires_at > now,
            (Some(minted_at), Dialect::V1) => minted_at.plus(REPEAT_AFTER_MINT) > now,
            (Some(_), Dialect::Mesibo) => false,
        };
        self.code.as_ref().filter(|_| open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn hash(tag: u8) -> CodeHash {
        CodeHash::from_bytes(&[tag; 32]).expect("32 bytes")
    }

    fn carrier(tag: u8, network: u8) -> Carrier {
        let message = MessageId::from_stored(format!("msg_{tag}"));
        Carrier { message, channel: Channel::Sms, network: format!("192.0.2.{network}") }
    }

    fn right(tag: u8) -> Verdict {
        Verdict::Right(carrier(tag, 0))
    }

    fn slot(tag: u8, sent: i64, network: u8) -> Slot {
        Slot {
            hash: hash(tag),
            carrier: carrier(tag, network),
            sent_at: at(sent),
            expires_at: at(sent + 300),
        }
    }

    fn challenge(state: State) -> Challenge {
        Challenge {
            id: ChallengeId::generate(&SeededEntropy::new(1)),
            dialect: Dialect::Mesibo,
            purpose: Purpose::Login,
            app_id: "app".to_owned(),
            realm: "chat".to_owned(),
            address: Address::parse("+18005551234").expect("a number"),
            secret_hash: None,
            key_id: "k1".to_owned(),
            salt: [0; 16],
            version: 1,
            guesses: 0,
            repeats: 0,
            expires_at: at(1200),
            state,
        }
    }

    fn proof(code: Option<CodeHash>, minted_at: Option<Timestamp>) -> Proof {
        let user = UserId::from_stored("usr_1".to_owned());
        let grant = Grant { user, is_new_user: true, expires_at: at(600), lease_until: at(0), minted_at };
        Proof { code, channel: None, grant }
    }

    #[test]
    fn each_code_is_right_within_its_own_lifetime_a2() {
        let waiting = challenge(State::Waiting(Slots::new(vec![slot(1, 0, 0), slot(2, 60, 0)])));
        assert_eq!(waiting.comparisons(at(299)), 2);
        assert_eq!(waiting.judge(&hash(1), at(299)), right(1));
        assert_eq!(waiting.judge(&hash(1), at(300)), Verdict::Wrong);
        assert_eq!(waiting.judge(&hash(2), at(300)), right(2));
        assert_eq!(waiting.judge(&hash(3), at(0)), Verdict::Wrong);
        assert_eq!(waiting.comparisons(at(360)), 0);
    }

    #[test]
    fn a_code_that_was_right_is_right_again_only_while_its_grant_is_open_a9() {
        let open = challenge(State::Proved(proof(Some(hash(1)), None)));
        assert_eq!(open.judge(&hash(1), at(599)), Verdict::RightAgain);
        assert_eq!(open.judge(&hash(2), at(599)), Verdict::Wrong);
        assert_eq!(open.judge(&hash(1), at(600)), Verdict::Wrong);
        let minted = challenge(State::Proved(proof(Some(hash(1)), Some(at(0)))));
        assert_eq!((minted.comparisons(at(1)), minted.judge(&hash(1), at(1))), (0, Verdict::Wrong));
        let erased = challenge(State::Proved(proof(None, None)));
        assert_eq!(erased.judge(&hash(1), at(1)), Verdict::Wrong);
    }

    #[test]
    fn a_lost_answer_can_be_asked_for_again_in_v1_for_a_minute_a9() {
        let minted =
            Challenge { dialect: Dialect::V1, ..challenge(State::Proved(proof(Some(hash(1)), Some(at(0))))) };
        assert_eq!(minted.judge(&hash(1), at(59)), Verdict::RightAgain);
        assert_eq!(minted.judge(&hash(2), at(59)), Verdict::Wrong);
        assert_eq!((minted.comparisons(at(60)), minted.judge(&hash(1), at(60))), (0, Verdict::Wrong));
    }

    #[test]
    fn the_last_three_codes_stay_and_a_fourth_pushes_out_the_oldest() {
        let mut slots = Slots::default();
        for (tag, sent) in [(1, 0), (2, 60), (3, 180), (4, 240)] {
            slots = slots.place(slot(tag, sent, 0), at(sent)).expect("its own network");
        }
        let waiting = challenge(State::Waiting(slots));
        assert_eq!(waiting.judge(&hash(1), at(240)), Verdict::Wrong);
        for tag in [2, 3, 4] {
            assert_eq!(waiting.judge(&hash(tag), at(240)), right(tag));
        }
    }

    #[test]
    fn another_network_cannot_push_out_a_code_younger_than_two_minutes() {
        let slots = Slots::new(vec![slot(1, 100, 7), slot(2, 101, 7), slot(3, 102, 7)]);
        assert_eq!(slots.place(slot(4, 150, 8), at(150)).err(), Some(at(220)));
        assert!(slots.place(slot(4, 150, 7), at(150)).is_ok());
        assert!(slots.place(slot(4, 220, 8), at(220)).is_ok());
    }

    #[test]
    fn an_expired_code_makes_room_first() {
        let slots = Slots::new(vec![slot(1, 0, 7), slot(2, 250, 7), slot(3, 260, 7)]);
        let placed = slots.place(slot(4, 301, 8), at(301)).expect("the first has expired");
        assert_eq!(placed.iter().count(), 3);
    }
}
