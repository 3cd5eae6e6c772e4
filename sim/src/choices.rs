//! Where decisions come from: labelled draws, from a seed or from a list.

use mongo_client_core::rng::Rng;

/// A source of decisions. Each draw has a label, so that a record of them can be read.
pub trait Choices: Send {
    /// A number below `bound` (0 for the bound 0).
    fn draw(&mut self, label: &'static str, bound: u64) -> u64;
}

/// Draws that follow from a seed.
#[derive(Clone, Debug)]
pub struct Seeded(Rng);

impl Seeded {
    /// A source whose every draw is determined by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rng::from_seed(seed))
    }
}

impl Choices for Seeded {
    fn draw(&mut self, _label: &'static str, bound: u64) -> u64 {
        self.0.below(usize::try_from(bound).unwrap_or(usize::MAX)) as u64
    }
}

/// Draws from a list, and 0 when it has ended.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    draws: std::collections::VecDeque<u64>,
}

impl Listed {
    /// A source that gives these numbers, each modulo its bound.
    #[must_use]
    pub fn new(draws: impl IntoIterator<Item = u64>) -> Self {
        Self {
            draws: draws.into_iter().collect(),
        }
    }
}

impl Choices for Listed {
    fn draw(&mut self, _label: &'static str, bound: u64) -> u64 {
        let draw = self.draws.pop_front().unwrap_or(0);
        draw.checked_rem(bound).unwrap_or(0)
    }
}
