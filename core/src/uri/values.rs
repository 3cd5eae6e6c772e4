//! The options of a connection string as typed values, with a warning for each that is not used.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use super::{UriWarning, known, percent};
use crate::error::{Error, Result};

/// Splits `key=value&key=value`, decoding each value.
pub(super) fn split_pairs(query: &str) -> Result<Vec<(String, String)>> {
    // The legacy separator counts only where it separates nothing but whole pairs.
    let semicolons = !query.contains('&')
        && query.contains(';')
        && query.split(';').all(|pair| pair.contains('='));
    let separator = if semicolons { ';' } else { '&' };
    let mut pairs = Vec::new();
    for pair in query.split(separator).filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Error::invalid_argument(
                "connection string: an option has no value (key=value is expected)",
            ));
        };
        let bad = |fault: percent::PercentFault| {
            let key: String = key.chars().take(64).collect();
            Error::invalid_argument(format!("option {key:?}: {}", fault.text()))
        };
        let key_text = percent::decode(key).map_err(bad)?.into_owned();
        if key_text.is_empty() {
            return Err(Error::invalid_argument(
                "connection string: an option has no name",
            ));
        }
        pairs.push((key_text, percent::decode(value).map_err(bad)?.into_owned()));
    }
    Ok(pairs)
}

/// The values by option; readers take what they understand.
#[derive(Debug)]
pub(super) struct Values {
    all: BTreeMap<&'static str, Vec<String>>,
    /// Older names whose value was ignored although it is another than that of the own name.
    contradictions: Vec<(&'static str, &'static str)>,
    warnings: Vec<UriWarning>,
}

impl Values {
    /// Sorts pairs by option; unknown, renamed and repeated ones become warnings.
    pub(super) fn new(pairs: &[(String, String)]) -> Self {
        let mut this = Self {
            all: BTreeMap::new(),
            contradictions: Vec::new(),
            warnings: Vec::new(),
        };
        let (renamed, own): (Vec<_>, Vec<_>) = pairs
            .iter()
            .partition(|(key, _)| known::renamed(key).is_some());
        for (key, value) in own {
            match known::spelling(key) {
                Some(name) => this.insert(name, value),
                None => this.warn(key, "unknown option, ignored"),
            }
        }
        let taken: Vec<&str> = this.all.keys().copied().collect();
        for (key, value) in renamed {
            let Some((older, name)) = known::renamed(key) else {
                continue;
            };
            if taken.contains(&name) {
                if this.raw(name).as_ref() != Some(value) {
                    this.contradictions.push((older, name));
                }
                this.warn(key, format!("ignored because {name} is set as well"));
            } else {
                this.warn(key, format!("deprecated, use {name}"));
                this.insert(name, value);
            }
        }
        this
    }

    fn insert(&mut self, name: &'static str, value: &str) {
        match self.all.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(vec![value.to_owned()]);
            }
            Entry::Occupied(mut entry) => {
                let repeatable = matches!(name, "readPreferenceTags" | "tls");
                entry.get_mut().push(value.to_owned());
                if !repeatable {
                    self.warn(name, "repeated, the last value is used");
                }
            }
        }
    }

    /// Ends reading.
    pub(super) fn finish(self) -> Vec<UriWarning> {
        self.warnings
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, option: &str, text: impl Into<String>) {
        self.warnings.push(UriWarning::new(option, text));
    }

    /// An older name beginning with `prefix` that has another value than its own name.
    pub(super) fn contradiction(&self, prefix: &str) -> Option<(&'static str, &'static str)> {
        let mut all = self.contradictions.iter();
        all.find(|(older, _)| older.starts_with(prefix)).copied()
    }

    /// Whether the option is in the text, whatever its value.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Every value of a repeatable option.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.all.get(name).cloned().unwrap_or_default()
    }

    /// The text of an option, also when it is empty.
    pub(super) fn raw(&self, name: &str) -> Option<String> {
        self.all.get(name).and_then(|v| v.last()).cloned()
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.raw(name)?;
        if value.is_empty() {
            self.warn(name, "empty value, ignored");
            return None;
        }
        Some(value)
    }

    /// A truth value.
    pub(super) fn truth(&mut self, name: &str) -> Option<bool> {
        let value = self.text(name)?;
        let (truth, plain) = match value.as_str() {
            "true" => (true, true),
            "false" => (false, true),
            "1" | "yes" | "y" | "t" | "True" => (true, false),
            "0" | "-1" | "no" | "n" | "f" | "False" => (false, false),
            _ => {
                self.warn(name, "invalid value, ignored; true or false is expected");
                return None;
            }
        };
        if !plain {
            self.warn(name, format!("deprecated spelling, write {name}={truth}"));
        }
        Some(truth)
    }

    /// An integer in a range.
    pub(super) fn integer(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let value = self.text(name)?;
        let digits = value.strip_prefix('-').unwrap_or(&value);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match value.parse::<i64>() {
            Ok(n) if plain && (least..=most).contains(&n) => Some(n),
            _ => {
                let text = format!("invalid value, ignored; {least} to {most} is expected");
                self.warn(name, text);
                None
            }
        }
    }

    /// A number of things, at least `least`.
    pub(super) fn count(&mut self, name: &str, least: i64) -> Option<u32> {
        let n = self.integer(name, least, i64::from(i32::MAX))?;
        u32::try_from(n).ok()
    }

    /// Milliseconds, 32 bits.
    pub(super) fn millis(&mut self, name: &str) -> Option<Duration> {
        self.millis_in(name, 0, i64::from(i32::MAX))
    }

    /// Milliseconds in a range.
    pub(super) fn millis_in(&mut self, name: &str, least: i64, most: i64) -> Option<Duration> {
        let n = self.integer(name, least, most)?;
        u64::try_from(n).ok().map(Duration::from_millis)
    }
}
