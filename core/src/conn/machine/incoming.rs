//! What arrives: TLS records, messages, replies, and the steps of the handshake they lead to.

use super::{Connection, DRAIN_LEN_MAX, Exchange, State, limit};
use crate::{
    conn::{
        ConnEvent, Phase, Purpose,
        handshake::{Next, choose_compressor},
    },
    error::Error,
    marks::{self, Mark},
    mutants::{self, Mutant},
    time::Instant,
    wire::{Frame, Incoming, MESSAGE_LEN_DEFAULT, decode},
};

impl Connection {
    #[inline]
    pub(super) fn receive(&mut self, n: usize, now: Instant) -> Result<(), Error> {
        let handshaking = self.channel.is_handshaking();
        self.channel.handle_read(n)?;
        if handshaking {
            self.send_hello(now)?;
        }
        loop {
            while let Some(frame) = self.channel.poll_frame(self.receive_max())? {
                self.handle_frame(frame, now)?;
            }
            if !self.channel.pull_plaintext()? {
                return Ok(());
            }
        }
    }

    /// The longest message that may arrive.
    #[inline]
    pub(super) fn receive_max(&self) -> usize {
        let announced = self.hello().map_or(0, |hello| hello.max_message_size_bytes);
        let max = announced
            .max(MESSAGE_LEN_DEFAULT)
            .min(self.config.message_len_max);
        match self.state {
            State::Draining { .. } => max.min(DRAIN_LEN_MAX),
            _ => max,
        }
    }

    #[inline]
    pub(super) fn handle_frame(&mut self, frame: Frame, now: Instant) -> Result<(), Error> {
        let expected = match &self.state {
            State::Opening(opening) => opening.answers,
            State::Busy(e) if e.expects_reply && e.written => Some(e.answers),
            State::Streaming(e) => Some(e.answers),
            State::Draining { answers, .. } => Some(*answers),
            State::Idle | State::Busy(_) | State::Perished => None,
        };
        let answered = frame.header.response_to;
        match expected {
            Some(id) if id == answered || mutants::active(Mutant::WrongReply) => {}
            Some(id) => {
                return Err(Error::invalid_response(format!(
                    "field responseTo: {answered} instead of {id}"
                )));
            }
            None => return Err(Error::invalid_response("a message that nobody asked for")),
        }
        if let State::Draining { .. } = self.state {
            marks::reached(Mark::DrainReply);
            self.end_exchange(now);
            return Ok(());
        }
        let incoming = decode(frame, self.receive_max())?;
        match &mut self.state {
            State::Opening(opening) => {
                if incoming.more_to_come {
                    return Err(unasked_stream());
                }
                opening.answers = None;
                if opening.handshake.phase() == Phase::Hello {
                    opening.rtt = now - opening.hello_sent;
                }
                let reply = incoming.reply.document();
                let next = opening.handshake.handle_reply(reply, &self.config)?;
                self.proceed(next, now)
            }
            State::Busy(exchange) | State::Streaming(exchange) => {
                let exchange = *exchange;
                self.handle_reply(exchange, incoming, now)
            }
            _ => Ok(()),
        }
    }

    #[inline]
    pub(super) fn handle_reply(
        &mut self,
        mut exchange: Exchange,
        incoming: Incoming,
        now: Instant,
    ) -> Result<(), Error> {
        if incoming.more_to_come {
            if !exchange.exhaust {
                return Err(unasked_stream());
            }
            // OP_MSG: each reply of a stream answers the one before it.
            exchange.answers = incoming.request_id;
            if self.purpose == Purpose::Application {
                let renewed = limit(self.config.socket_timeout, now);
                exchange.by_socket_timeout |= renewed.is_some();
                exchange.deadline = renewed.or(exchange.deadline);
            }
            self.state = State::Streaming(exchange);
        } else {
            self.end_exchange(now);
        }
        self.events.push_back(ConnEvent::Reply {
            exchange: exchange.id,
            reply: incoming.reply,
            more_to_come: incoming.more_to_come,
        });
        Ok(())
    }

    #[inline]
    pub(super) fn end_exchange(&mut self, now: Instant) {
        self.state = State::Idle;
        self.last_used = now;
    }

    /// Carries out what the handshake wants.
    pub(super) fn proceed(&mut self, next: Next, now: Instant) -> Result<(), Error> {
        match next {
            Next::Send(request) => {
                let id = self.next_id();
                if let State::Opening(opening) = &mut self.state {
                    opening.answers = Some(id);
                }
                self.channel.send(&request, id, None, MESSAGE_LEN_DEFAULT)?;
            }
            Next::Derive(job) => self.events.push_back(ConnEvent::Derive(job)),
            Next::Done => {
                let State::Opening(opening) = std::mem::replace(&mut self.state, State::Idle)
                else {
                    return Ok(());
                };
                let rtt = opening.rtt;
                let Some(hello) = opening.handshake.into_hello() else {
                    return Err(Error::internal("a handshake that ended without hello"));
                };
                if self.purpose == Purpose::Application {
                    self.compressor = choose_compressor(&self.config, &hello);
                }
                self.last_used = now;
                self.hello = Some(Box::new(hello.of_connection()));
                self.events.push_back(ConnEvent::Established { hello, rtt });
            }
        }
        Ok(())
    }
}

fn unasked_stream() -> Error {
    Error::invalid_response("field flagBits: moreToCome in reply to a command that allows none")
}
