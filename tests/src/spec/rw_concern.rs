//! Suites `read_write_concern`: concerns in connection strings and as documents.

use std::time::Duration;

use mongo_client_core::{
    concern::{Acknowledgment, ReadConcern, WriteConcern},
    options::ClientOptions,
};
use serde_json::{Value, json};

use super::{
    Report, SpecFile, Suite, in_folder,
    uri_options::{cases, description},
    value::{document, expect_eq},
};

/// The suite of connection strings.
pub const CONNECTION_STRING: Suite = Suite {
    name: "read_write_concern/connection-string",
    matches: |file| in_folder(file, "read_write_concern") && in_folder(file, "connection-string"),
    run: |file, report| run(file, report, run_uri),
};

/// The suite of documents.
pub const DOCUMENT: Suite = Suite {
    name: "read_write_concern/document",
    matches: |file| in_folder(file, "read_write_concern") && in_folder(file, "document"),
    run: |file, report| run(file, report, run_document),
};

fn run(file: &SpecFile, report: &mut Report, case: fn(&Value) -> Result<(), String>) {
    for each in cases(file) {
        report.case(description(each), || case(each));
    }
}

fn run_uri(case: &Value) -> Result<(), String> {
    let uri = case["uri"].as_str().ok_or("no uri")?;
    let parsed = ClientOptions::parse_uri(uri);
    if case["valid"] == json!(false) {
        // The URI options specification wants a warning for a negative wTimeoutMS, where this
        // suite says invalid: either is a complaint that names the option.
        return match parsed {
            Err(_) => Ok(()),
            Ok(parsed) if !parsed.warnings.is_empty() => Ok(()),
            Ok(_) => Err("accepted without complaint, but invalid".into()),
        };
    }
    let parsed = parsed.map_err(|e| format!("refused: {e}"))?;
    expect_eq("warnings", parsed.warnings, vec![])?;
    if case["readConcern"].is_object() {
        let level = parsed.options.read_concern.as_ref();
        let level = level.map(|c| c.level.as_str());
        expect_eq("level", level, case["readConcern"]["level"].as_str())?;
    }
    if case["writeConcern"].is_object() {
        let got = parsed.options.write_concern.unwrap_or_default();
        expect_eq("writeConcern", got, write_concern(&case["writeConcern"])?)?;
    }
    Ok(())
}

fn run_document(case: &Value) -> Result<(), String> {
    let valid = case["valid"] == json!(true);
    if case["readConcern"].is_object() {
        let level = case["readConcern"]["level"].as_str();
        let concern = level.map(ReadConcern::custom);
        let got = concern.as_ref().map(ReadConcern::to_document);
        expect_eq("valid", true, valid)?;
        let want = document(&case["readConcernDocument"])?;
        expect_eq("readConcernDocument", got.unwrap_or_default(), want)?;
        let default = Some(concern.is_none());
        return expect_eq(
            "isServerDefault",
            default,
            case["isServerDefault"].as_bool(),
        );
    }
    let built = write_concern(&case["writeConcern"])
        .and_then(|c| c.validate().map(|()| c).map_err(|e| e.to_string()));
    let concern = match (built, valid) {
        (Err(_), false) => return Ok(()),
        (Err(e), true) => return Err(e),
        (Ok(_), false) => return Err("accepted, but invalid".into()),
        (Ok(concern), true) => concern,
    };
    let want = document(&case["writeConcernDocument"])?;
    expect_eq("writeConcernDocument", concern.to_document(), want)?;
    let default = Some(concern.is_empty());
    expect_eq(
        "isServerDefault",
        default,
        case["isServerDefault"].as_bool(),
    )?;
    let acknowledged = Some(concern.is_acknowledged());
    expect_eq(
        "isAcknowledged",
        acknowledged,
        case["isAcknowledged"].as_bool(),
    )
}

/// Builds the concern that the case describes; negative numbers have no place in the type.
fn write_concern(value: &Value) -> Result<WriteConcern, String> {
    let mut concern = WriteConcern::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        match name.as_str() {
            "w" => {
                concern.w = Some(match value.as_str() {
                    Some(name) => Acknowledgment::from(name),
                    None => {
                        let n = value.as_u64().and_then(|n| u32::try_from(n).ok());
                        Acknowledgment::from(n.ok_or("w is negative")?)
                    }
                });
            }
            "wtimeoutMS" => {
                let ms = value.as_u64().ok_or("wtimeoutMS is negative")?;
                concern.w_timeout = Some(Duration::from_millis(ms));
            }
            "journal" => concern.journal = value.as_bool(),
            other => return Err(format!("unknown field {other}")),
        }
    }
    Ok(concern)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_concern_in_a_connection_string_passes() {
        crate::spec::assert_suite(&super::CONNECTION_STRING);
    }

    #[test]
    fn every_concern_document_passes() {
        crate::spec::assert_suite(&super::DOCUMENT);
    }
}
