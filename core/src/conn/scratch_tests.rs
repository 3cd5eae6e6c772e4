//! Buffers that are lent for as long as bytes are moved.

use bson::{doc, rawdoc};

use super::{
    peer::{Peer, config, each_step},
    *,
};
use crate::wire::Request;

fn ping() -> Request {
    Request {
        name: "ping",
        document: rawdoc! { "ping": 1, "$db": "admin" }.into_bytes(),
        ..Request::default()
    }
}

/// Runs a step of the connection as a driver does.
fn lent<T>(peer: &mut Peer, scratch: &mut Scratch, step: impl FnOnce(&mut Peer) -> T) -> T {
    peer.conn.lend(scratch);
    let out = step(peer);
    peer.conn.reclaim(scratch);
    out
}

#[test]
fn an_idle_connection_keeps_no_buffer() {
    each_step(|step| {
        let mut peer = Peer::established(config(), Purpose::Application, step);
        let mut scratch = Scratch::default();
        for n in 0..3 {
            lent(&mut peer, &mut scratch, |peer| {
                peer.conn.begin(&ping(), None, peer.now).unwrap();
            });
            assert!(peer.conn.room() > 0, "the request waits to be written");
            let seen = lent(&mut peer, &mut scratch, Peer::request);
            assert_eq!(seen.document, doc! { "ping": 1, "$db": "admin" });
            assert_eq!(peer.conn.room(), 0, "between request and reply");
            lent(&mut peer, &mut scratch, |peer| {
                peer.reply(&seen, &doc! { "n": n, "text": "x".repeat(100) });
            });
            assert_eq!(peer.conn.room(), 0, "after the reply");
            let events = peer.events();
            assert!(
                matches!(&events[..], [ConnEvent::Reply { .. }]),
                "{events:?}"
            );
        }
    });
}

#[test]
fn a_part_of_a_message_stays_with_its_connection() {
    let mut peer = Peer::established(config(), Purpose::Application, usize::MAX);
    let mut other = Peer::established(config(), Purpose::Application, usize::MAX);
    let mut scratch = Scratch::default();
    let both = [&mut peer, &mut other];
    let mut waiting = Vec::new();
    for (n, peer) in (0..).zip(both) {
        peer.conn.begin(&ping(), None, peer.now).unwrap();
        let seen = peer.request();
        let reply = super::peer::message(1, seen.id, 0, &doc! { "n": n });
        waiting.push((peer, reply));
    }
    for half in 0..2 {
        for (peer, reply) in &mut waiting {
            let (first, second) = reply.split_at(20);
            let part = if half == 0 { first } else { second };
            peer.conn.lend(&mut scratch);
            peer.conn.read_space()[..part.len()].copy_from_slice(part);
            peer.conn.handle_read(part.len(), peer.now);
            peer.conn.reclaim(&mut scratch);
            assert_eq!(peer.conn.room() > 0, half == 0);
        }
    }
    for (n, (peer, _)) in (0..).zip(&mut waiting) {
        match &peer.events()[..] {
            [ConnEvent::Reply { reply, .. }] => {
                assert_eq!(reply.document().get_i32("n").unwrap(), n);
            }
            other => panic!("{other:?}"),
        }
    }
}
