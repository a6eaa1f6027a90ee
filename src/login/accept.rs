//! A right guess is accepted: its code is used up, the user is known, and a token is minted.
//!
//! Guarantees: all of it is one write, or none is. Where it is plain who comes, that is one list of statements; where it
//! takes looking into, because the number may have changed hands, it is done step by step.

use std::sync::Arc;

use super::guess::{RightCode, Unproved};
use super::mint::{Person, Ready};
use super::recycled::{Arrival, Settled};
use super::verify::{Verified, asked};
use super::{Login, LoginError};
use crate::domain::account::AccountRules;
use crate::domain::challenge::{Challenge, Dialect, GRANT_LIFETIME};
use crate::domain::code::{Code, CodeHash};
use crate::domain::ids::{GrantToken, MessageId, UserId};
use crate::domain::time::Timestamp;
use crate::store::deliveries::{self, Carried};
use crate::store::grants::Consumption;
use crate::store::steps::{Missed, Once};
use crate::store::users::{self, Holder, Known};
use crate::store::{Abort, AnyConnection};

impl Login {
    /// Consumes the challenge and mints.
    pub(super) async fn accept(
        &self,
        challenge: Challenge,
        code: CodeHash,
        given: Code,
        message: MessageId,
        person: Person,
    ) -> Result<Verified, LoginError> {
        let realm = self.realm(&challenge.realm)?;
        let now = self.clock.now();
        let grant = challenge.secret_hash.map(|_| GrantToken::generate(&*self.entropy));
        let lease_until = now.plus(realm.deadline + super::LEASE_MARGIN);
        let acceptance = Arc::new(Acceptance {
            right: RightCode::of(&challenge, message.clone(), self.limits.per_ip_unverified),
            consumption: Consumption {
                code,
                channel: None,
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
        let (consumed, carried) = match self.consume(&acceptance, now).await? {
            Ok(done) => done,
            Err(Missed) => return Ok(Unproved::NoChallenge.into()),
        };
        let channel = carried.as_ref().and_then(|carried| carried.channel);
        if let Some(carried) = carried {
            self.tell_used(&challenge.address, message, carried, given);
        }
        match consumed {
            Consumed::For { holder, is_new_user, has_sessions } => {
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
            Consumed::Asked(since) => Ok(asked(since, grant)),
        }
    }

    /// The write of a right guess: the code is used up, the grant is open and leased, the user is known. Where
    /// somebody is to be asked first, nobody has the lease. The inner error: another right guess was first.
    async fn consume(
        &self,
        acceptance: &Arc<Acceptance>,
        now: Timestamp,
    ) -> Result<Result<Done, Missed>, LoginError> {
        let (looking, writing) = (Arc::clone(acceptance), Arc::clone(acceptance));
        let look = move |db: &mut AnyConnection| looking.look(db);
        let write = move |found, once: Once<'_>| writing.write_plainly(found, once, now);
        if let Ok(Some(done)) = self.store.write_after(look, write).await? {
            return Ok(Ok(done));
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

/// With the message that the code came with.
type Done = (Consumed, Option<Carried>);

/// What is known of the address, and the message that the code came with.
type Seen = (Option<Known>, Option<Carried>);

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

    fn look(&self, db: &mut AnyConnection) -> Result<Seen, diesel::result::Error> {
        users::known(db, &self.right.realm, self.right.address.as_str(), &self.right.message)
    }

    /// Where it is plain for whom; nothing is written where it is not.
    fn write_plainly(
        &self,
        (known, carried): Seen,
        once: Once<'_>,
        now: Timestamp,
    ) -> Result<Option<Done>, Abort<Missed>> {
        let Some((holder, is_new_user)) = self.arrival().plainly(known.as_ref(), self.rules, now) else {
            return Ok(None);
        };
        let consumption = Consumption {
            channel: carried.as_ref().and_then(|carried| carried.channel),
            user: holder.user.clone(),
            is_new_user,
            ..self.consumption.clone()
        };
        let arrived = self.arrival().note(&holder.user, is_new_user, now);
        arrived.and(self.right.use_up(&consumption, carried.as_ref(), now)).run(once)?;
        let has_sessions = known.is_some_and(|known| known.has_sessions);
        Ok(Some((Consumed::For { holder, is_new_user, has_sessions }, carried)))
    }

    /// Where that takes looking into.
    fn settle(&self, db: &mut AnyConnection, now: Timestamp) -> Result<Done, Abort<Missed>> {
        let settled = self.arrival().settle(db, self.rules, now)?;
        let carried = deliveries::carried(db, &self.right.message)?;
        let consumption = Consumption {
            channel: carried.as_ref().and_then(|carried| carried.channel),
            ..self.consumption.clone()
        };
        let (consumption, consumed) = match settled {
            Settled::User(holder, is_new_user) => (
                Consumption { user: holder.user.clone(), is_new_user, ..consumption },
                Consumed::For { holder, is_new_user, has_sessions: true },
            ),
            Settled::Ask(holder, since) => {
                let lease_until = Timestamp::from_millis(0);
                (Consumption { user: holder.user, lease_until, ..consumption }, Consumed::Asked(since))
            }
        };
        self.right.use_up(&consumption, carried.as_ref(), now).run(Once::within(db))?;
        Ok((consumed, carried))
    }
}
