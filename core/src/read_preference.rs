//! Read preferences and selection criteria (specification: "Server Selection").

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document};

/// A tag set: every pair must be among a server's tags; the empty set matches every server.
pub type TagSet = BTreeMap<String, String>;

/// Which members of a replica set may serve a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadPreference {
    /// Only the primary.
    #[default]
    Primary,
    /// The primary if it is available, otherwise a secondary.
    PrimaryPreferred {
        /// Further restrictions, which apply to secondaries.
        options: Option<ReadPreferenceOptions>,
    },
    /// Only a secondary.
    Secondary {
        /// Further restrictions.
        options: Option<ReadPreferenceOptions>,
    },
    /// A secondary if one is available, otherwise the primary.
    SecondaryPreferred {
        /// Further restrictions, which apply to secondaries.
        options: Option<ReadPreferenceOptions>,
    },
    /// Any member, by latency.
    Nearest {
        /// Further restrictions.
        options: Option<ReadPreferenceOptions>,
    },
}

/// Restrictions on the servers that a [`ReadPreference`] accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadPreferenceOptions {
    /// Tag sets in order of preference: the first that matches any server decides.
    pub tag_sets: Option<Vec<TagSet>>,
    /// How far a secondary may lag behind; at least 90 s and heartbeatFrequency + 10 s.
    pub max_staleness: Option<Duration>,
    /// Hedged reads of sharded clusters. Deprecated in MongoDB 8.0.
    pub hedge: Option<HedgedReadOptions>,
}

/// Options of hedged reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgedReadOptions {
    /// Whether reads are hedged.
    pub enabled: bool,
}

impl ReadPreferenceOptions {
    /// Starts with nothing set; see also the setters and [`Self::build`].
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Sets the tag sets.
    #[must_use]
    pub fn tag_sets(mut self, value: impl Into<Option<Vec<TagSet>>>) -> Self {
        self.tag_sets = value.into();
        self
    }

    /// Sets the largest accepted staleness.
    #[must_use]
    pub fn max_staleness(mut self, value: impl Into<Option<Duration>>) -> Self {
        self.max_staleness = value.into();
        self
    }

    /// Sets hedged reads.
    #[must_use]
    pub fn hedge(mut self, value: impl Into<Option<HedgedReadOptions>>) -> Self {
        self.hedge = value.into();
        self
    }

    /// Ends a builder chain.
    #[must_use]
    pub fn build(self) -> Self {
        self
    }

    /// Whether nothing is restricted.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.max_staleness.is_none()
            && self.hedge.is_none()
            && self
                .tag_sets
                .as_ref()
                .is_none_or(|sets| sets.iter().all(BTreeMap::is_empty))
    }
}

impl ReadPreference {
    /// Only the primary.
    #[must_use]
    pub fn primary() -> Self {
        Self::Primary
    }

    /// The primary if available, otherwise a secondary.
    #[must_use]
    pub fn primary_preferred(options: impl Into<Option<ReadPreferenceOptions>>) -> Self {
        Self::PrimaryPreferred {
            options: options.into(),
        }
    }

    /// Only a secondary.
    #[must_use]
    pub fn secondary(options: impl Into<Option<ReadPreferenceOptions>>) -> Self {
        Self::Secondary {
            options: options.into(),
        }
    }

    /// A secondary if available, otherwise the primary.
    #[must_use]
    pub fn secondary_preferred(options: impl Into<Option<ReadPreferenceOptions>>) -> Self {
        Self::SecondaryPreferred {
            options: options.into(),
        }
    }

    /// Any member, by latency.
    #[must_use]
    pub fn nearest(options: impl Into<Option<ReadPreferenceOptions>>) -> Self {
        Self::Nearest {
            options: options.into(),
        }
    }

    /// The mode as the server names it.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Nearest { .. } => "nearest",
            Self::Primary => "primary",
            Self::PrimaryPreferred { .. } => "primaryPreferred",
            Self::Secondary { .. } => "secondary",
            Self::SecondaryPreferred { .. } => "secondaryPreferred",
        }
    }

    /// The restrictions; always `None` for mode primary.
    #[must_use]
    pub fn options(&self) -> Option<&ReadPreferenceOptions> {
        match self {
            Self::Primary => None,
            Self::Nearest { options }
            | Self::PrimaryPreferred { options }
            | Self::Secondary { options }
            | Self::SecondaryPreferred { options } => options.as_ref(),
        }
    }

    /// The largest accepted staleness.
    #[must_use]
    pub fn max_staleness(&self) -> Option<Duration> {
        self.options().and_then(|o| o.max_staleness)
    }

    /// The tag sets, in order of preference.
    #[must_use]
    pub fn tag_sets(&self) -> &[TagSet] {
        self.options()
            .and_then(|o| o.tag_sets.as_deref())
            .unwrap_or_default()
    }

    /// The `$readPreference` document.
    #[must_use]
    pub fn to_document(&self) -> Document {
        let mut out = Document::new();
        out.insert("mode", self.mode());
        let Some(options) = self.options() else {
            return out;
        };
        if let Some(sets) = &options.tag_sets {
            let sets = sets.iter().map(|set| {
                Bson::Document(
                    set.iter()
                        .map(|(k, v)| (k.clone(), Bson::from(v)))
                        .collect(),
                )
            });
            out.insert("tags", Bson::Array(sets.collect()));
        }
        if let Some(staleness) = options.max_staleness {
            let seconds = i64::try_from(staleness.as_secs()).unwrap_or(i64::MAX);
            out.insert("maxStalenessSeconds", seconds);
        }
        if let Some(hedge) = &options.hedge {
            let mut inner = Document::new();
            inner.insert("enabled", hedge.enabled);
            out.insert("hedge", inner);
        }
        out
    }
}

/// What a server must be to run an operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SelectionCriteria {
    /// By read preference.
    ReadPreference(ReadPreference),
}

impl SelectionCriteria {
    /// The read preference of these criteria.
    #[must_use]
    pub fn as_read_pref(&self) -> Option<&ReadPreference> {
        match self {
            Self::ReadPreference(pref) => Some(pref),
        }
    }
}

impl From<ReadPreference> for SelectionCriteria {
    fn from(pref: ReadPreference) -> Self {
        Self::ReadPreference(pref)
    }
}
