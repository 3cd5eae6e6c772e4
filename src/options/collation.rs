//! Collations: how strings are compared.

use bson::{Bson, Document};
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

impl Collation {
    /// The document that serde makes of it.
    pub(crate) fn to_document(&self) -> Document {
        let mut document = Document::new();
        document.insert("locale", self.locale.as_str());
        let mut put = |key: &str, value: Option<Bson>| {
            if let Some(value) = value {
                document.insert(key, value);
            }
        };
        put("strength", self.strength.map(|v| i32::from(v).into()));
        put("caseLevel", self.case_level.map(Bson::from));
        put("caseFirst", self.case_first.map(|v| v.as_str().into()));
        put("numericOrdering", self.numeric_ordering.map(Bson::from));
        put("alternate", self.alternate.map(|v| v.as_str().into()));
        put("maxVariable", self.max_variable.map(|v| v.as_str().into()));
        put("normalization", self.normalization.map(Bson::from));
        put("backwards", self.backwards.map(Bson::from));
        document
    }

    /// What serde reads from a document.
    pub(crate) fn read(document: &Document) -> Option<Self> {
        let get = |key: &str| document.get(key).filter(|value| **value != Bson::Null);
        let flag = |key: &str| get(key).map_or(Some(None), |v| v.as_bool().map(Some));
        let strength = |v: &Bson| {
            let level = v.as_i32().or_else(|| v.as_i64()?.try_into().ok())?;
            CollationStrength::try_from(level).ok()
        };
        Some(Self {
            locale: document.get_str("locale").ok()?.to_owned(),
            strength: get("strength").map_or(Some(None), |v| strength(v).map(Some))?,
            case_level: flag("caseLevel")?,
            case_first: CollationCaseFirst::read(get("caseFirst"))?,
            numeric_ordering: flag("numericOrdering")?,
            alternate: CollationAlternate::read(get("alternate"))?,
            max_variable: CollationMaxVariable::read(get("maxVariable"))?,
            normalization: flag("normalization")?,
            backwards: flag("backwards")?,
        })
    }
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

/// Reads names that may be absent; `None` if there is something else.
macro_rules! readable {
    ($($name:ident { $($variant:ident)* })*) => {
        $(
            impl $name {
                fn read(value: Option<&Bson>) -> Option<Option<Self>> {
                    let Some(value) = value else {
                        return Some(None);
                    };
                    let text = value.as_str()?;
                    let known = [$(Self::$variant),*];
                    known.into_iter().find(|v| v.as_str() == text).map(Some)
                }
            }
        )*
    };
}

readable! {
    CollationCaseFirst { Lower Off Upper }
    CollationAlternate { NonIgnorable Shifted }
    CollationMaxVariable { Punct Space }
}
