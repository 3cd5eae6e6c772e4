//! Trees of documents: how many elements there are, which names come twice, what is broken.

use bson::{RawDocumentBuf, doc};

use super::*;

/// A document of these bytes between its length and its last NUL.
fn raw(elements: &[u8]) -> Vec<u8> {
    let mut out = ((elements.len() + 5) as i32).to_le_bytes().to_vec();
    out.extend_from_slice(elements);
    out.push(0);
    out
}

fn int32(name: &[u8], value: i32) -> Vec<u8> {
    [&[0x10], name, &[0], &value.to_le_bytes()[..]].concat()
}

/// Reads the tree in both ways, and both must give the same.
#[track_caller]
fn both_build(bytes: &[u8]) -> Document {
    let document = RawDocument::from_bytes(bytes).unwrap();
    let fast = read_tree(document).unwrap();
    let slow = Document::try_from(document).unwrap();
    assert_eq!(format!("{fast:?}"), format!("{slow:?}"));
    assert_eq!(fast, slow);
    assert_eq!(
        RawDocumentBuf::try_from(&fast).unwrap(),
        RawDocumentBuf::try_from(&slow).unwrap()
    );
    fast
}

#[track_caller]
fn neither_builds(bytes: &[u8]) {
    let document = RawDocument::from_bytes(bytes).unwrap();
    assert_eq!(read_tree(document), Err(Fail));
    Document::try_from(document).unwrap_err();
    to_document(document).unwrap_err();
}

#[test]
fn documents_and_arrays_of_any_length_are_built() {
    for len in 0..260_i32 {
        let flat: Document = (0..len).map(|n| (format!("name {n}"), n.into())).collect();
        let list: Vec<i32> = (0..len).collect();
        let whole = doc! { "flat": flat.clone(), "list": list, "docs": [flat.clone(), flat] };
        let built = both_build(&bson::serialize_to_vec(&whole).unwrap());
        assert_eq!(built, whole);
        // It takes more, and what is there is found.
        let mut built = built;
        built.insert("more", len);
        assert_eq!(built.get_i32("more").unwrap(), len);
        assert!(len == 0 || built.get_document("flat").unwrap().contains_key("name 0"));
    }
}

#[test]
fn of_a_name_that_comes_twice_the_last_value_counts() {
    for first in 0..20 {
        for second in first + 1..20 {
            let mut elements = Vec::new();
            for n in 0..20 {
                let name = if n == second { first } else { n };
                elements.extend(int32(format!("n{name}").as_bytes(), n));
            }
            let built = both_build(&raw(&elements));
            assert_eq!(built.len(), 19);
            assert_eq!(built.get_i32(format!("n{first}")).unwrap(), second);
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_wherever_it_is() {
    for count in [1, 3, 8, 9, 20] {
        for broken in 0..count {
            let name = |n: i32| {
                if n == broken {
                    vec![b'a', 0xff]
                } else {
                    n.to_string().into()
                }
            };
            let elements: Vec<u8> = (0..count).flat_map(|n| int32(&name(n), n)).collect();
            let bytes = raw(&elements);
            neither_builds(&bytes);
            // Also the names in an array, although nobody sees these.
            neither_builds(&raw(&[&[4, b'a', 0], &bytes[..]].concat()));
        }
    }
    for kind in [0x02, 0x0d, 0x0e] {
        neither_builds(&raw(&[kind, b'a', 0, 3, 0, 0, 0, 0xc3, b'x', 0]));
    }
}

#[test]
fn elements_that_break_off_are_refused_wherever_they_are() {
    let elements: Vec<u8> = (0..20).flat_map(|n| int32(b"n", n)).collect();
    both_build(&raw(&elements));
    for len in 0..elements.len() {
        let cut = &elements[..len];
        if len % int32(b"n", 0).len() == 0 {
            both_build(&raw(cut));
        } else {
            neither_builds(&raw(cut));
            neither_builds(&raw(&[&[4, b'a', 0], &raw(cut)[..]].concat()));
        }
    }
    neither_builds(&raw(&[elements, vec![0x77, b'a', 0]].concat()));
}

#[test]
fn a_db_pointer_is_built() {
    let id = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let pointer = [&[0x0c, b'p', 0, 2, 0, 0, 0, b'b', 0], &id[..]].concat();
    both_build(&raw(&pointer));
    both_build(&raw(&[&[4, b'a', 0], &raw(&pointer)[..]].concat()));
}

/// Extended JSON is a form of text: in bytes, such names are names like others.
#[test]
fn documents_with_the_names_of_extended_json_are_documents() {
    for document in [
        doc! { "$date": 5_i64 },
        doc! { "$oid": "5f01020304050607080910ff" },
        doc! { "$numberLong": "5", "x": 1 },
        doc! { "$binary": { "base64": "", "subType": "00" } },
        doc! { "$ref": "c", "$id": 1, "$db": "d" },
    ] {
        let whole = doc! { "a": document.clone(), "b": [document] };
        assert_eq!(both_build(&bson::serialize_to_vec(&whole).unwrap()), whole);
    }
}
