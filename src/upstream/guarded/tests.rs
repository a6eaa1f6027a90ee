use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::Map;
use zeroize::Zeroizing;

use super::*;
use crate::ambient::{ManualClock, SeededEntropy};
use crate::domain::address::Address;
use crate::domain::ids::UserId;

type Answer = Result<(), UpstreamError>;

/// Answers by the number of the call, from 0.
struct Backend {
    answer: Box<dyn Fn(usize) -> Answer + Send + Sync>,
    calls: AtomicUsize,
    may_mint_twice: bool,
    /// Calls wait for this.
    gate: tokio::sync::Semaphore,
}

impl Upstream for Backend {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        async move {
            let answer = (self.answer)(self.calls.fetch_add(1, Ordering::SeqCst));
            let _turn = self.gate.acquire().await;
            let (token, user_id) = (Zeroizing::new("token".to_owned()), subject.user.to_string());
            answer.map(|()| ChatToken { provider: "fake", token, user_id, extra: Map::new() })
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, _subject: &'a Subject) -> BoxFuture<'a, Answer> {
        async { (self.answer)(self.calls.fetch_add(1, Ordering::SeqCst)) }.boxed()
    }

    fn may_mint_twice(&self) -> bool {
        self.may_mint_twice
    }
}

/// No pause is random: all are as short as they may be.
struct NoPause;

impl Entropy for NoPause {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

struct World {
    guarded: Guarded,
    backend: Arc<Backend>,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    subject: Subject,
}

fn world(may_mint_twice: bool, answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> World {
    let gate = tokio::sync::Semaphore::new(1000);
    let backend =
        Arc::new(Backend { answer: Box::new(answer), calls: AtomicUsize::new(0), may_mint_twice, gate });
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_767_225_600_000)));
    let metrics = Arc::new(Metrics::default());
    let surroundings = Surroundings {
        clock: Arc::<ManualClock>::clone(&clock),
        entropy: Arc::new(NoPause),
        metrics: Arc::clone(&metrics),
    };
    let inner: Arc<dyn Upstream> = Arc::<Backend>::clone(&backend);
    let guarded = Guarded::new("chat", inner, Duration::from_secs(10), surroundings);
    let subject = Subject {
        user: UserId::generate(&SeededEntropy::new(1)),
        upstream_id: None,
        address: Address::parse("+12015550123").expect("a number"),
        app_id: "com.example".to_owned(),
        name: None,
    };
    World { guarded, backend, clock, metrics, subject }
}

impl World {
    async fn mint(&self) -> Answer {
        self.guarded.mint(&self.subject).await.map(drop)
    }

    fn calls(&self) -> usize {
        self.backend.calls.load(Ordering::SeqCst)
    }

    /// Saves up one retry.
    async fn with_a_retry(self) -> Self {
        for _ in 0..10 {
            assert_eq!(self.mint().await, Ok(()));
        }
        self
    }

    fn metric(&self, name: &str) -> String {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
    }
}

fn down() -> Answer {
    Err(UpstreamError::Unavailable("down".to_owned()))
}

#[tokio::test]
async fn an_open_circuit_costs_no_call_and_says_when_to_come_back_f5() {
    let world = world(false, |call| if call < 5 { down() } else { Ok(()) });
    for _ in 0..5 {
        assert_eq!(world.mint().await, down());
    }
    assert_eq!(
        (world.guarded.circuit(), world.metric("latchkey_upstream_circuit{").as_str()),
        (Some(Circuit::Open), "2")
    );
    for _ in 0..100 {
        assert_eq!(world.mint().await, Err(UpstreamError::Resting { after: Duration::from_secs(5) }));
    }
    assert_eq!(
        world.guarded.revoke(&world.subject).await,
        Err(UpstreamError::Resting { after: Duration::from_secs(5) })
    );
    assert_eq!(world.calls(), 5);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.mint().await, Ok(()));
    assert_eq!(
        (world.guarded.circuit(), world.metric("latchkey_upstream_circuit{").as_str()),
        (Some(Circuit::Closed), "0")
    );
}

#[tokio::test]
async fn of_64_at_once_one_probes_and_the_others_are_told_to_wait_f5() {
    let world = world(false, |call| if call < 5 { down() } else { Ok(()) });
    for _ in 0..5 {
        assert!(world.mint().await.is_err());
    }
    world.clock.advance(Duration::from_secs(5));
    let closed = world.backend.gate.acquire_many(1000).await.expect("open");
    let probes: Vec<_> = (0..64).map(|_| world.mint()).collect();
    let all = join_all(probes);
    let answer_when_all_have_asked = async {
        // One turn of the runtime polls all of them once.
        tokio::task::yield_now().await;
        assert_eq!(world.guarded.circuit(), Some(Circuit::HalfOpen));
        drop(closed);
    };
    let (answers, ()) = tokio::join!(all, answer_when_all_have_asked);
    let resting =
        answers.iter().filter(|answer| matches!(answer, Err(UpstreamError::Resting { .. }))).count();
    assert_eq!((world.calls(), resting), (6, 63));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_has_failed_f5() {
    let world = world(false, |_| Ok(()));
    let closed = world.backend.gate.acquire_many(1000).await.expect("open");
    for _ in 0..5 {
        assert_eq!(world.guarded.circuit(), Some(Circuit::Closed));
        assert!(world.mint().now_or_never().is_none(), "it hangs, and is given up");
    }
    assert_eq!(world.guarded.circuit(), Some(Circuit::Open));
    // The same for a probe: the next one is due after the next wait, not never.
    world.clock.advance(Duration::from_secs(5));
    assert!(world.mint().now_or_never().is_none());
    assert_eq!(world.mint().await, Err(UpstreamError::Resting { after: Duration::from_secs(10) }));
    drop(closed);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.mint().await, Ok(()));
}

#[tokio::test]
async fn answers_do_not_open_it_however_many_there_are_f5() {
    let answers = [
        UpstreamError::Refused("banned".to_owned()),
        UpstreamError::Misconfigured("a wrong key".to_owned()),
        UpstreamError::Throttled { after: Duration::ZERO, said: "too many calls".to_owned() },
    ];
    for answer in answers {
        let said = answer.clone();
        let world = world(true, move |_| Err(said.clone()));
        for _ in 0..50 {
            assert_eq!(world.mint().await, Err(answer.clone()));
        }
        assert_eq!(
            (world.calls(), world.guarded.circuit()),
            (50, Some(Circuit::Closed)),
            "and none is repeated"
        );
    }
}

#[tokio::test]
async fn a_throttled_backend_is_not_called_until_it_wants_to_be_f5() {
    let after = Duration::from_secs(30);
    let throttled = UpstreamError::Throttled { after, said: "too many calls".to_owned() };
    let world = world(false, move |call| if call == 0 { Err(throttled.clone()) } else { Ok(()) });
    assert!(world.mint().await.is_err());
    world.clock.advance(Duration::from_secs(29));
    let left = Duration::from_secs(1);
    assert!(matches!(world.mint().await, Err(UpstreamError::Throttled { after, .. }) if after == left));
    assert_eq!(world.calls(), 1);
    world.clock.advance(left);
    assert_eq!(world.mint().await, Ok(()));
}

#[tokio::test]
async fn only_what_is_safe_is_called_again_f5() {
    let lost = || UpstreamError::Unknown("cut".to_owned());
    let cases = [
        (false, UpstreamError::Unavailable("down".to_owned()), true),
        (true, UpstreamError::Unavailable("down".to_owned()), true),
        (false, lost(), false),
        (true, lost(), true),
    ];
    for (may_mint_twice, error, again) in cases {
        let said = error.clone();
        let world = world(may_mint_twice, move |call| if call == 10 { Err(said.clone()) } else { Ok(()) });
        let world = world.with_a_retry().await;
        assert_eq!(
            world.mint().await,
            if again { Ok(()) } else { Err(error.clone()) },
            "{error} {may_mint_twice}"
        );
        assert_eq!(world.calls(), if again { 12 } else { 11 });
        let counted = world.metric("latchkey_upstream_retries_total{");
        assert_eq!(counted, if again { "1" } else { "" });
    }
    let world = world(false, move |call| if call == 10 { Err(lost()) } else { Ok(()) }).with_a_retry().await;
    assert_eq!(world.guarded.revoke(&world.subject).await, Ok(()), "what is revoked twice is revoked");
}

#[tokio::test]
async fn a_late_failure_is_not_called_again_f5() {
    let clock = Arc::new(Mutex::new(None::<Arc<ManualClock>>));
    let slow = Arc::clone(&clock);
    let world = world(false, move |call| {
        if call < 10 {
            return Ok(());
        }
        let clock = slow.lock().unwrap();
        clock.as_ref().expect("it is set").advance(Duration::from_secs(5));
        down()
    });
    *clock.lock().unwrap() = Some(Arc::clone(&world.clock));
    let world = world.with_a_retry().await;
    assert_eq!(world.mint().await, down());
    assert_eq!(world.calls(), 11, "half of the deadline was over");
}

#[tokio::test]
async fn a_storm_adds_a_tenth_to_the_load_at_most_f5() {
    // Too often for anybody's liking, but not in a row: the circuit stays closed.
    let world = world(false, |call| if call % 4 == 0 { Ok(()) } else { down() });
    for _ in 0..5_000 {
        let _ = world.mint().await;
    }
    let calls = world.calls();
    assert!(calls > 5_400, "retries there are: {calls}");
    assert!(calls <= 5_500, "{calls}");
    assert_eq!(world.guarded.circuit(), Some(Circuit::Closed));
}

#[tokio::test]
async fn a_call_is_made_three_times_at_most_f5() {
    let world = world(false, |call| if call < 100 { Ok(()) } else { down() });
    for _ in 0..100 {
        assert!(world.mint().await.is_ok());
    }
    assert_eq!(world.mint().await, down());
    assert_eq!(world.calls(), 103);
}
