//! Logging in: `/v1/login`, `/resend`, `/verify`, `/complete`.

use actix_web::{HttpRequest, HttpResponse, web};

use super::super::problem::{Kind, Problem};
use super::super::{Asker, Current, Gateway, language};
use super::input::{self, Complete, Login, Resend, Verify};
use super::{Reply, answer, endpoint, with_body};
use crate::domain::challenge::Dialect;
use crate::domain::channel::Channel;
use crate::domain::code;
use crate::domain::ids::{ChallengeId, ClientSecret, GrantToken};
use crate::login;
use crate::store::challenges::Key;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(endpoint("/v1/login", "POST").route(web::post().to(login)))
        .service(endpoint("/v1/login/resend", "POST").route(web::post().to(resend)))
        .service(endpoint("/v1/login/verify", "POST").route(web::post().to(verify)))
        .service(endpoint("/v1/login/complete", "POST").route(web::post().to(complete)));
}

async fn login(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker, input: Login| async move { gateway.v1_login(asker, input).await };
    with_body(request, payload, gateway, work).await
}

async fn resend(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker, input: Resend| async move { gateway.v1_resend(asker, input).await };
    with_body(request, payload, gateway, work).await
}

async fn verify(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker, input: Verify| async move { gateway.v1_verify(asker, input).await };
    with_body(request, payload, gateway, work).await
}

async fn complete(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work =
        |gateway: Current, asker, input: Complete| async move { gateway.v1_complete(asker, input).await };
    with_body(request, payload, gateway, work).await
}

impl Gateway {
    async fn v1_login(&self, asker: Asker, input: Login) -> Result<Reply, Problem> {
        let address = input.address()?;
        let channel = parse_channel(input.channel.as_deref())?;
        let (app_id, client) = (input.app_id, asker.client);
        let languages = languages(input.locale, asker.languages)?;
        let start = login::Start { dialect: Dialect::V1, app_id, address, channel, languages, client };
        let started = self.login.start(start).await.map_err(|error| answer::failed(&error))?;
        answer::started(started, self.login.otp.length)
    }

    async fn v1_resend(&self, asker: Asker, input: Resend) -> Result<Reply, Problem> {
        let secret = ClientSecret::parse(&input.secret).ok_or(Kind::ChallengeGone)?;
        let channel = parse_channel(input.channel.as_deref())?;
        let id = ChallengeId::parse(&input.challenge).ok_or(Kind::ChallengeGone)?;
        let languages = languages(input.locale, asker.languages)?;
        let resend = login::Resend { id, secret, channel, languages, client: asker.client };
        let started = self.login.resend(resend).await.map_err(|error| answer::failed(&error))?;
        answer::started(started, self.login.otp.length)
    }

    async fn v1_verify(&self, asker: Asker, input: Verify) -> Result<Reply, Problem> {
        let code = code::Code::parse(&input.code, self.login.otp.length).ok_or(Kind::InvalidCode)?;
        let secret = ClientSecret::parse(&input.secret).ok_or(Kind::ChallengeGone)?;
        let id = ChallengeId::parse(&input.challenge).ok_or(Kind::ChallengeGone)?;
        let device = input::device(input.device.as_deref())?;
        let key = Key::V1 { id, secret: secret.hash() };
        let (secret, client) = (Some(secret), asker.client);
        let verify = login::Verify { key, secret, code, name: None, device, client };
        let verified = self.login.verify(verify).await.map_err(|error| answer::failed(&error))?;
        answer::verified(verified, Kind::ChallengeGone)
    }

    async fn v1_complete(&self, asker: Asker, input: Complete) -> Result<Reply, Problem> {
        let grant = GrantToken::parse(&input.grant).ok_or(Kind::GrantGone)?;
        let device = input::device(input.device.as_deref())?;
        let complete = login::Complete { grant, device, client: asker.client };
        let verified = self.login.complete(complete).await.map_err(|error| answer::failed(&error))?;
        answer::verified(verified, Kind::GrantGone)
    }
}

/// The body's own wish comes before the header's.
fn languages(locale: Option<String>, accepted: Vec<String>) -> Result<Vec<String>, Problem> {
    match locale {
        Some(tag) if language::is_tag(&tag) => Ok(std::iter::once(tag).chain(accepted).collect()),
        Some(_) => {
            Err(Problem::from(Kind::InvalidRequest).detail("locale must be a language tag such as pt-BR"))
        }
        None => Ok(accepted),
    }
}

fn parse_channel(name: Option<&str>) -> Result<Option<Channel>, Problem> {
    let parse = |name| Channel::parse(name).ok_or(Problem::from(Kind::ChannelNotOffered));
    name.map(parse).transpose()
}
