//! What our own API answers.

use std::time::Duration;

use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::problem::{Kind, Problem};
use super::Reply;
use crate::domain::channel::Channel;
use crate::domain::code::CodeLength;
use crate::domain::time::whole_secs;
use crate::login::{LoginError, MintFailed, Minted, Sent, Started, Verified, Wait};
use crate::store::StoreError;
use crate::telemetry::chain;
use crate::upstream::UpstreamError;

/// Seconds after which an overloaded store may have room.
const STORE_RETRY: u64 = 1;

/// Seconds after which another provider may have woken up.
const SEND_RETRY: u64 = 5;

/// A code went out, or why it did not.
pub(super) fn started(started: Started, length: CodeLength) -> Result<Reply, Problem> {
    let problem = match started {
        Started::Sent(sent) => return Ok((StatusCode::ACCEPTED, code_sent(&sent, length))),
        Started::StillValid { next_send: wait } | Started::TooSoon(wait) => {
            return Err(too_soon(Kind::TooSoon, wait));
        }
        Started::Undeliverable => return Err(Problem::from(Kind::Undeliverable).retry_after(SEND_RETRY)),
        Started::UnknownApp => Kind::UnknownApp,
        Started::EmailLoginOff => Kind::EmailLoginOff,
        Started::ChannelNotOffered => Kind::ChannelNotOffered,
        Started::NotServed => Kind::NotServed,
        Started::BadAddress => Kind::AddressUnreachable,
        Started::Blocked => Kind::MessagesBlocked,
        Started::NoChallenge => Kind::ChallengeGone,
    };
    Err(problem.into())
}

fn code_sent(sent: &Sent, length: CodeLength) -> Value {
    json!({
        "challenge": sent.challenge.as_str(),
        "secret": sent.secret.as_ref().map(crate::domain::ids::ClientSecret::reveal),
        "channel": sent.channel.as_str(),
        "to": sent.to,
        "code_length": length.digits(),
        "expires_in": whole_secs(sent.expires_in),
        "attempts_left": sent.attempts_left,
        "next": next(&sent.channels, sent.next_send, sent.next_guess),
    })
}

/// Seconds until each thing works; a channel that is absent is not offered.
fn next(channels: &[Channel], send: Duration, guess: Duration) -> Value {
    let mut next: Map<String, Value> = Map::new();
    next.extend(channels.iter().map(|channel| (channel.as_str().to_owned(), whole_secs(send).into())));
    next.insert("check".to_owned(), whole_secs(guess).into());
    Value::Object(next)
}

/// A token, or why there is none.
pub(super) fn verified(verified: Verified, gone: Kind) -> Result<Reply, Problem> {
    match verified {
        Verified::Token(minted) => Ok((StatusCode::OK, token(&minted))),
        Verified::NotMinted(failed) => Err(not_minted(&failed)),
        Verified::Wrong { attempts_left, next_guess } => {
            let check = match next_guess {
                Wait::For(wait) => Value::from(whole_secs(wait)),
                Wait::ForOperator => Value::Null,
            };
            let problem = Problem::from(Kind::WrongCode).with("attempts_left", attempts_left);
            Err(problem.with("next", json!({"check": check})))
        }
        Verified::TooSoon(wait) => Err(too_soon(Kind::GuessTooSoon, wait)),
        Verified::NoChallenge => Err(gone.into()),
        Verified::InFlight => Err(Problem::from(Kind::MintInFlight).retry_after(1)),
    }
}

/// The chat body stands as its SDK reads it.
fn token(minted: &Minted) -> Value {
    let chat = &minted.chat;
    let mut body = Map::new();
    body.insert("provider".to_owned(), chat.provider.into());
    body.insert("user_id".to_owned(), chat.user_id.as_str().into());
    body.insert("token".to_owned(), chat.token.as_str().into());
    body.extend(chat.extra.clone());
    json!({"user_id": minted.user.as_str(), "is_new_user": minted.is_new_user, "chat": body})
}

/// The code was right: the grant saves another message.
fn not_minted(failed: &MintFailed) -> Problem {
    let (kind, retry) = match &failed.error {
        UpstreamError::Refused(_) => return Kind::UserRefused.into(),
        UpstreamError::Misconfigured(_) => (Kind::UpstreamMisconfigured, None),
        UpstreamError::Throttled { .. }
        | UpstreamError::Unavailable(_)
        | UpstreamError::Resting { .. }
        | UpstreamError::Unknown(_) => (Kind::UpstreamUnavailable, Some(failed.retry_after)),
    };
    let mut problem = Problem::from(kind);
    if let Some(grant) = &failed.grant {
        problem = problem.with("grant", grant.reveal());
    }
    match retry {
        Some(wait) => problem.retry_after(whole_secs(wait)),
        None => problem,
    }
}

fn too_soon(kind: Kind, wait: Wait) -> Problem {
    match wait {
        Wait::For(wait) => Problem::from(kind).retry_after(whole_secs(wait)),
        Wait::ForOperator => kind.into(),
    }
}

/// No answer at all. Logged here, once; the client learns only whether to come back.
pub(super) fn failed(error: &LoginError) -> Problem {
    match error {
        LoginError::Store(StoreError::Overloaded) | LoginError::Stopping => {
            tracing::warn!(error = chain(error), "a login was shed");
            Problem::from(Kind::Overloaded).retry_after(STORE_RETRY)
        }
        LoginError::Store(_) | LoginError::Key(_) | LoginError::Realm(_) => {
            tracing::error!(error = chain(error), "a login was not answered");
            Kind::Internal.into()
        }
    }
}
