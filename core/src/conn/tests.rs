//! Exchanges on an established connection.

use std::time::Duration;

use bson::{doc, rawdoc};

use super::{
    peer::{Peer, config, each_step, message},
    *,
};
use crate::{
    error::ErrorKind,
    id::ExchangeId,
    options::Compressor,
    time::Instant,
    wire::{Request, WriteQueue, encode},
};

fn ping() -> Request {
    Request {
        name: "ping",
        document: rawdoc! { "ping": 1, "$db": "admin" }.into_bytes(),
        compressible: true,
        ..Request::default()
    }
}

fn application(step: usize) -> Peer {
    Peer::established(config(), Purpose::Application, step)
}

fn begin(peer: &mut Peer, request: &Request) -> ExchangeId {
    peer.conn.begin(request, None, peer.now).unwrap()
}

/// The number in the only event, a reply.
fn reply_number(peer: &mut Peer, exchange: ExchangeId, more: bool) -> i32 {
    match &peer.events()[..] {
        [
            ConnEvent::Reply {
                exchange: e,
                reply,
                more_to_come,
            },
        ] if *e == exchange && *more_to_come == more => reply.document().get_i32("n").unwrap(),
        other => panic!("not one reply: {other:?}"),
    }
}

fn invalid_response(peer: &mut Peer) -> String {
    let closed = peer.closed();
    assert_eq!(closed.phase, Phase::Established);
    assert!(closed.error.labels().is_empty());
    assert_eq!(
        closed.error.server_address().unwrap().to_string(),
        "db.test:27017"
    );
    match *closed.error.kind {
        ErrorKind::InvalidResponse { message } => message,
        other => panic!("{other}"),
    }
}

#[test]
fn reply_ends_the_exchange_and_the_next_one_follows() {
    each_step(|step| {
        let mut peer = application(step);
        for n in 0..3 {
            peer.now = peer.now + Duration::from_secs(1);
            let exchange = begin(&mut peer, &ping());
            assert_eq!(peer.conn.health(), Health::Busy);
            let seen = peer.request();
            assert_eq!(seen.id, exchange.0);
            assert_eq!(seen.document, doc! { "ping": 1, "$db": "admin" });
            peer.reply(&seen, &doc! { "n": n });
            assert_eq!(peer.conn.health(), Health::Idle);
            assert_eq!(reply_number(&mut peer, exchange, false), n);
            assert_eq!(peer.conn.last_used(), peer.now);
        }
    });
}

#[test]
fn reply_of_a_megabyte_arrives_whole() {
    let text = "x".repeat(1_000_000);
    for step in [1000, usize::MAX] {
        let mut peer = application(step);
        begin(&mut peer, &ping());
        let seen = peer.request();
        peer.reply(&seen, &doc! { "text": &text });
        let events = peer.events();
        let [ConnEvent::Reply { reply, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(reply.document().get_str("text").unwrap(), text);
    }
}

#[test]
fn unacknowledged_request_is_over_once_it_is_written() {
    each_step(|step| {
        let mut peer = application(step);
        let mut request = ping();
        request.more_to_come = true;
        let exchange = begin(&mut peer, &request);
        peer.write_some(1);
        assert_eq!(peer.conn.health(), Health::Busy);
        let seen = peer.request();
        assert_eq!(seen.flags, 2);
        assert_eq!(peer.conn.health(), Health::Idle);
        assert!(peer.events().is_empty());
        assert_eq!(peer.conn.abandon(exchange, peer.now), Abandoned::Reusable);
        let exchange = begin(&mut peer, &ping());
        let seen = peer.request();
        peer.reply(&seen, &doc! { "n": 1 });
        assert_eq!(reply_number(&mut peer, exchange, false), 1);
    });
}

#[test]
fn exhaust_replies_each_answer_the_one_before() {
    each_step(|step| {
        let mut peer = application(step);
        let mut request = ping();
        request.exhaust_allowed = true;
        let exchange = begin(&mut peer, &request);
        let seen = peer.request();
        assert_eq!(seen.flags, 1 << 16);
        let first = peer.reply_with(seen.id, 2, &doc! { "n": 1 });
        assert_eq!(peer.conn.health(), Health::Streaming);
        assert_eq!(reply_number(&mut peer, exchange, true), 1);
        let second = peer.reply_with(first, 2, &doc! { "n": 2 });
        assert_eq!(reply_number(&mut peer, exchange, true), 2);
        peer.reply_with(second, 0, &doc! { "n": 3 });
        assert_eq!(reply_number(&mut peer, exchange, false), 3);
        assert_eq!(peer.conn.health(), Health::Idle);
    });
}

#[test]
fn exhaust_reply_to_the_request_instead_of_the_reply_closes() {
    each_step(|step| {
        let mut peer = application(step);
        let mut request = ping();
        request.exhaust_allowed = true;
        begin(&mut peer, &request);
        let seen = peer.request();
        peer.reply_with(seen.id, 2, &doc! { "n": 1 });
        peer.events();
        peer.reply_with(seen.id, 2, &doc! { "n": 2 });
        assert!(invalid_response(&mut peer).contains("responseTo"));
    });
}

#[test]
fn stream_that_was_not_allowed_closes() {
    each_step(|step| {
        let mut peer = application(step);
        begin(&mut peer, &ping());
        let seen = peer.request();
        peer.reply_with(seen.id, 2, &doc! { "n": 1 });
        assert!(invalid_response(&mut peer).contains("moreToCome"));
    });
}

#[test]
fn reply_to_another_request_closes() {
    each_step(|step| {
        let mut peer = application(step);
        begin(&mut peer, &ping());
        let seen = peer.request();
        peer.reply_with(seen.id + 1, 0, &doc! { "n": 1 });
        assert!(invalid_response(&mut peer).contains("responseTo"));
    });
}

#[test]
fn message_that_nobody_asked_for_closes() {
    each_step(|step| {
        let mut idle = application(step);
        idle.reply_with(0, 0, &doc! { "n": 1 });
        assert!(invalid_response(&mut idle).contains("nobody asked"));

        let mut half_written = application(step);
        let exchange = begin(&mut half_written, &ping());
        half_written.write_some(10);
        half_written.reply_with(exchange.0, 0, &doc! { "n": 1 });
        assert!(invalid_response(&mut half_written).contains("nobody asked"));

        let mut second = application(step);
        begin(&mut second, &ping());
        let seen = second.request();
        second.reply(&seen, &doc! { "n": 1 });
        second.events();
        second.reply(&seen, &doc! { "n": 2 });
        assert!(invalid_response(&mut second).contains("nobody asked"));
    });
}

#[test]
fn garbage_closes() {
    each_step(|step| {
        for garbage in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            &[0; 64],
            &[0xff; 64],
            &[0x15, 3, 3, 0, 2, 2, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut peer = application(step);
            begin(&mut peer, &ping());
            peer.request();
            peer.send(garbage);
            let message = invalid_response(&mut peer);
            let is_header = ["messageLength", "opCode"].map(|field| message.contains(field));
            assert!(is_header.contains(&true), "{message}");
        }
    });
}

#[test]
fn end_of_stream_and_faults_close_with_their_kind() {
    use std::io::ErrorKind as Io;
    let faults = [
        (None, Io::UnexpectedEof),
        (Some(IoFault::Reset), Io::ConnectionReset),
        (Some(IoFault::TimedOut), Io::TimedOut),
        (Some(IoFault::Refused), Io::ConnectionRefused),
        (Some(IoFault::Interrupted), Io::Interrupted),
        (Some(IoFault::Other(Io::BrokenPipe)), Io::BrokenPipe),
    ];
    for (fault, kind) in faults {
        for busy in [false, true] {
            let mut peer = application(1);
            if busy {
                begin(&mut peer, &ping());
                let seen = peer.request();
                let reply = message(1, seen.id, 0, &doc! { "n": 1 });
                peer.send(&reply[..reply.len() - 1]);
            }
            match fault {
                Some(fault) => peer.conn.handle_fault(fault, peer.now),
                None => peer.conn.handle_read(0, peer.now),
            }
            let closed = peer.closed();
            assert_eq!(closed.phase, Phase::Established);
            assert!(matches!(&*closed.error.kind, ErrorKind::Io(e) if e.kind() == kind));
            assert!(closed.error.labels().is_empty(), "no overload any more");
        }
    }
}

#[test]
fn reply_before_the_end_is_delivered_before_the_end() {
    let mut peer = application(usize::MAX);
    begin(&mut peer, &ping());
    let seen = peer.request();
    peer.reply(&seen, &doc! { "n": 1 });
    peer.conn.handle_read(0, peer.now);
    let events = peer.events();
    assert!(matches!(
        &events[..],
        [ConnEvent::Reply { .. }, ConnEvent::Closed(_)]
    ));
}

#[test]
fn deadline_is_the_earlier_of_the_callers_and_the_socket_timeout() {
    let seconds = Duration::from_secs;
    let cases = [
        (Purpose::Application, None, Some(10)),
        (Purpose::Application, Some(3), Some(3)),
        (Purpose::Application, Some(30), Some(10)),
        (Purpose::Monitor, None, None),
        (Purpose::Monitor, Some(30), Some(30)),
    ];
    for (purpose, given, expected) in cases {
        let mut config = config();
        config.socket_timeout = Some(seconds(10));
        let mut peer = Peer::established(config, purpose, usize::MAX);
        assert_eq!(peer.conn.poll_timeout(), None);
        let started = peer.now;
        let given = given.map(|s| started + seconds(s));
        peer.conn.begin(&ping(), given, started).unwrap();
        let expected = expected.map(|s| (peer.now + seconds(s), ConnTimer::Exchange));
        assert_eq!(peer.conn.poll_timeout(), expected);
        let Some((at, _)) = expected else { continue };
        peer.conn
            .handle_timeout(Instant::from_nanos(at.as_nanos() - 1));
        assert_eq!(peer.conn.health(), Health::Busy);
        peer.conn.handle_timeout(at);
        let closed = peer.closed();
        assert!(closed.error.is_network_timeout());
        let by_option = expected == Some((started + seconds(10), ConnTimer::Exchange));
        let text = closed.error.to_string();
        assert_eq!(text.contains("socketTimeoutMS"), by_option, "{text}");
        assert_eq!(closed.phase, Phase::Established);
    }
}

#[test]
fn deadline_of_a_stream_can_be_renewed() {
    let mut peer = Peer::established(config(), Purpose::Monitor, usize::MAX);
    let mut request = ping();
    request.exhaust_allowed = true;
    let first = peer.now + Duration::from_secs(5);
    peer.conn.begin(&request, Some(first), peer.now).unwrap();
    let seen = peer.request();
    peer.reply_with(seen.id, 2, &doc! { "n": 1 });
    assert_eq!(peer.conn.poll_timeout(), Some((first, ConnTimer::Exchange)));
    assert_eq!(peer.events().len(), 1);
    let second = first + Duration::from_secs(5);
    peer.conn.set_deadline(Some(second), peer.now);
    peer.conn.handle_timeout(first);
    assert_eq!(peer.conn.health(), Health::Streaming);
    peer.conn.handle_timeout(second);
    assert!(peer.closed().error.is_network_timeout());
}

#[test]
fn request_is_refused_unless_idle_and_if_too_long() {
    let mut peer = application(usize::MAX);
    let mut long = ping();
    long.document = vec![0; 48_000_001];
    let error = peer.conn.begin(&long, None, peer.now).unwrap_err();
    assert!(matches!(error, BeginError::Frame(_)));
    assert_eq!(peer.conn.health(), Health::Idle);
    begin(&mut peer, &ping());
    let error = peer.conn.begin(&ping(), None, peer.now).unwrap_err();
    assert!(matches!(error, BeginError::NotIdle(Health::Busy)));
    peer.conn.handle_read(0, peer.now);
    let error = peer.conn.begin(&ping(), None, peer.now).unwrap_err();
    assert!(matches!(error, BeginError::NotIdle(Health::Perished)));
}

#[test]
fn abandoned_before_the_first_byte_is_withdrawn() {
    let mut peer = application(usize::MAX);
    let exchange = begin(&mut peer, &ping());
    assert_eq!(peer.conn.abandon(exchange, peer.now), Abandoned::Reusable);
    assert_eq!(peer.conn.health(), Health::Idle);
    assert_eq!(peer.write_some(100), 0);
    let exchange = begin(&mut peer, &ping());
    let seen = peer.request();
    peer.reply(&seen, &doc! { "n": 1 });
    assert_eq!(reply_number(&mut peer, exchange, false), 1);
}

#[test]
fn abandoned_half_written_closes() {
    let mut peer = application(usize::MAX);
    let exchange = begin(&mut peer, &ping());
    peer.write_some(1);
    assert_eq!(peer.conn.abandon(exchange, peer.now), Abandoned::Close);
    assert!(peer.closed().error.is_network());
}

#[test]
fn abandoned_with_the_reply_pending_drains_and_is_used_again() {
    each_step(|step| {
        for already_read in [0, 1, 20] {
            let mut peer = application(step);
            let exchange = begin(&mut peer, &ping());
            let seen = peer.request();
            let reply = message(1, seen.id, 0, &doc! { "n": 1 });
            peer.send(&reply[..already_read]);
            let until = peer.now + Duration::from_secs(1);
            let drain = Abandoned::Drain { until };
            assert_eq!(peer.conn.abandon(exchange, peer.now), drain);
            assert_eq!(peer.conn.health(), Health::Draining);
            assert_eq!(peer.conn.poll_timeout(), Some((until, ConnTimer::Drain)));
            assert_eq!(peer.conn.abandon(exchange, peer.now), drain, "idempotent");
            peer.send(&reply[already_read..]);
            assert_eq!(peer.conn.health(), Health::Idle);
            assert!(peer.events().is_empty(), "nobody waits for the reply");
            let exchange = begin(&mut peer, &ping());
            let seen = peer.request();
            peer.reply(&seen, &doc! { "n": 2 });
            assert_eq!(reply_number(&mut peer, exchange, false), 2);
        }
    });
}

#[test]
fn draining_ends_after_a_second() {
    let mut peer = application(usize::MAX);
    let exchange = begin(&mut peer, &ping());
    peer.request();
    let _ = peer.conn.abandon(exchange, peer.now);
    peer.conn
        .handle_timeout(peer.now + Duration::from_millis(999));
    assert_eq!(peer.conn.health(), Health::Draining);
    peer.conn.handle_timeout(peer.now + Duration::from_secs(1));
    assert!(peer.closed().error.is_network_timeout());
}

#[test]
fn draining_more_than_a_megabyte_closes() {
    let text = "x".repeat(1024 * 1024);
    for already_read in [0, 100] {
        let mut peer = application(usize::MAX);
        let exchange = begin(&mut peer, &ping());
        let seen = peer.request();
        let reply = message(1, seen.id, 0, &doc! { "text": &text });
        peer.send(&reply[..already_read]);
        let abandoned = peer.conn.abandon(exchange, peer.now);
        assert_eq!(abandoned == Abandoned::Close, already_read > 0);
        peer.send(&reply[already_read..]);
        peer.closed();
    }
}

#[test]
fn draining_the_wrong_reply_closes() {
    let mut peer = application(1);
    let exchange = begin(&mut peer, &ping());
    let seen = peer.request();
    let _ = peer.conn.abandon(exchange, peer.now);
    peer.reply_with(seen.id + 1, 0, &doc! { "n": 1 });
    assert!(invalid_response(&mut peer).contains("responseTo"));
}

#[test]
fn abandoned_after_the_reply_is_reusable_and_the_reply_is_dropped() {
    let mut peer = application(usize::MAX);
    let exchange = begin(&mut peer, &ping());
    let seen = peer.request();
    peer.reply(&seen, &doc! { "n": 1 });
    assert_eq!(peer.conn.abandon(exchange, peer.now), Abandoned::Reusable);
    assert!(peer.events().is_empty());
}

#[test]
fn abandoned_exhaust_closes() {
    for replies in [0, 1] {
        let mut peer = application(usize::MAX);
        let mut request = ping();
        request.exhaust_allowed = true;
        let exchange = begin(&mut peer, &request);
        let seen = peer.request();
        if replies == 1 {
            peer.reply_with(seen.id, 2, &doc! { "n": 1 });
        }
        assert_eq!(peer.conn.abandon(exchange, peer.now), Abandoned::Close);
        peer.closed();
    }
}

#[cfg(all(feature = "snappy", feature = "zlib"))]
#[test]
fn first_shared_compressor_is_used_where_the_request_allows_it() {
    let mut config = config();
    config.compressors = vec![
        Compressor::Zstd { level: None },
        Compressor::Snappy,
        Compressor::Zlib { level: None },
    ];
    each_step(|step| {
        let mut peer = Peer::established(config.clone(), Purpose::Application, step);
        let mut request = ping();
        for (compressible, op_code) in [(true, 2012), (false, 2013)] {
            request.compressible = compressible;
            let exchange = begin(&mut peer, &request);
            let seen = peer.request();
            assert_eq!(seen.op_code, op_code);
            assert_eq!(seen.document, doc! { "ping": 1, "$db": "admin" });
            // The server may answer with any compressor, or none.
            let reply = compressed(&seen, Compressor::Zlib { level: None });
            peer.send(&reply);
            assert_eq!(reply_number(&mut peer, exchange, false), 1);
        }
        let mut monitor = Peer::established(config.clone(), Purpose::Monitor, step);
        request.compressible = true;
        begin(&mut monitor, &request);
        assert_eq!(monitor.request().op_code, 2013, "monitors do not compress");
    });
}

#[cfg(all(feature = "snappy", feature = "zlib"))]
fn compressed(to: &super::peer::Seen, compressor: Compressor) -> Vec<u8> {
    let reply = Request {
        document: rawdoc! { "n": 1 }.into_bytes(),
        ..Request::default()
    };
    let mut queue = WriteQueue::default();
    encode(&reply, 1, Some(compressor), 1000, &mut queue).unwrap();
    let mut slices = [&[][..]; 1];
    queue.slices(&mut slices);
    let mut bytes = slices[0].to_vec();
    bytes[8..12].copy_from_slice(&to.id.to_le_bytes());
    bytes
}
