//! The replays that are kept: each was a defect once, and must pass now.

use std::{fs, path::Path};

use mongo_client_core::marks::{self, Mark};
use mongo_client_sim::swarm::FailureFile;

#[test]
fn every_kept_replay_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("replays");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is part of the crate")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "replay"))
        .collect();
    files.sort();
    for path in files {
        let file = FailureFile::read(&path).expect("a kept replay can be read");
        let run = file.replay(false);
        let (last, failed) = (run.last.join("\n"), run.violation);
        assert!(failed.is_none(), "{}: {failed:?}\n{last}", path.display());
    }
}

#[test]
fn a_connection_is_granted_and_its_client_closed_before_the_request() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("replays/closed-before-the-request.replay");
    let file = FailureFile::read(&path).expect("a kept replay can be read");
    let moments = || {
        let mut counts = marks::counts().into_iter();
        let count = counts.find(|(mark, _)| *mark == Mark::CancelDriverGrantedClosed);
        count.map_or(0, |(_, count)| count)
    };
    let before = moments();
    let run = file.replay(false);
    assert!(run.violation.is_none(), "{:?}", run.violation);
    // When either client is closed: its pool has one connection, for which operations wait.
    assert!(moments() > before);
}
