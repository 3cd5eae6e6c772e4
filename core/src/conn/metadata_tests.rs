//! The prose tests of "MongoDB Handshake", and the limits of the metadata document.

use bson::{Document, doc};

use super::*;
use crate::options::DriverInfo;

fn environment(vars: &[(&str, &str)]) -> HandshakeEnvironment {
    HandshakeEnvironment {
        vars: vars
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        os_type: "Linux".to_owned(),
        ..HandshakeEnvironment::default()
    }
}

fn env(vars: &[(&str, &str)]) -> Document {
    let client = client_metadata(None, &[], &environment(vars)).unwrap();
    client.get_document("env").cloned().unwrap_or_default()
}

const LAMBDA: (&str, &str) = ("AWS_EXECUTION_ENV", "AWS_Lambda_java8");

#[test]
fn environments_of_the_prose_test_are_captured() {
    let aws = [
        LAMBDA,
        ("AWS_REGION", "us-east-2"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024"),
    ];
    assert_eq!(
        env(&aws),
        doc! { "name": "aws.lambda", "memory_mb": 1024, "region": "us-east-2" }
    );
    assert_eq!(
        env(&[("FUNCTIONS_WORKER_RUNTIME", "node")]),
        doc! { "name": "azure.func" }
    );
    let gcp = [
        ("K_SERVICE", "servicename"),
        ("FUNCTION_MEMORY_MB", "1024"),
        ("FUNCTION_TIMEOUT_SEC", "60"),
        ("FUNCTION_REGION", "us-central1"),
    ];
    assert_eq!(
        env(&gcp),
        doc! { "name": "gcp.func", "timeout_sec": 60, "memory_mb": 1024, "region": "us-central1" }
    );
    let vercel = [("VERCEL", "1"), ("VERCEL_REGION", "cdg1")];
    let expected = doc! { "name": "vercel", "region": "cdg1" };
    assert_eq!(env(&vercel), expected);
    assert_eq!(env(&[&vercel[..], &aws].concat()), expected, "above lambda");
    let container = [&aws[..], &[("KUBERNETES_SERVICE_HOST", "1")]].concat();
    let mut expected = env(&aws);
    expected.insert("container", doc! { "orchestrator": "kubernetes" });
    assert_eq!(env(&container), expected);
}

#[test]
fn invalid_environments_are_left_out() {
    let azure = ("FUNCTIONS_WORKER_RUNTIME", "node");
    assert_eq!(env(&[LAMBDA, azure]), doc! {});
    assert_eq!(env(&[LAMBDA, azure, ("VERCEL", "1")]), doc! {});
    assert_eq!(env(&[("AWS_EXECUTION_ENV", "EC2")]), doc! {});
    assert_eq!(env(&[("VERCEL", "")]), doc! {});
    for bad in ["big", "", "1.5", "99999999999"] {
        let vars = [LAMBDA, ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", bad)];
        assert_eq!(env(&vars), doc! { "name": "aws.lambda" });
    }
    let both = [LAMBDA, azure, ("KUBERNETES_SERVICE_HOST", "1")];
    assert_eq!(
        env(&both),
        doc! { "container": { "orchestrator": "kubernetes" } }
    );
    assert!(!environment(&both).is_faas());
    assert!(environment(&[LAMBDA]).is_faas());
}

#[test]
fn too_long_metadata_shrinks_in_the_order_of_the_specification() {
    let full = |region: usize, name: usize, kind: usize, platform: usize| {
        let mut environment = environment(&[LAMBDA]);
        let region = "a".repeat(region);
        environment.vars.insert("AWS_REGION".to_owned(), region);
        environment.os_name = Some("n".repeat(name));
        environment.os_type = "t".repeat(kind);
        environment.platform = Some("p".repeat(platform - 1) + "é");
        let client = client_metadata(Some("app"), &[], &environment).unwrap();
        assert!(client.to_vec().unwrap().len() <= 512);
        client
    };
    let fits = full(50, 50, 5, 20);
    assert_eq!(fits.get_document("env").unwrap().len(), 2);

    let env_name_only = full(512, 50, 5, 20);
    let env = doc! { "name": "aws.lambda" };
    assert_eq!(env_name_only.get_document("env").unwrap(), &env);
    assert_eq!(env_name_only.get_document("os").unwrap().len(), 2);

    let os_type_only = full(512, 512, 5, 20);
    assert_eq!(os_type_only.get_document("env").unwrap(), &env);
    assert_eq!(
        os_type_only.get_document("os").unwrap(),
        &doc! { "type": "ttttt" }
    );

    let no_env = full(512, 512, 350, 20);
    assert!(!no_env.contains_key("env"));
    assert_eq!(no_env.get_str("platform").unwrap().len(), 21);

    let short_platform = full(512, 512, 5, 600);
    let platform = short_platform.get_str("platform").unwrap();
    assert!(platform.len() > 200 && platform.bytes().all(|b| b == b'p'));
    assert_eq!(short_platform.to_vec().unwrap().len(), 512);
}

#[test]
fn wrapping_libraries_are_appended_once() {
    let info = |name: &str, version: Option<&str>, platform: Option<&str>| DriverInfo {
        name: name.to_owned(),
        version: version.map(str::to_owned),
        platform: platform.map(str::to_owned),
    };
    let infos = [
        info("library", Some("1.2"), Some("Library Platform")),
        info("framework", None, Some("")),
        info("library", Some("1.2"), Some("Library Platform")),
        info("framework", Some(""), None),
    ];
    let mut environment = environment(&[]);
    environment.platform = Some("rust".to_owned());
    let client = client_metadata(None, &infos, &environment).unwrap();
    let driver = client.get_document("driver").unwrap();
    assert_eq!(
        driver.get_str("name").unwrap(),
        "mongo-client|library|framework"
    );
    let version = format!("{}|1.2", env!("CARGO_PKG_VERSION"));
    assert_eq!(driver.get_str("version").unwrap(), version);
    assert_eq!(client.get_str("platform").unwrap(), "rust|Library Platform");
    let bad = info("a|b", None, None);
    let error = client_metadata(None, &[bad], &environment).unwrap_err();
    assert!(error.to_string().contains("driver_info"));
}

#[test]
fn app_name_has_at_most_128_bytes() {
    let name = "a".repeat(128);
    let client = client_metadata(Some(&name), &[], &environment(&[])).unwrap();
    assert_eq!(
        client.get_document("application").unwrap(),
        &doc! { "name": &name }
    );
    let error = client_metadata(Some(&"a".repeat(129)), &[], &environment(&[])).unwrap_err();
    assert!(error.to_string().contains("appName"));
    let huge = DriverInfo {
        name: "x".repeat(600),
        ..DriverInfo::default()
    };
    assert!(client_metadata(None, &[huge], &environment(&[])).is_err());
}

#[test]
fn libraries_are_appended_once_and_only_if_they_are_valid() {
    let info = |name: &str| DriverInfo {
        name: name.to_owned(),
        version: Some("1.2".to_owned()),
        platform: Some(String::new()),
    };
    let first = [info("first")];
    let metadata = ClientMetadata::new(None, &first, &environment(&[])).unwrap();
    let shared = metadata.clone();
    let names = || {
        let document = metadata.document();
        let driver = document.get_document("driver").unwrap();
        driver.get_str("name").unwrap().to_owned()
    };
    assert_eq!(names(), "mongo-client|first");
    shared.append(info("second")).unwrap();
    assert_eq!(names(), "mongo-client|first|second");
    // An empty field is as good as none.
    let mut unset = info("second");
    unset.platform = None;
    for again in [info("second"), info("first"), unset] {
        shared.append(again).unwrap();
        assert_eq!(names(), "mongo-client|first|second");
    }
    assert!(shared.append(info("a|b")).is_err());
    assert!(shared.append(info(&"long".repeat(200))).is_err());
    shared.append(info("third")).unwrap();
    assert_eq!(names(), "mongo-client|first|second|third");
}
