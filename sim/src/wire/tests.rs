use bson::doc;

use super::*;

/// A message of the given sections after flags, with a checksum if the flags ask for one.
fn message(flags: u32, sections: &[u8]) -> Vec<u8> {
    let tail = if flags & CHECKSUM_PRESENT != 0 { 4 } else { 0 };
    let total = HEADER + 4 + sections.len() + tail;
    let mut out = Vec::new();
    for field in [length(total), 7, 0, OP_MSG] {
        out.extend(field.to_le_bytes());
    }
    out.extend(flags.to_le_bytes());
    out.extend(sections);
    if tail > 0 {
        out.extend(crc::crc32c(&out).to_le_bytes());
    }
    out
}

fn kind0(document: &Document) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(document.to_vec().unwrap());
    out
}

fn kind1(name: &str, documents: &[Document]) -> Vec<u8> {
    let mut body = name.as_bytes().to_vec();
    body.push(0);
    for document in documents {
        body.extend(document.to_vec().unwrap());
    }
    let mut out = vec![1];
    out.extend(length(body.len() + 4).to_le_bytes());
    out.extend(body);
    out
}

fn one(bytes: &[u8]) -> Result<Option<Request>, Malformed> {
    let mut framer = Framer::default();
    framer.feed(bytes);
    framer.next()
}

#[test]
fn both_kinds_of_section_make_one_command_byte_by_byte() {
    let mut sections = kind1("documents", &[doc! { "_id": 1 }, doc! { "_id": 2 }]);
    sections.extend(kind0(&doc! { "insert": "c" }));
    let bytes = message(CHECKSUM_PRESENT | EXHAUST_ALLOWED, &sections);
    let mut framer = Framer::default();
    for (at, byte) in bytes.iter().chain(&bytes).enumerate() {
        framer.feed(&[*byte]);
        let request = framer.next().unwrap();
        assert_eq!(request.is_some(), (at + 1) % bytes.len() == 0, "{at}");
        if let Some(request) = request {
            let expected = doc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }] };
            assert_eq!(request.command.to_document(), expected);
            assert!(request.exhaust_allowed && request.checksum && !request.more_to_come);
        }
    }
}

#[test]
fn a_wrong_checksum_and_unknown_required_bits_are_refused() {
    let sections = kind0(&doc! { "ping": 1 });
    let mut bytes = message(CHECKSUM_PRESENT, &sections);
    assert!(one(&bytes).is_ok());
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(one(&bytes), Err(Malformed("checksum")));
    let refused = one(&message(1 << 5, &sections));
    assert_eq!(refused, Err(Malformed("required flag bits")));
    assert!(one(&message(1 << 20, &sections)).is_ok());
}

#[test]
fn every_truncation_with_a_fitting_length_is_an_error_and_no_panic() {
    let mut sections = kind0(&doc! { "insert": "c" });
    sections.extend(kind1("documents", &[doc! { "_id": 1 }]));
    let bytes = message(0, &sections);
    for end in HEADER..bytes.len() {
        let mut cut = bytes[..end].to_vec();
        cut[..4].copy_from_slice(&length(end).to_le_bytes());
        let parsed = one(&cut);
        let whole_section = end == HEADER + 4 + kind0(&doc! { "insert": "c" }).len();
        assert_eq!(parsed.is_ok(), whole_section, "{end}: {parsed:?}");
    }
    for length in [0_u32, 15, u32::MAX] {
        let mut wrong = bytes.clone();
        wrong[..4].copy_from_slice(&length.to_le_bytes());
        assert!(one(&wrong).is_err(), "{length}");
    }
}

#[test]
fn replies_are_sent_in_the_manner_of_the_request() {
    let document = doc! { "ok": 1.0 };
    let mut request = one(&message(CHECKSUM_PRESENT, &kind0(&doc! { "ping": 1 })));
    let request = request.as_mut().unwrap().as_mut().unwrap();
    let bytes = reply(request, 9, 7, false, |out| out.all(&document));
    let parsed = one(&bytes).unwrap().unwrap();
    assert_eq!(parsed.command.to_document(), document);
    for (compressor, name) in Compressor::ALL {
        request.compressor = Some(*compressor);
        let bytes = reply(request, 9, 7, true, |out| out.all(&document));
        let parsed = one(&bytes).unwrap().unwrap();
        assert_eq!(parsed.command.to_document(), document, "{name}");
        assert_eq!(parsed.compressor, Some(*compressor), "{name}");
        assert!(parsed.more_to_come, "{name}");
    }
}
