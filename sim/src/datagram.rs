//! Datagram sockets, whose only use is to ask a name server.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use mongo_client_driver::{
    Instant,
    runtime::{BoxDatagram, Datagram},
};

use crate::{
    executor::{Event, Sim, lock},
    machinery::Machinery,
};

/// Answers a question, or keeps silent.
type Answer = Arc<Mutex<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>>;

#[derive(Clone)]
pub(crate) struct NameServer {
    answer: Answer,
    latency: Duration,
}

impl Sim {
    /// Answers every datagram, whatever its destination, after a delay; `None` is silence. Without
    /// this there are no datagram sockets.
    pub fn answer_datagrams(
        &self,
        latency: Duration,
        answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) {
        lock(&self.world).name_server = Some(NameServer {
            answer: Arc::new(Mutex::new(answer)),
            latency,
        });
    }
}

pub(crate) fn open(sim: &Sim) -> io::Result<BoxDatagram> {
    let server = lock(&sim.world).name_server.clone();
    let server = server.ok_or(io::ErrorKind::Unsupported)?;
    Ok(Box::new(SimDatagram {
        sim: sim.clone(),
        server,
        inbox: VecDeque::new(),
        reader: None,
    }))
}

struct SimDatagram {
    sim: Sim,
    server: NameServer,
    /// What is under way, and when it arrives.
    inbox: VecDeque<(Instant, Vec<u8>)>,
    reader: Option<Waker>,
}

impl Datagram for SimDatagram {
    fn poll_send(&mut self, _cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        let _own = Machinery::enter();
        let answer = {
            let answer = &self.server.answer;
            let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
            answer(datagram)
        };
        if let Some(answer) = answer {
            let mut world = lock(&self.sim.world);
            let at = world.now + self.server.latency;
            if let Some(reader) = self.reader.take() {
                world.at(at, Event::Wake(reader));
            }
            self.inbox.push_back((at, answer));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let _own = Machinery::enter();
        let mut world = lock(&self.sim.world);
        let Some((at, bytes)) = self.inbox.front() else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if *at > world.now {
            world.at(*at, Event::Wake(cx.waker().clone()));
            return Poll::Pending;
        }
        let n = bytes.len().min(out.len());
        out[..n].copy_from_slice(&bytes[..n]);
        self.inbox.pop_front();
        Poll::Ready(Ok(n))
    }
}
