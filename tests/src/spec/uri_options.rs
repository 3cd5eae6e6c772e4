//! Suite `uri_options`, and the comparison of options that other suites use.

use mongo_client_core::{
    concern::Acknowledgment,
    options::{ClientOptions, Compressor, ServerMonitoringMode, Tls, TlsOptions},
    uri::ParsedUri,
};
use serde_json::{Map, Value, json};

use super::{Report, SpecFile, Suite, in_folder, value::expect_eq};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "uri_options",
    matches: |file| in_folder(file, "uri_options"),
    run,
};

fn run(file: &SpecFile, report: &mut Report) {
    for case in cases(file) {
        report.case(description(case), || {
            let Some(parsed) = parse(case)? else {
                return Ok(());
            };
            expect_options(&parsed.options, &case["options"])
        });
    }
}

/// The cases of a file with a `tests` array.
#[must_use]
pub fn cases(file: &SpecFile) -> &[Value] {
    file.json["tests"].as_array().map_or(&[], Vec::as_slice)
}

/// The case's name.
#[must_use]
pub fn description(case: &Value) -> &str {
    case["description"]
        .as_str()
        .unwrap_or("without description")
}

/// Parses the case's URI; `None` when it is invalid as it should be.
///
/// # Errors
///
/// When validity or warnings are not as the case says.
pub fn parse(case: &Value) -> Result<Option<ParsedUri>, String> {
    let uri = case["uri"].as_str().ok_or("no uri")?;
    let valid = case["valid"].as_bool().ok_or("no valid")?;
    let parsed = match (ClientOptions::parse_uri(uri), valid) {
        (Err(_), false) => return Ok(None),
        (Err(e), true) => return Err(format!("refused: {e}")),
        (Ok(_), false) => return Err("accepted, but invalid".into()),
        (Ok(parsed), true) => parsed,
    };
    match (case["warning"].as_bool(), parsed.warnings.first()) {
        (Some(true), None) => Err("no warning".into()),
        (Some(false), Some(warning)) => Err(format!("unexpected warning: {warning}")),
        _ => Ok(Some(parsed)),
    }
}

/// Checks each option that the case names.
///
/// # Errors
///
/// The first option that differs.
pub fn expect_options(options: &ClientOptions, expected: &Value) -> Result<(), String> {
    let found = describe(options);
    for (name, want) in expected.as_object().into_iter().flatten() {
        let got = found.get(&name.to_lowercase()).unwrap_or(&Value::Null);
        expect_eq(name, got, want)?;
    }
    Ok(())
}

/// The options that are set, by lower-case name.
fn describe(options: &ClientOptions) -> Map<String, Value> {
    let millis = |time: Option<std::time::Duration>| json!(time.map(|t| t.as_millis() as u64));
    let mut out = Map::new();
    let mut set = |name: &str, value: Value| {
        out.insert(name.to_lowercase(), value);
    };
    set("appName", json!(options.app_name));
    set("connectTimeoutMS", millis(options.connect_timeout));
    set("directConnection", json!(options.direct_connection));
    set(
        "enableOverloadRetargeting",
        json!(options.enable_overload_retargeting),
    );
    set("heartbeatFrequencyMS", millis(options.heartbeat_freq));
    set("loadBalanced", json!(options.load_balanced));
    set("localThresholdMS", millis(options.local_threshold));
    set("maxAdaptiveRetries", json!(options.max_adaptive_retries));
    set("maxConnecting", json!(options.max_connecting));
    set("maxIdleTimeMS", millis(options.max_idle_time));
    set("maxPoolSize", json!(options.max_pool_size));
    set("minPoolSize", json!(options.min_pool_size));
    set("replicaSet", json!(options.repl_set_name));
    set("retryReads", json!(options.retry_reads));
    set("retryWrites", json!(options.retry_writes));
    set(
        "serverMonitoringMode",
        match options.server_monitoring_mode {
            Some(ServerMonitoringMode::Auto) => json!("auto"),
            Some(ServerMonitoringMode::Poll) => json!("poll"),
            Some(ServerMonitoringMode::Stream) => json!("stream"),
            _ => Value::Null,
        },
    );
    set(
        "serverSelectionTimeoutMS",
        millis(options.server_selection_timeout),
    );
    set(
        "serverSelectionTryOnce",
        json!(options.server_selection_try_once),
    );
    set("socketTimeoutMS", millis(options.socket_timeout));
    set("srvMaxHosts", json!(options.srv_max_hosts));
    set("srvServiceName", json!(options.srv_service_name));
    set("timeoutMS", millis(options.timeout));
    set("waitQueueTimeoutMS", millis(options.wait_queue_timeout));
    describe_credential(options, &mut out);
    describe_compression(options, &mut out);
    describe_concerns(options, &mut out);
    describe_tls(options, &mut out);
    out
}

fn describe_credential(options: &ClientOptions, out: &mut Map<String, Value>) {
    let Some(credential) = &options.credential else {
        return;
    };
    let mechanism = credential.mechanism.map(|m| m.as_str());
    out.insert("authmechanism".into(), json!(mechanism));
    out.insert("authsource".into(), json!(credential.source));
    if let Some(properties) = &credential.mechanism_properties {
        out.insert("authmechanismproperties".into(), json!(properties));
    }
}

fn describe_compression(options: &ClientOptions, out: &mut Map<String, Value>) {
    let Some(compressors) = &options.compressors else {
        return;
    };
    let names: Vec<_> = compressors.iter().map(Compressor::as_str).collect();
    out.insert("compressors".into(), json!(names));
    for compressor in compressors {
        if let Compressor::Zlib { level } = compressor {
            out.insert("zlibcompressionlevel".into(), json!(level));
        }
    }
}

fn describe_concerns(options: &ClientOptions, out: &mut Map<String, Value>) {
    if let Some(concern) = &options.read_concern {
        out.insert("readconcernlevel".into(), json!(concern.level.as_str()));
    }
    if let Some(concern) = &options.write_concern {
        let w = match &concern.w {
            Some(Acknowledgment::Nodes(n)) => json!(n),
            Some(Acknowledgment::Majority) => json!("majority"),
            Some(Acknowledgment::Custom(name)) => json!(name),
            _ => Value::Null,
        };
        let timeout = concern.w_timeout.map(|t| t.as_millis() as u64);
        out.insert("w".into(), w);
        out.insert("wtimeoutms".into(), json!(timeout));
        out.insert("journal".into(), json!(concern.journal));
    }
    let criteria = options.selection_criteria.as_ref();
    if let Some(preference) = criteria.and_then(|c| c.as_read_pref()) {
        let staleness = preference.max_staleness().map(|t| t.as_secs());
        out.insert("readpreference".into(), json!(preference.mode()));
        out.insert("readpreferencetags".into(), json!(preference.tag_sets()));
        out.insert("maxstalenessseconds".into(), json!(staleness));
    }
}

fn describe_tls(options: &ClientOptions, out: &mut Map<String, Value>) {
    let tls = match &options.tls {
        Some(Tls::Enabled(tls)) => tls.clone(),
        _ => TlsOptions::default(),
    };
    let enabled = options.tls.as_ref().map(|t| matches!(t, Tls::Enabled(_)));
    let mut set = |name: &str, value: Value| {
        out.insert(name.to_lowercase(), value);
    };
    set("tls", json!(enabled));
    set("ssl", json!(enabled));
    set(
        "tlsAllowInvalidCertificates",
        json!(tls.allow_invalid_certificates),
    );
    set(
        "tlsAllowInvalidHostnames",
        json!(tls.allow_invalid_hostnames),
    );
    // There is no option of that name behind the text: it stands for both.
    if tls.allow_invalid_certificates == tls.allow_invalid_hostnames {
        set("tlsInsecure", json!(tls.allow_invalid_hostnames));
    }
    set("tlsCAFile", json!(tls.ca_file_path));
    set("tlsCertificateKeyFile", json!(tls.cert_key_file_path));
    let password = tls.tls_certificate_key_file_password;
    set(
        "tlsCertificateKeyFilePassword",
        json!(password.map(|p| String::from_utf8_lossy(&p).into_owned())),
    );
    set(
        "tlsDisableOCSPEndpointCheck",
        json!(tls.disable_ocsp_endpoint_check),
    );
    set(
        "tlsDisableCertificateRevocationCheck",
        json!(tls.disable_certificate_revocation_check),
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_uri_options_case_passes() {
        crate::spec::assert_suite(&super::SUITE);
    }
}
