//! `expectError`: whether an error is what a test expects.

use bson::{Bson, Document};
use mongo_client::error::{Error, ErrorKind, WriteFailure};

use super::{
    Kind,
    case::Run,
    matching::{Lookup, Matcher},
};

/// Checks an error, and the partial result that came with it.
pub(super) fn check<L: Lookup + ?Sized>(
    lookup: &L,
    expected: &Document,
    error: &Error,
    partial: Option<&Bson>,
) -> Result<(), String> {
    for (key, value) in expected {
        check_one(lookup, key, value, error, partial)
            .map_err(|why| format!("expectError.{key}: {why}; the error: {error}"))?;
    }
    Ok(())
}

fn check_one<L: Lookup + ?Sized>(
    lookup: &L,
    key: &str,
    value: &Bson,
    error: &Error,
    partial: Option<&Bson>,
) -> Result<(), String> {
    let texts = || -> Vec<&str> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Bson::as_str).collect()
    };
    let flag = || value.as_bool().ok_or("not a boolean");
    let text = || value.as_str().ok_or("not a string");
    let holds = match key {
        "isError" => true,
        "isClientError" => is_of_client(error) == flag()?,
        "isTimeoutError" => error.is_timeout() == flag()?,
        "errorContains" => contains(error, text()?),
        "errorCode" => {
            let code = match value {
                Bson::Int32(code) => *code,
                other => return Err(format!("{other} is no code")),
            };
            error.code() == Some(code)
        }
        "errorCodeName" => code_names(error)
            .iter()
            .any(|name| text().is_ok_and(|wanted| name.eq_ignore_ascii_case(wanted))),
        "errorLabelsContain" => texts().iter().all(|label| error.contains_label(label)),
        "errorLabelsOmit" => !texts().iter().any(|label| error.contains_label(label)),
        "errorResponse" => {
            let response = error.server_response().ok_or("no server response")?;
            let response = Document::try_from(&**response).map_err(|e| e.to_string())?;
            return Matcher::new(lookup).check(value, Some(&response.into()), true);
        }
        "expectResult" => return Matcher::new(lookup).check(value, partial, true),
        _ => return Err("this runner does not know it".into()),
    };
    if holds {
        Ok(())
    } else {
        Err(format!("expected {value}"))
    }
}

/// Whether no server said so.
fn is_of_client(error: &Error) -> bool {
    !matches!(
        &*error.kind,
        ErrorKind::Command(_) | ErrorKind::Write(_) | ErrorKind::InsertMany(_)
    )
}

/// What a simulated server says of a name that it leaves out, in a text.
pub(super) fn not_simulated(text: &str) -> Option<String> {
    let (_, name) = text.split_once("not simulated: ")?;
    let name = name.split(" (code ").next().unwrap_or_default();
    let name = name.split([',', ';', ')', '\n']).next().unwrap_or_default();
    Some(format!("not simulated: {name}"))
}

/// What a simulated server leaves out, if the error says so.
pub(super) fn left_out(run: &Run, error: &Error) -> Option<String> {
    if run.deployment.kind != Kind::Simulated {
        return None;
    }
    texts(error).iter().find_map(|text| not_simulated(text))
}

fn contains(error: &Error, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    let texts = texts(error);
    texts
        .iter()
        .any(|text| text.to_lowercase().contains(&wanted))
}

/// The messages of an error.
fn texts(error: &Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    if let ErrorKind::InsertMany(failed) = &*error.kind {
        texts.extend(
            failed
                .write_errors
                .iter()
                .flatten()
                .map(|e| e.message.clone()),
        );
        texts.extend(failed.write_concern_error.iter().map(|e| e.message.clone()));
    }
    texts
}

fn code_names(error: &Error) -> Vec<String> {
    let mut names = Vec::new();
    match &*error.kind {
        ErrorKind::Command(e) => names.push(e.code_name.clone()),
        ErrorKind::Write(WriteFailure::WriteConcernError(e)) => names.push(e.code_name.clone()),
        ErrorKind::Write(WriteFailure::WriteError(e)) => names.extend(e.code_name.clone()),
        ErrorKind::InsertMany(e) => {
            names.extend(
                e.write_errors
                    .iter()
                    .flatten()
                    .filter_map(|e| e.code_name.clone()),
            );
            names.extend(e.write_concern_error.iter().map(|e| e.code_name.clone()));
        }
        _ => {}
    }
    names
}
