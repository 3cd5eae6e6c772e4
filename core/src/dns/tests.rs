//! The resolver against scripted name servers.

use core::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::{rng::Rng, time::Instant};

const NOW: Instant = Instant::ZERO;
const SRV: u16 = 33;
const TXT: u16 = 16;
const CNAME: u16 = 5;

fn server(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 53).into()
}

fn resolver(servers: u8) -> Resolver {
    let config = ResolverConfig::new((1..=servers).map(server).collect());
    let mut entropy = |out: &mut [u8]| out.fill(3);
    let query = SrvQuery::new("Cluster.Example.com", "mongodb");
    Resolver::new(query, config, &mut entropy, NOW)
}

fn sent(resolver: &mut Resolver) -> (SocketAddr, Vec<u8>) {
    match resolver.poll_action() {
        Some(DnsAction::SendDatagram { server, bytes }) => (server, bytes),
        other => panic!("expected a datagram, got {other:?}"),
    }
}

fn done(resolver: &mut Resolver) -> Result<SrvRecords, DnsFault> {
    let action = resolver.poll_action();
    assert_eq!(resolver.poll_action(), None, "nothing follows the end");
    assert_eq!(resolver.poll_timeout(), None);
    match action {
        Some(DnsAction::Done(result)) => result,
        other => panic!("expected the end, got {other:?}"),
    }
}

fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    out
}

/// A record whose owner is the question's name.
fn own(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    record(&[0xc0, 12], kind, ttl, data)
}

fn srv_data(port: u16, target: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0][..], &port.to_be_bytes(), target].concat()
}

fn reply(question: &[u8], code: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = question[..2].to_vec();
    out.extend([0x81, 0x80 | code, 0, 1]);
    out.extend((records.len() as u16).to_be_bytes());
    out.extend([0; 4]);
    out.extend(&question[12..]);
    out.extend(records.concat());
    out
}

fn one_host(question: &[u8]) -> Vec<u8> {
    let data = srv_data(27017, &name("A.example.com"));
    reply(question, 0, &[own(SRV, 60, &data)])
}

/// Answers the SRV question, so that the TXT question is next.
fn past_srv(resolver: &mut Resolver) {
    let (from, question) = sent(resolver);
    resolver.handle_datagram(from, &one_host(&question), NOW);
}

#[test]
fn srv_and_txt_records_are_found() {
    let mut r = resolver(1);
    let (from, question) = sent(&mut r);
    assert!(
        question
            .windows(15)
            .any(|w| w == b"\x08_mongodb\x04_tcp\x07")
    );
    let far = record(&name("other.example.com"), SRV, 1, &srv_data(1, &name("x")));
    let records = [
        own(SRV, 60, &srv_data(27017, &name("A.example.com"))),
        own(SRV, 30, &srv_data(27018, &name("b.example.com"))),
        far,
    ];
    r.handle_datagram(from, &reply(&question, 0, &records), NOW);
    let (from, question) = sent(&mut r);
    let texts = own(TXT, 9, b"\x09authSourc\x06e=xyzz\x00");
    r.handle_datagram(from, &reply(&question, 0, &[texts]), NOW);
    let found = done(&mut r).expect("found");
    let hosts: Vec<String> = found.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["a.example.com:27017", "b.example.com:27018"]);
    assert_eq!(found.min_ttl, Duration::from_secs(30));
    assert_eq!(found.txt.as_deref(), Some("authSource=xyzz"));
}

#[test]
fn polling_asks_for_srv_only() {
    let config = ResolverConfig::new(vec![server(1)]);
    let query = SrvQuery::new("a.b.c", "x").without_txt();
    let mut r = Resolver::new(query, config, &mut |out: &mut [u8]| out.fill(0), NOW);
    past_srv(&mut r);
    assert!(done(&mut r).is_ok());
}

#[test]
fn a_missing_txt_record_is_fine() {
    for code in [0, 3] {
        let mut r = resolver(1);
        past_srv(&mut r);
        let (from, question) = sent(&mut r);
        r.handle_datagram(from, &reply(&question, code, &[]), NOW);
        assert_eq!(done(&mut r).expect("found").txt, None);
    }
}

#[test]
fn txt_records_that_break_a_rule_fail() {
    let two = [own(TXT, 1, b"\x01a"), own(TXT, 1, b"\x01b")];
    let binary = [own(TXT, 1, b"\x02\xff\xfe")];
    for (records, fault) in [
        (&two[..], DnsFault::MultipleTxt),
        (&binary[..], DnsFault::TxtNotText),
    ] {
        let mut r = resolver(1);
        past_srv(&mut r);
        let (from, question) = sent(&mut r);
        r.handle_datagram(from, &reply(&question, 0, records), NOW);
        assert_eq!(done(&mut r), Err(fault));
    }
}

#[test]
fn silence_moves_to_the_next_server_until_all_were_asked_twice() {
    let mut r = resolver(2);
    let mut now = NOW;
    let mut ids = Vec::new();
    for n in [1, 2, 1, 2] {
        let (to, question) = sent(&mut r);
        assert_eq!(to, server(n));
        ids.push(question[..2].to_vec());
        r.handle_timeout(now);
        assert_eq!(r.poll_action(), None, "an early timeout does nothing");
        now = r.poll_timeout().expect("waiting");
        r.handle_timeout(now);
    }
    assert_eq!(now, NOW + DEFAULT_TIMEOUT * 4);
    assert_eq!(done(&mut r), Err(DnsFault::TimedOut));
    ids.dedup();
    assert_eq!(ids.len(), 4, "each question has an id of its own");
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let mut r = resolver(2);
    let (from, question) = sent(&mut r);
    let answer = one_host(&question);
    let mut other_id = answer.clone();
    other_id[1] ^= 1;
    let mut not_a_response = answer.clone();
    not_a_response[2] &= 0x7f;
    let mut other_name = answer.clone();
    other_name[13] ^= 1;
    let mut other_type = answer.clone();
    other_type[question.len() - 3] = 16;
    for bytes in [
        &other_id,
        &not_a_response,
        &other_name,
        &other_type,
        &answer[..11].to_vec(),
    ] {
        r.handle_datagram(from, bytes, NOW);
    }
    r.handle_datagram(server(2), &answer, NOW);
    assert_eq!(r.poll_action(), None);
    let mut upper = answer;
    upper[12..question.len() - 4].make_ascii_uppercase();
    r.handle_datagram(from, &upper, NOW);
    assert!(matches!(
        r.poll_action(),
        Some(DnsAction::SendDatagram { .. })
    ));
}

#[test]
fn failures_are_retried_elsewhere_and_missing_names_are_not() {
    let mut r = resolver(2);
    let (from, question) = sent(&mut r);
    r.handle_datagram(from, &reply(&question, 2, &[]), NOW);
    let (from, question) = sent(&mut r);
    assert_eq!(from, server(2));
    r.handle_datagram(from, &reply(&question, 3, &[]), NOW);
    let name = "_mongodb._tcp.Cluster.Example.com".to_owned();
    assert_eq!(done(&mut r), Err(DnsFault::NoSuchName(name.clone())));

    let mut r = resolver(2);
    let (from, question) = sent(&mut r);
    r.handle_datagram(from, &reply(&question, 0, &[]), NOW);
    assert_eq!(done(&mut r), Err(DnsFault::NoRecords(name)));
}

#[test]
fn the_last_fault_is_reported() {
    let mut r = resolver(1);
    let (from, question) = sent(&mut r);
    r.handle_datagram(from, &reply(&question, 5, &[]), NOW);
    let (from, _) = sent(&mut r);
    r.handle_fault(server(9), "not asked", NOW);
    assert_eq!(r.poll_action(), None);
    r.handle_fault(from, "refused", NOW);
    let text = "10.0.0.1:53: refused".to_owned();
    assert_eq!(done(&mut r), Err(DnsFault::Network(text)));
}

#[test]
fn aliases_are_followed_and_loops_end() {
    let mut r = resolver(1);
    let (from, question) = sent(&mut r);
    let alias = own(CNAME, 5, &name("x.example.com"));
    let data = srv_data(1, &name("a.example.com"));
    let target = record(&name("X.example.com"), SRV, 60, &data);
    r.handle_datagram(from, &reply(&question, 0, &[alias, target]), NOW);
    let (from, question) = sent(&mut r);
    let to_self = own(CNAME, 5, &[0xc0, 12]);
    r.handle_datagram(from, &reply(&question, 0, &[to_self]), NOW);
    let found = done(&mut r).expect("found");
    assert_eq!(found.min_ttl, Duration::from_secs(5));
    assert_eq!(found.hosts.len(), 1);
}

#[test]
fn odd_targets_are_refused() {
    let odd = [
        srv_data(0, &name("a.example.com")),
        srv_data(1, b"\x03a.b\x03com\0"),
        srv_data(1, b"\x03a b\0"),
        srv_data(1, b"\0"),
    ];
    for data in odd {
        let mut r = resolver(1);
        let (from, question) = sent(&mut r);
        r.handle_datagram(from, &reply(&question, 0, &[own(SRV, 1, &data)]), NOW);
        assert_eq!(done(&mut r), Err(DnsFault::InvalidTarget));
    }
}

#[test]
fn a_truncated_answer_is_fetched_over_a_stream() {
    for step in [1, 2, 7, 10_000] {
        let mut r = resolver(1);
        let (from, question) = sent(&mut r);
        let mut truncated = reply(&question, 0, &[]);
        truncated[2] |= 2;
        r.handle_datagram(from, &truncated, NOW);
        assert_eq!(
            r.poll_action(),
            Some(DnsAction::OpenStream { server: from })
        );
        assert_eq!(r.poll_stream_write(), None);
        r.handle_stream_opened(NOW);
        let request = r.poll_stream_write().expect("a question");
        assert_eq!(request[2..], question);
        assert_eq!(usize::from(request[1]), question.len());
        assert_eq!(r.poll_stream_write(), None);
        let answer = one_host(&question);
        let mut stream = (answer.len() as u16).to_be_bytes().to_vec();
        stream.extend(answer);
        for piece in stream.chunks(step) {
            r.handle_stream_bytes(piece, NOW);
        }
        assert_eq!(r.poll_action(), Some(DnsAction::CloseStream));
        sent(&mut r);
        assert_eq!(r.poll_action(), None);
    }
}

#[test]
fn a_stream_that_ends_early_moves_to_the_next_server() {
    let mut r = resolver(2);
    let (from, question) = sent(&mut r);
    let mut truncated = question.clone();
    truncated[2] = 0x82;
    r.handle_datagram(from, &truncated, NOW);
    assert!(r.poll_action().is_some());
    r.handle_stream_opened(NOW);
    assert_eq!(r.poll_timeout(), Some(NOW + DEFAULT_TIMEOUT));
    r.handle_stream_bytes(&[0], NOW);
    r.handle_stream_bytes(&[], NOW);
    assert_eq!(r.poll_action(), Some(DnsAction::CloseStream));
    assert_eq!(sent(&mut r).0, server(2));
}

#[test]
fn names_that_dns_cannot_hold_are_refused_at_once() {
    for host in [
        "a..b",
        "a b.c",
        "ü.example.com",
        &"a".repeat(64),
        &"a.".repeat(130),
        "a\\.b",
    ] {
        let config = ResolverConfig::new(vec![server(1)]);
        let mut entropy = |out: &mut [u8]| out.fill(0);
        let query = SrvQuery::new(host, "mongodb");
        let mut r = Resolver::new(query, config, &mut entropy, NOW);
        assert!(
            matches!(done(&mut r), Err(DnsFault::InvalidName(_))),
            "{host}"
        );
    }
    let mut r = resolver(0);
    assert_eq!(done(&mut r), Err(DnsFault::NoNameServer));
}

#[test]
fn a_header_that_promises_too_many_records_is_malformed() {
    let mut r = resolver(1);
    let (from, question) = sent(&mut r);
    let mut answer = one_host(&question);
    answer[6..12].fill(0xff);
    r.handle_datagram(from, &answer, NOW);
    sent(&mut r);
}

#[test]
fn a_million_mutated_answers_do_no_harm() {
    let mut rng = Rng::from_seed(1);
    let question =
        message::question(7, "_x._tcp.a.example.com", message::Kind::Srv).expect("valid");
    let alias = own(CNAME, 5, &name("x.example.com"));
    let data = srv_data(1, b"\x01b\xc0\x14");
    let target = record(&name("x.example.com"), SRV, 60, &data);
    let answer = reply(&question, 0, &[alias, target, own(TXT, 1, b"\x03abc")]);
    let mut read = 0_u32;
    for round in 0..1_000_000_u32 {
        let mut bytes = answer.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len());
            bytes[at] = rng.next_u64() as u8;
        }
        if round % 8 == 0 {
            bytes.truncate(rng.below(bytes.len() + 1));
        }
        let kind = if round % 2 == 0 {
            message::Kind::Srv
        } else {
            message::Kind::Txt
        };
        let verdict = message::answer(&bytes, 7, "_x._tcp.a.example.com", kind);
        read += u32::from(matches!(verdict, message::Verdict::Srv(..)));
    }
    assert!(read > 1000, "some mutations leave a readable answer");
}

#[test]
fn the_longest_answer_may_have_thousands_of_targets() {
    let mut r = resolver(1);
    let (from, question) = sent(&mut r);
    let mut truncated = question.clone();
    truncated[2] = 0x82;
    r.handle_datagram(from, &truncated, NOW);
    assert!(r.poll_action().is_some());
    r.handle_stream_opened(NOW);
    let question = &r.poll_stream_write().expect("a question")[2..];
    let records: Vec<_> = (1..=3250)
        .map(|port| own(SRV, 60, &srv_data(port, &[0xc0, 12])))
        .collect();
    let answer = reply(question, 0, &records);
    let mut stream = (answer.len() as u16).to_be_bytes().to_vec();
    stream.extend(answer);
    stream.extend([0; 9]);
    for piece in stream.chunks(1000) {
        r.handle_stream_bytes(piece, NOW);
    }
    assert_eq!(r.poll_action(), Some(DnsAction::CloseStream));
    let (from, question) = sent(&mut r);
    r.handle_datagram(from, &reply(&question, 3, &[]), NOW);
    assert_eq!(done(&mut r).expect("found").hosts.len(), 3250);
}

/// What is said by an SRV record whose target is written as these bytes. Before it there is a
/// record of no use with other bytes.
fn target_read(before: &[u8], target: &[u8]) -> message::Verdict {
    let question = message::question(7, "_x._tcp.a.example.com", message::Kind::Srv);
    let question = question.expect("valid");
    let before = own(999, 1, before);
    let answer = reply(&question, 0, &[before, own(SRV, 60, &srv_data(9, target))]);
    message::answer(&answer, 7, "_x._tcp.a.example.com", message::Kind::Srv)
}

#[test]
fn names_follow_pointers_backwards_and_not_many() {
    use message::Verdict;

    let hosts = |name: &str| {
        let hosts = vec![ServerAddress::tcp(name, 9)];
        Verdict::Srv(hosts, Duration::from_secs(60))
    };
    let question = message::question(7, "_x._tcp.a.example.com", message::Kind::Srv);
    let start = question.expect("valid").len() + 12;
    let pointer = |to: usize| (0xc000 | to as u16).to_be_bytes();
    let chain = |pointers: usize| {
        let mut data = vec![1, b'b', 0];
        let mut last = start;
        for _ in 1..pointers {
            let at = start + data.len();
            data.extend(pointer(last));
            last = at;
        }
        target_read(&data, &pointer(last))
    };
    assert_eq!(chain(1), hosts("b"));
    assert_eq!(chain(127), hosts("b"));
    assert_eq!(chain(128), Verdict::Malformed);
    // Labels may come before a pointer, and between two.
    let (data, target) = ([1, b'c', 0, 1, b'b', 0xc0, start as u8], pointer(start + 3));
    let target = [&[1, b'a'][..], &target].concat();
    assert_eq!(target_read(&data, &target), hosts("a.b.c"));
    // To itself, to what comes later, past the end, and of a kind that there is not.
    let here = start + 12 + 6;
    for target in [
        &pointer(here)[..],
        &[1, b'a', 0xc0, here as u8],
        &pointer(here + 2),
        &pointer(0x3fff),
        &[0x40, 1, b'a', 0],
        &[0x80, 0],
        &[5, b'a'],
        &[],
    ] {
        assert_eq!(target_read(&[], target), Verdict::Malformed, "{target:?}");
    }
    // As long as a name can be, and longer.
    let label = |len: u8| [&[len][..], &vec![b'a'; usize::from(len)]].concat();
    let long = |last| [label(63), label(63), label(63), label(last), vec![0]].concat();
    assert!(matches!(target_read(&[], &long(61)), Verdict::Srv(..)));
    assert_eq!(target_read(&[], &long(62)), Verdict::Malformed);
}

#[test]
fn what_follows_the_answers_is_not_read() {
    let mut r = resolver(1);
    let (from, question) = sent(&mut r);
    let mut answer = one_host(&question);
    // An authority that is none; its header's count says that it is there.
    answer[9] = 1;
    answer.extend([0xff; 20]);
    r.handle_datagram(from, &answer, NOW);
    let (_, question) = sent(&mut r);
    assert_eq!(question[question.len() - 3], 16, "the text is next");
}

#[test]
fn a_time_to_live_beyond_31_bits_is_zero() {
    for (ttl, seconds) in [(0x7fff_ffff, 0x7fff_ffff), (0x8000_0000, 0), (u32::MAX, 0)] {
        let mut r = resolver(1);
        let (from, question) = sent(&mut r);
        let data = srv_data(1, &name("a.example.com"));
        r.handle_datagram(from, &reply(&question, 0, &[own(SRV, ttl, &data)]), NOW);
        let (from, question) = sent(&mut r);
        r.handle_datagram(from, &reply(&question, 3, &[]), NOW);
        let found = done(&mut r).expect("found");
        assert_eq!(found.min_ttl, Duration::from_secs(seconds));
    }
}
