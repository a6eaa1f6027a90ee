//! The use cases as our own API calls them: with a client secret, a resend of its own, and a grant.

use latchkey::domain::address::Address;
use latchkey::domain::challenge::Dialect;
use latchkey::domain::channel::Channel;
use latchkey::domain::code::{Code, CodeLength};
use latchkey::domain::ids::{ChallengeId, ClientSecret, GrantToken};
use latchkey::domain::network::ClientIp;
use latchkey::domain::purpose::Purpose;
use latchkey::login::{Complete, MintFailed, Resend, Sent, Start, Started, Unproved, Verified, Verify, Wait};
use latchkey::store::challenges::Key;
use latchkey::upstream::UpstreamError;

use crate::harness::app::{APP, PHONE};
use crate::harness::{Mint, TestApp, on_both};

fn client() -> ClientIp {
    ClientIp::new("203.0.113.7".parse().expect("an address"))
}

async fn start(app: &TestApp) -> Sent {
    let start = Start {
        dialect: Dialect::V1,
        app_id: APP.to_owned(),
        address: Address::parse("+18005551234").expect("a number"),
        channel: None,
        languages: Vec::new(),
        client: client(),
    };
    let Started::Sent(sent) = app.login.start(start).await.expect("the store answers") else {
        panic!("nothing was sent")
    };
    *sent
}

fn guess(id: &ChallengeId, secret: &ClientSecret, code: &str) -> Verify {
    Verify {
        key: Key::V1 { purpose: Purpose::Login, id: id.clone(), secret: secret.hash() },
        secret: Some(secret.clone()),
        code: Code::parse(code, CodeLength::SIX).expect("six digits"),
        name: None,
        device: None,
        client: client(),
    }
}

fn with(grant: &GrantToken) -> Complete {
    Complete { grant: grant.clone(), owner: None, device: None, client: client() }
}

async fn verify(app: &TestApp, id: &ChallengeId, secret: &ClientSecret, code: &str) -> Verified {
    app.login.verify(guess(id, secret, code)).await.expect("the store answers")
}

async fn resend(app: &TestApp, id: &ChallengeId, secret: &ClientSecret) -> Started {
    let resend = Resend {
        id: id.clone(),
        secret: secret.clone(),
        channel: Some(Channel::Sms),
        languages: Vec::new(),
        client: client(),
    };
    app.login.resend(resend).await.expect("the store answers")
}

on_both! {
    async fn a_challenge_tells_its_holder_what_comes_next(database) {
        let app = TestApp::start(&database);
        let sent = start(&app).await;
        assert_eq!((sent.next_send.as_secs(), sent.next_guess.as_secs()), (60, 0));
        assert_eq!((sent.expires_in.as_secs(), sent.attempts_left), (1200, 5));
        let secret = sent.secret.expect("a new challenge has one");
        let wrong = verify(&app, &sent.challenge, &secret, &app.outbox.wrong_code()).await;
        assert!(matches!(wrong, Verified::Unproved(Unproved::Wrong { attempts_left: 4, next_guess: Wait::For(wait) }) if wait.is_zero()));
        let right = verify(&app, &sent.challenge, &secret, &app.outbox.last_code()).await;
        let Verified::Token(minted) = right else { panic!("no token") };
        assert!(minted.is_new_user);
        app.stop().await;
    }
}

on_both! {
    async fn a_wrong_secret_is_an_unknown_challenge_and_counts_nothing_a7(database) {
        let app = TestApp::start(&database);
        let sent = start(&app).await;
        let stranger = start_other(&app).await;
        let code = app.outbox.sent()[0].code.clone();
        let wrong = verify(&app, &sent.challenge, &stranger, &code).await;
        assert!(matches!(wrong, Verified::Unproved(Unproved::NoChallenge)));
        assert!(matches!(resend(&app, &sent.challenge, &stranger).await, Started::NoChallenge));
        assert_eq!((database.count("guards"), database.audited("guess.counted")), (0, 0));
        app.stop().await;
    }
}

/// The secret of somebody else's challenge.
async fn start_other(app: &TestApp) -> ClientSecret {
    app.advance(60);
    start(app).await.secret.expect("a new challenge has one")
}

on_both! {
    async fn a_challenge_is_invisible_to_the_other_dialect(database) {
        let app = TestApp::start(&database);
        let sent = start(&app).await;
        let code = app.outbox.last_code();
        assert_eq!(app.verify(PHONE, &code).await.error(), "BADUSER");
        assert_eq!(database.audited("guess.counted"), 0);
        let secret = sent.secret.expect("a new challenge has one");
        assert!(matches!(verify(&app, &sent.challenge, &secret, &code).await, Verified::Token(_)));

        app.advance(60);
        app.start_login(PHONE).await;
        let id = ChallengeId::from_stored(
            database.texts("SELECT id AS t FROM challenges WHERE dialect = 'mesibo'").remove(0),
        );
        let verified = verify(&app, &id, &secret, &app.outbox.last_code()).await;
        assert!(matches!(verified, Verified::Unproved(Unproved::NoChallenge)));
        app.stop().await;
    }
}

on_both! {
    async fn a_resend_adds_a_code_to_the_same_challenge_and_keeps_its_count(database) {
        let app = TestApp::start(&database);
        let sent = start(&app).await;
        let secret = sent.secret.expect("a new challenge has one");
        let _ = verify(&app, &sent.challenge, &secret, &app.outbox.wrong_code()).await;
        let early = resend(&app, &sent.challenge, &secret).await;
        assert!(matches!(early, Started::StillValid { next_send: Wait::For(wait) } if wait.as_secs() == 60));
        app.advance(60);
        let Started::Sent(again) = resend(&app, &sent.challenge, &secret).await else { panic!("not sent") };
        assert_eq!((again.challenge, again.attempts_left), (sent.challenge.clone(), 4));
        assert_eq!(app.outbox.count(), 2);
        let first = app.outbox.sent()[0].code.clone();
        assert!(matches!(verify(&app, &sent.challenge, &secret, &first).await, Verified::Token(_)));
        app.advance(120);
        assert!(matches!(resend(&app, &sent.challenge, &secret).await, Started::NoChallenge), "it is over");
        app.stop().await;
    }
}

on_both! {
    async fn two_challenges_of_one_number_share_its_guard_b3(database) {
        let app = TestApp::start(&database);
        let first = start(&app).await;
        app.advance(60);
        let second = start(&app).await;
        let (one, two) = (first.secret.expect("new"), second.secret.expect("new"));
        for _ in 0..3 {
            let _ = verify(&app, &first.challenge, &one, &app.outbox.wrong_code()).await;
            let _ = verify(&app, &second.challenge, &two, &app.outbox.wrong_code()).await;
        }
        assert_eq!(database.number("SELECT failures AS n FROM guards"), 6);
        let code = app.outbox.last_code();
        let soon = verify(&app, &second.challenge, &two, &code).await;
        assert!(matches!(soon, Verified::Unproved(Unproved::TooSoon(Wait::For(wait))) if wait.as_secs() == 30));
        app.advance(30);
        assert!(matches!(verify(&app, &second.challenge, &two, &code).await, Verified::Token(_)));
        app.stop().await;
    }
}

/// A grant that the backend did not take.
async fn open_grant(app: &TestApp, error: UpstreamError) -> MintFailed {
    let sent = start(app).await;
    app.upstream.next(Mint::Fails(error));
    let secret = sent.secret.expect("a new challenge has one");
    let verified = verify(app, &sent.challenge, &secret, &app.outbox.last_code()).await;
    let Verified::NotMinted(failed) = verified else { panic!("it should not mint") };
    failed
}

on_both! {
    async fn a_grant_turns_into_one_token_f1(database) {
        let app = TestApp::start(&database);
        let failed = open_grant(&app, UpstreamError::Unavailable("down".into())).await;
        let grant = failed.grant.expect("a /v1 client gets one");
        let Verified::Token(minted) = app.login.complete(with(&grant)).await.expect("the store answers") else {
            panic!("no token")
        };
        assert!(minted.is_new_user, "it is remembered");
        assert!(matches!(app.login.complete(with(&grant)).await, Ok(Verified::Unproved(Unproved::NoChallenge))), "and is spent");
        assert_eq!((app.outbox.count(), app.upstream.minted().len()), (1, 1));
        app.stop().await;
    }
}

on_both! {
    async fn an_unknown_outcome_names_the_time_after_which_the_grant_works_again(database) {
        let app = TestApp::start(&database);
        let failed = open_grant(&app, UpstreamError::Unknown("cut".into())).await;
        let grant = failed.grant.expect("a /v1 client gets one");
        assert_eq!(failed.retry_after.as_secs(), 6);
        assert!(matches!(app.login.complete(with(&grant)).await, Ok(Verified::Unproved(Unproved::InFlight))));
        app.advance(failed.retry_after.as_secs());
        assert!(matches!(app.login.complete(with(&grant)).await, Ok(Verified::Token(_))));
        app.stop().await;
    }
}

on_both! {
    async fn sixty_four_who_redeem_one_grant_get_one_token_f2(database) {
        let app = TestApp::start(&database);
        let failed = open_grant(&app, UpstreamError::Unavailable("down".into())).await;
        let grant = failed.grant.expect("a /v1 client gets one");
        let redeem = (0..64).map(|_| app.login.complete(with(&grant)));
        let done = futures_util::future::join_all(redeem).await;
        let tokens = done.iter().filter(|done| matches!(done, Ok(Verified::Token(_)))).count();
        assert_eq!((tokens, app.upstream.minted().len()), (1, 1));
        assert_eq!(app.upstream.subjects().len(), 2, "the one that failed, and one");
        assert_eq!(database.audited("token.minted"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn a_grant_that_was_never_given_or_is_too_old_is_nothing(database) {
        let app = TestApp::start(&database);
        let failed = open_grant(&app, UpstreamError::Unavailable("down".into())).await;
        let grant = failed.grant.expect("a /v1 client gets one");
        let stranger = GrantToken::generate(&latchkey::ambient::SeededEntropy::new(99));
        assert!(matches!(app.login.complete(with(&stranger)).await, Ok(Verified::Unproved(Unproved::NoChallenge))));
        app.advance(600);
        assert!(matches!(app.login.complete(with(&grant)).await, Ok(Verified::Unproved(Unproved::NoChallenge))));
        app.stop().await;
    }
}
