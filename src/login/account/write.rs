//! The writes: an address changes hands, whole or not at all.

use std::convert::Infallible;

use super::super::draft::address_key;
use super::super::guess::RightCode;
use super::super::recycled;
use super::notice::OldNumber;
use super::{Kind, NOTICE_DEADLINE, Unlinked};
use crate::domain::account::{AccountRules, OnPhoneChange};
use crate::domain::address::Address;
use crate::domain::channel::Channel;
use crate::domain::ids::{MessageId, SessionId, UserId};
use crate::domain::limits::Rate;
use crate::domain::session::{EndedWhy, Session};
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::deliveries::{self, NewDelivery, Status, Taker};
use crate::store::grants::Consumption;
use crate::store::identities::{self, Identity};
use crate::store::steps::{Missed, Once, Steps};
use crate::store::{Abort, AnyConnection, budgets, guards, sessions, users};

/// What a right code for a new address writes.
pub(super) struct Change {
    pub(super) right: RightCode,
    pub(super) consumption: Consumption,
    pub(super) session: SessionId,
    pub(super) user: UserId,
    pub(super) realm: String,
    pub(super) app_id: String,
    pub(super) address: Address,
    pub(super) kind: Kind,
    pub(super) rules: AccountRules,
    /// At which the old number can be written to.
    pub(super) per_address: Rate,
    pub(super) network: String,
    /// The message that tells the old number.
    pub(super) notice: MessageId,
}

/// What it did.
pub(super) enum Done {
    /// The address is theirs. The old number is to be told.
    Changed(Option<OldNumber>),
    /// The code is used up, and nothing else changed.
    Taken,
}

/// Why it was undone.
pub(super) enum Refusal {
    /// The session ended meanwhile.
    Over,
    /// Another guess was first.
    Lost,
}

/// What a backend knows the holder of an address by, where it goes by addresses.
type Spelled = dyn Fn(&Address) -> Option<String>;

impl Change {
    /// Writes all of it.
    pub(super) fn write(
        &self,
        db: &mut AnyConnection,
        spelled: &Spelled,
        now: Timestamp,
    ) -> Result<(Done, Option<Taker>), Abort<Refusal>> {
        let session = lock(db, &self.session, &self.user, now)?;
        let taker = self.use_up(db, now)?;
        Ok((self.hand_over(db, &session, spelled, now)?, taker))
    }

    fn hand_over(
        &self,
        db: &mut AnyConnection,
        session: &Session,
        spelled: &Spelled,
        now: Timestamp,
    ) -> Result<Done, diesel::result::Error> {
        let held = identities::of_user(db, &self.user)?;
        if held.iter().any(|identity| identity.address == self.address) {
            return Ok(Done::Changed(None));
        }
        let old = held.iter().find(|identity| Kind::of(&identity.address) == self.kind);
        let known = old.or(held.first());
        let upstream_id =
            known.and_then(|identity| identity.upstream_id.clone().or_else(|| spelled(&identity.address)));
        let new = self.address.as_str();
        if !self.take(db, upstream_id.as_deref(), now)? {
            return Ok(Done::Taken);
        }
        if let Some(old) = old {
            identities::remove(db, &self.realm, old.address.as_str(), &self.user)?;
            sessions::readdress(db, &self.user, old.address.as_str(), new)?;
        }
        self.record(db, old, now)?;
        if self.kind == Kind::Email {
            return Ok(Done::Changed(None));
        }
        if self.rules.on_phone_change == OnPhoneChange::EndOthers {
            let why = EndedWhy::PhoneChanged;
            sessions::end_others(db, &session.id, &self.user, why, &self.network, now)?;
        }
        let notice = old.map(|old| self.notice(db, &old.address, now)).transpose()?;
        let tell = |delivery| OldNumber { delivery, app_id: self.app_id.clone() };
        Ok(Done::Changed(notice.flatten().map(tell)))
    }

    fn use_up(&self, db: &mut AnyConnection, now: Timestamp) -> Result<Option<Taker>, Abort<Refusal>> {
        let used = self.right.use_up(Steps::new(), &self.consumption, Once::within(db), now);
        used.map_err(|abort| match abort {
            Abort::Refused(Missed) => Abort::Refused(Refusal::Lost),
            Abort::Failed(error) => Abort::Failed(error),
        })
    }

    /// Gives the user the address, where it is nobody's; or one's who has not used it for so long that it may have
    /// changed hands, and the rules do not keep it for them.
    fn take(
        &self,
        db: &mut AnyConnection,
        upstream_id: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, diesel::result::Error> {
        let (realm, new) = (self.realm.as_str(), self.address.as_str());
        if identities::add(db, realm, new, &self.user, upstream_id, now)? {
            return Ok(true);
        }
        Ok(recycled::take_away(db, realm, &self.address, self.rules, now)?
            && identities::add(db, realm, new, &self.user, upstream_id, now)?)
    }

    fn record(
        &self,
        db: &mut AnyConnection,
        old: Option<&Identity>,
        now: Timestamp,
    ) -> Result<(), diesel::result::Error> {
        let event = match self.kind {
            Kind::Phone => Event::PhoneChanged,
            Kind::Email => Event::EmailLinked,
        };
        let from = old.map_or_else(|| "none".to_owned(), |old| old.address.masked());
        let detail = format!("{from} to {}", self.address.masked());
        let about = Subject {
            realm: Some(&self.realm),
            app_id: Some(&self.app_id),
            address: Some(self.address.as_str()),
            challenge: Some(self.right.challenge.as_str()),
            user: Some(self.user.as_str()),
            network: Some(&self.network),
            detail: Some(&detail),
        };
        audit::record(db, event, about, now)
    }

    /// The message to the old number, if that can be written to today. The wait behind its last message does not hold
    /// it up: who steals an account could bring that about.
    fn notice(
        &self,
        db: &mut AnyConnection,
        old: &Address,
        now: Timestamp,
    ) -> Result<Option<NewDelivery>, diesel::result::Error> {
        if !budgets::spend(&address_key(old.as_str()), self.per_address, now).run(db)? {
            return Ok(None);
        }
        let delivery = NewDelivery {
            id: self.notice.clone(),
            challenge: self.right.challenge.clone(),
            address: old.clone(),
            channel: Channel::Sms,
            network: self.network.clone(),
            status: Status::Pending,
            created_at: now,
            deadline_at: now.plus(NOTICE_DEADLINE + super::super::LEASE_MARGIN),
            // Nothing takes its place: its challenge is over.
            locale: String::new(),
            resend_of: None,
        };
        deliveries::insert(&delivery).run(db)?;
        Ok(Some(delivery))
    }
}

/// The caller's session, with their user's addresses held still.
fn lock(
    db: &mut AnyConnection,
    session: &SessionId,
    user: &UserId,
    now: Timestamp,
) -> Result<Session, Abort<Refusal>> {
    let live = if identities::lock(db, user)? { sessions::find_live(db, session, user, now)? } else { None };
    live.ok_or(Abort::Refused(Refusal::Over))
}

/// The right code of a change that was written came once more: the guard is off again. True: the address is not the
/// user's.
pub(super) fn again(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    user: &UserId,
) -> Result<bool, Abort<Infallible>> {
    guards::open(realm, address).run(db)?;
    Ok(users::find(db, realm, address)?.is_none_or(|holder| holder.user != *user))
}

/// Takes the user's mailbox away.
pub(super) fn unlink(
    db: &mut AnyConnection,
    caller: &Session,
    network: &str,
    now: Timestamp,
) -> Result<Unlinked, Abort<Refusal>> {
    let me = lock(db, &caller.id, &caller.user, now)?;
    let held = identities::of_user(db, &me.user)?;
    let (mailboxes, others): (Vec<_>, Vec<_>) =
        held.iter().partition(|identity| Kind::of(&identity.address) == Kind::Email);
    if mailboxes.is_empty() {
        return Ok(Unlinked::Done);
    }
    let Some(left) = others.first() else { return Ok(Unlinked::OnlyAddress) };
    for mailbox in mailboxes {
        let address = mailbox.address.as_str();
        identities::remove(db, &me.realm, address, &me.user)?;
        sessions::readdress(db, &me.user, address, left.address.as_str())?;
        let detail = mailbox.address.masked();
        let about = Subject {
            address: Some(address),
            network: Some(network),
            detail: Some(&detail),
            ..Subject::from(&me)
        };
        audit::record(db, Event::EmailUnlinked, about, now)?;
    }
    Ok(Unlinked::Done)
}
