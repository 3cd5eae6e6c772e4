//! docs/PERFORMANCE.md, in three parts: what load shows, single rows, and what is written by hand.
//! Whoever writes one of them keeps the others.

use std::{fs, path::PathBuf};

use xtask::{Context, Result, fixtures};

/// Begins the part of the single rows.
const ROWS: &str = "<!-- From here on written by `cargo xtask bench --rows --report`. -->";
/// Begins the part that no command writes.
const BY_HAND: &str = "<!-- From here on written by hand: a new report keeps it. -->";

/// The document.
#[derive(Debug, PartialEq)]
struct Parts {
    load: String,
    rows: String,
    by_hand: String,
}

impl Parts {
    fn split(text: &str) -> Self {
        let (rest, by_hand) = text.split_once(BY_HAND).unwrap_or((text, ""));
        let (load, rows) = rest.split_once(ROWS).unwrap_or((rest, ""));
        let part = |text: &str| text.trim().to_owned();
        Self {
            load: part(load),
            rows: part(rows),
            by_hand: part(by_hand),
        }
    }

    fn join(&self) -> String {
        let Self {
            load,
            rows,
            by_hand,
        } = self;
        let mut text = format!("{load}\n\n{ROWS}\n\n{rows}\n\n{BY_HAND}\n\n{by_hand}");
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

/// Writes the part about load; returns the document's path.
pub(super) fn write_load(part: &str) -> Result<PathBuf> {
    write(|parts| part.trim().clone_into(&mut parts.load))
}

/// Writes the part about single rows; returns the document's path.
pub(in crate::commands) fn write_rows(part: &str) -> Result<PathBuf> {
    write(|parts| part.trim().clone_into(&mut parts.rows))
}

fn write(change: impl FnOnce(&mut Parts)) -> Result<PathBuf> {
    let path = fixtures::workspace().join("docs/PERFORMANCE.md");
    let mut parts = Parts::split(&fs::read_to_string(&path).unwrap_or_default());
    change(&mut parts);
    fs::write(&path, parts.join()).context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_written_and_the_others_are_kept() {
        let mut parts = Parts::split(&format!("load\n\n{BY_HAND}\n\nnotes\n"));
        parts.rows = "rows".to_owned();
        let text = parts.join();
        assert_eq!(
            text,
            format!("load\n\n{ROWS}\n\nrows\n\n{BY_HAND}\n\nnotes\n")
        );
        let again = Parts::split(&text);
        assert_eq!(again, parts);
        assert_eq!(again.join(), text);
    }
}
