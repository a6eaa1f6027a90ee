//! A right guess is accepted: its code is used up, the user is known, and a token is minted.
//!
//! Guarantees: all of it is one write, or none is. Where it is plain who comes, that is one list of statements; where it
//! takes looking into, because the number may have changed hands, it is done step by step.

use std::sync::Arc;

use diesel::pg::PgConnection;

use super::guess::{RightCode, Unproved};
use super::mint::{Person, Ready};
use super::recycled::{Arrival, Settled};
use super::verify::{Verified, asked};
use super::{Login, LoginError};
use crate::domain::account::AccountRules;
use crate::domain::challenge::{Carrier, Challenge, Dialect, GRANT_LIFETIME};
use crate::domain::code::{Code, CodeHash};
use crate::domain::ids::{GrantToken, UserId};
use crate::domain::time::Timestamp;
use crate::store::batch::{self, Batched, acceptances};
use crate::store::deliveries::Taker;
use crate::store::grants::Consumption;
use crate::store::steps::{Missed, Once, Steps};
use crate::store::users::{Holder, Known};
use crate::store::{Abort, AnyConnection};

/// A right guess.
pub(super) struct Accepted {
    pub(super) right: RightCode,
    pub(super) code: CodeHash,
    /// As it was given.
    pub(super) given: Code,
    /// Who held the address when the guess was counted.
    pub(super) known: Option<Known>,
}

impl Login {
    /// Consumes the challenge and mints.
    pub(super) async fn accept(
        &self,
        challenge: Challenge,
        accepted: Accepted,
        person: Person,
    ) -> Result<Verified, LoginError> {
        let Accepted { right, code, given, known } = accepted;
        let realm = self.realm(&challenge.realm)?;
        let now = self.clock.now();
        let grant = challenge.secret_hash.map(|_| GrantToken::generate(&*self.entropy));
        let lease_until = now.plus(realm.deadline + super::LEASE_MARGIN);
        let Carrier { channel, message, .. } = right.carrier.clone();
        let acceptance = Arc::new(Acceptance {
            right,
            consumption: Consumption {
                code,
                channel,
                user: UserId::generate_at(now, &*self.entropy),
                is_new_user: false,
                grant: grant.as_ref().map(GrantToken::hash),
                grant_expires_at: now.plus(GRANT_LIFETIME),
                lease_until,
            },
            dialect: challenge.dialect,
            spelled: realm.upstream.id_by_address(&challenge.address).map(str::to_owned),
            rules: self.accounts,
        });
        let (consumed, taker) = match self.consume(&acceptance, known, now).await? {
            Ok(done) => done,
            Err(Missed) => return Ok(Unproved::InFlight.into()),
        };
        self.tell_used(&challenge.address, message, taker, given);
        match consumed {
            Consumed::For { holder, is_new_user, has_sessions } => {
                let channel = Some(channel);
                let ready = Ready {
                    challenge,
                    holder,
                    is_new_user,
                    has_sessions,
                    lease_until,
                    grant,
                    channel,
                    person,
                };
                self.mint(ready, &realm).await
            }
            Consumed::Asked(since) => Ok(asked(since, grant, challenge.app_id)),
        }
    }

    /// The write of a right guess: the code is used up, the grant is open and leased, the user is known. Where
    /// somebody is to be asked first, nobody has the lease. The inner error: another right guess was first.
    async fn consume(
        &self,
        acceptance: &Arc<Acceptance>,
        known: Option<Known>,
        now: Timestamp,
    ) -> Result<Result<Done, Missed>, LoginError> {
        let plainly = acceptance.arrival().plainly(known.as_ref(), acceptance.rules, now);
        if let Some((holder, is_new_user)) = plainly {
            let consumption = acceptance.consumption_for(&holder, is_new_user);
            let plainly = Plainly { acceptance: Arc::clone(acceptance), consumption, now };
            if let Ok(taker) = self.store.write_batched(&self.batches.acceptances, plainly).await? {
                let has_sessions = known.is_some_and(|known| known.has_sessions);
                return Ok(Ok((Consumed::For { holder, is_new_user, has_sessions }, taker)));
            }
        }
        let settling = Arc::clone(acceptance);
        Ok(self.store.write(move |db| settling.settle(db, now)).await?)
    }
}

/// What a right guess found.
enum Consumed {
    For {
        holder: Holder,
        is_new_user: bool,
        /// Whether a session of theirs may be replaced.
        has_sessions: bool,
    },
    /// The account was last used then; whose it is, is to be asked.
    Asked(Timestamp),
}

/// With whoever took the message that the code came with.
type Done = (Consumed, Option<Taker>);

/// A right guess that is to be written down.
struct Acceptance {
    right: RightCode,
    /// With the user that they become where they are new.
    consumption: Consumption,
    dialect: Dialect,
    spelled: Option<String>,
    rules: AccountRules,
}

impl Acceptance {
    fn arrival(&self) -> Arrival<'_> {
        Arrival {
            realm: &self.right.realm,
            address: &self.right.address,
            dialect: self.dialect,
            owner: None,
            fresh: &self.consumption.user,
            spelled: self.spelled.as_deref(),
        }
    }

    fn consumption_for(&self, holder: &Holder, is_new_user: bool) -> Consumption {
        Consumption { user: holder.user.clone(), is_new_user, ..self.consumption.clone() }
    }

    /// Where that takes looking into.
    fn settle(&self, db: &mut AnyConnection, now: Timestamp) -> Result<Done, Abort<Missed>> {
        let (consumption, consumed) = match self.arrival().settle(db, self.rules, now)? {
            Settled::User(holder, is_new_user) => (
                self.consumption_for(&holder, is_new_user),
                Consumed::For { holder, is_new_user, has_sessions: true },
            ),
            Settled::Ask(holder, since) => {
                let lease_until = Timestamp::from_millis(0);
                let consumption = Consumption { lease_until, ..self.consumption_for(&holder, false) };
                (consumption, Consumed::Asked(since))
            }
        };
        let taker = self.right.use_up(Steps::new(), &consumption, Once::within(db), now)?;
        Ok((consumed, taker))
    }
}

/// A right guess of which it is plain for whom.
pub(super) struct Plainly {
    acceptance: Arc<Acceptance>,
    consumption: Consumption,
    now: Timestamp,
}

impl Batched for Plainly {
    type Done = Option<Taker>;
    type Refusal = Missed;

    fn subject(&self) -> &str {
        self.acceptance.right.address.as_str()
    }

    fn alone(&self, db: &mut AnyConnection) -> Result<Option<Taker>, Abort<Missed>> {
        let Self { acceptance, consumption, now } = self;
        let arrived = acceptance.arrival().note(&consumption.user, consumption.is_new_user, *now);
        acceptance.right.use_up(arrived, consumption, Once::within(db), *now)
    }

    fn together(db: &mut PgConnection, many: &[&Self]) -> Result<Vec<Option<Self::Done>>, Abort<Missed>> {
        let Some(now) = many.iter().map(|plainly| plainly.now).max() else { return Ok(Vec::new()) };
        let rows = many.iter().map(|plainly| Some(plainly.row()));
        batch::plain(rows, |rows| acceptances::make(db, rows, now))
    }
}

impl Plainly {
    fn row(&self) -> acceptances::Acceptance<'_> {
        let Acceptance { right, spelled, .. } = &*self.acceptance;
        acceptances::Acceptance {
            realm: &right.realm,
            app_id: &right.app_id,
            address: &right.address,
            spelled: spelled.as_deref(),
            challenge: &right.challenge,
            consumption: &self.consumption,
            message: &right.carrier.message,
            credits: right.credits(),
        }
    }
}
