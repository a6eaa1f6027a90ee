//! A number that comes back after a long time may have changed hands: whose is the account?
//!
//! Guarantees: nobody is asked, and nothing changes, while the user logged in or used a session within
//! `session.recycle_after`. An imported user who never logged in is always the one who comes: nobody knows when they
//! were last here.

use diesel::result::Error;

use crate::domain::account::{AccountRules, Owner, Recycled};
use crate::domain::address::Address;
use crate::domain::challenge::Dialect;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::steps::Steps;
use crate::store::users::{self, Holder, Known};
use crate::store::{AnyConnection, identities, sessions};

/// Somebody has proved to hold an address.
pub(super) struct Arrival<'a> {
    pub(super) realm: &'a str,
    pub(super) address: &'a Address,
    /// The wire that they came over: only one of them can ask.
    pub(super) dialect: Dialect,
    /// What they said whose the account is.
    pub(super) owner: Option<Owner>,
    /// Whom they become where they are new.
    pub(super) fresh: &'a UserId,
    /// What the backend would know them by, where it goes by addresses.
    pub(super) spelled: Option<&'a str>,
}

/// Who they are.
pub(super) enum Settled {
    /// This user. True: a new one.
    User(Holder, bool),
    /// That is for them to say: the user was last here then.
    Ask(Holder, Timestamp),
}

impl<'a> Arrival<'a> {
    /// Who they are, where that takes no looking into: the user who holds the address, or, true, a new one.
    pub(super) fn plainly(
        &self,
        known: Option<&Known>,
        rules: AccountRules,
        now: Timestamp,
    ) -> Option<(Holder, bool)> {
        let Some(Known { holder, last_login_at, .. }) = known else {
            return Some((Holder { user: self.fresh.clone(), upstream_id: None }, true));
        };
        let is_recent = last_login_at.is_none_or(|at| at > idle_since(rules, now));
        (is_recent || self.is_never_given_away(rules)).then(|| (holder.clone(), false))
    }

    /// Notes that they are here, as long as they are still who they plainly were.
    pub(super) fn note(&self, user: &'a UserId, is_new: bool, now: Timestamp) -> Steps<'a> {
        let (realm, address) = (self.realm, self.address.as_str());
        if is_new {
            users::make(realm, address, user, self.spelled, now)
        } else {
            Steps::new().must(users::note_login(realm, address, user, now))
        }
    }

    /// Mailboxes are not given away.
    fn is_never_given_away(&self, rules: AccountRules) -> bool {
        rules.recycled == Recycled::Keep || matches!(self.address, Address::Email(_))
    }

    /// Says who they are, and notes that they were here.
    pub(super) fn settle(
        &self,
        db: &mut AnyConnection,
        rules: AccountRules,
        now: Timestamp,
    ) -> Result<Settled, Error> {
        if self.is_never_given_away(rules) {
            return self.sign_in(db, now);
        }
        let (realm, address) = (self.realm, self.address.as_str());
        if let Some(holder) = users::touch_recent(db, realm, address, idle_since(rules, now), now)? {
            return Ok(Settled::User(holder, false));
        }
        let Some((holder, since)) = idle(db, realm, address, rules, now)? else {
            return self.sign_in(db, now);
        };
        let owner = match (rules.recycled, self.dialect) {
            (Recycled::Keep, _) => Some(Owner::Keep),
            (Recycled::Fresh, _) | (Recycled::Ask, Dialect::Mesibo) => Some(Owner::Fresh),
            (Recycled::Ask, Dialect::V1) => self.owner,
        };
        match owner {
            Some(Owner::Keep) => self.sign_in(db, now),
            Some(Owner::Fresh) => {
                part(db, realm, address, &holder, now)?;
                self.sign_in(db, now)
            }
            None => Ok(Settled::Ask(holder, since)),
        }
    }

    fn sign_in(&self, db: &mut AnyConnection, now: Timestamp) -> Result<Settled, Error> {
        let (realm, address) = (self.realm, self.address.as_str());
        let (mut holder, is_new) = users::sign_in(db, realm, address, self.fresh, now)?;
        // Somebody who has another number now is known by this one still: their chats are not this user's.
        if is_new
            && let Some(spelled) = self.spelled
            && identities::is_known(db, realm, spelled)?
        {
            identities::set_upstream_id(db, realm, address, holder.user.as_str())?;
            holder.upstream_id = Some(holder.user.to_string());
        }
        Ok(Settled::User(holder, is_new))
    }
}

/// Takes an address away from a user who has not used it for so long, where the rules do not keep it for them.
pub(super) fn take_away(
    db: &mut AnyConnection,
    realm: &str,
    address: &Address,
    rules: AccountRules,
    now: Timestamp,
) -> Result<bool, Error> {
    if rules.recycled == Recycled::Keep || matches!(address, Address::Email(_)) {
        return Ok(false);
    }
    match idle(db, realm, address.as_str(), rules, now)? {
        Some((holder, _)) => part(db, realm, address.as_str(), &holder, now),
        None => Ok(false),
    }
}

fn idle_since(rules: AccountRules, now: Timestamp) -> Timestamp {
    now.minus(rules.recycle_after)
}

/// The holder of an address that may have changed hands, and when they were last here.
fn idle(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    rules: AccountRules,
    now: Timestamp,
) -> Result<Option<(Holder, Timestamp)>, Error> {
    let Some((holder, Some(last_login))) = users::last_login(db, realm, address)? else { return Ok(None) };
    let last_use = sessions::last_use(db, &holder.user, now)?;
    let since = last_use.map_or(last_login, |last_use| last_use.max(last_login));
    Ok((since <= idle_since(rules, now)).then_some((holder, since)))
}

/// Parts an address from its user. False: somebody else did.
fn part(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    holder: &Holder,
    now: Timestamp,
) -> Result<bool, Error> {
    if !identities::remove(db, realm, address, &holder.user)? {
        return Ok(false);
    }
    let about = Subject {
        realm: Some(realm),
        address: Some(address),
        user: Some(holder.user.as_str()),
        ..Subject::default()
    };
    audit::record(db, Event::NumberRecycled, about, now)?;
    Ok(true)
}
