//! Suite `auth`: the credential of a connection string.

use serde_json::{Value, json};

use super::{
    Report, SpecFile, Suite, in_folder,
    uri_options::{cases, description, parse},
    value::expect_eq,
};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "auth",
    matches: |file| in_folder(file, "auth") && file.relative.ends_with("connection-string.json"),
    run,
};

/// Cases of the specifications' repository that forbid what other cases of the same file and the
/// text (Authentication: "MONGODB-AWS") allow: credentials in the connection string.
const CONTRADICTED: [&str; 2] = [
    "should throw an exception if username and password provided (MONGODB-AWS)",
    "should throw an exception if AWS_SESSION_TOKEN provided (MONGODB-AWS)",
];

fn run(file: &SpecFile, report: &mut Report) {
    for case in cases(file) {
        let name = description(case);
        if CONTRADICTED.contains(&name) {
            report.skip(name, "contradicts other cases of its file");
            continue;
        }
        report.case(name, || run_case(case));
    }
}

fn run_case(case: &Value) -> Result<(), String> {
    let Some(parsed) = parse(case)? else {
        return Ok(());
    };
    let got = match &parsed.options.credential {
        None => Value::Null,
        Some(credential) => json!({
            "username": credential.username,
            "password": credential.password,
            "source": credential.source,
            "mechanism": credential.mechanism.map(|m| m.as_str()),
            "mechanism_properties": credential.mechanism_properties,
        }),
    };
    expect_eq("credential", &got, &case["credential"])
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_auth_connection_string_case_passes() {
        crate::spec::assert_suite(&super::SUITE);
    }
}
