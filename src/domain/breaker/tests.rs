use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + secs * 1000)
}

fn ticket(breaker: &mut Breaker, now: Timestamp) -> Ticket {
    match breaker.admit(now) {
        Admission::Call(ticket) => ticket,
        refused @ (Admission::Resting(_) | Admission::Throttled(_)) => panic!("{refused:?}"),
    }
}

/// One whole call.
fn call(breaker: &mut Breaker, now: Timestamp, outcome: Outcome) {
    let ticket = ticket(breaker, now);
    breaker.note(ticket, outcome, now);
}

/// One that opened at `at(0)`.
fn open() -> Breaker {
    let mut breaker = Breaker::new();
    (0..MAX_FAILURES).for_each(|_| call(&mut breaker, at(0), Outcome::Failed));
    assert_eq!(breaker.circuit(), Circuit::Open);
    breaker
}

#[test]
fn only_an_unbroken_row_of_failures_opens_it_f5() {
    use Outcome::{Answered as A, Failed as F};
    let cases: [(&[Outcome], Circuit); 6] = [
        (&[F, F, F, F], Circuit::Closed),
        (&[F, F, F, F, F], Circuit::Open),
        (&[F, F, F, F, A, F, F, F, F], Circuit::Closed),
        (&[F, F, F, F, A, F, F, F, F, F], Circuit::Open),
        (&[A, A, A, A, A, A], Circuit::Closed),
        (&[F, F, F, F, Outcome::Throttled(Duration::ZERO), F, F], Circuit::Closed),
    ];
    for (outcomes, circuit) in cases {
        let mut breaker = Breaker::new();
        for outcome in outcomes {
            call(&mut breaker, at(0), *outcome);
        }
        assert_eq!(breaker.circuit(), circuit, "{outcomes:?}");
    }
}

#[test]
fn while_it_is_open_everybody_is_told_how_long_and_then_one_probe_goes_f5() {
    let mut breaker = open();
    assert_eq!(breaker.admit(at(0)), Admission::Resting(FIRST_WAIT));
    assert_eq!(breaker.admit(at(4)), Admission::Resting(SECOND));
    let probe = ticket(&mut breaker, at(5));
    assert_eq!(breaker.circuit(), Circuit::HalfOpen);
    for _ in 0..100 {
        assert_eq!(breaker.admit(at(5)), Admission::Resting(PROBE_WAIT));
    }
    breaker.note(probe, Outcome::Answered, at(6));
    assert_eq!(breaker.circuit(), Circuit::Closed);
    // It is as good as new: four failures are borne again.
    (0..MAX_FAILURES - 1).for_each(|_| call(&mut breaker, at(6), Outcome::Failed));
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

#[test]
fn each_probe_that_fails_doubles_the_wait_up_to_a_minute_f5() {
    let mut breaker = open();
    let mut now = 0;
    for wait in [5, 10, 20, 40, 60, 60, 60] {
        let told = breaker.admit(at(now));
        assert_eq!(told, Admission::Resting(u32::try_from(wait).expect("positive") * SECOND));
        now += wait;
        call(&mut breaker, at(now), Outcome::Failed);
        assert_eq!(breaker.circuit(), Circuit::Open);
    }
    call(&mut breaker, at(now + 60), Outcome::Answered);
    (0..MAX_FAILURES).for_each(|_| call(&mut breaker, at(now + 60), Outcome::Failed));
    assert_eq!(breaker.admit(at(now + 60)), Admission::Resting(FIRST_WAIT), "from the beginning again");
}

#[test]
fn calls_from_before_a_change_have_no_say_after_it_f5() {
    let mut breaker = Breaker::new();
    let late: Vec<Ticket> = (0..20).map(|_| ticket(&mut breaker, at(0))).collect();
    late.iter().take(5).for_each(|ticket| breaker.note(*ticket, Outcome::Failed, at(1)));
    assert_eq!(breaker.circuit(), Circuit::Open);
    // Neither more failures nor a lucky one change when it is looked at again.
    for ticket in &late {
        breaker.note(*ticket, Outcome::Failed, at(3));
    }
    breaker.note(late[19], Outcome::Answered, at(3));
    assert_eq!(breaker.admit(at(3)), Admission::Resting(3 * SECOND));
    let probe = ticket(&mut breaker, at(6));
    breaker.note(late[7], Outcome::Answered, at(6));
    breaker.note(late[8], Outcome::Failed, at(6));
    assert_eq!(breaker.circuit(), Circuit::HalfOpen, "the probe decides");
    breaker.note(probe, Outcome::Answered, at(6));
    breaker.note(probe, Outcome::Failed, at(6));
    for ticket in &late {
        breaker.note(*ticket, Outcome::Failed, at(6));
    }
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

#[test]
fn a_backend_that_asks_to_be_left_alone_is_and_no_longer_than_five_minutes_f5() {
    let mut breaker = Breaker::new();
    let late = ticket(&mut breaker, at(0));
    call(&mut breaker, at(0), Outcome::Throttled(10 * SECOND));
    assert_eq!(breaker.admit(at(3)), Admission::Throttled(7 * SECOND));
    breaker.note(late, Outcome::Throttled(2 * SECOND), at(3));
    assert_eq!(breaker.admit(at(3)), Admission::Throttled(7 * SECOND), "a shorter one shortens nothing");
    assert_eq!(breaker.circuit(), Circuit::Closed);
    call(&mut breaker, at(10), Outcome::Throttled(Duration::from_hours(24)));
    assert_eq!(breaker.admit(at(10)), Admission::Throttled(LONGEST_THROTTLE));
    call(&mut breaker, at(310), Outcome::Answered);
    let mut breaker = open();
    call(&mut breaker, at(5), Outcome::Throttled(2 * SECOND));
    assert_eq!(breaker.circuit(), Circuit::Closed, "it answers");
    assert_eq!(breaker.admit(at(5)), Admission::Throttled(2 * SECOND));
}

#[test]
fn a_clock_that_is_set_back_prolongs_nothing_g9() {
    let mut breaker = open();
    call(&mut breaker, at(-3600), Outcome::Answered);
    call(&mut breaker, at(0), Outcome::Throttled(10 * SECOND));
    call(&mut breaker, at(-3600), Outcome::Answered);
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

#[test]
fn what_only_an_operator_can_mend_opens_it_at_once_for_the_longest_wait_f5() {
    let mut breaker = Breaker::new();
    call(&mut breaker, at(0), Outcome::Hopeless);
    assert_eq!(breaker.circuit(), Circuit::Open);
    assert_eq!(breaker.admit(at(59)), Admission::Resting(SECOND));
    call(&mut breaker, at(60), Outcome::Hopeless);
    assert_eq!(breaker.admit(at(119)), Admission::Resting(SECOND));
    breaker.restore();
    assert!(matches!(breaker.admit(at(119)), Admission::Call(_)), "somebody has seen it answer");
}
