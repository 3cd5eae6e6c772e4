//! What expressions and comparisons of one command may refer to: variables and a collation.
//!
//! Variables are put in when an expression is parsed, so that evaluating needs the document alone.

use std::collections::BTreeMap;

use bson::{Bson, DateTime, Document};

use super::{expression::Expression, value::whole};
use crate::{
    failure::{FAILED_TO_PARSE, Failure, MISSING_FIELD, Result},
    wire::Fields,
};

/// The surroundings of a filter, an update or a pipeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    now: Option<Bson>,
    variables: BTreeMap<String, Bson>,
    /// Upper and lower case are the same.
    folds: bool,
}

impl Scope {
    /// The scope of a command at a time, in milliseconds since 1970.
    pub(crate) fn of(command: &dyn Fields, name: &str, wall: i64) -> Result<Self> {
        let mut this = Self {
            now: Some(Bson::DateTime(DateTime::from_millis(wall))),
            ..Self::default()
        };
        match command.get("let") {
            None => {}
            Some(Bson::Document(given)) => this.declare(given)?,
            Some(other) => {
                let found = super::value::type_name(other);
                let message = format!(
                    "BSON field '{name}.let' is the wrong type '{found}', expected type 'object'"
                );
                return Err(Failure::new(crate::failure::TYPE_MISMATCH, message));
            }
        }
        this.collated(command, name)
    }

    fn declare(&mut self, given: &Document) -> Result<()> {
        for (name, value) in given {
            if !name.starts_with(|c: char| c.is_ascii_lowercase() || !c.is_ascii()) {
                let message = format!(
                    "Invalid 'let' parameter :: caused by :: '{name}' starts with an invalid \
                     character for a user variable name"
                );
                return Err(Failure::new(FAILED_TO_PARSE, message));
            }
            let expression = Expression::parse(value, self)?;
            if expression.reads_document() {
                let message = "Command let Expression tried to access a field, but this is not \
                               allowed because Command let Expressions run before the query \
                               examines any documents.";
                return Err(Failure::new(4_890_500, message));
            }
            let value = expression.evaluate(&Document::new());
            self.variables
                .insert(name.clone(), value.unwrap_or(Bson::Null));
        }
        Ok(())
    }

    /// The same with the collation of a statement, if it has one.
    pub(crate) fn collated(&self, statement: &dyn Fields, name: &str) -> Result<Self> {
        let mut this = self.clone();
        match statement.get("collation") {
            None => {}
            Some(Bson::Document(collation)) if collation.is_empty() => {}
            Some(Bson::Document(collation)) => this.folds = folds(collation)?,
            Some(_) if name == "FindCommandRequest" => {
                let message = "Expected field collationto be of type object";
                return Err(Failure::new(crate::failure::TYPE_MISMATCH, message));
            }
            Some(other) => {
                let found = super::value::type_name(other);
                let message = format!(
                    "BSON field '{name}.collation' is the wrong type '{found}', expected type \
                     'object'"
                );
                return Err(Failure::new(crate::failure::TYPE_MISMATCH, message));
            }
        }
        Ok(this)
    }

    pub(super) fn variable(&self, name: &str) -> Option<&Bson> {
        match name {
            "NOW" => self.now.as_ref(),
            name => self.variables.get(name),
        }
    }

    pub(crate) fn folds(&self) -> bool {
        self.folds
    }
}

/// Whether a collation takes upper and lower case for the same; other collations than the simple
/// one and English of strength 2 are left out.
fn folds(collation: &Document) -> Result<bool> {
    let Some(Bson::String(locale)) = collation.get("locale") else {
        let message = "BSON field 'collation.locale' is missing but a required field";
        return Err(Failure::new(MISSING_FIELD, message));
    };
    if locale == "simple" {
        return Ok(false);
    }
    for (field, value) in collation {
        let known = match field.as_str() {
            "locale" => ["en", "en_US"].contains(&locale.as_str()),
            "strength" => whole(value) == Some(2),
            _ => false,
        };
        if !known {
            return Err(Failure::not_simulated(format_args!(
                "collation {field}: {}",
                super::value::show(value)
            )));
        }
    }
    if !collation.contains_key("strength") {
        return Err(Failure::not_simulated("collation of strength 3"));
    }
    Ok(true)
}

/// The characters of ASCII in the order of the root collation, letters left out.
const BEFORE_LETTERS: &str = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";

/// The value whose order is that of the collation: strings become keys, at any depth. Exact for
/// printable ASCII.
pub(crate) fn folded(value: &Bson) -> Bson {
    match value {
        Bson::String(text) => {
            let key = |c: char| match BEFORE_LETTERS.find(c) {
                Some(at) => char::from(2 + at.to_le_bytes()[0]),
                None if c == ' ' => '\u{1}',
                None => c.to_lowercase().next().unwrap_or(c),
            };
            Bson::String(text.chars().map(key).collect())
        }
        Bson::Array(values) => values.iter().map(folded).collect(),
        Bson::Document(document) => {
            let fields = document.iter().map(|(k, v)| (k.clone(), folded(v)));
            Bson::Document(fields.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;
    use crate::store::value::compare;

    #[test]
    fn a_folding_collation_orders_punctuation_digits_and_letters_of_any_case() {
        let key = |text: &str| folded(&Bson::from(text));
        assert_eq!(key("PING"), key("ping"));
        for pair in [" ", "_", "-", "$", "0", "9", "a", "B", "c"].windows(2) {
            assert!(compare(&key(pair[0]), &key(pair[1])).is_lt(), "{pair:?}");
        }
        assert_eq!(
            folded(&bson!([{ "A": "X" }])),
            folded(&bson!([{ "A": "x" }]))
        );
    }

    #[test]
    fn variables_are_evaluated_once_and_may_use_earlier_ones() {
        let command = doc! { "let": { "a": 1, "b": { "$eq": ["$$a", 1] } } };
        let scope = Scope::of(&command, "find", 0).unwrap();
        assert_eq!(scope.variable("b"), Some(&Bson::Boolean(true)));
        let field = doc! { "let": { "a": "$x" } };
        assert_eq!(Scope::of(&field, "find", 0).unwrap_err().code, 4_890_500);
        let other = doc! { "collation": { "locale": "de" } };
        let failure = Scope::of(&other, "find", 0).unwrap_err();
        assert_eq!(failure.message, "not simulated: collation locale: \"de\"");
    }
}
