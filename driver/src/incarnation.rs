//! The lives of a client's runtime: a client outlives the runtime that started it.
//!
//! Links and background tasks belong to an [`Incarnation`]. A runtime that is shut down drops its
//! tasks; the first of them marks the incarnation dead and wakes everybody who waits. The first
//! operation that notices starts the tasks again on the runtime that it runs in
//! ([`Shared::ensure_alive`](crate::shared::Shared::ensure_alive)). The topology hears nothing of
//! it: a dead runtime says nothing about a server.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use crate::{
    runtime::{BoxFuture, Runtime, RuntimeGone},
    shared::Shared,
};

/// Finds the runtime of the calling context; `None` outside every runtime.
type Find = Arc<dyn Fn() -> Option<Arc<dyn Runtime>> + Send + Sync>;

/// Where a client finds its runtime: when it starts, and again when its runtime has died.
#[derive(Clone)]
pub struct RuntimeSource(Source);

#[derive(Clone)]
enum Source {
    Given(Arc<dyn Runtime>),
    Find(Find),
}

impl RuntimeSource {
    /// Looks for the runtime of the calling context.
    pub fn find(find: impl Fn() -> Option<Arc<dyn Runtime>> + Send + Sync + 'static) -> Self {
        Self(Source::Find(Arc::new(find)))
    }

    /// Takes this runtime and, after its death, its [successor](Runtime::successor).
    #[must_use]
    pub fn given(runtime: Arc<dyn Runtime>) -> Self {
        Self(Source::Given(runtime))
    }

    /// The runtime to start on.
    pub(crate) fn first(&self) -> Option<Arc<dyn Runtime>> {
        match &self.0 {
            Source::Given(runtime) => Some(Arc::clone(runtime)),
            Source::Find(find) => find(),
        }
    }

    /// The runtime to go on in.
    pub(crate) fn next(&self) -> Option<Arc<dyn Runtime>> {
        match &self.0 {
            Source::Given(runtime) => runtime.successor(),
            Source::Find(find) => find(),
        }
    }

    /// The runtime that the caller itself runs in, unless the client was given one.
    pub(crate) fn callers(&self) -> Option<Arc<dyn Runtime>> {
        match &self.0 {
            Source::Given(_) => None,
            Source::Find(find) => find(),
        }
    }
}

impl fmt::Debug for RuntimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Given(runtime) => write!(f, "Given({runtime:?})"),
            Source::Find(_) => f.write_str("Find"),
        }
    }
}

/// One life: a runtime until its shutdown.
pub(crate) struct Incarnation {
    /// Tells older lives from newer ones; never 0.
    number: u64,
    runtime: Arc<dyn Runtime>,
    dead: AtomicBool,
}

impl Incarnation {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            runtime,
            dead: AtomicBool::new(false),
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// Whether the runtime is known to have been shut down.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether the runtime takes a task.
    pub(crate) fn takes_tasks(self: &Arc<Self>) -> bool {
        self.spawn(Weak::new(), async {}).is_ok() && !self.is_dead()
    }

    /// Runs a task of the client. When the runtime drops it before its end, this life is over.
    ///
    /// # Errors
    ///
    /// [`RuntimeGone`] when the runtime takes no tasks any more; the task is dropped.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        shared: Weak<Shared>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), RuntimeGone> {
        let tracked = Tracked {
            end: End {
                life: Arc::clone(self),
                shared,
                polling: false,
                done: false,
            },
            task: Box::pin(task),
        };
        self.runtime.spawn(Box::pin(tracked))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Incarnation({:?}, dead: {})",
            self.runtime,
            self.is_dead()
        )
    }
}

/// A task that tells when its runtime dies. `end` is the first field: what the task holds is
/// dropped when the death is known already.
struct Tracked {
    end: End,
    task: BoxFuture<'static, ()>,
}

impl Future for Tracked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.end.polling = true;
        let polled = this.task.as_mut().poll(cx);
        this.end.polling = false;
        this.end.done = polled.is_ready();
        polled
    }
}

struct End {
    life: Arc<Incarnation>,
    shared: Weak<Shared>,
    /// Still set when the task is dropped: it panicked, which says nothing about its runtime.
    polling: bool,
    done: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.done || self.polling || self.life.dead.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.life_lost(&self.life);
        }
    }
}
