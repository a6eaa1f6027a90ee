//! Killed under load, again and again: what was acknowledged stays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use latchkey::ambient::{Entropy, SystemEntropy};

use crate::harness::app::Answer;
use crate::harness::process::{Client, Server, Settings, until, wrong};
use crate::harness::{Database, on_both};

const ROUNDS: usize = 10;
const CLIENTS: usize = 6;

/// What a server acknowledged about one number.
struct Fact {
    code: String,
    /// Wrong guesses that were answered.
    failures: i64,
    /// The right code was posted.
    posted: bool,
    /// And a token came back.
    consumed: bool,
}

#[derive(Default)]
struct Facts {
    /// Of this round.
    by_phone: Mutex<BTreeMap<String, Fact>>,
    phones: AtomicU64,
}

impl Facts {
    fn of(&self, phone: &str, note: impl FnOnce(&mut Fact)) {
        note(self.by_phone.lock().unwrap().get_mut(phone).expect("it was started"));
    }

    fn count(&self, which: impl Fn(&Fact) -> bool) -> usize {
        self.by_phone.lock().unwrap().values().filter(|fact| which(fact)).count()
    }

    /// A number that nobody used.
    fn phone(&self) -> String {
        format!("1{}", 2_120_000_000 + self.phones.fetch_add(1, Ordering::Relaxed))
    }
}

/// Logs numbers in, every other one with wrong guesses alone, until the server is gone.
async fn use_it(client: Client, settings: Settings, facts: Arc<Facts>) -> reqwest::Result<()> {
    for gives_up in [true, false].into_iter().cycle() {
        let phone = facts.phone();
        let started = client.start_login(&phone).await?;
        assert!(started.is_ok(), "{started:?}");
        let code = settings.only_code(&phone);
        let fact = Fact { code: code.clone(), failures: 0, posted: false, consumed: false };
        facts.by_phone.lock().unwrap().insert(phone.clone(), fact);
        for _ in 0..if gives_up { 2 } else { 1 } {
            let refused = client.verify(&phone, wrong(&code)).await?;
            assert_eq!(refused.error(), "BADUSER", "{refused:?}");
            facts.of(&phone, |fact| fact.failures += 1);
        }
        if !gives_up {
            facts.of(&phone, |fact| fact.posted = true);
            let answer = client.verify(&phone, &code).await?;
            assert!(answer.token().is_some(), "{answer:?}");
            facts.of(&phone, |fact| fact.consumed = true);
        }
    }
    Ok(())
}

/// Asks the server that came after the killed one.
async fn check(client: &Client, database: &Database, phone: &str, fact: &Fact) {
    let token = |answer: reqwest::Result<Answer>| answer.expect("an answer").token();
    let failures = format!("SELECT failures AS n FROM guards WHERE address = '+{phone}'");
    let counted = database.number(&failures);
    if !fact.posted {
        assert!(counted >= fact.failures, "{phone}: {counted} of {} failures are left", fact.failures);
    }
    let first = token(client.verify(phone, &fact.code).await);
    if fact.consumed {
        assert_eq!(first, None, "{phone}: accepted before the crash, and again after it");
    } else if !fact.posted {
        assert!(first.is_some(), "{phone}: the code that was sent is lost");
    }
    assert_eq!(token(client.verify(phone, &fact.code).await), None, "{phone}: accepted twice");
}

fn random_wait() -> Duration {
    let mut byte = [0];
    SystemEntropy.fill(&mut byte);
    Duration::from_millis(u64::from(byte[0]))
}

on_both! {
    async fn what_was_acknowledged_outlives_kill_9_under_load_k9_m7(database) {
        let settings = Settings::of(&database).without_send_limits();
        let (mut consumed, mut failed) = (0, 0);
        let mut server = Server::start(&settings).await;
        let facts = Arc::new(Facts::default());
        for _ in 0..ROUNDS {
            let users: Vec<_> = (0..CLIENTS)
                .map(|_| use_it(server.client.clone(), settings.clone(), Arc::clone(&facts)))
                .collect();
            let killed = async {
                until("a code is consumed", || facts.count(|fact| fact.consumed) > 0).await;
                tokio::time::sleep(random_wait()).await;
                server.process.kill();
            };
            let (ends, ()) = tokio::join!(join_all(users), killed);
            assert!(ends.iter().all(Result::is_err), "each client was cut off");
            consumed += facts.count(|fact| fact.consumed);
            failed += facts.count(|fact| fact.failures > 0 && !fact.posted);

            server = Server::start(&settings).await;
            let known = std::mem::take(&mut *facts.by_phone.lock().unwrap());
            for (phone, fact) in &known {
                check(&server.client, &database, phone, fact).await;
            }
        }
        assert!(consumed >= ROUNDS && failed > 0, "{consumed} consumed, {failed} failed");
        for event in ["code.consumed", "token.minted"] {
            let twice = format!(
                "SELECT count(*) AS n FROM (SELECT challenge_id FROM audit WHERE event = '{event}' \
                 GROUP BY challenge_id HAVING count(*) > 1) AS doubled"
            );
            assert_eq!(database.number(&twice), 0, "{event}");
        }
        let unproved = "SELECT count(*) AS n FROM audit AS minted WHERE event = 'token.minted' AND NOT EXISTS \
                        (SELECT 1 FROM audit WHERE event = 'code.consumed' \
                        AND challenge_id = minted.challenge_id)";
        assert_eq!(database.number(unproved), 0);
        eprintln!("{consumed} consumed codes and {failed} failing numbers were acknowledged before a kill");
    }
}
