//! Deliberate defects, which show that the simulation finds bugs.
//!
//! With the feature `mutants` one of them can be switched on at run time, for the whole process;
//! without it [`active`] is a constant `false` and nothing of them is compiled. Each stands in one or
//! two lines where a real defect of its kind would stand. docs/SIMULATION.md says which seeds and
//! invariants catch them.

#[cfg(feature = "mutants")]
use std::sync::atomic::{AtomicU8, Ordering};

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// A deliberate defect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name on command lines.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The one of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
            }
        }
    };
}

mutants! {
    /// A dropped checkout stays in the pool's queue (driver: `lease`; engine: `ops`).
    TicketLeaked = "ticket-leaked",
    /// The pool takes connections of an older generation for fresh ones (`pool/steps`).
    StaleGeneration = "stale-generation",
    /// An abandoned exchange leaves its connection to the next one, which takes whatever reply comes
    /// (`conn/machine`).
    WrongReply = "wrong-reply",
    /// A retry takes a new transaction number (`op/machine`).
    TxnNumberChanged = "txn-number-changed",
    /// Who waits for a connection is not woken when it is granted (driver: `server`); who waits for a
    /// server does not hear of a new view (engine: `routes`).
    LostWakeUp = "lost-wake-up",
    /// The pool opens one connection too many (`pool/steps`).
    PoolOverMax = "pool-over-max",
    /// A stale primary is taken for the present one (`topology/rules`).
    ElectionIgnored = "election-ignored",
    /// A session in which the network failed is used again (`session/state`).
    SessionNotDirty = "session-not-dirty",
    /// The last cluster time that arrives counts, not the highest (`session/cluster_time`; driver:
    /// `cluster_time`).
    ClusterTimeBack = "cluster-time-back",
    /// An exchange has no deadline (`conn/machine`).
    DeadlineIgnored = "deadline-ignored",
}

/// 0: none, otherwise one more than the mutant's number.
#[cfg(feature = "mutants")]
static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// Whether a defect is switched on.
#[cfg(feature = "mutants")]
#[inline]
#[must_use]
pub fn active(mutant: Mutant) -> bool {
    ACTIVE.load(Ordering::Relaxed) == mutant as u8 + 1
}

/// Whether a defect is switched on: never, without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn active(_: Mutant) -> bool {
    false
}

/// Switches a defect on, and all others off.
#[cfg(feature = "mutants")]
pub fn set(mutant: Option<Mutant>) {
    let number = mutant.map_or(0, |mutant| mutant as u8 + 1);
    ACTIVE.store(number, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_are_found_by_their_names_and_off_at_first() {
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::named(mutant.name()), Some(*mutant));
            assert!(!active(*mutant), "{}", mutant.name());
        }
        assert_eq!(Mutant::named("none"), None);
    }

    /// In nextest every test has a process of its own, so others do not see it.
    #[cfg(feature = "mutants")]
    #[test]
    #[ignore = "changes the process"]
    fn one_mutant_is_active_at_a_time() {
        set(Some(Mutant::LostWakeUp));
        assert!(active(Mutant::LostWakeUp) && !active(Mutant::PoolOverMax));
        set(None);
        assert!(!active(Mutant::LostWakeUp));
    }
}
