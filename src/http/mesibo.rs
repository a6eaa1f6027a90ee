//! mesibo's private login API, as eight published apps and the tutorial's curl speak it.
//!
//! Guarantees: whatever comes in, the answer is HTTP 200 and a JSON object with the strings `op` and, on failure,
//! `error`, and with `result` in the spelling that this client takes for what it is. Nothing that a client wrote is
//! echoed but its `op`, which is a short word, and its number, which is digits.

mod answer;
mod fields;

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::ORIGIN;
use actix_web::{HttpRequest, HttpResponse, web};

use self::answer::{Answer, Failure, Spelling};
use self::fields::Fields;
use super::{Asker, Current, Gateway, body};
use crate::config::ResultSpelling;
use crate::domain::address::Address;
use crate::domain::challenge::Dialect;
use crate::domain::code::{Code, CodeLength};
use crate::domain::network::ClientIp;
use crate::domain::phone::Phone;
use crate::domain::time::whole_secs;
use crate::login::{LoginError, Start, Started, Unproved, Verified, Verify, Wait};
use crate::store::challenges::Key;
use crate::telemetry::chain;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    for path in ["/", "/index.php", "/api.php"] {
        config.route(path, web::to(handle));
    }
}

/// Reads the body, then works on it as a task of its own: a client that goes away stops nothing.
async fn handle(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let now = gateway.clock.now();
    if *request.method() == Method::OPTIONS {
        return answer::preflight();
    }
    if *request.method() != Method::POST {
        return Answer::fail("", Failure::NoOp).render(Spelling::Strings, now);
    }
    let browser = request.headers().contains_key(ORIGIN);
    let asker = gateway.asker(&request);
    let Ok(body) = body::read(payload, gateway.body_timeout).await else {
        return Answer::fail("", Failure::NoOp).render(Spelling::Strings, now);
    };
    let fields = fields::parse(&body);
    let spelling = Spelling::guess(fields.as_ref(), browser);
    let fields = fields.unwrap_or_default();
    let named = fields.text("appid").and_then(|id| gateway.apps.find(&id).map(|app| app.result));
    // A logout names no app.
    let result = named.or_else(|| gateway.apps.agreed_result());
    let spelling = match result {
        Some(ResultSpelling::Strings) => Spelling::Strings,
        Some(ResultSpelling::Booleans) => Spelling::Booleans,
        Some(ResultSpelling::Auto) | None => spelling,
    };
    let op = fields.op();
    let Some(turn) = gateway.turn() else { return Answer::fail(&op, Failure::Busy).render(spelling, now) };
    let work = {
        let gateway = gateway.clone();
        async move {
            let _turn = turn;
            gateway.answer(&fields, asker).await
        }
    };
    let answer = super::on_its_own(work).await.unwrap_or_else(|| Answer::fail(&op, Failure::Busy));
    answer.render(spelling, now)
}

impl Gateway {
    async fn answer(&self, fields: &Fields, asker: Asker) -> Answer {
        match fields.op().as_str() {
            "login" => self.log_in(fields, asker).await,
            "logout" => self.log_out(fields, asker.client).await,
            "" => Answer::fail("", Failure::NoOp),
            op => Answer::fail(op, Failure::BadOp),
        }
    }

    /// Every client asks to be told OK, also with a token that is long dead.
    async fn log_out(&self, fields: &Fields, client: ClientIp) -> Answer {
        if let Some(token) = fields.text("token")
            && let Err(error) = self.sessions.logout_by_chat_token(&token, client).await
        {
            tracing::error!(error = chain(&error), "a session was not ended");
        }
        Answer::ok("logout")
    }

    async fn log_in(&self, fields: &Fields, asker: Asker) -> Answer {
        let Some(app_id) = fields.text("appid") else { return Answer::fail("login", Failure::MissingApp) };
        if !self.apps.find(&app_id).is_some_and(|app| app.dialects.contains(&Dialect::Mesibo)) {
            let shown: String = app_id.chars().take(64).collect();
            tracing::warn!(app_id = ?shown, "a login for an app that is not in [[apps]], or not for this dialect");
            return Answer::fail("login", Failure::BadApp);
        }
        let phone = fields.text("phone").and_then(|text| Phone::parse_lenient(&text).ok());
        let Some(phone) = phone else { return Answer::fail("login", Failure::BadPhone) };
        let done = match fields.otp() {
            None => self.send_code(app_id, phone, asker).await,
            Some(otp) => self.check_code(app_id, phone, &otp, fields.name(), asker.client).await,
        };
        done.unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "a login was not answered");
            Answer::fail("login", Failure::Busy)
        })
    }

    /// Step 1.
    async fn send_code(&self, app_id: String, phone: Phone, asker: Asker) -> Result<Answer, LoginError> {
        let address = Address::Phone(phone);
        let start = Start {
            dialect: Dialect::Mesibo,
            app_id,
            address,
            channel: None,
            languages: asker.languages,
            client: asker.client,
        };
        Ok(match self.login.start(start).await? {
            Started::Sent(_) | Started::StillValid { .. } => Answer::ok("login")
                .with_text("title", &self.texts.title)
                .with_text("message", &self.texts.message),
            Started::TooSoon(wait) => {
                Answer::fail("login", Failure::TooSoon).with_text("errmsg", &wait_text(wait))
            }
            Started::NotServed => Answer::fail("login", Failure::BadPhone)
                .with_text("errmsg", "We do not send codes to this number."),
            Started::BadAddress => {
                Answer::fail("login", Failure::BadPhone).with_text("errmsg", "This number cannot be reached.")
            }
            Started::Blocked(_) => {
                let text = "Messages to this number are blocked by its owner or carrier.";
                Answer::fail("login", Failure::BadPhone).with_text("errmsg", text)
            }
            Started::Undeliverable(_)
            | Started::NoChallenge
            | Started::UnknownApp
            | Started::EmailLoginOff
            | Started::ChannelNotOffered => {
                let text = "The code could not be sent. Please try again.";
                Answer::fail("login", Failure::BadApp).with_text("errmsg", text)
            }
        })
    }

    /// Step 2. Never with `errmsg`: Android would leave its progress dialog up.
    async fn check_code(
        &self,
        app_id: String,
        phone: Phone,
        otp: &str,
        name: Option<String>,
        client: ClientIp,
    ) -> Result<Answer, LoginError> {
        // Anything but six digits is neither counted nor compared.
        let Some(code) = Code::parse(otp, CodeLength::SIX) else {
            return Ok(Answer::fail("login", Failure::BadUser));
        };
        let digits = phone.digits().to_owned();
        let key = Key::Mesibo { app_id, address: Address::Phone(phone) };
        let verify = Verify { key, secret: None, code, name, device: None, client };
        Ok(match self.login.verify(verify).await? {
            Verified::Token(minted) => Answer::token(&minted.chat.token, &digits, &self.texts),
            Verified::Unproved(Unproved::InFlight) => Answer::fail("login", Failure::Busy),
            Verified::NotMinted(_) | Verified::Recycled { .. } | Verified::Unproved(_) => {
                Answer::fail("login", Failure::BadUser)
            }
        })
    }
}

/// What a person is told who asks too often.
fn wait_text(wait: Wait) -> String {
    match wait {
        Wait::For(wait) if wait <= Duration::from_secs(90) => {
            format!("Please wait {} seconds before asking for another code.", whole_secs(wait))
        }
        Wait::For(wait) if wait <= Duration::from_mins(90) => {
            format!("Please wait {} minutes before asking for another code.", whole_secs(wait).div_ceil(60))
        }
        Wait::For(wait) => {
            format!("Please wait {} hours before asking for another code.", whole_secs(wait).div_ceil(3600))
        }
        Wait::ForOperator => "No code can be sent to this number. Please contact support.".to_owned(),
    }
}
