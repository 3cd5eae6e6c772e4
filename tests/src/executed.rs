//! Whether a test that a list names is there, and is executed.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Asserts that a test, given as `file::function` with the file below `tests/tests/`, is there and
/// always executed.
///
/// # Panics
///
/// When it is not.
pub fn assert_executed(test: &str) {
    let (file, function) = test.split_once("::").expect("file::function");
    let path = folder("tests").join(format!("{file}.rs"));
    let source = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{test}: {}: {error}", path.display()));
    assert_eq!(fault(&source, function), None, "{test}");
}

/// Asserts that a test, given by the path that test runners show, is there and always executed:
/// `binary::modules::function`, or `mongo-client-core::modules::function`.
///
/// # Panics
///
/// When it is not.
pub fn assert_executed_path(test: &str) {
    let parts: Vec<&str> = test.split("::").collect();
    let [package, modules @ .., function] = &parts[..] else {
        panic!("{test}: no path of a test");
    };
    let mut sources = Vec::new();
    if *package == "mongo-client-core" {
        collect(&folder("../core/src"), &mut sources);
    } else {
        sources.push(folder("tests").join(format!("{package}.rs")));
        collect(&folder("tests").join(package), &mut sources);
    }
    let found = sources.iter().any(|path| {
        let Ok(source) = fs::read_to_string(path) else {
            return false;
        };
        let path = path.with_extension("");
        let is_there = |module: &str| {
            path.iter().any(|part| part == module) || source.contains(&format!("mod {module} {{"))
        };
        modules.iter().all(|module| is_there(module)) && fault(&source, function).is_none()
    });
    assert!(
        found,
        "{test}: there is no such test that is always executed"
    );
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, out);
        } else {
            out.push(path);
        }
    }
}

/// What keeps a test of this source from being executed under that name, if anything does.
fn fault(source: &str, function: &str) -> Option<&'static str> {
    let head = format!("fn {function}()");
    let Some((before, _)) = source.split_once(&head) else {
        return Some("there is no such function");
    };
    let attributes = before
        .lines()
        .rev()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("#[") || line.starts_with("//"));
    let attributes: Vec<&str> = attributes.collect();
    if !attributes.contains(&"#[test]") {
        Some("it is no test")
    } else if attributes
        .iter()
        .any(|line| line.starts_with("#[ignore") || line.starts_with("#[cfg"))
    {
        Some("it is not always executed")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn what_is_no_executed_test_is_told() {
        let source = "#[test]\nfn a() {}\n\nfn b() {}\n\n#[test]\n#[ignore]\nfn c() {}\n";
        assert_eq!(fault(source, "a"), None);
        assert_eq!(fault(source, "b"), Some("it is no test"));
        assert_eq!(fault(source, "c"), Some("it is not always executed"));
        assert_eq!(fault(source, "d"), Some("there is no such function"));
    }
}
