//! Invariant 7.
//!
//! Nothing is written on a connection whose last reply has not been read to its end.

use mongo_client_core::time::Instant;

use super::{Part, traffic::Told};

#[derive(Debug)]
pub(super) struct Unread;

impl Part for Unread {
    fn name(&self) -> &'static str {
        "no-request-before-the-reply"
    }

    fn told(&mut self, _: Instant, what: &Told<'_>) -> Result<(), String> {
        if let Told::Request {
            conn,
            message,
            command,
        } = what
            && let Some(pending) = &conn.pending
        {
            return Err(format!(
                "connection {}: request {} ({}, operation {:?}) is sent before the reply to {} \
                 (operation {:?}) has come",
                conn.number, message.id, command.name, command.op, pending.id, pending.op
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::swarm::checks::tests::{MORE, Run, SILENT, message};

    #[test]
    fn a_second_request_is_found() {
        let mut run = Run::of(Unread);
        run.dial(1);
        run.ask(1, 10, Some(1)).unwrap();
        assert!(run.ask(1, 11, Some(2)).is_err());
    }

    #[test]
    fn after_the_last_reply_and_after_a_request_without_one_it_is_allowed() {
        let mut run = Run::of(Unread);
        run.dial(1);
        run.ask(1, 10, Some(1)).unwrap();
        run.answer(1, 10, &rawdoc! { "ok": 1 }).unwrap();
        let silent = message(11, 0, SILENT, &rawdoc! { "insert": 1 });
        run.client(1, &silent).unwrap();
        run.ask(1, 12, Some(2)).unwrap();
        let first = message(90, 12, MORE, &rawdoc! { "ok": 1 });
        run.server(1, &first).unwrap();
        let last = message(91, 90, 0, &rawdoc! { "ok": 1 });
        run.server(1, &last).unwrap();
        run.ask(1, 13, Some(3)).unwrap();
    }

    #[test]
    fn in_the_midst_of_a_stream_it_is_found() {
        let mut run = Run::of(Unread);
        run.dial(1);
        run.ask(1, 12, Some(2)).unwrap();
        let first = message(90, 12, MORE, &rawdoc! { "ok": 1 });
        run.server(1, &first).unwrap();
        assert!(run.ask(1, 13, Some(3)).is_err());
    }
}
