//! Events on their way to the caller's handlers and to the log: in order, and outside all locks.

use std::collections::VecDeque;

use mongo_client_core::{
    event::{EventHandler, cmap::CmapEvent, command::CommandEvent, sdam::SdamEvent},
    options::ClientOptions,
};

use crate::{guarded::Guarded, trace::Log};

/// An event that may arise under a lock.
pub(crate) enum AnyEvent {
    Cmap(CmapEvent),
    Sdam(SdamEvent),
}

/// The queue of events. Pushing is free when nobody listens.
///
/// The queue's lock is a leaf: it may be taken under the topology's or a pool's lock, so that the
/// order of events is the order of the changes.
pub(crate) struct Outbox {
    cmap: Option<EventHandler<CmapEvent>>,
    command: Option<EventHandler<CommandEvent>>,
    sdam: Option<EventHandler<SdamEvent>>,
    pub(crate) log: Log,
    queue: Guarded<Queue>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<AnyEvent>,
    dispatching: bool,
}

impl Outbox {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        Self {
            cmap: options.cmap_event_handler.clone(),
            command: options.command_event_handler.clone(),
            sdam: options.sdam_event_handler.clone(),
            log: Log::new(options),
            queue: Guarded::new(Queue::default()),
        }
    }

    pub(crate) fn wants_cmap(&self) -> bool {
        self.cmap.is_some() || self.log.wants_cmap()
    }

    pub(crate) fn wants_sdam(&self) -> bool {
        self.sdam.is_some() || self.log.wants_sdam()
    }

    pub(crate) fn wants_commands(&self) -> bool {
        self.has_command_handler() || self.log.wants_commands()
    }

    pub(crate) fn has_command_handler(&self) -> bool {
        self.command.is_some()
    }

    /// Hands a command event to its handler at once: no lock is held where these arise.
    pub(crate) fn command(&self, event: CommandEvent) {
        if let Some(handler) = &self.command {
            handler.handle(event);
        }
    }

    /// Queues an event; deliver with [`Self::flush`] once no lock is held.
    pub(crate) fn push(&self, event: AnyEvent) {
        let wanted = match &event {
            AnyEvent::Cmap(_) => self.wants_cmap(),
            AnyEvent::Sdam(_) => self.wants_sdam(),
        };
        if wanted {
            self.queue.with("push event", |q| q.events.push_back(event));
        }
    }

    /// Hands all queued events to the log and their handlers, unless another thread is doing so: it takes
    /// these along. Call without any lock.
    pub(crate) fn flush(&self) {
        if !self.wants_cmap() && !self.wants_sdam() {
            return;
        }
        let mine = self.queue.with("begin dispatch", |q| {
            !q.events.is_empty() && !std::mem::replace(&mut q.dispatching, true)
        });
        if !mine {
            return;
        }
        let guard = Dispatching(self);
        while let Some(event) = self.queue.with("next event", |q| {
            let event = q.events.pop_front();
            q.dispatching = event.is_some();
            event
        }) {
            match event {
                AnyEvent::Cmap(event) => {
                    self.log.cmap(&event);
                    if let Some(handler) = &self.cmap {
                        handler.handle(event);
                    }
                }
                AnyEvent::Sdam(event) => {
                    self.log.sdam(&event);
                    if let Some(handler) = &self.sdam {
                        handler.handle(event);
                    }
                }
            }
        }
        std::mem::forget(guard);
    }
}

/// Lets others dispatch again when a handler panics.
struct Dispatching<'a>(&'a Outbox);

impl Drop for Dispatching<'_> {
    fn drop(&mut self) {
        self.0.queue.with("end dispatch", |q| q.dispatching = false);
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}
