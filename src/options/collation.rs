//! Collations: how strings are compared.

use serde::{Deserialize, Serialize};

/// The rules of a language for comparing strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Collation {
    /// The ICU locale, or `simple` for a comparison of bytes.
    pub locale: String,
    /// How fine the comparison is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<CollationStrength>,
    /// Whether case matters at strengths 1 and 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case_level: Option<bool>,
    /// Which case sorts first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case_first: Option<CollationCaseFirst>,
    /// Whether digits compare as numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numeric_ordering: Option<bool>,
    /// Whether spaces and punctuation count as base characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternate: Option<CollationAlternate>,
    /// Which characters `alternate` ignores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_variable: Option<CollationMaxVariable>,
    /// Whether texts are normalised first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<bool>,
    /// Whether strings with diacritics sort from the back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backwards: Option<bool>,
}

/// A setter for each option of the collation.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $ty:ty,)*) => {
        impl Collation {
            /// Starts with the locale empty and nothing else set.
            #[must_use]
            pub fn builder() -> Self {
                Self::default()
            }

            /// Sets the ICU locale, or `simple` for a comparison of bytes.
            #[must_use]
            pub fn locale(mut self, value: impl Into<String>) -> Self {
                self.locale = value.into();
                self
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $field(mut self, value: impl Into<Option<$ty>>) -> Self {
                    self.$field = value.into();
                    self
                }
            )*

            /// Ends a builder chain.
            #[must_use]
            pub fn build(self) -> Self {
                self
            }
        }
    };
}

setters! {
    /// Sets how fine the comparison is.
    strength: CollationStrength,
    /// Sets whether case matters at strengths 1 and 2.
    case_level: bool,
    /// Sets which case sorts first.
    case_first: CollationCaseFirst,
    /// Sets whether digits compare as numbers.
    numeric_ordering: bool,
    /// Sets whether spaces and punctuation count as base characters.
    alternate: CollationAlternate,
    /// Sets which characters `alternate` ignores.
    max_variable: CollationMaxVariable,
    /// Sets whether texts are normalised first.
    normalization: bool,
    /// Sets whether strings with diacritics sort from the back.
    backwards: bool,
}

/// How fine a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
#[non_exhaustive]
pub enum CollationStrength {
    /// Base characters only.
    Primary,
    /// Base characters and diacritics.
    Secondary,
    /// Also case and variants.
    Tertiary,
    /// Also punctuation.
    Quaternary,
    /// Every difference.
    Identical,
}

impl From<CollationStrength> for i32 {
    fn from(strength: CollationStrength) -> Self {
        match strength {
            CollationStrength::Primary => 1,
            CollationStrength::Secondary => 2,
            CollationStrength::Tertiary => 3,
            CollationStrength::Quaternary => 4,
            CollationStrength::Identical => 5,
        }
    }
}

impl TryFrom<i32> for CollationStrength {
    type Error = String;

    fn try_from(level: i32) -> Result<Self, String> {
        Ok(match level {
            1 => Self::Primary,
            2 => Self::Secondary,
            3 => Self::Tertiary,
            4 => Self::Quaternary,
            5 => Self::Identical,
            other => return Err(format!("collation strength {other} is not in 1..=5")),
        })
    }
}

/// An enum whose variants have names on the wire.
macro_rules! named {
    (
        $(#[$meta:meta])* pub enum $name:ident {
            $( $(#[$doc:meta])* $variant:ident = $wire:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$doc])* #[serde(rename = $wire)] $variant, )*
        }

        impl $name {
            /// The name that is sent to the server.
            #[must_use]
            pub fn as_str(&self) -> &'static str {
                match self {
                    $( Self::$variant => $wire, )*
                }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Which case sorts first.
    pub enum CollationCaseFirst {
        /// Lower case.
        Lower = "lower",
        /// Like lower case, with small differences.
        Off = "off",
        /// Upper case.
        Upper = "upper",
    }
}

named! {
    /// Whether spaces and punctuation count as base characters.
    pub enum CollationAlternate {
        /// They do.
        NonIgnorable = "non-ignorable",
        /// They only count at strengths above 3.
        Shifted = "shifted",
    }
}

named! {
    /// Which characters [`CollationAlternate::Shifted`] ignores.
    pub enum CollationMaxVariable {
        /// Punctuation and spaces.
        Punct = "punct",
        /// Spaces.
        Space = "space",
    }
}
