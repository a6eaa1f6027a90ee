//! The old number is told that the account has another one. Nothing depends on it.

use std::sync::Arc;

use super::super::Login;
use super::super::note::Matter;
use super::NOTICE_DEADLINE;
use crate::delivery::{NumberChanged, OutgoingCode};
use crate::domain::money::Money;
use crate::domain::purpose::Purpose;
use crate::store::deliveries::NewDelivery;

/// Whom to tell.
pub(super) struct OldNumber {
    pub(super) delivery: NewDelivery,
    pub(super) app_id: String,
}

impl Login {
    /// Sends it behind the caller's back; a lost one becomes `unknown` by itself.
    pub(super) fn tell_old_number(self: &Arc<Self>, old: OldNumber, languages: Vec<String>) {
        let login = Arc::clone(self);
        tokio::spawn(async move { login.send_notice(old, &languages).await });
    }

    async fn send_notice(&self, old: OldNumber, languages: &[String]) {
        let OldNumber { delivery, app_id } = old;
        let Some(app) = self.apps.find(&app_id) else { return };
        let (app_name, lifetime, realm) = (app.name.clone(), self.otp.lifetime, app.upstream.clone());
        let text =
            self.messages.phone_changed(&NumberChanged { app_id: &app_id, app_name: &app_name, languages });
        let (id, to, purpose) = (delivery.id, delivery.address, Purpose::CHANGE_PHONE);
        let message = OutgoingCode { id, to, purpose, code: None, app_id, app_name, lifetime, text };
        let plan = self.courier.plan(delivery.channel, &message, &[]);
        let report = self.courier.deliver(&plan, &message, NOTICE_DEADLINE).await;
        let matter = Matter {
            challenge: &delivery.challenge,
            realm: &realm,
            channel: delivery.channel,
            reserved: Money::ZERO,
            asked_for: false,
        };
        if let Some(writing) = self.note(&matter, &message, &plan, report) {
            writing.await;
        }
    }
}
