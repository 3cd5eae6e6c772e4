//! A million damaged server messages: no panic, no unbounded work, no false success.

use super::*;
use crate::rng::Rng;

/// Changes a message in one to four places.
fn damage(rng: &mut Rng, message: &mut Vec<u8>) {
    const TELLING: &[u8] = b"rsive=,0+-9/\0\xff\x80";
    for _ in 0..=rng.below(4) {
        let at = rng.below(message.len() + 1);
        let byte = match rng.below(2) {
            0 => TELLING[rng.below(TELLING.len())],
            _ => rng.below(256) as u8,
        };
        match rng.below(4) {
            0 => message.insert(at, byte),
            1 if at < message.len() => {
                message.remove(at);
            }
            2 => message.truncate(at),
            _ if at < message.len() => message[at] = byte,
            _ => message.push(byte),
        }
    }
}

fn inner(auth: &Authenticator) -> Scram {
    match &auth.conversation {
        Conversation::Scram(scram) => Scram::clone(scram),
        _ => panic!("not SCRAM"),
    }
}

/// Feeds 500,000 damaged messages, each to a copy of `start`; counts successes and refusals.
fn feed_damaged(start: &Scram, text: &str, done: bool, check: fn(&[u8], AuthStep)) -> [u32; 2] {
    let mut rng = Rng::from_seed(0x5c4a);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..500_000 {
        let mut payload = text.as_bytes().to_vec();
        damage(&mut rng, &mut payload);
        let mut reply = RawDocumentBuf::new();
        reply.append(bson::cstr!("conversationId"), 1);
        reply.append(bson::cstr!("done"), done);
        reply.append(bson::cstr!("payload"), binary(&payload));
        reply.append(bson::cstr!("ok"), 1);
        match start.clone().handle_reply(&reply) {
            Ok(step) => {
                check(&payload, step);
                accepted += 1;
            }
            Err(error) => {
                assert!(error.is_authentication(), "{error}");
                refused += 1;
            }
        }
    }
    [accepted, refused]
}

#[test]
fn damaged_first_messages_never_panic_and_ask_for_bounded_work() {
    let mut begun = scram(&SHA256, &AuthCache::default());
    let _ = sent(begun.start().unwrap());
    let [derived, refused] =
        feed_damaged(
            &inner(&begun),
            SHA256.server_first,
            false,
            |_, step| match step {
                AuthStep::Derive(job) => assert!((4096..=1_000_000).contains(&job.iterations())),
                step => panic!("{step:?}"),
            },
        );
    // The test must reach every outcome to mean anything.
    assert!(derived > 1000 && refused > 1000);
}

#[test]
fn damaged_final_messages_never_panic_and_never_authenticate() {
    let proved = up_to_proof(&SHA256, &AuthCache::default());
    let [unharmed, refused] = feed_damaged(
        &inner(&proved),
        SHA256.server_final,
        true,
        |payload, step| {
            assert_done(step);
            // Damage after the first comma is an extension, which is ignored.
            let signature = payload.split(|&b| b == b',').next().unwrap();
            assert_eq!(signature, SHA256.server_final.as_bytes());
        },
    );
    assert!(unharmed > 10 && refused > 1000);
}

#[test]
fn damaged_replies_never_panic() {
    let mut rng = Rng::from_seed(0x5c4b);
    let mut begun = scram(&SHA256, &AuthCache::default());
    let _ = sent(begun.start().unwrap());
    let begun = inner(&begun);
    let whole = sasl(SHA256.server_first, false).into_bytes();
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        damage(&mut rng, &mut bytes);
        // The length stands first; a damaged one is found before the machine sees it.
        let len = bytes.len() as i32;
        if bytes.len() > 4 {
            bytes[..4].copy_from_slice(&len.to_le_bytes());
        }
        if let Ok(reply) = RawDocumentBuf::from_bytes(bytes) {
            let mut auth = Authenticator {
                conversation: Conversation::Scram(Box::new(begun.clone())),
            };
            let _ = auth.handle_reply(&reply);
            let mut auth = authenticator(&user(), AuthMechanism::ScramSha256).unwrap();
            let _ = auth.handle_speculative(&reply);
        }
    }
}
