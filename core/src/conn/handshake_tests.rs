//! From the first byte to `Established`, against a scripted server.

use std::{io, time::Duration};

use bson::{Bson, doc, rawdoc};

use super::{
    peer::{Peer, config, each_step, hello_reply},
    *,
};
use crate::{
    error::{ErrorKind, RETRYABLE_ERROR, SYSTEM_OVERLOADED_ERROR},
    options::{AuthMechanism, Compressor, Credential, ServerApi, ServerApiVersion},
    time::Instant,
};

fn application(config: ConnectionConfig, step: usize) -> Peer {
    Peer::new(config, Purpose::Application, step)
}

fn with_credential(mechanism: Option<AuthMechanism>) -> ConnectionConfig {
    let mut credential = Credential::builder().username("u,ser").password("pencil");
    credential.mechanism = mechanism;
    let mut config = config();
    config.credential = Some(credential);
    config
}

fn is_overload(closed: &ConnError) -> bool {
    let labels = [SYSTEM_OVERLOADED_ERROR, RETRYABLE_ERROR].map(|l| closed.error.contains_label(l));
    assert_eq!(labels[0], labels[1]);
    labels[0]
}

#[test]
fn legacy_hello_carries_metadata_and_compressors() {
    let mut config = config();
    config.client_metadata = rawdoc! { "driver": { "name": "d" } }.into();
    config.compressors = vec![Compressor::Zlib { level: Some(3) }];
    each_step(|step| {
        let mut peer = application(config.clone(), step);
        assert_eq!(peer.conn.health(), Health::Opening);
        let seen = peer.request();
        let mut offered = vec![Bson::from("zlib")];
        offered.retain(|_| cfg!(feature = "zlib"));
        assert_eq!((seen.op_code, seen.flags), (2013, 0));
        assert_eq!(
            seen.document,
            doc! {
                "isMaster": 1, "helloOk": true, "backpressure": "2",
                "client": { "driver": { "name": "d" } }, "compression": offered, "$db": "admin",
            }
        );
        // The round trip begins with the first byte written.
        peer.now = peer.now + Duration::from_millis(30);
        peer.reply(&seen, &hello_reply());
        let events = peer.events();
        let [ConnEvent::Established { hello, rtt }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(*rtt, Duration::from_millis(30));
        assert_eq!(hello.max_wire_version, 21);
        assert!(!hello.raw.is_empty());
        let kept = hello.of_connection();
        assert_eq!(peer.conn.hello(), Some(&kept));
        assert!(kept.raw.is_empty());
        assert_eq!(peer.conn.health(), Health::Idle);
        assert_eq!(peer.conn.poll_timeout(), None);
    });
}

#[test]
fn hello_is_used_with_the_stable_api_and_behind_load_balancers() {
    let mut api = config();
    let mut declared = ServerApi::new(ServerApiVersion::V1);
    declared.strict = Some(true);
    api.server_api = Some(declared);
    let seen = application(api, 1).request().document;
    assert_eq!(seen.keys().next().unwrap(), "hello");
    assert_eq!(seen.get_str("apiVersion").unwrap(), "1");
    assert!(seen.get_bool("apiStrict").unwrap());
    assert!(!seen.contains_key("helloOk") && !seen.contains_key("apiDeprecationErrors"));

    let mut balanced = config();
    balanced.load_balanced = true;
    let mut peer = application(balanced.clone(), 1);
    let seen = peer.request();
    assert_eq!(seen.document.keys().next().unwrap(), "hello");
    assert!(seen.document.get_bool("loadBalanced").unwrap());
    let mut reply = hello_reply();
    peer.reply(&seen, &reply);
    let closed = peer.closed();
    assert_eq!(closed.phase, Phase::Hello);
    assert!(closed.error.to_string().contains("serviceId"));
    assert!(!is_overload(&closed));

    let mut peer = application(balanced, 1);
    let seen = peer.request();
    reply.insert("serviceId", bson::oid::ObjectId::from_bytes([1; 12]));
    peer.reply(&seen, &reply);
    assert_eq!(peer.conn.health(), Health::Idle);
}

#[test]
fn monitors_do_not_authenticate() {
    for purpose in [Purpose::Monitor, Purpose::RttProbe] {
        let mut peer = Peer::new(with_credential(None), purpose, 1);
        let seen = peer.request();
        assert!(!seen.document.contains_key("saslSupportedMechs"));
        assert!(!seen.document.contains_key("speculativeAuthenticate"));
        peer.reply(&seen, &hello_reply());
        assert_eq!(peer.conn.health(), Health::Idle);
    }
}

#[test]
fn arbiters_are_not_asked_to_authenticate() {
    let mut peer = application(with_credential(None), 1);
    let seen = peer.request();
    let mut reply = hello_reply();
    reply.insert("arbiterOnly", true);
    peer.reply(&seen, &reply);
    assert_eq!(peer.conn.health(), Health::Idle);
}

#[test]
fn refused_hello_closes_with_the_servers_error() {
    each_step(|step| {
        let mut peer = application(config(), step);
        let seen = peer.request();
        let reply = doc! { "ok": 0, "code": 91, "codeName": "ShutdownInProgress", "errmsg": "no" };
        peer.reply(&seen, &reply);
        let closed = peer.closed();
        assert_eq!(closed.phase, Phase::Hello);
        assert_eq!(closed.error.code(), Some(91));
        assert!(!is_overload(&closed));
    });
}

#[test]
fn hello_reply_to_another_request_or_in_a_stream_closes() {
    for (offset, flags) in [(1, 0), (0, 2)] {
        let mut peer = application(config(), 1);
        let seen = peer.request();
        peer.reply_with(seen.id + offset, flags, &hello_reply());
        let closed = peer.closed();
        assert_eq!(closed.phase, Phase::Hello);
        assert!(matches!(
            *closed.error.kind,
            ErrorKind::InvalidResponse { .. }
        ));
    }
}

#[test]
fn network_errors_up_to_hello_are_labelled_as_overload() {
    let mut refused = application(config(), 1);
    refused.conn.handle_fault(IoFault::Refused, refused.now);
    let closed = refused.closed();
    assert_eq!(closed.phase, Phase::Connect);
    assert!(is_overload(&closed));

    let mut ended = application(config(), 1);
    ended.request();
    ended.conn.handle_read(0, ended.now);
    let closed = ended.closed();
    assert_eq!(closed.phase, Phase::Hello);
    assert!(closed.error.to_string().contains("may require TLS"));
    assert!(is_overload(&closed));

    let mut authenticating = application(with_credential(Some(AuthMechanism::Plain)), 1);
    let seen = authenticating.request();
    authenticating.reply(&seen, &hello_reply());
    authenticating.request();
    authenticating.conn.handle_read(0, authenticating.now);
    let closed = authenticating.closed();
    assert_eq!(closed.phase, Phase::Auth);
    assert!(closed.error.is_network() && !is_overload(&closed));

    let not_tls = io::Error::new(io::ErrorKind::InvalidData, "not TLS");
    let error = crate::error::Error::io(not_tls);
    assert!(!is_overload(&ConnError::new(error, Phase::Connect)));
}

#[test]
fn connect_timeout_covers_everything_until_established() {
    let mut config = with_credential(Some(AuthMechanism::Plain));
    config.connect_timeout = Some(Duration::from_secs(10));
    for progress in 0..3 {
        let mut peer = application(config.clone(), 1);
        let until = peer.now + Duration::from_secs(10);
        peer.now = peer.now + Duration::from_secs(3);
        if progress > 0 {
            let seen = peer.request();
            if progress > 1 {
                peer.reply(&seen, &hello_reply());
                peer.request();
            }
        }
        assert_eq!(peer.conn.poll_timeout(), Some((until, ConnTimer::Connect)));
        peer.conn
            .handle_timeout(Instant::from_nanos(until.as_nanos() - 1));
        assert_eq!(peer.conn.health(), Health::Opening);
        peer.conn.handle_timeout(until);
        let closed = peer.closed();
        assert!(closed.error.is_network_timeout());
        assert!(closed.error.to_string().contains("connectTimeoutMS"));
        let phase = [Phase::Connect, Phase::Hello, Phase::Auth][progress];
        assert_eq!(closed.phase, phase);
        assert_eq!(is_overload(&closed), phase < Phase::Auth);
    }
    config.connect_timeout = Some(Duration::ZERO);
    assert_eq!(application(config, 1).conn.poll_timeout(), None);
}

#[test]
fn password_is_sent_and_its_refusal_closes() {
    each_step(|step| {
        for ok in [true, false] {
            let mut config = with_credential(Some(AuthMechanism::Plain));
            config.server_api = Some(ServerApi::new(ServerApiVersion::V1));
            let mut peer = application(config, step);
            let seen = peer.request();
            assert!(!seen.document.contains_key("saslSupportedMechs"));
            peer.reply(&seen, &hello_reply());
            assert_eq!(peer.conn.health(), Health::Opening);
            let seen = peer.request();
            assert_eq!(seen.document.get_str("mechanism").unwrap(), "PLAIN");
            assert_eq!(seen.document.get_str("$db").unwrap(), "$external");
            assert_eq!(seen.document.get_str("apiVersion").unwrap(), "1");
            let payload = bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: Vec::new(),
            };
            let done = doc! { "ok": 1, "conversationId": 1, "done": true, "payload": payload };
            let refused = doc! { "ok": 0, "code": 18, "errmsg": "Authentication failed." };
            peer.reply(&seen, if ok { &done } else { &refused });
            if ok {
                let events = peer.events();
                assert!(matches!(&events[..], [ConnEvent::Established { .. }]));
            } else {
                let closed = peer.closed();
                assert_eq!(closed.phase, Phase::Auth);
                assert!(closed.error.is_authentication());
            }
        }
    });
}

#[test]
fn mechanism_is_negotiated_and_unknown_ones_are_ignored() {
    let cases = [
        (Some(vec!["ARBITRARY", "SCRAM-SHA-256"]), "SCRAM-SHA-256"),
        (Some(vec!["SCRAM-SHA-1", "ARBITRARY"]), "SCRAM-SHA-1"),
        (None, "SCRAM-SHA-1"),
    ];
    for (supported, expected) in cases {
        let mut peer = application(with_credential(None), 7);
        let seen = peer.request();
        let user = seen.document.get_str("saslSupportedMechs").unwrap();
        assert_eq!(user, "admin.u,ser");
        let first = seen.document.get_document("speculativeAuthenticate");
        let first = first.unwrap();
        assert_eq!(first.get_str("mechanism").unwrap(), "SCRAM-SHA-256");
        assert_eq!(first.get_str("db").unwrap(), "admin");
        let mut reply = hello_reply();
        if let Some(supported) = supported {
            reply.insert("saslSupportedMechs", supported);
        }
        peer.reply(&seen, &reply);
        let seen = peer.request();
        assert_eq!(seen.document.keys().next().unwrap(), "saslStart");
        assert_eq!(seen.document.get_str("mechanism").unwrap(), expected);
    }
}

/// The first message of a SCRAM server to the client's first message.
fn server_first(client_first: &bson::Document) -> bson::Document {
    let payload = client_first.get_binary_generic("payload").unwrap();
    let payload = std::str::from_utf8(payload).unwrap();
    let nonce = payload.split(",r=").nth(1).unwrap();
    let text = format!("r={nonce}server,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let payload = bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: text.into_bytes(),
    };
    doc! { "conversationId": 1, "done": false, "payload": payload }
}

#[test]
fn speculation_saves_a_round_trip_and_the_key_is_derived_outside() {
    each_step(|step| {
        let mut peer = application(with_credential(None), step);
        let seen = peer.request();
        let first = seen.document.get_document("speculativeAuthenticate");
        let mut reply = hello_reply();
        reply.insert("saslSupportedMechs", vec!["SCRAM-SHA-256"]);
        reply.insert("speculativeAuthenticate", server_first(first.unwrap()));
        peer.reply(&seen, &reply);
        assert_eq!(peer.write_some(1), 0, "the key comes first");
        let Some(ConnEvent::Derive(job)) = peer.conn.poll_event() else {
            panic!("no job");
        };
        assert!(peer.conn.poll_event().is_none());
        peer.conn.handle_derived(job.run(), peer.now);
        let seen = peer.request();
        assert_eq!(seen.document.keys().next().unwrap(), "saslContinue");
        peer.reply(&seen, &doc! { "ok": 0, "code": 18, "errmsg": "no" });
        assert_eq!(peer.closed().phase, Phase::Auth);
    });
}

#[test]
fn key_that_comes_too_late_is_ignored_and_a_reply_before_it_closes() {
    for late in [true, false] {
        let mut peer = application(with_credential(None), 1);
        let seen = peer.request();
        let first = seen.document.get_document("speculativeAuthenticate");
        let mut reply = hello_reply();
        reply.insert("saslSupportedMechs", vec!["SCRAM-SHA-256"]);
        reply.insert("speculativeAuthenticate", server_first(first.unwrap()));
        peer.reply(&seen, &reply);
        let Some(ConnEvent::Derive(job)) = peer.conn.poll_event() else {
            panic!("no job");
        };
        if late {
            peer.conn.handle_fault(IoFault::Reset, peer.now);
        } else {
            peer.reply(&seen, &hello_reply());
        }
        peer.conn.handle_derived(job.run(), peer.now);
        assert_eq!(peer.closed().phase, Phase::Auth);
    }
}

#[test]
fn mechanism_that_is_not_built_fails_at_once() {
    let config = with_credential(Some(AuthMechanism::Gssapi));
    let mut entropy = |out: &mut [u8]| out.fill(7);
    let failed = Connection::new(
        config.into(),
        crate::id::ConnId(1),
        Purpose::Application,
        &mut entropy,
        Instant::ZERO,
    );
    let failed = failed.unwrap_err();
    assert!(matches!(*failed.error.kind, ErrorKind::Unsupported { .. }));
}
