//! Logins: the server's side of SCRAM-SHA-256.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::world::{Answer, World, find, found};
use crate::options::{AuthMechanism, Credential};

const SALT: &[u8] = b"a salt of its own";
const ITERATIONS: u32 = 4096;

fn payload(command: &Document) -> String {
    match command.get("payload") {
        Some(Bson::Binary(binary)) => String::from_utf8(binary.bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn sasl(payload: &str, done: bool) -> Answer {
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: payload.as_bytes().to_vec(),
    };
    Answer::Reply(doc! { "conversationId": 1, "done": done, "payload": payload, "ok": 1.0 })
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// A world whose server knows the user `u` with the password `pencil`.
fn world(password: &str) -> (World, Rc<RefCell<u32>>) {
    let credential = Credential::builder().username("u").password(password);
    let credential = credential.mechanism(AuthMechanism::ScramSha256);
    let mut world = World::new(&[], |options| options.credential = Some(credential));
    // The messages of each conversation, by its nonce.
    let mut talks: BTreeMap<String, String> = BTreeMap::new();
    let logins = Rc::new(RefCell::new(0));
    let count = Rc::clone(&logins);
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(b"pencil", SALT, ITERATIONS);
    world.set_rule(move |seen| match seen.name() {
        "saslStart" => {
            let bare = payload(&seen.command)
                .strip_prefix("n,,")
                .unwrap()
                .to_owned();
            let nonce = format!("{}srv", bare.split_once("r=").unwrap().1);
            let first = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(SALT));
            talks.insert(nonce, format!("{bare},{first}"));
            Some(sasl(&first, false))
        }
        "saslContinue" => {
            let last = payload(&seen.command);
            let (unproved, proof) = last.split_once(",p=").unwrap();
            let nonce = unproved.split_once("r=").unwrap().1;
            let message = format!("{},{unproved}", talks[nonce]);
            let key = mac(&salted, b"Client Key");
            let stored = <Sha256 as sha2::Digest>::digest(&key).to_vec();
            let signature = mac(&stored, message.as_bytes());
            let expected: Vec<u8> = key.iter().zip(signature).map(|(k, s)| k ^ s).collect();
            if BASE64.decode(proof).unwrap() != expected {
                return Some(Answer::Reply(
                    doc! { "ok": 0.0, "code": 18, "errmsg": "Authentication failed." },
                ));
            }
            *count.borrow_mut() += 1;
            let server = mac(&mac(&salted, b"Server Key"), message.as_bytes());
            Some(sasl(&format!("v={}", BASE64.encode(server)), true))
        }
        _ => None,
    });
    (world, logins)
}

#[test]
fn connections_log_in_and_the_key_is_derived_once() {
    for step in [1, usize::MAX] {
        let (mut world, logins) = world("pencil");
        world.step = step;
        let ops = [1, 2].map(|id| world.submit(find(id)));
        for (op, id) in ops.into_iter().zip(1..) {
            assert_eq!(found(&world.wait(op).unwrap()), id);
        }
        assert!(*logins.borrow() >= 1);
        world.break_connections(super::ALONE);
        world.execute(find(3)).unwrap();
        world.assert_quiet();
        world.shut_down();
    }
}

#[test]
fn a_refused_login_is_the_result_and_leaves_nothing() {
    let (mut world, _) = world("wrong");
    let error = world.execute(find(1)).unwrap_err();
    assert!(
        error.to_string().contains("Authentication failed"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    assert!(world.seen("find").is_empty());
    world.pass(std::time::Duration::from_secs(1));
    world.assert_quiet();
    world.shut_down();
}

#[test]
fn a_login_can_be_cancelled_in_its_course() {
    for k in (0..50).step_by(5) {
        let (mut world, _) = world("pencil");
        let op = world.submit(find(1));
        for _ in 0..k {
            world.act();
        }
        world.engine.cancel(op, world.now);
        world.settle();
        world.assert_quiet();
        assert_eq!(found(&world.execute(find(2)).unwrap()), 2, "step {k}");
        world.shut_down();
    }
}
