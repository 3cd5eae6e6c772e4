//! Corrections of specification files, where the fetched copy deviates from the specification.
//!
//! `tests/spec-overrides/PATH.json`, with the path of the file it corrects, holds
//! `{"reason": "..", "replace": {"/tests/0/..": value}, "merge": {..}}`: values by JSON pointer,
//! then a JSON merge patch (RFC 7386). Both are optional, the reason is not.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Corrects a file when there is a correction for it.
///
/// # Errors
///
/// When the correction has no reason or does not fit the file any more.
pub(super) fn apply(relative: &str, json: &mut Value) -> Result<(), String> {
    let path = folder().join(relative);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(());
    };
    let correction: Value =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    correct(json, &correction).map_err(|why| format!("{}: {why}", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spec-overrides")
}

fn correct(json: &mut Value, correction: &Value) -> Result<(), String> {
    if correction["reason"].as_str().is_none_or(str::is_empty) {
        return Err("the correction gives no reason".to_owned());
    }
    for (pointer, value) in correction["replace"].as_object().into_iter().flatten() {
        let place = json
            .pointer_mut(pointer)
            .ok_or_else(|| format!("nothing at {pointer}"))?;
        place.clone_from(value);
    }
    if let Some(patch) = correction.get("merge") {
        merge(json, patch);
    }
    Ok(())
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn correction_replaces_by_pointer_and_merges() {
        let mut file = json!({ "tests": [{ "level": "debug" }], "a": { "b": 1, "c": 2 } });
        let correction = json!({
            "reason": "r", "replace": { "/tests/0/level": "info" }, "merge": { "a": { "b": null } },
        });
        correct(&mut file, &correction).expect("it fits");
        assert_eq!(
            file,
            json!({ "tests": [{ "level": "info" }], "a": { "c": 2 } })
        );
    }

    #[test]
    fn every_correction_changes_a_fetched_file() {
        for file in crate::spec::load(&folder()) {
            let relative = file
                .path
                .strip_prefix(folder())
                .expect("it is below the folder");
            let path = crate::spec::default_dir().join(relative);
            let text = std::fs::read_to_string(&path).expect("run `cargo xtask setup`");
            let fetched: Value = serde_json::from_str(&text).expect("specifications are JSON");
            let mut corrected = fetched.clone();
            correct(&mut corrected, &file.json).expect("the correction fits");
            assert_ne!(
                corrected,
                fetched,
                "{}: nothing to correct",
                relative.display()
            );
        }
    }

    #[test]
    fn correction_that_does_not_fit_is_an_error() {
        let mut file = json!({ "tests": [] });
        let stale = json!({ "reason": "r", "replace": { "/tests/0/level": "info" } });
        assert!(correct(&mut file, &stale).is_err());
        assert!(
            correct(&mut file, &json!({ "merge": {} })).is_err(),
            "no reason"
        );
    }
}
