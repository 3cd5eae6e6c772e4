//! OP_MSG: a command to bytes, and the bytes of a reply to a document.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use bson::{doc, serialize_to_vec};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mongo_client_core::wire::{Framer, MESSAGE_LEN_DEFAULT, Request, WriteQueue, decode, encode};

fn request(len: usize) -> Request {
    let filter = doc! { "find": "c", "filter": { "text": "x".repeat(len) }, "$db": "db" };
    Request {
        name: "find",
        document: serialize_to_vec(&filter).expect("a literal document encodes"),
        ..Request::default()
    }
}

/// The message that a server would send: framing is the same in both directions.
fn message(len: usize) -> Vec<u8> {
    let mut queue = WriteQueue::default();
    encode(&request(len), 7, None, MESSAGE_LEN_DEFAULT, &mut queue).expect("a short message");
    let mut slices = [&[][..]; 4];
    let count = queue.slices(&mut slices);
    slices[..count].concat()
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for len in [200, 100_000] {
        let request = request(len);
        let mut queue = WriteQueue::default();
        group.throughput(Throughput::Bytes(request.document.len() as u64));
        group.bench_function(len.to_string(), |b| {
            b.iter(|| {
                encode(
                    black_box(&request),
                    7,
                    None,
                    MESSAGE_LEN_DEFAULT,
                    &mut queue,
                )
                .expect("a short message");
                queue.advance(usize::MAX);
            });
        });
    }
    group.finish();
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for len in [200, 100_000] {
        let message = message(len);
        let mut framer = Framer::default();
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(len.to_string(), |b| {
            b.iter(|| {
                let mut rest = &message[..];
                loop {
                    let space = framer.space();
                    let n = space.len().min(rest.len());
                    space[..n].copy_from_slice(&rest[..n]);
                    framer.advance(n);
                    rest = &rest[n..];
                    let frame = framer.poll_frame(MESSAGE_LEN_DEFAULT);
                    if let Some(frame) = frame.expect("a valid frame") {
                        break decode(frame, MESSAGE_LEN_DEFAULT).expect("a valid message");
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encoding, decoding);
criterion_main!(benches);
