//! Prose tests of the specifications, under their numbers, against real servers.

mod backpressure;
mod causal;
mod crud;
mod enumerate;
mod handshake;
mod logging;
mod messages;
mod pools;
mod retries;
mod retry_reads;
mod retry_writes;
mod sdam;
mod sessions;
mod stable_api;
mod staleness;
mod step_down;
mod two_faults;
mod verbs;
mod without_sessions;

use bson::Document;
use mongo_client::Client;
use mongo_client_tests::live::{self, Recorder};

/// A client and the commands that it sends.
fn recorded(uri: &str) -> (Client, Recorder) {
    let mut options = live::options(uri);
    let recorder = Recorder::attach(&mut options);
    (live::build(options), recorder)
}

/// All commands of this name so far.
fn sent(recorder: &Recorder, name: &str) -> Vec<Document> {
    let started = recorder.started(name).into_iter();
    started.map(|event| event.command).collect()
}

/// The last command of this name.
fn last(recorder: &Recorder, name: &str) -> Document {
    let all = sent(recorder, name);
    all.into_iter()
        .next_back()
        .unwrap_or_else(|| panic!("no {name}"))
}
