use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use super::super::Text;
use super::*;
use crate::ambient::{ManualClock, SeededEntropy};
use crate::config::Config;
use crate::domain::address::Address;
use crate::domain::code::{Code, CodeLength};
use crate::domain::ids::MessageId;
use crate::domain::purpose::Purpose;
use crate::domain::selection::{Ruling, Tally};
use crate::domain::time::Timestamp;

type Answers = Arc<Mutex<BTreeMap<String, Result<Receipt, SendError>>>>;

/// Answers as it is told; where it is told nothing, never.
struct Scripted {
    name: String,
    answers: Answers,
    log: Arc<Mutex<Vec<String>>>,
}

impl Provider for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn send<'a>(&'a self, message: &'a OutgoingCode) -> BoxFuture<'a, Result<Receipt, SendError>> {
        self.log.lock().unwrap().push(format!(
            "{} {} {}",
            self.name,
            message.id,
            message.code.as_ref().map_or("", Code::reveal)
        ));
        match self.answers.lock().unwrap().get(&self.name) {
            Some(answer) => std::future::ready(answer.clone()).boxed(),
            None => std::future::pending().boxed(),
        }
    }

    fn feedback<'a>(&'a self, used: &'a UsedCode) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        (self.name != "c").then(|| {
            self.log.lock().unwrap().push(format!("{} told of {}", self.name, used.provider_id));
            std::future::ready(Ok(())).boxed()
        })
    }
}

/// Providers a, b and c, which take everything, and what a test does to them.
struct Scene {
    courier: Courier,
    board: Arc<Board>,
    clock: Arc<ManualClock>,
    answers: Answers,
    log: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new(table: &str) -> Self {
        let names = ["a", "b", "c"];
        let provider = |name: &str| format!("providers.{name}.kind = \"console\"\n");
        let table = format!("{}{table}", names.map(provider).concat());
        let mut table: toml::Table = table.parse().unwrap_or_else(|error| panic!("{error}: {table}"));
        if !table.contains_key("routes") {
            table.insert("routes".to_owned(), toml::toml! { sms.default = ["a", "b", "c"] }.into());
        }
        let config =
            Config::parse(table, "a test", &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
        let answers: Answers = Arc::default();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let providers = names.map(|name| -> Arc<dyn Provider> {
            answers.lock().unwrap().insert(name.to_owned(), took());
            let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
            Arc::new(Scripted { name: name.to_owned(), answers, log })
        });
        let board: Arc<Board> = Arc::default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_767_225_600_000)));
        let around = Surroundings {
            board: Arc::clone(&board),
            clock: Arc::<ManualClock>::clone(&clock),
            entropy: Arc::new(SeededEntropy::new(1)),
            metrics: Arc::default(),
        };
        let rules = Rules { routes: config.routes, terms: config.terms, prices: config.prices };
        Self { courier: Courier::new(providers.to_vec(), rules, around), board, clock, answers, log }
    }

    fn answer(&self, name: &str, answer: Result<Receipt, SendError>) {
        self.answers.lock().unwrap().insert(name.to_owned(), answer);
    }

    /// Sends one message; the report, and who was offered it.
    async fn send(&self) -> (Report, Vec<String>) {
        let message = message("123456");
        let plan = self.courier.plan(Channel::Sms, &message, &[]);
        let report = self.courier.deliver(&plan, &message, Duration::from_millis(20)).await;
        (report, std::mem::take(&mut *self.log.lock().unwrap()))
    }

    /// Who was offered one message.
    async fn asked(&self) -> String {
        let (_, log) = self.send().await;
        log.iter().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join(" ")
    }

    fn plan(&self, text: &str, avoid: &[&str]) -> String {
        let avoid: Vec<String> = avoid.iter().map(|name| (*name).to_owned()).collect();
        self.courier.plan(Channel::Sms, &message(text), &avoid).to_string()
    }

    fn rule(&self, rulings: &[(&str, Says)]) {
        let until = self.courier.around.clock.now().plus(Duration::from_mins(1));
        let ruling = |(name, says): &(&str, Says)| ((*name).to_owned(), Ruling { says: *says, until });
        self.board.update(rulings.iter().map(ruling).collect(), BTreeMap::new());
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as providers answer")]
fn took() -> Result<Receipt, SendError> {
    Ok(Receipt { provider_id: Some("two".to_owned()) })
}

fn why() -> String {
    "why".to_owned()
}

fn message(text: &str) -> OutgoingCode {
    OutgoingCode {
        id: MessageId::generate(&SeededEntropy::new(1)),
        to: Address::parse("+18005551234").unwrap(),
        purpose: Purpose::LOGIN,
        code: Code::parse("123456", CodeLength::SIX),
        app_id: "com.messenger.appid".to_owned(),
        app_name: "Messenger".to_owned(),
        lifetime: Duration::from_mins(5),
        text: Text {
            locale: "en".to_owned(),
            subject: "Messenger".to_owned(),
            body: Zeroizing::new(text.to_owned()),
        },
    }
}

#[tokio::test]
async fn a_definite_no_goes_to_the_next_provider_with_the_same_message_and_code_c10() {
    let refusals = [
        SendError::Unroutable(why()),
        SendError::Rejected(why()),
        SendError::Auth(why()),
        SendError::NoFunds(why()),
        SendError::Throttled { said: why(), after: None },
        SendError::Temporary(why()),
    ];
    for refusal in refusals {
        let scene = Scene::new("");
        scene.answer("a", Err(refusal.clone()));
        let (report, log) = scene.send().await;
        assert_eq!(report.provider.as_deref(), Some("b"), "{refusal}");
        assert_eq!((report.result, report.failed), (took(), vec![("a".to_owned(), refusal.kind())]));
        assert_eq!(log.len(), 2);
        assert_eq!(log[0].strip_prefix('a'), log[1].strip_prefix('b'));
    }
}

#[tokio::test]
async fn what_another_provider_cannot_better_or_must_not_repeat_ends_the_route_c11() {
    for end in [SendError::BadNumber(why()), SendError::Blocked(why()), SendError::Unknown(why())] {
        let scene = Scene::new("");
        scene.answer("a", Err(end.clone()));
        let (report, log) = scene.send().await;
        assert_eq!((report.result, log.len()), (Err(end), 1));
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_unknown_and_nobody_sends_again_c11() {
    let scene = Scene::new("");
    scene.answers.lock().unwrap().remove("a");
    let (report, log) = scene.send().await;
    assert!(matches!(report.result, Err(SendError::Unknown(_))), "{report:?}");
    assert_eq!((report.provider.as_deref(), log.len()), (Some("a"), 1));
    assert_eq!(report.failed, [("a".to_owned(), "unknown")]);
    for _ in 0..4 {
        scene.send().await;
    }
    assert_eq!(scene.asked().await, "b", "the breaker noted the five that nobody waited for");
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_until_one_message_finds_it_back_f5() {
    let scene = Scene::new("");
    scene.answer("a", Err(SendError::Temporary(why())));
    for _ in 0..5 {
        assert_eq!(scene.asked().await, "a b");
    }
    assert_eq!(scene.asked().await, "b");
    scene.clock.advance(Duration::from_secs(5));
    assert_eq!(scene.asked().await, "a b", "the probe");
    assert_eq!(scene.asked().await, "b");
    scene.answer("a", took());
    scene.clock.advance(Duration::from_secs(10));
    assert_eq!([scene.asked().await, scene.asked().await], ["a", "a"]);
}

#[tokio::test]
async fn wrong_credentials_and_an_empty_account_are_noticed_at_once_f5() {
    for error in [SendError::Auth(why()), SendError::NoFunds(why())] {
        let scene = Scene::new("");
        scene.answer("a", Err(error));
        assert_eq!([scene.asked().await, scene.asked().await], ["a b", "b"]);
    }
    let scene = Scene::new("");
    scene.answer("a", Err(SendError::Throttled { said: why(), after: None }));
    assert_eq!([scene.asked().await, scene.asked().await], ["a b", "b"]);
    scene.clock.advance(Duration::from_secs(5));
    assert_eq!(scene.asked().await, "a b");
}

#[tokio::test]
async fn a_provider_that_says_how_long_to_leave_it_alone_is_left_alone_for_so_long_f5() {
    // The longest that a provider's word is taken for is five minutes.
    for (asked, rest) in [(30, 30), (1, 1), (3600, 300)] {
        let scene = Scene::new("");
        let after = Some(Duration::from_secs(asked));
        scene.answer("a", Err(SendError::Throttled { said: why(), after }));
        assert_eq!([scene.asked().await, scene.asked().await], ["a b", "b"], "{asked}");
        scene.clock.advance(Duration::from_millis(rest * 1000 - 1));
        assert_eq!(scene.asked().await, "b", "{asked}");
        scene.clock.advance(Duration::from_millis(1));
        assert_eq!(scene.asked().await, "a b", "{asked}");
    }
}

#[tokio::test]
async fn who_is_left_alone_is_asked_when_nobody_else_took_the_message() {
    let scene = Scene::new("[routes.sms]\ndefault = [\"a\", \"b\"]");
    scene.answer("a", Err(SendError::Auth(why())));
    assert_eq!(scene.asked().await, "a b");
    scene.answer("a", took());
    scene.answer("b", Err(SendError::Temporary(why())));
    assert_eq!(scene.asked().await, "b a");
    assert_eq!(scene.asked().await, "a", "it has been seen to answer");
}

#[tokio::test]
async fn no_more_are_tried_than_the_route_says() {
    let scene = Scene::new("[routes.sms]\ndefault = [\"a\", \"b\", \"c\"]\nmax_tries = 2");
    for name in ["a", "b"] {
        scene.answer(name, Err(SendError::Temporary(why())));
    }
    let (report, log) = scene.send().await;
    assert_eq!((report.provider.as_deref(), log.len(), report.failed.len()), (Some("b"), 2, 2));
    scene.answer("a", Err(SendError::Auth(why())));
    scene.send().await;
    assert_eq!(scene.asked().await, "b c", "one that is passed over is no try");
}

#[tokio::test]
async fn more_than_a_provider_takes_in_a_second_goes_to_the_next() {
    let scene = Scene::new("providers.a.per_second = 2");
    let asked = [scene.asked().await, scene.asked().await, scene.asked().await];
    assert_eq!(asked, ["a", "a", "b"]);
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.asked().await, "a");
}

#[test]
fn a_plan_leaves_out_who_cannot_carry_the_message_and_whom_an_operator_disabled() {
    let scene = Scene::new("providers.a.countries = [\"GB\"]\nproviders.b.charset = \"gsm7\"");
    assert_eq!(scene.plan("123456", &[]), "via b, c (ordered)");
    assert_eq!(scene.plan("код 123456", &[]), "via c (ordered)");
    scene.rule(&[("c", Says::Disabled)]);
    assert_eq!(scene.plan("123456", &[]), "via b (ordered)");
    assert_eq!(scene.plan("код 123456", &[]), "via nobody (ordered)");
    scene.clock.advance(Duration::from_mins(1));
    assert_eq!(scene.plan("123456", &[]), "via b, c (ordered)", "for as long as was said");
}

#[test]
fn a_plan_puts_whom_an_operator_promoted_first_and_leaves_out_who_failed_this_person() {
    let scene = Scene::new("");
    scene.rule(&[("c", Says::Promoted)]);
    assert_eq!(scene.plan("1", &[]), "via c, a, b (ordered)");
    assert_eq!(scene.plan("1", &["c"]), "via a, b (ordered)");
    assert_eq!(scene.plan("1", &["a", "b", "c"]), "via c, a, b (ordered)", "somebody waits for the code");
}

#[tokio::test]
async fn a_message_that_nobody_may_take_is_unroutable() {
    let scene = Scene::new("");
    scene.rule(&[("a", Says::Disabled), ("b", Says::Disabled), ("c", Says::Disabled)]);
    let (report, log) = scene.send().await;
    assert_eq!(report.result.as_ref().map_err(SendError::kind), Err("unroutable"));
    assert_eq!((report.provider, log.len(), report.failed.len()), (None, 0, 0));
}

#[test]
fn an_adaptive_plan_follows_the_codes_that_came_back_from_the_country_and_the_prices() {
    let table = "[routes.sms]\ndefault = [\"a\", \"b\"]\nstrategy = \"adaptive\"\n\
                 [prices]\nlogin_worth = 0.5\n[prices.a]\n\"+1\" = 0.01\n[prices.b]\ndefault = 0.02\n";
    let scene = Scene::new(table);
    let us = message("1").to.country().expect("a country");
    let tally = |sent, verified| Tally { sent, verified };
    let known = [(("a".to_owned(), us), tally(400, 100)), (("b".to_owned(), us), tally(400, 390))];
    scene.board.update(BTreeMap::new(), known.into());
    let plans: Vec<String> = (0..50).map(|_| scene.plan("1", &[])).collect();
    assert!(plans.iter().all(|plan| plan == "via b, a (adaptive)"), "{plans:?}");
    let plan = scene.courier.plan(Channel::Sms, &message(&"1".repeat(200)), &[]);
    let money = |text: &str| Money::parse(text).expect(text);
    assert_eq!(
        (plan.price("a"), plan.price("b"), plan.dearest()),
        (money("0.02"), money("0.04"), money("0.04"))
    );
}

#[tokio::test]
async fn a_provider_that_asks_is_told_once_that_its_code_was_used_and_nobody_waits_for_it() {
    let scene = Scene::new("");
    let used = |provider_id: &str| {
        let OutgoingCode { id, to, code, .. } = message("1");
        UsedCode { id, provider_id: provider_id.to_owned(), to, code: code.expect("a code") }
    };
    for name in ["a", "c", "gone"] {
        scene.courier.tell_used(name, used("VE1"));
    }
    assert!(scene.log.lock().unwrap().is_empty(), "nothing is done in place");
    while scene.log.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*scene.log.lock().unwrap(), ["a told of VE1"]);
}

#[test]
fn a_channel_leads_to_somebody_where_a_plan_would_have_a_provider() {
    let scene = Scene::new(
        "providers.a.countries = [\"IN\"]\nproviders.b.charset = \"gsm7\"\n[routes.sms]\ndefault = [\"a\", \"b\"]\n\
         rules = [{ countries = [\"GB\"], providers = [\"c\"] }, { locales = [\"ru\"], providers = [\"c\"] }]",
    );
    let leads = |number: &str, locale: &str, text: &str| {
        let mut message = message(text);
        message.to = Address::parse(number).unwrap();
        locale.clone_into(&mut message.text.locale);
        let trip = Trip { channel: Channel::Sms, to: &message.to, app_id: &message.app_id, locale };
        let leads = scene.courier.leads(&trip, || text.is_ascii());
        let plan = scene.courier.plan(Channel::Sms, &message, &[]);
        assert_eq!(leads, !plan.providers.is_empty(), "{number} {locale} {text}: {plan}");
        leads
    };
    let (us, gb, india) = ("+12015550101", "+447400123456", "+919876543210");
    assert!(leads(us, "en", "code") && leads(us, "ru", "код") && leads(gb, "en", "код"));
    assert!(!leads(us, "bg", "код"), "b writes no such letters, and a serves India alone");
    scene.rule(&[("b", Says::Disabled)]);
    assert!(!leads(us, "en", "code") && leads(india, "en", "код"));
    scene.rule(&[("c", Says::Disabled)]);
    assert!(!leads(gb, "en", "code") && !leads(us, "ru", "код"));
}

#[test]
fn a_text_is_looked_at_only_where_its_alphabet_decides() {
    let to = Address::parse("+12015550101").unwrap();
    let trip = |channel| Trip { channel, to: &to, app_id: "x", locale: "en" };
    let scene = Scene::new("providers.a.charset = \"gsm7\"");
    assert!(scene.courier.leads(&trip(Channel::Sms), || panic!("b writes all")));
    assert!(!scene.courier.leads(&trip(Channel::Voice), || panic!("nobody calls")));
}
