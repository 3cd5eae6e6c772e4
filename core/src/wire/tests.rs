//! Framing, OP_MSG and OP_COMPRESSED against bytes written by hand.

use bson::{Bson, RawDocumentBuf, doc, rawdoc};
use bytes::Bytes;

use super::*;
use crate::{op::DocumentSequence, options::Compressor};

/// `{ping: 1, $db: "admin"}` as request 7, written out.
const PING: &[u8] = b"\x33\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\
    \x00\x00\x00\x00\x00\x1e\x00\x00\x00\x10ping\x00\x01\x00\x00\x00\x02$db\x00\x06\x00\x00\x00\
    admin\x00\x00";

fn ping() -> Request {
    Request {
        name: "ping",
        document: rawdoc! { "ping": 1, "$db": "admin" }.into_bytes(),
        compressible: true,
        ..Request::default()
    }
}

/// A message with the header's length filled in.
fn message(response_to: i32, op_code: i32, body: &[u8]) -> Vec<u8> {
    let header = Header {
        length: HEADER_LEN + body.len(),
        request_id: 1,
        response_to,
        op_code,
    };
    let mut out = header.to_bytes().unwrap().to_vec();
    out.extend_from_slice(body);
    out
}

fn op_msg(flags: u32, sections: &[u8]) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.extend_from_slice(sections);
    message(7, 2013, &body)
}

fn kind_0(doc: &RawDocumentBuf) -> Vec<u8> {
    [&[0], doc.as_bytes()].concat()
}

fn kind_1(identifier: &str, docs: &[RawDocumentBuf]) -> Vec<u8> {
    let docs: Vec<u8> = docs.iter().flat_map(|d| d.as_bytes().to_vec()).collect();
    let size = (identifier.len() + docs.len() + 5) as u32;
    let mut out = vec![1];
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(identifier.as_bytes());
    out.push(0);
    out.extend_from_slice(&docs);
    out
}

fn compressed(id: u8, size: i32, op_code: i32, data: &[u8]) -> Vec<u8> {
    let mut body = op_code.to_le_bytes().to_vec();
    body.extend_from_slice(&size.to_le_bytes());
    body.push(id);
    body.extend_from_slice(data);
    message(7, 2012, &body)
}

/// Feeds bytes in pieces and takes all frames.
fn frames(bytes: &[u8], step: usize, max: usize) -> Result<Vec<Frame>, FrameError> {
    let mut framer = Framer::default();
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = framer.space();
        assert!(!space.is_empty(), "no room for the rest");
        let n = step.min(rest.len()).min(space.len());
        space[..n].copy_from_slice(&rest[..n]);
        framer.advance(n);
        rest = &rest[n..];
        while let Some(frame) = framer.poll_frame(max)? {
            out.push(frame);
        }
    }
    Ok(out)
}

fn decode_one(bytes: &[u8]) -> Result<Incoming, FrameError> {
    let mut all = frames(bytes, usize::MAX, MESSAGE_LEN_DEFAULT)?;
    assert_eq!(all.len(), 1, "one whole frame");
    decode(all.remove(0), MESSAGE_LEN_DEFAULT)
}

fn encoded(request: &Request, compressor: Option<Compressor>) -> Vec<u8> {
    let mut queue = WriteQueue::default();
    encode(request, 7, compressor, MESSAGE_LEN_DEFAULT, &mut queue).unwrap();
    written(&mut queue, usize::MAX)
}

/// Writes the queue out, at most `step` bytes at a time.
fn written(queue: &mut WriteQueue, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while !queue.is_empty() {
        let mut slices = [&[][..]; 2];
        let count = queue.slices(&mut slices);
        assert!(count > 0, "bytes remain, but no slice is offered");
        let n = step.min(slices[0].len());
        out.extend_from_slice(&slices[0][..n]);
        queue.advance(n);
    }
    out
}

#[test]
fn request_has_the_bytes_of_the_specification() {
    assert_eq!(encoded(&ping(), None), PING);
}

#[test]
fn flags_of_a_request_are_sent() {
    let mut request = ping();
    request.more_to_come = true;
    request.exhaust_allowed = true;
    assert_eq!(encoded(&request, None)[16..20], [2, 0, 1, 0]);
}

#[test]
fn sequences_leave_whole_however_small_the_writes() {
    let documents: Vec<u8> = (0..3000)
        .flat_map(|i| rawdoc! { "_id": i, "x": "y" }.into_bytes())
        .collect();
    assert!(documents.len() > 16 * 1024, "long enough not to be copied");
    let mut request = ping();
    for identifier in ["documents", "more"] {
        request.sequences.push(DocumentSequence {
            identifier,
            documents: documents.clone().into(),
        });
    }
    let whole = encoded(&request, None);
    let command = command_document(&request);
    // Pieces that are copied and pieces that are not, in both orders.
    let cuts = [0, 23 * 20, 23 * 1600, documents.len()];
    request.sequences[0].documents = cuts
        .windows(2)
        .map(|cut| Bytes::copy_from_slice(&documents[cut[0]..cut[1]]))
        .collect();
    assert_eq!(request.sequences[0].documents.len(), documents.len());
    assert_eq!(command_document(&request), command);
    for step in [1, 1000, 16 * 1024] {
        let mut queue = WriteQueue::default();
        encode(&request, 7, None, MESSAGE_LEN_DEFAULT, &mut queue).unwrap();
        assert_eq!(written(&mut queue, step), whole, "step {step}");
    }
    let reply = decode_one(&whole).unwrap().reply;
    let array = reply.document().get_array("documents").unwrap();
    assert_eq!(array.into_iter().count(), 3000);
    assert_eq!(
        command_document(&request).get_array("more").unwrap().len(),
        3000
    );
}

#[test]
fn request_longer_than_the_server_accepts_is_refused_and_queues_nothing() {
    let mut queue = WriteQueue::default();
    let error = encode(&ping(), 7, None, PING.len() - 1, &mut queue).unwrap_err();
    assert_eq!(
        error,
        FrameError::TooLong {
            length: PING.len(),
            max: PING.len() - 1
        }
    );
    assert!(queue.is_empty());
}

#[test]
fn frames_are_cut_at_every_split() {
    let long = op_msg(0, &kind_0(&rawdoc! { "x": "y".repeat(40_000) }));
    let stream = [PING, &long, PING, PING].concat();
    for step in [1, 2, 15, 16, 17, 50, 16_000, usize::MAX] {
        let all = frames(&stream, step, MESSAGE_LEN_DEFAULT).unwrap();
        let lengths: Vec<_> = all.iter().map(|f| f.bytes.len()).collect();
        assert_eq!(
            lengths,
            [PING.len(), long.len(), PING.len(), PING.len()],
            "step {step}"
        );
        assert!(*all[1].bytes == *long && *all[3].bytes == *PING);
    }
}

#[test]
fn length_outside_the_limits_is_refused_before_it_is_allocated() {
    for length in [i32::MIN, -1, 0, 15, 1001, i32::MAX] {
        let mut bytes = PING.to_vec();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        for step in [1, usize::MAX] {
            let error = frames(&bytes, step, 1000).unwrap_err();
            assert_eq!(error, FrameError::Length { length, max: 1000 });
        }
    }
}

#[test]
fn every_truncation_of_a_message_is_refused() {
    let sections = [
        kind_0(&rawdoc! { "ok": 1 }),
        kind_1("a", &[rawdoc! { "x": 1 }]),
    ]
    .concat();
    let whole = op_msg(0, &sections);
    assert!(decode_one(&whole).is_ok());
    for len in 0..whole.len() - HEADER_LEN {
        // A message without its last section is whole again.
        let end_of_body = HEADER_LEN + 4 + kind_0(&rawdoc! { "ok": 1 }).len();
        let bytes = message(7, 2013, &whole[HEADER_LEN..HEADER_LEN + len]);
        assert_eq!(
            decode_one(&bytes).is_ok(),
            bytes.len() == end_of_body,
            "{len}"
        );
    }
}

#[test]
fn kind_1_sections_of_a_reply_become_arrays() {
    let docs = [rawdoc! { "x": 1 }, rawdoc! { "x": 2 }];
    let sections = [
        kind_1("a", &docs),
        kind_0(&rawdoc! { "ok": 1 }),
        kind_1("b", &[]),
    ]
    .concat();
    let reply = decode_one(&op_msg(0, &sections)).unwrap().reply;
    let reply = bson::Document::try_from(reply.document()).unwrap();
    let empty = Bson::Array(Vec::new());
    assert_eq!(
        reply,
        doc! { "ok": 1, "a": [{ "x": 1 }, { "x": 2 }], "b": empty }
    );
}

#[test]
fn malformed_sections_are_refused_by_name() {
    let body = kind_0(&rawdoc! { "ok": 1 });
    let cases: [(Vec<u8>, FrameError); 6] = [
        (
            [&body[..], &body].concat(),
            FrameError::Document("second body"),
        ),
        ([&body[..], &[2]].concat(), FrameError::SectionKind(2)),
        (kind_1("a", &[]), FrameError::Truncated("body")),
        (
            [body.clone(), kind_1("ok", &[])].concat(),
            FrameError::Document("sequence identifier: also in the body"),
        ),
        (
            [body.clone(), kind_1("a", &[]).repeat(17)].concat(),
            FrameError::Document("too many sequences"),
        ),
        (
            [&body[..], b"\x01\x05\x00\x00\x00a"].concat(),
            FrameError::Document("sequence identifier"),
        ),
    ];
    for (sections, error) in cases {
        assert_eq!(decode_one(&op_msg(0, &sections)).unwrap_err(), error);
    }
}

#[test]
fn unknown_required_flags_are_refused_and_optional_ones_ignored() {
    let body = kind_0(&rawdoc! { "ok": 1 });
    for bit in 2..16 {
        let error = decode_one(&op_msg(1 << bit, &body)).unwrap_err();
        assert_eq!(error, FrameError::Flags(1 << bit));
    }
    for bit in 16..32 {
        assert!(decode_one(&op_msg(1 << bit, &body)).is_ok());
    }
    assert!(decode_one(&op_msg(2, &body)).unwrap().more_to_come);
    assert!(!decode_one(&op_msg(0, &body)).unwrap().more_to_come);
}

/// CRC-32C bit by bit, independent of the table-driven one under test.
fn crc_32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[test]
fn checksum_is_verified() {
    assert_eq!(crc_32c(b"123456789"), 0xe306_9283);
    let body = kind_0(&rawdoc! { "ok": 1 });
    let mut bytes = op_msg(1, &[&body[..], &[0; 4]].concat());
    let end = bytes.len() - 4;
    let crc = crc_32c(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&crc);
    assert!(decode_one(&bytes).is_ok());
    for at in [4, 8, 20, end, end + 3] {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x40;
        assert!(decode_one(&wrong).is_err(), "byte {at}");
    }
    assert_eq!(
        decode_one(&op_msg(1, &body[..2])).unwrap_err(),
        FrameError::Truncated("checksum")
    );
}

#[test]
fn other_op_codes_are_refused() {
    for code in [0, 1, 2004, 2014, -1] {
        let error = decode_one(&message(7, code, &PING[16..])).unwrap_err();
        assert_eq!(error, FrameError::OpCode(code));
        let error = decode_one(&compressed(0, 4, code, &[0; 4])).unwrap_err();
        assert_eq!(error, FrameError::OpCode(code));
    }
}

fn compressors() -> Vec<Compressor> {
    let levels = [None, Some(-1), Some(0), Some(1), Some(9)];
    let mut all = vec![Compressor::Snappy];
    all.extend(levels.map(|level| Compressor::Zlib { level }));
    all.extend(levels.map(|level| Compressor::Zstd { level }));
    all.retain(|c| is_compiled_in(*c));
    all
}

#[test]
fn compressed_messages_return_whole() {
    let mut request = ping();
    request.sequences.push(DocumentSequence {
        identifier: "documents",
        documents: rawdoc! { "text": "to be or not ".repeat(3000) }
            .into_bytes()
            .into(),
    });
    let plain = encoded(&request, None);
    for compressor in compressors() {
        let bytes = encoded(&request, Some(compressor));
        assert_eq!(bytes[12..16], 2012_i32.to_le_bytes());
        assert_eq!(bytes[16..20], 2013_i32.to_le_bytes());
        let size = i32::from_le_bytes(*bytes[20..].first_chunk().unwrap());
        assert_eq!(size as usize, plain.len() - HEADER_LEN);
        let level_0 = matches!(compressor, Compressor::Zlib { level: Some(0) });
        assert_eq!(bytes.len() < plain.len() / 4, !level_0, "{compressor:?}");
        let reply = decode_one(&bytes).unwrap();
        assert_eq!(reply.request_id, 7);
        let document = bson::Document::try_from(reply.reply.document()).unwrap();
        assert_eq!(document, command_document(&request));
    }
}

#[test]
fn announced_size_must_be_the_inflated_size_and_within_the_limit() {
    let size = (PING.len() - HEADER_LEN) as i32;
    for compressor in compressors() {
        let bytes = encoded(&ping(), Some(compressor));
        for wrong in [size - 1, size + 1, 0, 1_000_000] {
            let mut bytes = bytes.clone();
            bytes[20..24].copy_from_slice(&wrong.to_le_bytes());
            assert!(
                matches!(decode_one(&bytes), Err(FrameError::Corrupt(_))),
                "{compressor:?} {wrong}"
            );
        }
        for wrong in [-1, i32::MIN, i32::MAX, 48_000_001] {
            let mut bytes = bytes.clone();
            bytes[20..24].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(
                decode_one(&bytes).unwrap_err(),
                FrameError::UncompressedSize {
                    size: wrong,
                    max: MESSAGE_LEN_DEFAULT
                }
            );
        }
        for len in HEADER_LEN..bytes.len() {
            let cut = message(7, 2012, &bytes[HEADER_LEN..len]);
            assert!(decode_one(&cut).is_err(), "{compressor:?} cut at {len}");
        }
    }
}

#[test]
fn noop_compressor_is_understood_and_unknown_ones_are_refused() {
    let body = &PING[HEADER_LEN..];
    let size = body.len() as i32;
    let reply = decode_one(&compressed(0, size, 2013, body)).unwrap().reply;
    assert_eq!(reply.document().get_i32("ping").unwrap(), 1);
    assert_eq!(
        decode_one(&compressed(0, size - 1, 2013, body)).unwrap_err(),
        FrameError::Corrupt("noop")
    );
    assert_eq!(
        decode_one(&compressed(4, size, 2013, body)).unwrap_err(),
        FrameError::CompressorUnknown(4)
    );
}

#[cfg(not(feature = "zstd"))]
#[test]
fn compressor_that_is_not_compiled_in_is_named() {
    assert_eq!(
        decode_one(&compressed(3, 30, 2013, &[0; 30])).unwrap_err(),
        FrameError::CompressorNotBuilt("zstd")
    );
}

#[test]
fn reply_lies_in_the_allocation_of_its_frame() {
    let mut all = frames(PING, usize::MAX, 100).unwrap();
    let outer = all[0].bytes.as_ptr_range();
    let reply = decode(all.remove(0), 100).unwrap().reply;
    assert!(outer.contains(&reply.as_bytes().as_ptr()));
    assert!(outer.contains(&reply.into_bytes().as_ptr()));
}

#[test]
fn a_reply_in_a_buffer_that_is_much_too_large_leaves_it_behind() {
    let document = bson::rawdoc! { "n": 1 }.into_bytes();
    let len = document.len();
    let mut large = Vec::with_capacity(4096);
    large.extend_from_slice(&document);
    let bytes = Reply::new(large, 0..len).unwrap().into_bytes();
    assert_eq!(bytes, document);
    assert!(bytes::BytesMut::from(bytes).capacity() < 64);
}
