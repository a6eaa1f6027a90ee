//! What one logs in with: `/v1/phone/change`, `/v1/email/link`, and `DELETE /v1/email`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::super::problem::{Kind, Problem};
use super::super::{Asker, Current, Gateway};
use super::input::{self, ChangePhone, ConfirmAddress, LinkEmail};
use super::login::{languages, parse_channel};
use super::session::bearer;
use super::{Reply, answer, endpoint, with_body, without_body};
use crate::domain::code::Code;
use crate::domain::ids::{ChallengeId, ClientSecret};
use crate::login::{self, AccountError, Confirm, Confirmed, NewAddress, Unlinked};

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(endpoint("/v1/phone/change", "POST").route(web::post().to(change)))
        .service(endpoint("/v1/phone/change/verify", "POST").route(web::post().to(confirm_change)))
        .service(endpoint("/v1/email/link", "POST").route(web::post().to(link)))
        .service(endpoint("/v1/email/link/verify", "POST").route(web::post().to(confirm_link)))
        .service(endpoint("/v1/email", "DELETE").route(web::delete().to(unlink)));
}

async fn change(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker: Asker, input: ChangePhone| async move {
        let ChangePhone { phone, channel, locale } = input;
        let new = NewAddress {
            address: input::phone(&phone)?,
            channel: parse_channel(channel.as_deref())?,
            languages: languages(locale, asker.languages.clone())?,
            client: asker.client,
        };
        gateway.v1_ask_for_address(&asker, new).await
    };
    with_body(request, payload, gateway, work).await
}

async fn link(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker: Asker, input: LinkEmail| async move {
        let LinkEmail { email, locale } = input;
        let new = NewAddress {
            address: input::email(&email)?,
            channel: None,
            languages: languages(locale, asker.languages.clone())?,
            client: asker.client,
        };
        gateway.v1_ask_for_address(&asker, new).await
    };
    with_body(request, payload, gateway, work).await
}

async fn confirm_change(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker, input| async move {
        gateway.v1_confirm_address(login::Kind::Phone, asker, input).await
    };
    with_body(request, payload, gateway, work).await
}

async fn confirm_link(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker, input| async move {
        gateway.v1_confirm_address(login::Kind::Email, asker, input).await
    };
    with_body(request, payload, gateway, work).await
}

async fn unlink(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker| async move { gateway.v1_unlink_email(asker).await };
    without_body(request, payload, gateway, work).await
}

impl Gateway {
    async fn v1_ask_for_address(&self, asker: &Asker, new: NewAddress) -> Result<Reply, Problem> {
        let started = self.login.ask_for_address(bearer(asker)?, new).await;
        answer::started(started.map_err(|error| problem(&error))?, self.login.otp.length)
    }

    async fn v1_confirm_address(
        &self,
        kind: login::Kind,
        asker: Asker,
        input: ConfirmAddress,
    ) -> Result<Reply, Problem> {
        let code = Code::parse(&input.code, self.login.otp.length).ok_or(Kind::InvalidCode)?;
        let secret = ClientSecret::parse(&input.secret).ok_or(Kind::ChallengeGone)?;
        let id = ChallengeId::parse(&input.challenge).ok_or(Kind::ChallengeGone)?;
        let (languages, client) = (asker.languages.clone(), asker.client);
        let confirm = Confirm { kind, id, secret, code, languages, client };
        let confirmed = self.login.confirm_address(bearer(&asker)?, confirm).await;
        match confirmed.map_err(|error| problem(&error))? {
            Confirmed::Done { to } => Ok(Reply::new(StatusCode::OK, json!({"to": to}))),
            Confirmed::Taken => Err(Kind::AddressTaken.into()),
            Confirmed::Unproved(unproved) => Err(answer::proves_nothing(unproved, Kind::ChallengeGone)),
        }
    }

    async fn v1_unlink_email(&self, asker: Asker) -> Result<Reply, Problem> {
        let unlinked = self.login.unlink_email(bearer(&asker)?, asker.client).await;
        match unlinked.map_err(|error| problem(&error))? {
            Unlinked::Done => Ok(Reply::new(StatusCode::NO_CONTENT, Value::Null)),
            Unlinked::OnlyAddress => Err(Kind::OnlyAddress.into()),
        }
    }
}

/// No answer.
fn problem(error: &AccountError) -> Problem {
    match error {
        AccountError::InvalidToken(_) => Kind::InvalidToken.into(),
        AccountError::Over => Kind::SessionOver.into(),
        AccountError::Login(error) => answer::failed(error),
    }
}
