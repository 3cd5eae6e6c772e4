//! What the simulated servers can do, by name: the lists of docs/SIMULATION.md.

use std::fmt;

use crate::{
    server::{DATA_FIELDS, PARAMETERS, SPECS},
    store::{aggregate, expression, query, update},
};

/// The names of all that is simulated; anything else answers "not simulated: NAME", or the error
/// that the real server has for a name that it does not know either.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Accumulators of `$group`.
    pub accumulators: Vec<&'static str>,
    /// Commands, with the fields of their own.
    pub commands: Vec<(&'static str, &'static [&'static str])>,
    /// Operators of expressions.
    pub expressions: Vec<&'static str>,
    /// The fields of the fail point `failCommand`'s data.
    pub fail_command: Vec<&'static str>,
    /// The parameters that `getParameter` knows.
    pub parameters: Vec<&'static str>,
    /// Operators of filters.
    pub query_operators: Vec<&'static str>,
    /// Stages of aggregation pipelines.
    pub stages: Vec<&'static str>,
    /// Operators of updates.
    pub update_operators: Vec<&'static str>,
}

impl Listing {
    /// The lists as the code has them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            accumulators: aggregate::ACCUMULATORS.to_vec(),
            commands: SPECS.iter().map(|spec| (spec.name, spec.fields)).collect(),
            expressions: expression::OPERATORS.to_vec(),
            fail_command: DATA_FIELDS.to_vec(),
            parameters: PARAMETERS.to_vec(),
            query_operators: query::OPERATORS.to_vec(),
            stages: aggregate::STAGES.to_vec(),
            update_operators: update::OPERATORS.to_vec(),
        }
    }
}

impl Default for Listing {
    fn default() -> Self {
        Self::new()
    }
}

/// Markdown: a table of the commands, and a list of names for each kind of operator.
impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        writeln!(f, "| command | fields of its own |\n|---|---|")?;
        for (name, fields) in &self.commands {
            writeln!(f, "| `{name}` | {} |", code(fields))?;
        }
        for (title, names) in [
            ("Operators of filters", &self.query_operators),
            ("Operators of updates", &self.update_operators),
            ("Stages of aggregation", &self.stages),
            ("Accumulators of `$group`", &self.accumulators),
            ("Operators of expressions", &self.expressions),
            ("Parameters", &self.parameters),
            ("Data of the fail point `failCommand`", &self.fail_command),
        ] {
            writeln!(f, "\n**{title}**: {}.", code(names))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- begin of the lists that the code has -->\n";
    const END: &str = "<!-- end of the lists -->";

    #[test]
    fn the_documentation_lists_what_the_code_has() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SIMULATION.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, rest) = text.split_once(BEGIN).unwrap();
        let (lists, tail) = rest.split_once(END).unwrap();
        let expected = Listing::new().to_string();
        if lists != expected && std::env::var("UPDATE").is_ok_and(|v| v == "1") {
            std::fs::write(path, format!("{head}{BEGIN}{expected}{END}{tail}")).unwrap();
            return;
        }
        assert_eq!(lists, expected, "UPDATE=1 writes the lists");
    }
}
