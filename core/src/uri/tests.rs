//! Connection strings as users write them: what is accepted, warned about and refused.

use std::time::Duration;

use super::*;
use crate::{
    concern::Acknowledgment,
    dns::SrvRecords,
    options::{
        AuthMechanism, Compressor, Credential, Socks5Proxy, Tls, TlsOptions, UuidRepresentation,
    },
    read_preference::{
        HedgedReadOptions, ReadPreference, ReadPreferenceOptions, SelectionCriteria,
    },
    rng::Rng,
};

fn parse(query: &str) -> ParsedUri {
    let text = format!("mongodb://localhost/?{query}");
    ClientOptions::parse_uri(&text).unwrap_or_else(|e| panic!("{query}: {e}"))
}

fn refusal(text: &str) -> String {
    match ClientOptions::parse_uri(text) {
        Ok(_) => panic!("{text}: accepted"),
        Err(e) => e.to_string(),
    }
}

fn warned(parsed: &ParsedUri) -> Vec<&str> {
    parsed.warnings.iter().map(UriWarning::option).collect()
}

fn tls(parsed: &ParsedUri) -> &TlsOptions {
    match &parsed.options.tls {
        Some(Tls::Enabled(tls)) => tls,
        other => panic!("TLS is not on: {other:?}"),
    }
}

#[test]
fn secrets_never_reach_errors_warnings_or_debug() {
    let refused = [
        "mongodb://u:s3cret%@h/",
        "mongodb://u:s3cret@x@h/",
        "mongodb://u:a:s3cret@h/",
        "mongodb://u:/s3cret@h/db",
        "mongodb://u:1/s3cret@h/db",
        "mongodb://u:s3cret/x@h/db",
        "mongodb://u:s3cret?x@h/db",
        "mongodb://u:s3cret#x@h/db",
        "mongodb://u:[s3cret]@h/db",
        "mongodb://u:s3cret@h:x/",
        "mongodb://u:s3cret@h/?w",
        "mongodb://u:s3cret@/",
        "mongodb://u:s3cret@h/?authMechanism=MONGODB-X509",
        "mongodb://u:s3cret@h/?tlsCertificateKeyFilePassword=s3cret%",
        "mongodb://h/?proxyPassword=s3cret",
        "mongodb://h/?proxyHost=p&proxyPassword=s3cret",
        "mongodb+srv://u:s3cret@a:1/",
        "mongo://u:s3cret@h/",
    ];
    for text in refused {
        let error = ClientOptions::parse_uri(text).expect_err(text);
        assert!(
            !format!("{error} {error:?}").contains("s3cret"),
            "{text}: {error}"
        );
    }
    let text = "mongodb://u:s3cret@h/?maxPoolSize=s3cret&tls=s3cret&proxyHost=p&proxyUsername=u\
                &proxyPassword=s3cret&tlsCertificateKeyFilePassword=s3cret&compressors=s3cret";
    let parsed = ClientOptions::parse_uri(text).expect("only warnings");
    assert_eq!(parsed.warnings.len(), 3);
    let shown: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    let split = ConnectionString::parse(text).expect("valid");
    assert!(!format!("{shown:?} {parsed:?} {split:?}").contains("s3cret"));
}

#[test]
fn errors_name_the_option() {
    for (query, option) in [
        ("directConnection=true&srvMaxHosts=1", "srvMaxHosts"),
        ("minPoolSize=6&maxPoolSize=5", "minPoolSize"),
        ("minPoolSize=101", "minPoolSize"),
        ("maxStalenessSeconds=100", "maxStalenessSeconds"),
        (
            "readPreferenceTags=a:b&readPreference=primary",
            "readPreferenceTags",
        ),
        ("w=-1", "w"),
        ("w=99999999999", "w"),
        ("w=0&j=true", "journal"),
        ("fsync=true&j=true", "fsync"),
        ("fsync=true&j=true", "journal"),
        ("fsync=true&w=0", "fsync"),
        ("fsync=true&w=0", "w=0"),
        ("ssl_ca_certs=a&tlsCAFile=b", "ssl_ca_certs"),
        ("ssl_ca_certs=a&tlsCAFile=b", "tlsCAFile"),
        ("ssl_crlfile=a&tlsCRLFile=b", "ssl_crlfile"),
        ("ssl_crlfile=a&tlsCRLFile=b", "tlsCRLFile"),
        (
            "ssl_pem_passphrase=a&tlsCertificateKeyFilePassword=b",
            "ssl_pem_passphrase",
        ),
        (
            "ssl_pem_passphrase=a&tlsCertificateKeyFilePassword=b",
            "tlsCertificateKeyFilePassword",
        ),
        ("ssl_keyfile=a&tlsCertificateKeyFile=b", "ssl_keyfile"),
        (
            "ssl_keyfile=a&tlsCertificateKeyFile=b",
            "tlsCertificateKeyFile",
        ),
        ("ssl_certfile=a&tlsCertificateKeyFile=b", "ssl_certfile"),
        (
            "ssl_certfile=a&tlsCertificateKeyFile=b",
            "tlsCertificateKeyFile",
        ),
        (
            "ssl_cert_reqs=CERT_NONE&tlsAllowInvalidCertificates=true",
            "ssl_cert_reqs",
        ),
        (
            "ssl_match_hostname=true&tlsAllowInvalidHostnames=true",
            "ssl_match_hostname",
        ),
        ("tlsInsecure=x&tlsAllowInvalidHostnames=x", "tlsInsecure"),
        ("ssl=true&tls=false", "ssl"),
        ("proxyPort=1", "proxyPort"),
        ("proxyHost=p&proxyUsername=u", "proxyUsername"),
        ("proxyHost=p&proxyHost=p", "proxyHost"),
        ("authSource=", "authSource"),
        ("authMechanism=SCRAM-SHA-512", "authMechanism"),
        ("authMechanism=MONGODB-CR", "authMechanism"),
        ("srvAllowedHostsSuffix=", "srvAllowedHostsSuffix"),
        ("appName=%zz", "appName"),
    ] {
        let error = refusal(&format!("mongodb://localhost/?{query}"));
        assert!(error.contains(option), "{query}: {error}");
    }
    let name = "x".repeat(129);
    assert!(refusal(&format!("mongodb://h/?appName={name}")).contains("appName"));
    assert!(refusal("mongodb+srv://a.b.c/?srvServiceName=a_b").contains("srvServiceName"));
}

#[test]
fn names_are_case_insensitive_and_values_are_decoded_after_the_split() {
    let parsed = parse("APPNAME=a%26b%3Dc%25&ReplicaSet=r%20s");
    assert_eq!(parsed.options.app_name.as_deref(), Some("a&b=c%"));
    assert_eq!(parsed.options.repl_set_name.as_deref(), Some("r s"));
    assert!(parsed.warnings.is_empty());
}

#[test]
fn the_names_of_pymongo_3_are_understood() {
    let parsed = parse(
        "ssl=true&ssl_keyfile=k.pem&ssl_certfile=c.pem&ssl_ca_certs=ca.pem&ssl_crlfile=r.pem\
         &ssl_pem_passphrase=p&ssl_cert_reqs=CERT_NONE&ssl_match_hostname=true&j=true\
         &wtimeout=7&read_preference=SECONDARY_PREFERRED&waitQueueMultiple=3\
         &socketKeepAlive=false&connect=false",
    );
    let tls = tls(&parsed);
    assert_eq!(tls.cert_key_file_path.as_deref(), Some("k.pem".as_ref()));
    assert_eq!(tls.cert_file_path.as_deref(), Some("c.pem".as_ref()));
    assert_eq!(tls.ca_file_path.as_deref(), Some("ca.pem".as_ref()));
    assert_eq!(tls.crl_file_path.as_deref(), Some("r.pem".as_ref()));
    assert_eq!(
        tls.tls_certificate_key_file_password.as_deref(),
        Some(&b"p"[..])
    );
    assert_eq!(tls.allow_invalid_certificates, Some(true));
    assert_eq!(tls.allow_invalid_hostnames, Some(true));
    let options = &parsed.options;
    let concern = options.write_concern.as_ref().expect("set");
    assert_eq!(concern.journal, Some(true));
    assert_eq!(concern.w_timeout, Some(Duration::from_millis(7)));
    let criteria = options.selection_criteria.as_ref();
    let preference = criteria.and_then(SelectionCriteria::as_read_pref);
    assert_eq!(preference.map(|p| p.mode()), Some("secondaryPreferred"));
    assert_eq!(options.wait_queue_multiple, Some(3));
    assert_eq!(options.socket_keep_alive, Some(false));
    assert_eq!(options.connect, Some(false));
    assert!(!warned(&parsed).contains(&"tls") && warned(&parsed).contains(&"ssl_keyfile"));
}

#[test]
fn a_lone_certificate_file_holds_the_key_as_well() {
    let parsed = parse("ssl_certfile=c.pem");
    assert_eq!(
        tls(&parsed).cert_key_file_path.as_deref(),
        Some("c.pem".as_ref())
    );
    assert_eq!(tls(&parsed).cert_file_path, None);
}

#[test]
fn a_verified_certificate_needs_no_matching_name_where_the_user_says_so() {
    let parsed = parse("ssl_cert_reqs=ssl.CERT_REQUIRED&ssl_match_hostname=false");
    assert_eq!(tls(&parsed).allow_invalid_certificates, Some(false));
    assert_eq!(tls(&parsed).allow_invalid_hostnames, Some(true));
}

#[test]
fn any_tls_option_turns_tls_on_unless_it_is_off() {
    assert!(parse("").options.tls.is_none());
    assert_eq!(tls(&parse("tlsCAFile=x")).ca_file_path, Some("x".into()));
    let off = parse("tls=false&tlsCAFile=x");
    assert_eq!(off.options.tls, Some(Tls::Disabled));
    assert_eq!(warned(&off), ["tls"]);
    let srv = ClientOptions::parse_uri("mongodb+srv://a.b.c")
        .expect("valid")
        .options;
    assert!(matches!(srv.tls, Some(Tls::Enabled(_))));
}

#[test]
fn older_spellings_of_truth_are_understood_with_a_warning() {
    for (text, truth) in [("1", true), ("y", true), ("0", false), ("no", false)] {
        let parsed = parse(&format!("retryWrites={text}"));
        assert_eq!(parsed.options.retry_writes, Some(truth));
        assert_eq!(warned(&parsed), ["retryWrites"]);
    }
}

#[test]
fn odd_values_are_ignored_with_a_warning() {
    for query in [
        "maxPoolSize=",
        "maxPoolSize=+1",
        "maxPoolSize=1.5",
        "maxPoolSize=2147483648",
        "maxPoolSize=99999999999999999999",
        "connectTimeoutMS=1e3",
        "heartbeatFrequencyMS=499",
        "readPreference=best",
        "readPreferenceTags=:x",
        "uuidRepresentation=odd",
        "authMechanismProperties=x",
        "foo=bar",
    ] {
        let parsed = parse(query);
        assert_eq!(parsed.warnings.len(), 1, "{query}");
        let untouched = format!("{:?}", parse("").options);
        assert_eq!(format!("{:?}", parsed.options), untouched, "{query}");
    }
}

#[test]
fn values_of_several_kinds_are_read() {
    let parsed = parse(
        "compressors=zstd,zlib,lz4,zlib&zlibCompressionLevel=-1&uuidRepresentation=javaLegacy\
         &readPreference=nearest&readPreferenceTags=dc:ny&readPreferenceTags=&w=majority\
         &maxStalenessSeconds=-1&wTimeoutMS=9999999999&fsync=true",
    );
    let options = &parsed.options;
    let compressors = [
        Compressor::Zstd { level: None },
        Compressor::Zlib { level: Some(-1) },
    ];
    assert_eq!(options.compressors.as_deref(), Some(&compressors[..]));
    assert_eq!(
        options.uuid_representation,
        Some(UuidRepresentation::JavaLegacy)
    );
    let criteria = options
        .selection_criteria
        .as_ref()
        .and_then(|c| c.as_read_pref());
    assert_eq!(
        criteria.map(|p| (p.tag_sets().len(), p.max_staleness())),
        Some((2, None))
    );
    let concern = options.write_concern.as_ref().expect("set");
    assert_eq!(concern.w, Some(Acknowledgment::Majority));
    assert_eq!(
        concern.w_timeout,
        Some(Duration::from_millis(9_999_999_999))
    );
    assert_eq!((concern.fsync, concern.journal), (Some(true), None));
    assert_eq!(warned(&parsed), ["compressors", "compressors", "fsync"]);
}

#[test]
fn semicolons_separate_only_whole_pairs() {
    let parsed = parse("appName=a;replicaSet=b");
    assert_eq!(parsed.options.repl_set_name.as_deref(), Some("b"));
    assert_eq!(
        parse("appName=a;b").options.app_name.as_deref(),
        Some("a;b")
    );
}

#[test]
fn long_texts_and_odd_paths_are_refused() {
    assert!(refusal(&format!("mongodb://h/?appName={}", "x".repeat(URI_LEN_MAX))).contains("64"));
    for path in ["a/b", "a%20b", "a$b", "a%00", "a%2Fb", "a\"", "%"] {
        assert!(
            refusal(&format!("mongodb://h/{path}")).contains("database"),
            "{path}"
        );
    }
}

#[test]
fn options_built_by_hand_follow_the_same_rules() {
    let base = ClientOptions::default;
    let user = |mechanism| Credential::builder().username("u").mechanism(mechanism);
    let x509 = user(AuthMechanism::MongoDbX509);
    let plain = user(AuthMechanism::Plain);
    let ms = Duration::from_millis;
    let proxy = Socks5Proxy::default();
    let both = TlsOptions {
        disable_ocsp_endpoint_check: Some(false),
        ..TlsOptions::builder().allow_invalid_certificates(false)
    };
    let refused = [
        ClientOptions {
            heartbeat_freq: Some(ms(499)),
            ..base()
        },
        ClientOptions {
            min_pool_size: Some(2),
            max_pool_size: Some(1),
            ..base()
        },
        ClientOptions {
            max_connecting: Some(0),
            ..base()
        },
        ClientOptions {
            app_name: Some("ü".repeat(65)),
            ..base()
        },
        ClientOptions {
            credential: Some(x509.clone().password("p")),
            ..base()
        },
        ClientOptions {
            credential: Some(x509.clone().source("db")),
            ..base()
        },
        ClientOptions {
            credential: Some(plain.clone()),
            ..base()
        },
        ClientOptions {
            credential: Some(Credential::builder()),
            ..base()
        },
        ClientOptions {
            compressors: Some(vec![Compressor::Zlib { level: Some(10) }]),
            ..base()
        },
        ClientOptions {
            socks5_proxy: Some(proxy),
            ..base()
        },
        ClientOptions {
            tls: Some(Tls::Enabled(both)),
            ..base()
        },
        ClientOptions {
            connect_timeout: Some(Duration::MAX),
            ..base()
        },
        ClientOptions {
            srv_max_hosts: Some(0),
            ..base()
        },
    ];
    for options in refused {
        assert!(options.validate().is_err(), "{options:?}");
    }
    let fine = [
        ClientOptions {
            min_pool_size: Some(200),
            max_pool_size: Some(0),
            ..base()
        },
        ClientOptions {
            app_name: Some("ü".repeat(64)),
            ..base()
        },
        ClientOptions {
            credential: Some(x509.source("$external")),
            ..base()
        },
        ClientOptions {
            credential: Some(plain.password("p")),
            ..base()
        },
        base(),
    ];
    for options in fine {
        assert!(options.validate().is_ok(), "{options:?}");
    }
}

fn found(txt: Option<&str>) -> SrvRecords {
    let hosts = ["a.x.io:1", "b.x.io:2", "A.X.io:1", "c.x.io:3"];
    let hosts = hosts
        .iter()
        .map(|h| h.parse().expect("an address"))
        .collect();
    SrvRecords::new(hosts, txt.map(str::to_owned), Duration::from_secs(60))
}

fn apply(uri: &str, txt: &str) -> ClientOptions {
    let options = ClientOptions::parse_uri(uri).expect("valid").options;
    let mut rng = Rng::from_seed(1);
    srv::apply(options, &found(Some(txt)), &mut rng)
        .expect("valid")
        .0
}

#[test]
fn the_text_wins_over_the_txt_record() {
    let txt = "authSource=t&replicaSet=r&loadBalanced=false";
    let uri = "mongodb+srv://u:p@c.x.io/db?authSource=s&replicaSet=q";
    let options = apply(uri, txt);
    assert_eq!(
        options.credential.and_then(|c| c.source).as_deref(),
        Some("s")
    );
    assert_eq!(options.repl_set_name.as_deref(), Some("q"));
    assert_eq!(options.load_balanced, Some(false));
    assert_eq!(options.hosts.len(), 3, "a host is taken once");
}

#[test]
fn the_txt_record_wins_over_the_database() {
    let source = |uri, txt| apply(uri, txt).credential.and_then(|c| c.source);
    let with_db = "mongodb+srv://u:p@c.x.io/db";
    assert_eq!(source(with_db, "authSource=t").as_deref(), Some("t"));
    assert_eq!(source(with_db, "").as_deref(), Some("db"));
    assert_eq!(
        source("mongodb+srv://u:p@c.x.io", "").as_deref(),
        Some("admin")
    );
    let x509 = "mongodb+srv://c.x.io/?authMechanism=MONGODB-X509";
    assert_eq!(source(x509, "authSource=t").as_deref(), Some("$external"));
}

#[test]
fn a_limit_takes_distinct_hosts_by_chance() {
    let hosts = found(None).hosts;
    let mut seen = [0_u32; 3];
    for seed in 0..300 {
        let taken = srv::choose(&hosts, Some(2), &mut Rng::from_seed(seed));
        assert!(taken.len() == 2 && taken[0] != taken[1]);
        for host in taken {
            seen[usize::from(host.port().expect("a port")) - 1] += 1;
        }
    }
    assert!(seen.iter().all(|&n| n > 120), "{seen:?}");
}

#[test]
fn targets_must_be_inside_the_domain() {
    let accepts = |host, suffix, target: &str| {
        srv::accepts(host, suffix, &target.parse().expect("an address"))
    };
    assert!(accepts("c.X.io", None, "a.x.io:1"));
    assert!(accepts("x.io", None, "a.x.io"));
    assert!(accepts("c.x.io", None, "c.x.io"));
    for target in ["x.io", "ax.io", "a.y.io", "io", "a.x.io.evil.com"] {
        assert!(!accepts("c.x.io", None, target), "{target}");
    }
    assert!(!accepts("x.io", None, "x.io"));
    assert!(!accepts("localhost", None, "localhost"));
    assert!(accepts("c.x.io", Some(".y.com."), "a.y.com"));
    assert!(!accepts("c.x.io", Some("y.com"), "ay.com"));
    assert!(!accepts("c.x.io", Some("com"), "a.com"));
    assert!(accepts("c.x.io", Some("internal"), "a.internal"));
    assert!(!accepts("c.x.io", None, "/tmp/x.sock"));
}

#[test]
fn records_that_break_a_rule_are_refused() {
    let options = || {
        ClientOptions::parse_uri("mongodb+srv://c.x.io")
            .expect("valid")
            .options
    };
    let mut rng = Rng::from_seed(1);
    for txt in [
        "ssl=true",
        "authSource",
        "authSource=",
        "a=b",
        "loadBalanced=true",
        "authSource=%",
    ] {
        let result = srv::apply(options(), &found(Some(txt)), &mut rng);
        assert!(result.is_err(), "{txt}");
    }
    let none = SrvRecords::new(vec![], None, Duration::ZERO);
    assert!(srv::apply(options(), &none, &mut rng).is_err());
}

/// A quarter of a million mutations; four tests, so that they run side by side.
fn mutate(base: &[u8], seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut accepted = 0_u32;
    for _ in 0..250_000_u32 {
        let mut dice = rng.next_u64();
        let mut roll = |sides: usize| {
            let face = dice % sides as u64;
            dice /= sides as u64;
            face as usize
        };
        let mut bytes = base.to_vec();
        for _ in 0..=roll(4) {
            let at = 10 + roll(bytes.len() - 10);
            bytes[at] = b"%,:/?&=@[].a0\0"[roll(14)];
        }
        bytes.truncate(bytes.len() - roll(20));
        let text = std::str::from_utf8(&bytes).expect("ASCII");
        accepted += u32::from(ClientOptions::parse_uri(text).is_ok());
    }
    assert!(accepted > 1000, "too few are valid: {accepted}");
}

#[test]
fn mutated_hosts_do_no_harm() {
    mutate(
        b"mongodb://us%40er:pw@a.example.com:1,[::1]:27017,%2Ftmp%2Fa.sock/db?w=1",
        2,
    );
}

#[test]
fn mutated_options_do_no_harm() {
    let query = b"mongodb://h/?tls=true&authMechanismProperties=A:b,C:d&compressors=zlib,snappy";
    mutate(query, 3);
}

#[test]
fn mutated_read_preferences_do_no_harm() {
    mutate(
        b"mongodb://a/?readPreference=nearest&readPreferenceTags=a:b,c:d&proxyHost=x",
        4,
    );
}

#[test]
fn mutated_srv_texts_do_no_harm() {
    mutate(
        b"mongodb+srv://us%40er:pw@a.example.com/db?srvMaxHosts=2&srvServiceName=a-b",
        5,
    );
}

#[test]
fn hedging_is_warned_of_when_a_client_is_built() {
    let hedge = HedgedReadOptions::builder().enabled(true).build();
    let restrictions = ReadPreferenceOptions::builder().hedge(hedge).build();
    let hedged = ReadPreference::nearest(restrictions);
    for (preference, warnings) in [(hedged, 1), (ReadPreference::nearest(None), 0)] {
        let criteria = SelectionCriteria::from(preference);
        let mut options = ClientOptions::builder()
            .selection_criteria(criteria)
            .build();
        options.warn_of_the_ineffective();
        assert_eq!(options.warnings.len(), warnings);
        let named = |warning: &UriWarning| warning.option() == "hedge";
        assert!(options.warnings.iter().all(named));
    }
}
