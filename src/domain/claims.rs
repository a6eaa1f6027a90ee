//! What our own access tokens say.
//!
//! Guarantees: claims are read only behind a good signature, and then each by hand: a time is a whole number of
//! seconds of this age, never a text, a fraction or something huge; `iss`, `aud`, `sub`, `sid` and `jti` have our own
//! form; a claim that occurs twice is refused. No token is valid for longer than [`MAX_LIFETIME`], whoever made it.
//! `amr` says how the code travelled and no more than that: one code is one factor, never "mfa".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::ids::{AccessTokenId, SessionId, UserId};
use super::time::Timestamp;

/// The longest that an access token may be valid for.
pub const MAX_LIFETIME: Duration = Duration::from_mins(15);

/// How far the clocks of two nodes may differ.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The claims of an access token (RFC 9068, less what only other ways of logging in have).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `iss`: who signed it, as a URL.
    pub issuer: String,
    /// `aud` and `client_id`: the app that the person logged in to.
    pub app_id: String,
    /// `sub`.
    pub user: UserId,
    /// `sid`: what ends this token's successors when it is ended.
    pub session: SessionId,
    /// `jti`.
    pub id: AccessTokenId,
    /// `iat` and `nbf`, in whole seconds.
    pub issued_at: Timestamp,
    /// `exp`, in whole seconds: from then on it is not valid.
    pub expires_at: Timestamp,
    /// `amr`: how the code travelled; none where that is not known.
    pub channel: Option<Channel>,
}

/// Why a token is not good. All of them are the same answer to a client; the text is for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not built as ours are: another algorithm, type or key, another header, no token at all.
    #[error("not one of our access tokens")]
    Form,
    /// The key it names did not sign it.
    #[error("the signature is wrong")]
    Signature,
    /// A claim is missing, twice there, or of another kind or size.
    #[error("the claims are not those of an access token")]
    Claims,
    /// `iss` is somebody else.
    #[error("issued by somebody else")]
    Issuer,
    /// `aud` is no app that is served here.
    #[error("for an app that is not served here")]
    Audience,
    /// `iat` or `nbf` lies ahead.
    #[error("not valid yet")]
    NotYet,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
}

/// As it stands in the token.
#[derive(Serialize, Deserialize)]
struct Wire {
    iss: String,
    aud: String,
    client_id: String,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    sid: String,
    amr: Vec<String>,
}

/// Seconds up to the year 9999: what lies outside is no time.
const TIMES: std::ops::RangeInclusive<i64> = 1..=253_402_300_799;

impl Claims {
    /// What is signed.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let iat = self.issued_at.as_secs();
        let wire = Wire {
            iss: self.issuer.clone(),
            aud: self.app_id.clone(),
            client_id: self.app_id.clone(),
            sub: self.user.to_string(),
            iat,
            nbf: iat,
            exp: self.expires_at.as_secs(),
            jti: self.id.to_string(),
            sid: self.session.to_string(),
            amr: amr(self.channel).iter().map(|method| (*method).to_owned()).collect(),
        };
        // Texts and numbers always can be written.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads what was signed. The audience is left to those who know the apps.
    ///
    /// # Errors
    /// [`TokenError`], never [`TokenError::Signature`].
    pub fn parse(json: &[u8], issuer: &str, now: Timestamp) -> Result<Self, TokenError> {
        // serde reads a struct from an array, too.
        if !json.starts_with(b"{") {
            return Err(TokenError::Claims);
        }
        let wire: Wire = serde_json::from_slice(json).or(Err(TokenError::Claims))?;
        let Wire { iss, aud, client_id, sub, iat, nbf, exp, jti, sid, amr } = wire;
        let lifetime = i64::try_from(MAX_LIFETIME.as_secs()).unwrap_or(0);
        let sane = [iat, nbf, exp].iter().all(|time| TIMES.contains(time));
        if !sane || exp <= iat || exp - iat > lifetime || client_id != aud {
            return Err(TokenError::Claims);
        }
        let claims = Self {
            issuer: iss,
            app_id: aud,
            user: UserId::parse(&sub).ok_or(TokenError::Claims)?,
            session: SessionId::parse(&sid).ok_or(TokenError::Claims)?,
            id: AccessTokenId::parse(&jti).ok_or(TokenError::Claims)?,
            issued_at: Timestamp::from_millis(iat * 1000),
            expires_at: Timestamp::from_millis(exp * 1000),
            channel: channel_of(&amr)?,
        };
        if claims.issuer != issuer {
            return Err(TokenError::Issuer);
        }
        if iat.max(nbf) > now.plus(LEEWAY).as_secs() {
            return Err(TokenError::NotYet);
        }
        // No leeway: whoever holds it can have another.
        if claims.expires_at <= now { Err(TokenError::Expired) } else { Ok(claims) }
    }
}

/// RFC 8176 has `otp`, `sms` and `tel` (a call). It has nothing for mail or messengers ("sc" is a smart card): those
/// are named as we name them everywhere.
fn amr(channel: Option<Channel>) -> &'static [&'static str] {
    match channel {
        Some(Channel::Sms) => &["otp", "sms"],
        Some(Channel::Voice) => &["otp", "tel"],
        Some(Channel::Email) => &["otp", "email"],
        Some(Channel::Whatsapp) => &["otp", "whatsapp"],
        Some(Channel::Telegram) => &["otp", "telegram"],
        None => &["otp"],
    }
}

/// Reads what [`amr`] writes.
fn channel_of(methods: &[String]) -> Result<Option<Channel>, TokenError> {
    let mut known = Channel::ALL.into_iter().map(Some).chain([None]);
    known.find(|channel| amr(*channel).iter().eq(methods)).ok_or(TokenError::Claims)
}

#[cfg(test)]
mod tests;
