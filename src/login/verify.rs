//! Verify: a code comes back.

use super::accept::Accepted;
use super::guess::{Guess, Proved, RightCode, Unproved};
use super::mint::{Minted, Person, Ready};
use super::recycled::{Arrival, Settled};
use super::{Login, LoginError, MintFailed, Realm};
use crate::domain::account::{AccountRules, Owner};
use crate::domain::address::Address;
use crate::domain::challenge::{Challenge, Dialect, State};
use crate::domain::code::Code;
use crate::domain::ids::{ChallengeId, ClientSecret, GrantToken, UserId};
use crate::domain::network::ClientIp;
use crate::domain::session::DeviceLabel;
use crate::domain::time::Timestamp;
use crate::store::challenges::Key;
use crate::store::grants::{self, Leased};
use crate::store::users;
use crate::store::{Abort, AnyConnection, guards};

/// Somebody guesses.
pub struct Verify {
    /// Against which challenge.
    pub key: Key,
    /// What its starter holds, in `/v1`.
    pub secret: Option<ClientSecret>,
    /// The guess.
    pub code: Code,
    /// What the person calls themselves.
    pub name: Option<String>,
    /// What their device calls itself.
    pub device: Option<DeviceLabel>,
    /// Who guesses.
    pub client: ClientIp,
}

/// Somebody comes back with a grant.
pub struct Complete {
    /// What they hold.
    pub grant: GrantToken,
    /// Whose the account is, where they were asked.
    pub owner: Option<Owner>,
    /// What their device calls itself.
    pub device: Option<DeviceLabel>,
    /// Who.
    pub client: ClientIp,
}

/// What came of it.
#[must_use]
pub enum Verified {
    /// The code is right, and here is the token.
    Token(Box<Minted>),
    /// The code is right, and the backend minted none.
    NotMinted(MintFailed),
    /// The code is right, and the account may be that of whoever had the number before: whose it is, is asked.
    Recycled {
        /// When the account was last used.
        since: Timestamp,
        /// Turns into a token, with the answer.
        grant: GrantToken,
        /// The app of the login.
        app_id: String,
    },
    /// The code proves nothing.
    Unproved(Unproved),
}

impl Verified {
    /// Its name in metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::NotMinted(_) => "not_minted",
            Self::Recycled { .. } => "recycled",
            Self::Unproved(unproved) => unproved.kind(),
        }
    }
}

impl From<Unproved> for Verified {
    fn from(unproved: Unproved) -> Self {
        Self::Unproved(unproved)
    }
}

impl Login {
    /// Evaluates a guess, and turns a right one into a token.
    ///
    /// # Errors
    /// [`LoginError`]: the guess may have been counted; nothing was accepted that cannot be posted again.
    pub async fn verify(&self, verify: Verify) -> Result<Verified, LoginError> {
        let verified = self.verify_uncounted(verify).await;
        self.metrics.count_verify(verified.as_ref().map_or("error", Verified::kind));
        verified
    }

    async fn verify_uncounted(&self, verify: Verify) -> Result<Verified, LoginError> {
        let Verify { key, secret, code, name, device, client } = verify;
        let person = Person { name, device, client };
        match self.prove(Guess { key, secret, code, client }).await? {
            Ok(Proved { challenge, carrier: None, .. }) => self.accept_again(challenge, person).await,
            Ok(Proved { challenge, code, given, carrier: Some(carrier), known }) => {
                let right = RightCode::of(&challenge, carrier, self.limits.per_ip_unverified);
                self.accept(challenge, Accepted { right, code, given, known }, person).await
            }
            Err(unproved) => Ok(unproved.into()),
        }
    }

    /// Takes up a grant that an earlier right code left open.
    async fn accept_again(&self, challenge: Challenge, person: Person) -> Result<Verified, LoginError> {
        let State::Proved(proof) = &challenge.state else { return Ok(Unproved::NoChallenge.into()) };
        let (is_new_user, channel) = (proof.grant.is_new_user, proof.channel);
        let realm = self.realm(&challenge.realm)?;
        let now = self.clock.now();
        let lease_until = now.plus(realm.deadline + super::LEASE_MARGIN);
        let grant = challenge.secret_hash.map(|_| GrantToken::generate(&*self.entropy));
        let token = grant.as_ref().map(GrantToken::hash);
        let id = challenge.id.clone();
        let again = self.again(&challenge, &realm, None, lease_until);
        let take = move |db: &mut AnyConnection| {
            let leased = grants::lease_again(db, &id, token.as_ref(), lease_until, now)?;
            if leased.is_none() {
                return Err(Abort::Refused(NotTaken::Lost));
            }
            guards::open(&again.realm, again.address.as_str()).run(db)?;
            again.settle(db, now)
        };
        let (holder, is_fresh) = match self.store.write(take).await? {
            Ok(Settled::User(holder, is_fresh)) => (holder, is_fresh),
            Ok(Settled::Ask(_, since)) => {
                return Ok(asked(since, grant, challenge.app_id));
            }
            Err(NotTaken::Lost) => return Ok(Unproved::InFlight.into()),
            Err(NotTaken::Gone) => return Ok(Unproved::NoChallenge.into()),
        };
        let is_new_user = is_new_user || is_fresh;
        let has_sessions = true;
        let ready =
            Ready { challenge, holder, is_new_user, has_sessions, lease_until, grant, channel, person };
        self.mint(ready, &realm).await
    }

    /// Turns the open grant of a `/v1` client into a token, without another code.
    ///
    /// # Errors
    /// [`LoginError`]: the grant is as it was.
    pub async fn complete(&self, complete: Complete) -> Result<Verified, LoginError> {
        let now = self.clock.now();
        let hash = complete.grant.hash();
        let Some(open) = self.store.read(move |db| grants::find(db, &hash, now)).await? else {
            return Ok(Unproved::NoChallenge.into());
        };
        let realm = self.realm(&open.realm)?;
        let lease_until = now.plus(realm.deadline + super::LEASE_MARGIN);
        let again = self.again(&open, &realm, complete.owner, lease_until);
        let take = move |db: &mut AnyConnection| {
            let leased = grants::lease(db, &hash, lease_until, now)?;
            let challenge = leased.ok_or(Abort::Refused(NotTaken::Lost))?;
            Ok((challenge, again.settle(db, now)?))
        };
        let (challenge, holder, is_fresh) = match self.store.write(take).await? {
            Ok((challenge, Settled::User(holder, is_fresh))) => (challenge, holder, is_fresh),
            Ok((_, Settled::Ask(_, since))) => {
                return Ok(Verified::Recycled { since, grant: complete.grant, app_id: open.app_id });
            }
            Err(NotTaken::Lost) => return Ok(Unproved::InFlight.into()),
            Err(NotTaken::Gone) => return Ok(Unproved::NoChallenge.into()),
        };
        let State::Proved(proof) = &challenge.state else { return Ok(Unproved::NoChallenge.into()) };
        let (is_new_user, channel) = (proof.grant.is_new_user || is_fresh, proof.channel);
        let person = Person { name: None, device: complete.device, client: complete.client };
        let (grant, has_sessions) = (Some(complete.grant), true);
        let ready =
            Ready { challenge, holder, is_new_user, has_sessions, lease_until, grant, channel, person };
        self.mint(ready, &realm).await
    }
}

/// Only who holds a grant can be asked.
pub(super) fn asked(since: Timestamp, grant: Option<GrantToken>, app_id: String) -> Verified {
    grant.map_or(Unproved::NoChallenge.into(), |grant| Verified::Recycled { since, grant, app_id })
}

/// Why a grant is not taken up.
enum NotTaken {
    /// Somebody mints with it.
    Lost,
    /// Its user does not hold the address any more.
    Gone,
}

/// A grant that is taken up after its code was consumed.
struct Again {
    id: ChallengeId,
    dialect: Dialect,
    realm: String,
    address: Address,
    /// Whom it is for.
    user: Option<UserId>,
    owner: Option<Owner>,
    fresh: UserId,
    spelled: Option<String>,
    rules: AccountRules,
    lease_until: Timestamp,
}

impl Login {
    fn again(
        &self,
        challenge: &Challenge,
        realm: &Realm,
        owner: Option<Owner>,
        lease_until: Timestamp,
    ) -> Again {
        Again {
            id: challenge.id.clone(),
            dialect: challenge.dialect,
            realm: challenge.realm.clone(),
            address: challenge.address.clone(),
            user: match &challenge.state {
                State::Proved(proof) => Some(proof.grant.user.clone()),
                State::Waiting(_) => None,
            },
            owner,
            fresh: UserId::generate_at(self.clock.now(), &*self.entropy),
            spelled: realm.upstream.id_by_address(&challenge.address).map(str::to_owned),
            rules: self.accounts,
            lease_until,
        }
    }
}

impl Again {
    /// Says for whom to mint, under the lease; where that is to be asked, the lease is given back.
    fn settle(&self, db: &mut AnyConnection, now: Timestamp) -> Result<Settled, Abort<NotTaken>> {
        let Self { realm, address, dialect, owner, .. } = self;
        // The address may have been changed since, and be another's.
        let holder = users::find(db, realm, address.as_str())?;
        if holder.map(|holder| holder.user) != self.user {
            return Err(Abort::Refused(NotTaken::Gone));
        }
        let spelled = self.spelled.as_deref();
        let arrival =
            Arrival { realm, address, dialect: *dialect, owner: *owner, fresh: &self.fresh, spelled };
        let settled = arrival.settle(db, self.rules, now)?;
        let leased = Leased { id: &self.id, dialect: *dialect, lease_until: self.lease_until };
        match &settled {
            Settled::User(holder, true) => grants::reassign(db, &leased, &holder.user)?,
            Settled::Ask(..) => grants::release(db, &leased)?,
            Settled::User(_, false) => true,
        };
        Ok(settled)
    }
}
