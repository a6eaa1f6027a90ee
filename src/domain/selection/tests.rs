use super::*;
use crate::ambient::{SeededEntropy, uniform};

fn money(text: &str) -> Money {
    Money::parse(text).expect(text)
}

fn candidate(weight: u32, sent: u32, verified: u32, price: &str) -> Candidate {
    Candidate { weight, tally: Tally { sent, verified }, price: money(price) }
}

/// How often each candidate is first in so many orders.
fn firsts(candidates: &[Candidate], strategy: Strategy, worth: &str, draws: usize) -> Vec<usize> {
    let entropy = SeededEntropy::new(7);
    let mut uniform = || uniform(&entropy);
    let mut firsts = vec![0; candidates.len()];
    for _ in 0..draws {
        let order = order(candidates, strategy, money(worth), &mut uniform);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..candidates.len()).collect::<Vec<_>>(), "each is in it once");
        firsts[order[0]] += 1;
    }
    firsts
}

#[test]
fn an_ordered_route_is_as_it_is_written() {
    let candidates = [candidate(1, 100, 1, "9"), candidate(9, 100, 99, "0")];
    assert_eq!(firsts(&candidates, Strategy::Ordered, "1", 50), [50, 0]);
}

#[test]
fn weights_are_shares_and_a_weight_of_nothing_is_the_last_resort() {
    let candidates = [candidate(70, 0, 0, "0"), candidate(30, 0, 0, "0"), candidate(0, 0, 0, "0")];
    let [first, second, third] = firsts(&candidates, Strategy::Weighted, "1", 2000)[..] else { panic!() };
    assert!((1340..=1460).contains(&first), "{first} of 2000 at 70 %");
    assert_eq!((first + second, third), (2000, 0));
}

#[test]
fn the_provider_whose_codes_come_back_is_first_almost_always_and_the_others_are_still_tried() {
    let candidates = [candidate(1, 40, 24, "0.01"), candidate(1, 40, 34, "0.01"), candidate(1, 2, 1, "0.01")];
    let [bad, good, new] = firsts(&candidates, Strategy::Adaptive, "1", 2000)[..] else { panic!() };
    assert!(good > 1500 && bad < 100 && new > 50, "{bad} {good} {new}");
}

#[test]
fn a_price_is_weighed_against_what_a_login_is_worth() {
    // Five points better, eight times the price.
    let candidates = [candidate(1, 500, 400, "0.01"), candidate(1, 500, 425, "0.08")];
    let cheap = firsts(&candidates, Strategy::Adaptive, "0.2", 500)[0];
    let rich = firsts(&candidates, Strategy::Adaptive, "10", 500)[0];
    assert!(cheap > 490, "a login worth 0.20 does not buy five points for 0.07: {cheap}");
    assert!(rich < 100, "one worth 10 does: {rich}");
}

#[test]
fn what_lies_far_back_does_not_outweigh_what_is_known_now() {
    let candidates = [candidate(1, 1_000_000, 600_000, "0"), candidate(1, 500, 350, "0")];
    let old = firsts(&candidates, Strategy::Adaptive, "1", 500)[0];
    assert!(old < 20, "{old}");
    // More verified than sent: the sends fell out of the window first.
    assert_eq!(firsts(&[candidate(1, 2, 5, "0")], Strategy::Adaptive, "1", 1), [1]);
}

#[test]
fn the_same_random_numbers_give_the_same_order() {
    let candidates = [candidate(1, 10, 5, "0"), candidate(2, 10, 6, "0"), candidate(3, 10, 7, "0")];
    let orders = || {
        let entropy = SeededEntropy::new(3);
        let mut uniform = || uniform(&entropy);
        let order = |strategy| order(&candidates, strategy, money("1"), &mut uniform);
        Strategy::ALL.map(order)
    };
    assert_eq!(orders(), orders());
}
