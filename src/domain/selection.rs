//! In which order providers are tried.
//!
//! Guarantees: pure. The same candidates and the same random numbers give the same order, and every candidate is in
//! it once: a strategy decides who is first, never who is left out.

use super::money::Money;
use super::time::Timestamp;

/// How an order is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// As it is written.
    Ordered,
    /// By lot, in proportion to the weights.
    Weighted,
    /// By what they have done: Thompson sampling of the rate of codes that came back, less what a message costs.
    Adaptive,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ordered, Self::Weighted, Self::Adaptive];

    /// As configuration and the record write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Weighted => "weighted",
            Self::Adaptive => "adaptive",
        }
    }
}

/// What became of the messages of one provider to one country.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that it took.
    pub sent: u32,
    /// Those whose code came back.
    pub verified: u32,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sent = self.sent.saturating_add(other.sent);
        Self { sent, verified: self.verified.saturating_add(other.verified) }
    }
}

/// What an operator says of a provider, on all nodes, until a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// What.
    pub says: Says,
    /// Until when; [`Timestamp::NEVER`] where it stands until it is taken back.
    pub until: Timestamp,
}

/// What an operator can say of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Nothing goes through it.
    Disabled,
    /// It is tried first, wherever a route names it.
    Promoted,
}

impl Says {
    /// As the database holds it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Promoted => "promoted",
        }
    }

    /// Reads what [`Says::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Disabled, Self::Promoted].into_iter().find(|says| says.as_str() == text)
    }
}

/// One provider that could take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its share of the lots.
    pub weight: u32,
    /// What it has done.
    pub tally: Tally,
    /// What it takes for the message.
    pub price: Money,
}

/// The memory of adaptive choice: more than so many messages say nothing new, and a provider that gets worse should
/// not have to use up a good year first.
const MEMORY: u32 = 500;

/// The indices of the candidates in the order to try them in. `uniform` gives numbers in (0, 1). `worth` is what a
/// login is worth, in the currency of the prices.
pub fn order(
    candidates: &[Candidate],
    strategy: Strategy,
    worth: Money,
    uniform: &mut dyn FnMut() -> f64,
) -> Vec<usize> {
    let mut score = |candidate: &Candidate| match strategy {
        Strategy::Ordered => 0.0,
        // The largest of u^(1/w) is a draw in proportion to w, and so is each next one (Efraimidis and Spirakis 2006).
        Strategy::Weighted if candidate.weight == 0 => -1.0,
        Strategy::Weighted => uniform().powf(1.0 / f64::from(candidate.weight)),
        Strategy::Adaptive => {
            let rate = sample_rate(candidate.tally, uniform);
            rate * worth.units() - candidate.price.units()
        }
    };
    let mut scored: Vec<(usize, f64)> =
        candidates.iter().enumerate().map(|(index, candidate)| (index, score(candidate))).collect();
    // Stable: where scores are equal, the written order stands.
    scored.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    scored.into_iter().map(|(index, _)| index).collect()
}

/// A rate that may well be the true one: a draw from Beta(1 + verified, 1 + not verified).
fn sample_rate(tally: Tally, uniform: &mut dyn FnMut() -> f64) -> f64 {
    let (mut sent, mut verified) = (f64::from(tally.sent), f64::from(tally.verified.min(tally.sent)));
    if tally.sent > MEMORY {
        verified *= f64::from(MEMORY) / sent;
        sent = f64::from(MEMORY);
    }
    let good = sample_gamma(1.0 + verified, uniform);
    let bad = sample_gamma(1.0 + sent - verified, uniform);
    good / (good + bad)
}

/// A draw from Gamma(shape, 1) for a shape of at least 1 (Marsaglia and Tsang 2000).
fn sample_gamma(shape: f64, uniform: &mut dyn FnMut() -> f64) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = sample_normal(uniform);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A draw from the standard normal distribution (Box and Muller 1958).
fn sample_normal(uniform: &mut dyn FnMut() -> f64) -> f64 {
    let radius = (-2.0 * uniform().ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform()).cos()
}

#[cfg(test)]
mod tests;
