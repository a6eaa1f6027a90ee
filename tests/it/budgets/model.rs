//! The statements against a model: a bucket that leaks, told in other words than the statements are.

use std::time::Duration;

use latchkey::domain::limits::{Rate, SendWaits};
use latchkey::domain::time::{Timestamp, millis};
use latchkey::store::{AnyConnection, Store, budgets};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::harness::app::now;
use crate::harness::{Backend, Database, postgres};
use crate::store::settings;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Time passes, in thousandths of the time in which one comes back.
    Passes(u32),
    /// Somebody spends.
    Spend,
    /// Somebody waits exactly as long as they were told, not a millisecond less, and spends.
    WaitAndSpend,
    /// A spend is given back.
    GiveBack,
}

/// Filled by spends, emptied by time: how many ms of it are used.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Rate,
    used_ms: i64,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self { rate, used_ms: 0 }
    }

    fn leak(&mut self, ms: i64) {
        self.used_ms = (self.used_ms - ms).max(0);
    }

    fn holds_ms(&self) -> i64 {
        self.rate.interval_ms() * i64::from(self.rate.burst())
    }

    /// How long until one fits.
    fn wait_ms(&self) -> i64 {
        (self.used_ms + self.rate.interval_ms() - self.holds_ms()).max(0)
    }

    fn spend(&mut self) {
        self.used_ms += self.rate.interval_ms();
    }

    fn give_back(&mut self) {
        self.used_ms = (self.used_ms - self.rate.interval_ms()).max(0);
    }

    /// Spends that are not back yet.
    fn out(&self) -> usize {
        let [used, each] =
            [self.used_ms, self.rate.interval_ms()].map(|ms| usize::try_from(ms).expect("not below empty"));
        used.div_ceil(each)
    }
}

/// One kind of budget: the statement, and the model.
trait Subject: std::fmt::Debug + Clone + Copy + Send + 'static {
    fn leak(&mut self, ms: i64);
    fn wait_ms(&self) -> i64;
    fn spend(&mut self);
    fn give_back(&mut self);
    fn spend_in(self, db: &mut AnyConnection, key: &str, now: Timestamp) -> diesel::QueryResult<bool>;
    fn give_back_in(self, db: &mut AnyConnection, key: &str, now: Timestamp) -> diesel::QueryResult<()>;
    fn opens_at(self, budget: &budgets::Budget) -> Timestamp;
    fn interval_ms(self) -> i64;
}

#[derive(Debug, Clone, Copy)]
struct Plain(Bucket);

impl Subject for Plain {
    fn leak(&mut self, ms: i64) {
        self.0.leak(ms);
    }

    fn wait_ms(&self) -> i64 {
        self.0.wait_ms()
    }

    fn spend(&mut self) {
        self.0.spend();
    }

    fn give_back(&mut self) {}

    fn spend_in(self, db: &mut AnyConnection, key: &str, now: Timestamp) -> diesel::QueryResult<bool> {
        budgets::spend(key, self.0.rate, now).run(db)
    }

    fn give_back_in(self, _: &mut AnyConnection, _: &str, _: Timestamp) -> diesel::QueryResult<()> {
        Ok(())
    }

    fn opens_at(self, budget: &budgets::Budget) -> Timestamp {
        budget.opens_at(self.0.rate)
    }

    fn interval_ms(self) -> i64 {
        self.0.rate.interval_ms()
    }
}

#[derive(Debug, Clone, Copy)]
struct Network {
    unverified: Bucket,
    total: Bucket,
}

impl Subject for Network {
    fn leak(&mut self, ms: i64) {
        self.unverified.leak(ms);
        self.total.leak(ms);
    }

    fn wait_ms(&self) -> i64 {
        self.unverified.wait_ms().max(self.total.wait_ms())
    }

    fn spend(&mut self) {
        self.unverified.spend();
        self.total.spend();
    }

    fn give_back(&mut self) {
        self.unverified.give_back();
    }

    fn spend_in(self, db: &mut AnyConnection, key: &str, now: Timestamp) -> diesel::QueryResult<bool> {
        budgets::spend_network(key, self.unverified.rate, self.total.rate, now).run(db)
    }

    fn give_back_in(self, db: &mut AnyConnection, key: &str, now: Timestamp) -> diesel::QueryResult<()> {
        budgets::credit_network(key.to_owned(), self.unverified.rate, now).run(db).map(|_| ())
    }

    fn opens_at(self, budget: &budgets::Budget) -> Timestamp {
        budget.network_opens_at(self.unverified.rate, self.total.rate)
    }

    fn interval_ms(self) -> i64 {
        self.unverified.rate.interval_ms()
    }
}

#[derive(Debug, Clone, Copy)]
struct Address {
    bucket: Bucket,
    waits: SendWaits,
    wait_ms: i64,
}

impl Subject for Address {
    fn leak(&mut self, ms: i64) {
        self.bucket.leak(ms);
        self.wait_ms = (self.wait_ms - ms).max(0);
    }

    fn wait_ms(&self) -> i64 {
        self.bucket.wait_ms().max(self.wait_ms)
    }

    fn spend(&mut self) {
        self.wait_ms = millis(self.waits.0[self.bucket.out().min(3)]);
        self.bucket.spend();
    }

    fn give_back(&mut self) {
        self.bucket.give_back();
        self.wait_ms = 0;
    }

    fn spend_in(self, db: &mut AnyConnection, key: &str, now: Timestamp) -> diesel::QueryResult<bool> {
        budgets::spend_address(key, self.bucket.rate, self.waits, now).run(db)
    }

    fn give_back_in(self, db: &mut AnyConnection, key: &str, _: Timestamp) -> diesel::QueryResult<()> {
        budgets::refund_address(db, key, self.bucket.rate)
    }

    fn opens_at(self, budget: &budgets::Budget) -> Timestamp {
        budget.address_opens_at(self.bucket.rate)
    }

    fn interval_ms(self) -> i64 {
        self.bucket.rate.interval_ms()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..2500u32).prop_map(Step::Passes),
        6 => Just(Step::Spend),
        2 => Just(Step::WaitAndSpend),
        1 => Just(Step::GiveBack),
    ];
    proptest::collection::vec(step, 1..40)
}

fn rate() -> impl Strategy<Value = Rate> {
    (1..8u32, 8..100_000u64)
        .prop_map(|(burst, ms)| Rate::new(burst, Duration::from_millis(ms)).expect("a rate"))
}

/// Runs random steps on the statement and on the model.
fn check<S: Subject>(subjects: impl Strategy<Value = S>) {
    let backends = [Some(Backend::Sqlite), postgres::is_here().then_some(Backend::Postgres)];
    for backend in backends.into_iter().flatten() {
        let database = Database::fresh(backend);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = Store::open(&settings(&database)).expect("the database");
        let keys = std::cell::Cell::new(0);
        let mut runner =
            TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&(&subjects, steps()), |(subject, steps)| {
            keys.set(keys.get() + 1);
            let key = format!("key{}", keys.get());
            // All in one write: a commit a step would only be slower.
            let job = move |db: &mut AnyConnection| Ok(compare(db, &key, subject, &steps)?);
            let compared =
                runtime.block_on(store.write::<_, (), _>(job)).expect("written").expect("accepted");
            compared.map_err(TestCaseError::fail)
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(why, (subject, steps))) => {
                panic!("{backend:?}: {why}\n{subject:?}\n{steps:?}")
            }
            Err(other) => panic!("{backend:?}: {other}"),
        }
    }
}

fn compare<S: Subject>(
    db: &mut AnyConnection,
    key: &str,
    mut model: S,
    steps: &[Step],
) -> diesel::QueryResult<Result<(), String>> {
    let mut at = now();
    let pass = |model: &mut S, at: &mut Timestamp, ms: i64| {
        model.leak(ms);
        *at = at.plus(Duration::from_millis(ms.unsigned_abs()));
    };
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Passes(thousandths) => {
                let ms = model.interval_ms() * i64::from(*thousandths) / 1000;
                pass(&mut model, &mut at, ms);
                continue;
            }
            Step::GiveBack => {
                model.give_back();
                model.give_back_in(db, key, at)?;
            }
            Step::Spend => {}
            Step::WaitAndSpend => {
                let wait = model.wait_ms();
                if wait > 0 {
                    pass(&mut model, &mut at, wait - 1);
                    if model.spend_in(db, key, at)? {
                        return Ok(Err(format!("step {index}: spent a millisecond too early")));
                    }
                    pass(&mut model, &mut at, 1);
                }
            }
        }
        if let Some(budget) = budgets::find(db, key)? {
            let said = model.opens_at(&budget).wait_from(at);
            if millis(said) != model.wait_ms() {
                return Ok(Err(format!("step {index}: says {said:?}, and it is {} ms", model.wait_ms())));
            }
        }
        if matches!(step, Step::GiveBack) {
            continue;
        }
        let fits = model.wait_ms() == 0;
        if model.spend_in(db, key, at)? != fits {
            return Ok(Err(format!("step {index}: it should be {fits}")));
        }
        if fits {
            model.spend();
        }
    }
    Ok(Ok(()))
}

#[test]
fn a_plain_budget_is_what_the_model_says() {
    check(rate().prop_map(|rate| Plain(Bucket::new(rate))));
}

#[test]
fn a_networks_budget_is_what_the_model_says() {
    check((rate(), rate()).prop_map(|(unverified, total)| Network {
        unverified: Bucket::new(unverified),
        total: Bucket::new(total),
    }));
}

#[test]
fn an_addresss_budget_is_what_the_model_says() {
    let waits = proptest::array::uniform4((0..20_000u64).prop_map(Duration::from_millis));
    check((rate(), waits).prop_map(|(rate, waits)| Address {
        bucket: Bucket::new(rate),
        waits: SendWaits(waits),
        wait_ms: 0,
    }));
}
