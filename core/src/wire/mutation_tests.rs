//! A million mutated inputs for each parser that a server can reach before anything is trusted.
//!
//! The inputs are valid ones with bytes flipped, replaced, cut, doubled or spliced. Nothing may
//! panic. Allocations are bounded by construction: the limit of these runs is 64 KiB, and
//! [`Framer`] and [`decode`] allocate nothing longer than their limit.

use bson::{RawDocument, doc};

use super::*;
use crate::{hello::HelloReply, options::Compressor, rng::Rng};

const INPUTS: u32 = 1_000_000;
const LEN_MAX: usize = 64 * 1024;

/// Changes one to four places of `input`.
fn mutate(input: &mut Vec<u8>, rng: &mut Rng) {
    let mut bits = rng.next_u64();
    let mut draw = |bound: usize| {
        let value = (bits & 0xffff) as usize % bound.max(1);
        bits = bits.rotate_right(13).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (bits >> 29);
        value
    };
    for _ in 0..=draw(4) {
        let at = draw(input.len());
        let value = draw(256) as u8;
        match draw(8) {
            0..=2 if at < input.len() => input[at] ^= 1 << (value & 7),
            3 if at < input.len() => input[at] = value,
            4 if at < input.len() => input[at] = [0, 0xff, 0x7f, 0x80][usize::from(value & 3)],
            5 => input.truncate(at),
            6 if input.len() < 2048 => {
                let end = (at + draw(32)).min(input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => input.insert(at, value),
        }
    }
}

/// Runs the framer and the decoder as a connection would; returns how many messages came out.
fn receive(bytes: &[u8]) -> usize {
    let mut framer = Framer::default();
    let mut messages = 0;
    let space = framer.space();
    let n = bytes.len().min(space.len());
    space[..n].copy_from_slice(&bytes[..n]);
    framer.advance(n);
    while let Ok(Some(frame)) = framer.poll_frame(LEN_MAX) {
        assert!(frame.bytes.len() <= LEN_MAX);
        if let Ok(incoming) = decode(frame, LEN_MAX) {
            let document = incoming.reply.document();
            assert!(document.as_bytes().len() <= 2 * LEN_MAX);
            messages += 1;
            // Elements are checked when they are read: walking them must not panic either.
            for element in document.iter() {
                if element.is_err() {
                    break;
                }
            }
        }
    }
    messages
}

fn seeds() -> Vec<Vec<u8>> {
    let request = Request {
        name: "insert",
        document: doc! { "insert": "c", "$db": "d", "n": [1, 2, 3] }
            .to_vec()
            .unwrap(),
        sequences: crate::op::DocumentSequence {
            identifier: "documents",
            documents: doc! { "_id": 1, "x": "y" }.to_vec().unwrap().into(),
        }
        .into(),
        ..Request::default()
    };
    let compressors = [
        None,
        Some(Compressor::Snappy),
        Some(Compressor::Zlib { level: None }),
        Some(Compressor::Zstd { level: None }),
    ];
    let mut out = Vec::new();
    for compressor in compressors {
        if compressor.is_none_or(is_compiled_in) {
            let mut queue = WriteQueue::default();
            encode(&request, 7, compressor, LEN_MAX, &mut queue).unwrap();
            let mut slices = [&[][..]];
            queue.slices(&mut slices);
            out.push(slices[0].to_vec());
        }
    }
    // A message with a checksum, and two messages in a row.
    let mut summed = out[0].clone();
    summed[16] = 1;
    summed.extend_from_slice(&[1, 2, 3, 4]);
    let len = (summed.len() as u32).to_le_bytes();
    summed[..4].copy_from_slice(&len);
    out.push(summed);
    let double = [&out[0][..], &out[0]].concat();
    out.push(double);
    out
}

#[test]
fn a_million_mutated_messages_do_not_panic() {
    let seeds = seeds();
    assert!(receive(&seeds[0]) == 1 && receive(seeds.last().unwrap()) == 2);
    let mut rng = Rng::from_seed(1);
    let mut input = Vec::new();
    let mut accepted = 0;
    for i in 0..INPUTS {
        input.clear();
        input.extend_from_slice(&seeds[i as usize % seeds.len()]);
        mutate(&mut input, &mut rng);
        accepted += receive(&input);
    }
    // Mutations that are all refused at the first byte would prove nothing.
    assert!(accepted > 10_000, "only {accepted} messages got through");
}

/// A quarter of the inputs: in a build without optimizations they take a minute, and tests run side
/// by side.
fn mutate_hello_replies(quarter: u64) {
    let id = bson::oid::ObjectId::from_bytes([7; 12]);
    let seed = doc! {
        "isWritablePrimary": true, "hosts": ["a:1", "[::1]:2"], "setName": "rs", "me": "a:1",
        "setVersion": 1, "electionId": id, "tags": { "dc": "x" }, "maxWireVersion": 17,
        "lastWrite": { "lastWriteDate": bson::DateTime::from_millis(1) }, "primary": "a:1",
        "topologyVersion": { "processId": id, "counter": 1_i64 }, "saslSupportedMechs": ["x"],
        "compression": ["zlib"], "logicalSessionTimeoutMinutes": 30, "ok": 1.0,
    };
    let seed = seed.to_vec().unwrap();
    let mut rng = Rng::from_seed(2 + quarter);
    let mut input = Vec::new();
    let mut accepted = 0;
    for _ in 0..INPUTS / 4 {
        input.clear();
        input.extend_from_slice(&seed);
        mutate(&mut input, &mut rng);
        // The document's own length is made right, or nearly all inputs would end there.
        let len = input.len() as u32;
        if let Some(field) = input.first_chunk_mut() {
            *field = len.to_le_bytes();
        }
        if let Ok(document) = RawDocument::from_bytes(&input) {
            accepted += u32::from(HelloReply::parse(document).is_ok());
        }
    }
    assert!(accepted > 2_500, "only {accepted} replies got through");
}

mod a_million_mutated_hello_replies_do_not_panic {
    use super::mutate_hello_replies;

    #[test]
    fn first_quarter() {
        mutate_hello_replies(0);
    }

    #[test]
    fn second_quarter() {
        mutate_hello_replies(1);
    }

    #[test]
    fn third_quarter() {
        mutate_hello_replies(2);
    }

    #[test]
    fn fourth_quarter() {
        mutate_hello_replies(3);
    }
}
