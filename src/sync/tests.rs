//! The blocking API has what the async one has.
//!
//! The sources are compared, so that a method that is added to one side only is noticed: names and
//! arguments have to be the same, except where [`DIFFERENT`] says why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The types that exist on both sides.
const MIRRORED: [&str; 7] = [
    "Client",
    "ClientBuilder",
    "ClientSession",
    "Collection",
    "Cursor",
    "Database",
    "SessionCursor",
];

/// Type, method of the async type, and the blocking one that stands for it.
const DIFFERENT: [(&str, &str, &str); 1] = [
    // A stream of documents is an iterator.
    ("SessionCursor", "stream", "iter"),
];

fn sources(of: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The type that an inherent `impl` line is about.
fn implemented(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    if rest.contains(" for ") {
        return None;
    }
    // Over the generics, which may hold others.
    let mut depth = 0;
    let start = rest.find(|c: char| {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        depth == 0 && c == ' '
    })?;
    let name = rest[start..].trim_start();
    name.split(|c: char| !c.is_alphanumeric()).next()
}

/// The public methods of a file by type, with their arguments, as `rustfmt` writes them.
fn methods(text: &str, out: &mut BTreeMap<(String, String), String>) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = implemented(line) else {
            continue;
        };
        while let Some(line) = lines.next().filter(|line| *line != "}") {
            let Some(rest) = line.strip_prefix("    pub ") else {
                continue;
            };
            let Some((_, rest)) = rest.split_once("fn ") else {
                continue;
            };
            let method = rest.split(['(', '<']).next().unwrap();
            let mut signature = rest[method.len()..].to_owned();
            while !signature.ends_with(['{', ';']) {
                let next = lines.next().expect("a signature has an end").trim();
                signature.push_str(next);
                if next.ends_with(',') {
                    signature.push(' ');
                }
            }
            let arguments = signature.split(" ->").next().unwrap();
            let arguments = arguments.trim_end_matches([' ', '{']).replace(", )", ")");
            out.insert((name.to_owned(), method.to_owned()), arguments);
        }
    }
}

/// The methods of the async and the blocking sources.
fn both() -> [BTreeMap<(String, String), String>; 2] {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root, &mut files);
    let mut both = [BTreeMap::new(), BTreeMap::new()];
    for file in files {
        let blocking = file.starts_with(root.join("sync"));
        let text = fs::read_to_string(&file).unwrap();
        methods(&text, &mut both[usize::from(blocking)]);
    }
    for side in &mut both {
        side.retain(|(name, _), _| MIRRORED.contains(&name.as_str()));
        assert!(side.len() > 40, "the sources are not read: {side:?}");
    }
    both
}

/// What the blocking method is called that stands for an async one.
fn blocking_name(of: &(String, String)) -> (String, String) {
    let (name, method) = of;
    let found = DIFFERENT
        .iter()
        .find(|(n, other, _)| n == name && other == method);
    let method = found.map_or(method.as_str(), |(_, _, blocking)| blocking);
    (name.clone(), method.to_owned())
}

#[test]
fn every_method_of_an_async_type_has_a_blocking_one_and_no_other() {
    let [asynchronous, blocking] = both();
    let expected: BTreeSet<_> = asynchronous.keys().map(blocking_name).collect();
    let found: BTreeSet<_> = blocking.keys().cloned().collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let extra: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty(), "not in `sync`: {missing:?}");
    assert!(extra.is_empty(), "only in `sync`: {extra:?}");
}

#[test]
fn methods_take_the_same_arguments_on_both_sides() {
    let [asynchronous, blocking] = both();
    for (name, arguments) in &asynchronous {
        // A cursor is consumed with or without `mut`.
        let plain = |arguments: &str| arguments.replace("(mut self", "(self");
        let other = blocking.get(&blocking_name(name));
        let other = other.map(|arguments| plain(arguments));
        assert_eq!(other, Some(plain(arguments)), "{name:?}");
    }
}

/// Verbs get both finishers from one macro; this is about builders that are written by hand.
#[test]
fn what_can_be_awaited_can_be_run() {
    let mut files = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    let texts: Vec<_> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut run = BTreeMap::new();
    for text in &texts {
        methods(text, &mut run);
    }
    let mut awaited = BTreeSet::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        if let Some((_, name)) = line.split_once("IntoFuture for ") {
            let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            // The macro's own line names no type, and a reference is no builder.
            if line.starts_with("impl") && !name.is_empty() {
                awaited.insert(name.to_owned());
            }
        }
    }
    assert_eq!(awaited.len(), 2, "{awaited:?}");
    for name in awaited {
        let key = (name, "run".to_owned());
        assert!(run.contains_key(&key), "{key:?} is missing");
    }
}
