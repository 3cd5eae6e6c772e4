//! Plays the story of this example on a replica set, and says whether it ended well.
//!
//! `cargo xtask event-loop` starts a replica set with TLS and passwords and runs this against it;
//! with a set of your own:
//! `cargo run -p mongo-client-event-loop -- 'mongodb://USER:PASSWORD@HOST,HOST/?replicaSet=NAME'`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(uri) = std::env::args().nth(1) else {
        eprintln!("usage: event-loop URI");
        return ExitCode::FAILURE;
    };
    match mongo_client_event_loop::run(&uri) {
        Ok(verdict) => {
            println!("{verdict}");
            if verdict.complaints().is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
