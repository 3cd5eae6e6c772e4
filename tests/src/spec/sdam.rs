//! Server discovery and monitoring: `discovery_and_monitoring` (descriptions after each phase) and
//! `sdam_monitoring` (events of each phase), run against the topology machine.

mod events;
mod outcome;

use std::time::Duration;

use bson::{Document, RawDocumentBuf};
use mongo_client_core::{
    error::{Error, ErrorKind, RETRYABLE_ERROR, SYSTEM_OVERLOADED_ERROR, WriteFailure},
    event::sdam::SdamEvent,
    hello::HelloReply,
    id::{Generation, ServerId, TopologyId},
    net::ServerAddress,
    op::reply,
    time::Instant,
    topology::{AppError, CheckOutcome, ErrorPhase, Topology, TopologyAction, TopologyConfig},
};
use serde_json::Value;

use super::{Report, SpecFile, Suite, in_folder, value};

/// The files whose phases end in a description.
pub const DISCOVERY: Suite = Suite {
    name: "sdam",
    matches: |file| {
        in_folder(file, "discovery_and_monitoring")
            && ["errors", "load-balanced", "rs", "sharded", "single"]
                .iter()
                .any(|folder| in_folder(file, folder))
    },
    run,
};

/// The files whose phases end in events.
pub const MONITORING: Suite = Suite {
    name: "sdam-monitoring",
    matches: |file| in_folder(file, "sdam_monitoring"),
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    let name = file.json["description"].as_str().unwrap_or_default();
    report.case(name, || run_case(&file.json));
}

/// A topology that is fed by hand, and the events since the last phase.
struct Client {
    topology: Topology,
    now: Instant,
    events: Vec<SdamEvent>,
}

fn run_case(json: &Value) -> Result<(), String> {
    let config = config(json["uri"].as_str().ok_or("no uri")?)?;
    let mut client = Client {
        topology: Topology::new(config, Instant::ZERO),
        now: Instant::ZERO,
        events: Vec::new(),
    };
    client.drain();
    let phases = json["phases"].as_array().ok_or("no phases")?;
    for (n, phase) in phases.iter().enumerate() {
        client
            .run_phase(phase)
            .map_err(|why| format!("phase {n}: {why}"))?;
    }
    Ok(())
}

impl Client {
    fn run_phase(&mut self, phase: &Value) -> Result<(), String> {
        for response in list(&phase["responses"]) {
            self.respond(response)?;
        }
        for error in list(&phase["applicationErrors"]) {
            self.fail(error)?;
        }
        let wanted = &phase["outcome"];
        if let Some(events_wanted) = wanted.get("events") {
            return events::check(&std::mem::take(&mut self.events), list(events_wanted));
        }
        outcome::check(&self.topology, wanted)
    }

    /// Feeds a reply to a monitor's hello; `{}` is a network error.
    fn respond(&mut self, response: &Value) -> Result<(), String> {
        let address = response[0].as_str().ok_or("a response without a server")?;
        let reply = value::document(&response[1])?;
        // A server that was removed: the machine never hears of it again.
        let Some(server) = self.server(address)? else {
            return Ok(());
        };
        let outcome = if reply.is_empty() {
            CheckOutcome::Failure {
                error: std::io::Error::from(std::io::ErrorKind::ConnectionReset).into(),
            }
        } else {
            let hello = HelloReply::from_document(reply).map_err(|e| e.to_string())?;
            CheckOutcome::Success {
                hello: Box::new(hello),
                rtt: Some(Duration::from_millis(1)),
            }
        };
        self.topology.handle_check(server, outcome, self.now);
        self.drain();
        Ok(())
    }

    /// Feeds an error of an application's connection.
    fn fail(&mut self, error: &Value) -> Result<(), String> {
        let address = error["address"]
            .as_str()
            .ok_or("an error without a server")?;
        let Some(server) = self.server(address)? else {
            return Ok(());
        };
        let generation = match error.get("generation") {
            Some(n) => Generation(
                n.as_u64()
                    .and_then(|n| u32::try_from(n).ok())
                    .ok_or("generation")?,
            ),
            None => self.topology.generation(server, None),
        };
        let established = match error["when"].as_str() {
            Some("afterHandshakeCompletes") => true,
            Some("beforeHandshakeCompletes") => false,
            other => return Err(format!("unknown when: {other:?}")),
        };
        let (error, early) = match error["type"].as_str() {
            Some("command") => (
                reply_error(&value::document(&error["response"])?)?,
                ErrorPhase::Auth,
            ),
            Some("network") => (
                Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                ErrorPhase::Connect,
            ),
            Some("timeout") => (
                Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut)),
                ErrorPhase::Connect,
            ),
            other => return Err(format!("unknown type: {other:?}")),
        };
        let app = if established {
            AppError::new(error, ErrorPhase::Established, generation)
        } else if early == ErrorPhase::Connect {
            // What connections do with network errors before the hello is complete.
            let error = error
                .with_label(SYSTEM_OVERLOADED_ERROR)
                .with_label(RETRYABLE_ERROR);
            AppError::new(error, early, generation)
        } else {
            AppError::new(error, early, generation)
        };
        self.topology.handle_app_error(server, &app, self.now);
        self.drain();
        Ok(())
    }

    fn server(&self, address: &str) -> Result<Option<ServerId>, String> {
        let address = ServerAddress::parse(address).map_err(|e| e.to_string())?;
        let view = self.topology.view();
        Ok(view.description.server(&address).map(|(id, _)| id))
    }

    fn drain(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        while let Some(action) = self.topology.poll_action() {
            if let TopologyAction::Event(event) = action {
                self.events.push(event);
            }
        }
        self.topology.check_invariants();
    }
}

/// The error that an operation makes of a reply with a problem in it.
fn reply_error(document: &Document) -> Result<Error, String> {
    let raw = RawDocumentBuf::try_from(document).map_err(|e| e.to_string())?;
    if let Err(error) = reply::check(&raw) {
        return Ok(error);
    }
    let list = raw.get_array("writeErrors").map_err(|e| e.to_string())?;
    let errors = reply::write_errors(list).map_err(|e| e.to_string())?;
    let (_, first) = errors.into_iter().next().ok_or("a reply without errors")?;
    let error = Error::new(ErrorKind::Write(WriteFailure::WriteError(first)));
    Ok(error.with_response(raw))
}

/// Reads the few options that these files use.
fn config(uri: &str) -> Result<TopologyConfig, String> {
    let rest = uri.strip_prefix("mongodb://").ok_or("scheme")?;
    let (hosts, query) = rest.split_once('/').unwrap_or((rest, ""));
    let seeds = hosts
        .split(',')
        .map(ServerAddress::parse)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    let mut config = TopologyConfig::new(TopologyId(42), seeds);
    for pair in query.trim_start_matches('?').split('&') {
        match pair.split_once('=') {
            Some(("replicaSet", name)) => config.set_name = Some(name.to_owned()),
            Some(("directConnection", flag)) => config.direct = flag == "true",
            Some(("loadBalanced", flag)) => config.load_balanced = flag == "true",
            None if pair.is_empty() => {}
            _ => return Err(format!("unknown option: {pair}")),
        }
    }
    Ok(config)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::super::assert_suite;

    #[test]
    fn discovery_files_pass() {
        assert_suite(&super::DISCOVERY);
    }

    #[test]
    fn monitoring_files_pass() {
        assert_suite(&super::MONITORING);
    }
}
