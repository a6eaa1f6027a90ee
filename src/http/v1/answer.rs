//! What our own API answers.

use std::error::Error;
use std::time::Duration;

use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::problem::{Kind, Problem};
use super::Reply;
use crate::domain::channel::Channel;
use crate::domain::code::CodeLength;
use crate::domain::time::whole_secs;
use crate::login::{LoginError, MintFailed, Minted, Others, Sent, Started, Tokens, Unproved, Verified, Wait};
use crate::store::StoreError;
use crate::telemetry::chain;
use crate::upstream::{ChatToken, UpstreamError};

/// Seconds after which an overloaded store may have room.
const STORE_RETRY: u64 = 1;

/// Seconds after which another provider may have woken up.
const SEND_RETRY: u64 = 5;

/// A code went out, or why it did not.
pub(super) fn started(started: Started, length: CodeLength) -> Result<Reply, Problem> {
    let problem = match started {
        Started::Sent(sent) => {
            let body = code_sent(&sent, length);
            return Ok(Reply::new(StatusCode::ACCEPTED, body).of_app(sent.app_id));
        }
        Started::StillValid { next_send: wait } | Started::TooSoon(wait) => {
            return Err(too_soon(Kind::TooSoon, wait));
        }
        Started::Undeliverable(others) => {
            return Err(elsewhere(Kind::Undeliverable, &others).retry_after(SEND_RETRY));
        }
        Started::Blocked(others) => return Err(elsewhere(Kind::MessagesBlocked, &others)),
        Started::UnknownApp => Kind::UnknownApp,
        Started::EmailLoginOff => Kind::EmailLoginOff,
        Started::ChannelNotOffered => Kind::ChannelNotOffered,
        Started::NotServed => Kind::NotServed,
        Started::BadAddress => Kind::AddressUnreachable,
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

/// Not over this channel; the others, where there are any.
fn elsewhere(kind: Kind, others: &Others) -> Problem {
    Problem::from(kind).with("next", by_channel(&others.channels, others.next_send))
}

/// Seconds until each thing works; a channel that is absent is not offered.
fn next(channels: &[Channel], send: Duration, guess: Duration) -> Value {
    let mut next = by_channel(channels, send);
    next.insert("check".to_owned(), whole_secs(guess).into());
    Value::Object(next)
}

fn by_channel(channels: &[Channel], send: Duration) -> Map<String, Value> {
    channels.iter().map(|channel| (channel.as_str().to_owned(), whole_secs(send).into())).collect()
}

/// A token, or why there is none.
pub(super) fn verified(verified: Verified, gone: Kind) -> Result<Reply, Problem> {
    match verified {
        Verified::Token(minted) => Ok(Reply::new(StatusCode::OK, token(&minted)).of_app(minted.app_id)),
        Verified::NotMinted(failed) => Err(not_minted(&failed)),
        Verified::Recycled { since, grant, app_id } => {
            let body = json!({"recycled": {"since": since.as_secs()}, "grant": grant.reveal()});
            Ok(Reply::new(StatusCode::OK, body).of_app(app_id))
        }
        Verified::Unproved(unproved) => Err(proves_nothing(unproved, gone)),
    }
}

/// Why a code proves nothing.
pub(super) fn proves_nothing(unproved: Unproved, gone: Kind) -> Problem {
    match unproved {
        Unproved::Wrong { attempts_left, next_guess } => {
            let check = match next_guess {
                Wait::For(wait) => Value::from(whole_secs(wait)),
                Wait::ForOperator => Value::Null,
            };
            let problem = Problem::from(Kind::WrongCode).with("attempts_left", attempts_left);
            problem.with("next", json!({"check": check}))
        }
        Unproved::TooSoon(wait) => too_soon(Kind::GuessTooSoon, wait),
        Unproved::NoChallenge => gone.into(),
        Unproved::InFlight => Problem::from(Kind::MintInFlight).retry_after(1),
    }
}

fn token(minted: &Minted) -> Value {
    let mut body = Map::new();
    body.insert("user_id".to_owned(), minted.user.as_str().into());
    body.insert("is_new_user".to_owned(), minted.is_new_user.into());
    body.extend(minted.session.as_ref().map(|tokens| ("session".to_owned(), session(tokens))));
    body.insert("chat".to_owned(), chat(&minted.chat));
    Value::Object(body)
}

/// The chat body stands as its SDK reads it.
pub(super) fn chat(chat: &ChatToken) -> Value {
    let mut body = Map::new();
    body.insert("provider".to_owned(), chat.provider.into());
    body.insert("user_id".to_owned(), chat.user_id.as_str().into());
    body.insert("token".to_owned(), chat.token.as_str().into());
    body.extend(chat.extra.clone());
    Value::Object(body)
}

/// What keeps a client logged in, in the words of RFC 6749 §5.1.
pub(super) fn session(tokens: &Tokens) -> Value {
    json!({
        "access_token": tokens.access.text.as_str(),
        "token_type": "Bearer",
        "expires_in": tokens.access.expires_in.as_secs(),
        "refresh_token": tokens.refresh.reveal(),
        "refresh_expires_in": tokens.refresh_expires_in.as_secs(),
    })
}

/// The code was right: the grant saves another message.
fn not_minted(failed: &MintFailed) -> Problem {
    let problem = no_token(&failed.error, failed.retry_after);
    match (&failed.error, &failed.grant) {
        (UpstreamError::Refused(_), _) | (_, None) => problem,
        (_, Some(grant)) => problem.with("grant", grant.reveal()),
    }
}

/// The backend minted none. Nothing of its words.
pub(super) fn no_token(error: &UpstreamError, retry_after: Duration) -> Problem {
    match error {
        UpstreamError::Refused(_) => Kind::UserRefused.into(),
        UpstreamError::Misconfigured(_) => Kind::UpstreamMisconfigured.into(),
        UpstreamError::Throttled { .. }
        | UpstreamError::Unavailable(_)
        | UpstreamError::Resting { .. }
        | UpstreamError::Unknown(_) => {
            Problem::from(Kind::UpstreamUnavailable).retry_after(whole_secs(retry_after))
        }
    }
}

fn too_soon(kind: Kind, wait: Wait) -> Problem {
    match wait {
        // Whatever it waits for may have come while it was looked up.
        Wait::For(wait) => Problem::from(kind).retry_after(whole_secs(wait).max(1)),
        Wait::ForOperator => kind.into(),
    }
}

/// No answer at all. Logged here, once; the client learns only whether to come back.
pub(super) fn failed(error: &LoginError) -> Problem {
    match error {
        LoginError::Store(error) => store_failed(error),
        LoginError::Stopping => shed(error),
        LoginError::Key(_) | LoginError::Realm(_) | LoginError::Tokens(_) => internal(error),
    }
}

/// The database did not answer.
pub(super) fn store_failed(error: &StoreError) -> Problem {
    match error {
        StoreError::Overloaded => shed(error),
        StoreError::Database { .. } | StoreError::Connect(_) | StoreError::Panicked | StoreError::Closed => {
            internal(error)
        }
    }
}

fn shed(error: &dyn Error) -> Problem {
    tracing::warn!(error = chain(error), "a request was shed");
    Problem::from(Kind::Overloaded).retry_after(STORE_RETRY)
}

/// Only we can mend it.
pub(super) fn internal(error: &dyn Error) -> Problem {
    tracing::error!(error = chain(error), "a request was not answered");
    Kind::Internal.into()
}
