//! Every error that the documented client promises: its kind, and the option or field that its text
//! names. None of these needs a server.
//!
//! Errors whose other half is a real server's behaviour have live tests as well:
//!
//! | Error | Test |
//! | --- | --- |
//! | unescaped credentials | `live_security/refusals::reserved_characters_must_be_escaped_and_the_error_says_so` |
//! | refused login | `live_security/refusals::refused_login_names_the_server_but_not_the_password` |
//! | unreachable servers | `live_members::without_a_server_the_members_are_the_documented_defaults` |
//! | several standalone servers | `live_options/construction::destructive_two_standalones_of_one_list_are_both_dropped` |
//! | wrong set name | `live_replica_set::wrong_set_name_is_told_when_no_server_is_found` |
//! | `socketTimeoutMS` | `live_options/main::a_reply_that_is_late_costs_its_connection_and_nothing_else` |
//! | `waitQueueMultiple` | `live_options/main::a_wait_queue_beyond_its_multiple_fails_at_once` |
//! | `waitQueueTimeoutMS` | `live_pool::full_pool_fails_after_the_wait_queue_timeout_and_serves_later` |
//! | `wtimeout` exceeded | `live_options/acknowledgments::destructive_a_write_that_a_stalled_secondary_holds_up_is_told_and_stays` |
//! | `w` of an unknown mode | `live_options/acknowledgments::destructive_modes_of_the_set_are_met_missed_or_unknown` |
//! | write concerns without a meaning | `live_options/writes::write_concerns_without_a_meaning_are_refused_by_name_before_anything_is_sent` |
//! | TLS options that contradict each other | `live_options/older_names::the_two_families_do_not_contradict_each_other` |
//! | wrong password of a key | `live_tls::encrypted_key_is_read_with_its_password` |
//! | untrusted certificates | `live_options/older_names::ssl_and_its_authorities_decide_who_is_trusted` |
//! | certificates of other hosts | `live_options/older_names::names_are_matched_unless_ssl_match_hostname_is_off` |
//! | revoked certificates | `live_options/older_names::revoked_certificates_are_those_of_ssl_crlfile` |
//! | `address` of several routers | `live_mongos::routers_share_the_load` |
//! | date-times that a type cannot express | `live_options/types::date_times_that_a_type_cannot_express_are_errors` |
//! | cursors of a closed client | `live_close::a_cursor_of_an_earlier_topology_ends_with_an_error_and_is_dropped_without_harm` |
//! | operations that wait while it is closed | `live_close::operations_that_wait_for_a_server_end_when_the_client_is_closed` |
//! | names without SRV records | `live_options/services::a_name_without_records_is_an_error_of_the_blocking_operation_that_names_it` |

mod operations;

use std::{path::Path, time::Duration};

use mongo_client::{
    Client,
    error::{Error, ErrorKind},
    options::{ClientOptions, TlsOptions, WriteConcern},
};

/// What an error is, beside its text.
type Is = fn(&Error) -> bool;

fn argument(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::InvalidArgument { .. })
}

fn tls(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::InvalidTlsConfig { .. })
}

#[track_caller]
fn check(what: &str, error: &Error, is: Is, names: &[&str]) {
    assert!(is(error), "{what}: {error:?}");
    let text = error.to_string();
    for name in names {
        assert!(text.contains(name), "{what}: {name:?} in {text:?}");
    }
    assert!(!text.contains("s3cret"), "{what}: {text:?}");
}

#[test]
fn connection_strings_are_refused_by_the_part_that_is_wrong() {
    let user = &["user name and password", "percent-encoded"][..];
    let slashed = &["user name or password", "percent-encoded"][..];
    let rows: &[(&str, Is, &[&str])] = &[
        ("mongodb://u:s3cret:x@a.test", argument, user),
        ("mongodb://u:s3cret@x@a.test", argument, user),
        ("mongodb://u@x:s3cret@a.test", argument, user),
        ("mongodb://u:s3cret%@a.test", argument, user),
        ("mongodb://u:s3cret%zz@a.test", argument, user),
        ("mongodb://u:s3cret/x@a.test", argument, slashed),
        ("mongodb://u/x:s3cret@a.test", argument, slashed),
        ("mongodb://:s3cret@a.test", argument, &["user name"]),
        ("mongodb://a.test:0", argument, &["host 1", "port"]),
        ("mongodb://a.test,::1", argument, &["host 2", "brackets"]),
        ("mongodb://[::1", argument, &["host 1", "bracket"]),
        ("mongodb://[a.test]", argument, &["host 1", "IPv6"]),
        ("mongodb://", argument, &["host"]),
        ("mongodb://a.test/a$b", argument, &["database name"]),
        (
            "mongodb://a.test/?fsync=true&j=true",
            argument,
            &["fsync", "journal"],
        ),
        (
            "mongodb://a.test/?w=0&j=true",
            argument,
            &["w=0", "journal"],
        ),
        (
            "mongodb://a.test/?w=0&fsync=true",
            argument,
            &["w=0", "fsync"],
        ),
        (
            "mongodb://a.test/?minPoolSize=3&maxPoolSize=2",
            argument,
            &["minPoolSize", "maxPoolSize"],
        ),
        (
            "mongodb://a.test/?readPreferenceTags=dc:x",
            argument,
            &["readPreference"],
        ),
        (
            "mongodb://a.test/?readPreference=primary&maxStalenessSeconds=120",
            argument,
            &["maxStaleness"],
        ),
        (
            "mongodb://a.test,b.test/?directConnection=true",
            argument,
            &["directConnection"],
        ),
        (
            "mongodb://a.test/?ssl_ca_certs=1.pem&tlsCAFile=2.pem",
            argument,
            &["\"ssl_ca_certs\"", "\"tlsCAFile\""],
        ),
        (
            "mongodb://a.test/?ssl_crlfile=1.pem&tlsCRLFile=2.pem",
            argument,
            &["\"ssl_crlfile\"", "\"tlsCRLFile\""],
        ),
        (
            "mongodb://a.test/?ssl_certfile=1.pem&tlsCertificateKeyFile=1.pem",
            argument,
            &["\"ssl_certfile\"", "\"tlsCertificateKeyFile\""],
        ),
        (
            "mongodb://a.test/?ssl_keyfile=1.pem&tlsCertificateKeyFile=1.pem",
            argument,
            &["\"ssl_keyfile\"", "\"tlsCertificateKeyFile\""],
        ),
        (
            "mongodb://a.test/?ssl_pem_passphrase=s3cret&tlsCertificateKeyFilePassword=s3cret2",
            argument,
            &[
                "\"ssl_pem_passphrase\"",
                "\"tlsCertificateKeyFilePassword\"",
            ],
        ),
        (
            "mongodb://a.test/?ssl_cert_reqs=CERT_NONE&tlsAllowInvalidCertificates=true",
            argument,
            &["\"ssl_cert_reqs\"", "\"tlsAllowInvalidCertificates\""],
        ),
        (
            "mongodb://a.test/?ssl_match_hostname=true&tlsAllowInvalidHostnames=true",
            argument,
            &["\"ssl_match_hostname\"", "\"tlsAllowInvalidHostnames\""],
        ),
        (
            "mongodb://a.test/?tlsInsecure=true&tlsAllowInvalidHostnames=true",
            argument,
            &["\"tlsInsecure\"", "\"tlsAllowInvalidHostnames\""],
        ),
        (
            "mongodb://a.test/?ssl=true&tls=false",
            argument,
            &["\"ssl\"", "\"tls\""],
        ),
    ];
    for (uri, is, names) in rows {
        let error = Client::builder().uri(uri).expect_err(uri);
        check(uri, &error, *is, names);
    }
    let several: &[(&[&str], &[&str])] = &[
        (&[], &["hosts", "empty"]),
        (&["a.test", "b.test:x"], &["hosts, entry 2", "port"]),
        (
            &["a.test", "mongodb+srv://b.c.test"],
            &["entry 2", "mongodb+srv"],
        ),
        (&["a.test", "mongodb://u:s3cret:x@b.test"], user),
    ];
    for (hosts, names) in several {
        let error = Client::builder().hosts(*hosts).expect_err("refused");
        check(&hosts.join(" "), &error, argument, names);
    }
}

/// A file of the tests of TLS.
fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../core/src/tls/testdata")
        .join(name)
}

/// A client's key that needs a password.
fn encrypted(mut tls: TlsOptions) -> TlsOptions {
    tls.cert_key_file_path = Some(file("client-key-encrypted.pem"));
    tls.cert_file_path = Some(file("client-cert.pem"));
    tls
}

fn with_tls(change: impl FnOnce(TlsOptions) -> TlsOptions) -> ClientOptions {
    let mut options = ClientOptions::default();
    options.tls = Some(mongo_client::options::Tls::Enabled(change(
        TlsOptions::builder().ca_file_path(file("ca.pem")),
    )));
    options
}

#[test]
fn options_are_refused_by_their_names_when_the_client_is_built() {
    let with = |change: fn(&mut ClientOptions)| {
        let mut options = ClientOptions::default();
        change(&mut options);
        options
    };
    let rows: Vec<(&str, ClientOptions, Is, &[&str])> = vec![
        (
            "a frequency below the least",
            with(|o| o.heartbeat_freq = Some(Duration::from_millis(499))),
            argument,
            &["heartbeatFrequencyMS", "500"],
        ),
        (
            "no queue at all",
            with(|o| o.wait_queue_multiple = Some(0)),
            argument,
            &["waitQueueMultiple"],
        ),
        (
            "a set without a name",
            with(|o| o.repl_set_name = Some(String::new())),
            argument,
            &["replicaSet"],
        ),
        (
            "a minimum above the maximum",
            with(|o| (o.min_pool_size, o.max_pool_size) = (Some(3), Some(2))),
            argument,
            &["minPoolSize", "maxPoolSize"],
        ),
        (
            "fsync and a journal",
            with(|o| {
                let journal = WriteConcern::builder().journal(true);
                o.write_concern = Some(journal.fsync(true));
            }),
            argument,
            &["fsync", "journal"],
        ),
        (
            "no acknowledgment and a journal",
            with(|o| {
                let mut concern = WriteConcern::nodes(0);
                concern.journal = Some(true);
                o.write_concern = Some(concern);
            }),
            argument,
            &["w=0", "journal"],
        ),
        (
            "a missing file of authorities",
            with_tls(|tls| tls.ca_file_path(file("none.pem"))),
            tls,
            &["tlsCAFile", "none.pem"],
        ),
        (
            "a missing revocation list",
            with_tls(|tls| tls.crl_file_path(file("none.pem"))),
            tls,
            &["tlsCRLFile", "none.pem"],
        ),
        (
            "a missing key",
            with_tls(|tls| tls.cert_key_file_path(file("none.pem"))),
            tls,
            &["tlsCertificateKeyFile", "none.pem"],
        ),
        (
            "no password for an encrypted key",
            with_tls(encrypted),
            tls,
            &["tlsCertificateKeyFilePassword", "missing"],
        ),
        (
            "a wrong password for an encrypted key",
            with_tls(|tls| {
                let mut tls = encrypted(tls);
                tls.tls_certificate_key_file_password = Some(b"s3cret".to_vec());
                tls
            }),
            tls,
            &["tlsCertificateKeyFilePassword", "does not decrypt"],
        ),
    ];
    for (what, options, is, names) in rows {
        let error = Client::with_options(options).expect_err(what);
        check(what, &error, is, names);
    }
    let port = Client::builder().port(0).build().expect_err("no port");
    check("port", &port, argument, &["\"port\""]);
}
