//! The driver's handle of a client: starts it on a runtime, executes, and ends it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering, fence},
    },
    time::Duration,
};

use bson::oid::ObjectId;
use mongo_client_core::{
    conn::{HandshakeEnvironment, client_metadata},
    error::{Error, ErrorKind, Result},
    marks::{self, Mark},
    op::{CommandSpec, ObjectIdGenerator, Target},
    options::{ClientOptions, DriverInfo, SessionOptions},
    session::end_sessions as end_sessions_command,
    time::Instant,
    topology::TopologyDescription,
};

use crate::{
    cursor_manager::CursorManager,
    exec::{Execution, SessionArg},
    incarnation::RuntimeSource,
    pinned::Pinned,
    runtime::Runtime,
    session::{ImplicitSession, Session},
    settings::{self, Settings, WallClock},
    shared::{Census, Shared, next_topology_id},
};

/// How long shutting down may spend on telling the servers which sessions have ended.
const END_SESSIONS_LIMIT: Duration = Duration::from_secs(2);

/// Fills a buffer with cryptographically secure random bytes.
pub type RandomSource = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What a client needs before it has a runtime: the wall clock, and random bytes for ids.
#[derive(Clone)]
pub struct Ambient {
    /// Reads the wall clock.
    pub clock: WallClock,
    /// Fills a buffer with cryptographically secure random bytes.
    pub entropy: RandomSource,
}

impl Ambient {
    /// Takes both from a runtime.
    #[must_use]
    pub fn of(runtime: &Arc<dyn Runtime>) -> Self {
        let (clock, entropy) = (Arc::clone(runtime), Arc::clone(runtime));
        Self {
            clock: Arc::new(move || clock.unix_time()),
            entropy: Arc::new(move |out| entropy.entropy(out)),
        }
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ambient")
    }
}

/// A client: cheap to clone; the last clone ends it.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    options: Arc<ClientOptions>,
    /// `None` while the hosts of a `mongodb+srv` string are not resolved.
    settings: Option<Settings>,
    ambient: Ambient,
    object_ids: ObjectIdGenerator,
    cursor_manager: RwLock<Option<Arc<dyn CursorManager>>>,
    /// Libraries that were added while there were no settings yet.
    added: Mutex<Vec<DriverInfo>>,
    source: RuntimeSource,
    shared: OnceLock<Arc<Shared>>,
    /// Whether the client was shut down; it may not have started.
    closed: AtomicBool,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("hosts", &self.inner.options.hosts)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// Creates a client. It starts at once where `source` finds a runtime (unless the option
    /// `connect` is false), otherwise at its first operation.
    ///
    /// # Errors
    ///
    /// Invalid options and unreadable files; never an unreachable server.
    pub fn new(options: ClientOptions, source: RuntimeSource, ambient: Ambient) -> Result<Self> {
        for warning in &options.warnings {
            crate::warn(&warning.to_string());
        }
        let unresolved = options.srv_host.is_some() && options.hosts.is_empty();
        let settings = if unresolved {
            None
        } else {
            Some(settings::read(&options, Arc::clone(&ambient.clock))?)
        };
        let connect = options.connect.unwrap_or(true);
        let inner = Inner {
            options: Arc::new(options),
            settings,
            object_ids: ObjectIdGenerator::new(&mut |out: &mut [u8]| (ambient.entropy)(out)),
            ambient,
            cursor_manager: RwLock::default(),
            added: Mutex::default(),
            source,
            shared: OnceLock::new(),
            closed: AtomicBool::new(false),
        };
        let this = Self {
            inner: Arc::new(inner),
        };
        if connect
            && let Some(settings) = &this.inner.settings
            && let Some(runtime) = this.inner.source.first()
        {
            this.start(runtime, Arc::clone(&this.inner.options), settings.clone());
        }
        Ok(this)
    }

    /// The options that the client was created with.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    fn start(
        &self,
        runtime: Arc<dyn Runtime>,
        options: Arc<ClientOptions>,
        settings: Settings,
    ) -> &Arc<Shared> {
        let mut created = false;
        let shared = self.inner.shared.get_or_init(|| {
            created = true;
            let id = next_topology_id();
            Shared::new(runtime, self.inner.source.clone(), options, settings, id)
        });
        if created {
            // Outside, because listeners may use the client.
            shared.begin();
        }
        shared
    }

    /// Starts the client if it has not started: finds its runtime and resolves a `mongodb+srv`
    /// host.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](mongo_client_core::error::ErrorKind::InvalidArgument)
    /// outside every supported runtime, and whatever is wrong with the DNS records.
    ///
    /// # Cancel safety
    ///
    /// A dropped start is begun anew by the next operation.
    pub async fn ready(&self) -> Result<()> {
        self.shared().await.map(drop)
    }

    pub(crate) fn cursor_manager(&self) -> &RwLock<Option<Arc<dyn CursorManager>>> {
        &self.inner.cursor_manager
    }

    /// What the client has started, if it has.
    pub(crate) fn started(&self) -> Option<&Arc<Shared>> {
        self.inner.shared.get()
    }

    pub(crate) async fn shared(&self) -> Result<&Arc<Shared>> {
        if let Some(shared) = self.inner.shared.get() {
            return Ok(shared);
        }
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Shutdown));
        }
        let runtime = self.inner.source.first().ok_or_else(|| {
            Error::invalid_argument(
                "no async runtime: call from inside one that a feature of this crate supports, or \
                 give the client one through its builder",
            )
        })?;
        let inner = &self.inner;
        let mut appended = Ok(());
        let shared = if let Some(settings) = &inner.settings {
            self.start(runtime, Arc::clone(&inner.options), settings.clone())
        } else {
            let (options, ttl) = crate::srv::resolve(&runtime, &inner.options).await?;
            let mut settings = settings::read(&options, Arc::clone(&inner.ambient.clock))?;
            settings.set_srv_ttl(ttl);
            let shared = self.start(runtime, Arc::new(options), settings);
            // With the lock held, so that one that is being added is seen here or sees the client.
            let added = inner.added.lock().unwrap_or_else(PoisonError::into_inner);
            let metadata = &shared.settings.connection.client_metadata;
            appended = added
                .iter()
                .cloned()
                .try_for_each(|info| metadata.append(info));
            shared
        };
        // Pairs with the fence of `shutdown`: at least one of the two sees the other.
        fence(Ordering::SeqCst);
        if inner.closed.load(Ordering::Acquire) {
            // It was shut down meanwhile, and `shutdown` may not have seen it.
            shared.close();
        }
        // Not before: the client has started, so a shutdown must not miss it.
        appended.map(|()| shared)
    }

    /// Executes a command: selection, lease, exchange, retries.
    ///
    /// # Errors
    ///
    /// Whatever the server, the network or the topology has against it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives every resource back; whether a write that was sent is applied is
    /// unknown.
    #[inline]
    pub fn execute<'a>(&'a self, spec: CommandSpec, session: SessionArg<'a>) -> Execution<'a> {
        match self.inner.shared.get() {
            Some(shared) => Execution::new(shared, spec, session, None),
            None => Execution::starting(Box::pin(async move {
                let shared = self.shared().await?;
                Execution::new(shared, spec, session, None).await
            })),
        }
    }

    /// Executes a command that opens a cursor or belongs to one, which keeps its connection behind
    /// a load balancer.
    ///
    /// # Errors
    ///
    /// Those of [`Self::execute`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::execute`]; the connection stays with the cursor.
    pub fn execute_pinned<'a>(
        &'a self,
        spec: CommandSpec,
        session: SessionArg<'a>,
        pinned: &'a mut Pinned,
    ) -> Execution<'a> {
        match self.inner.shared.get() {
            Some(shared) => Execution::pinned(shared, spec, session, None, pinned),
            None => Execution::starting(Box::pin(async move {
                let shared = self.shared().await?;
                Execution::pinned(shared, spec, session, None, pinned).await
            })),
        }
    }

    /// Sends `killCursors` in the background: best effort, never blocks, never fails. Behind a load
    /// balancer it goes over the cursor's connection, or not at all once that is broken.
    pub fn kill_now(
        &self,
        spec: CommandSpec,
        session: Option<ImplicitSession>,
        mut pinned: Pinned,
    ) {
        let Some(shared) = self.inner.shared.get().filter(|s| !s.is_closed()) else {
            return;
        };
        if pinned.is_lost() {
            return;
        }
        let Target::Server(server) = spec.target else {
            return;
        };
        let snapshot = shared.views.load();
        let Some(server) = snapshot.servers.get(&server) else {
            return;
        };
        marks::reached(Mark::CancelDriverCursor);
        // The handle keeps the client open until the command is sent.
        let (handle, shared) = (self.clone(), Arc::clone(shared));
        let task = Box::pin(async move {
            let _open = handle;
            if shared.is_suspended() {
                return;
            }
            let (mut session, mut pinned) = (session, pinned);
            let deadline = Some(shared.clock.now() + END_SESSIONS_LIMIT);
            // Best effort: the server times the cursor out by itself.
            let session = SessionArg::Keep(&mut session);
            let _ = Execution::pinned(&shared, spec, session, deadline, &mut pinned).await;
        });
        server.push_errand(task);
    }

    /// Starts an explicit session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](mongo_client_core::error::ErrorKind::InvalidArgument) for
    /// options that exclude each other.
    pub async fn start_session(&self, options: SessionOptions) -> Result<Session> {
        let shared = self.shared().await?;
        shared.enter()?;
        Session::new(shared, options)
    }

    /// Adds a library that wraps this client to what the connections say of the client that are
    /// made from now on; one that was added before changes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](mongo_client_core::error::ErrorKind::InvalidArgument) for a
    /// `|`, and for more than there is room for.
    pub fn append_metadata(&self, info: DriverInfo) -> Result<()> {
        let inner = &self.inner;
        let mut added = inner.added.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.shared.get().map(|shared| &shared.settings);
        if let Some(settings) = known.or(inner.settings.as_ref()) {
            return settings.connection.client_metadata.append(info);
        }
        added.push(info);
        let environment = HandshakeEnvironment::default();
        let checked = client_metadata(None, &added, &environment);
        if checked.is_err() {
            added.pop();
        }
        checked.map(drop)
    }

    /// A new document id.
    #[must_use]
    pub fn next_object_id(&self) -> ObjectId {
        self.inner.object_ids.generate((self.inner.ambient.clock)())
    }

    /// What is known of the deployment at this moment.
    ///
    /// # Errors
    ///
    /// Those of [`Self::ready`].
    pub async fn topology(&self) -> Result<Arc<TopologyDescription>> {
        Ok(Arc::clone(
            &self.shared().await?.views.load().view.description,
        ))
    }

    /// What the client holds at this moment, for tests; empty before it has started.
    #[doc(hidden)]
    #[must_use]
    pub fn census(&self) -> Census {
        self.inner
            .shared
            .get()
            .map(|shared| shared.census())
            .unwrap_or_default()
    }

    /// Ends the topology, its pools and monitors, for all handles; sessions are ended at the server
    /// (best effort, at most 2 s). The next operation begins anew, with a topology of another id.
    ///
    /// # Cancel safety
    ///
    /// When dropped before its end, the client is closed at once, without telling the servers of
    /// the rest of the sessions.
    pub async fn close(&self) {
        let Some(shared) = self.inner.shared.get().filter(|s| !s.is_closed()) else {
            return;
        };
        let _suspending = Suspending(shared);
        if !shared.is_lost() {
            end_sessions(shared).await;
        }
    }

    /// Ends the client for all its handles: sessions are ended at the server (best effort, at
    /// most 2 s), monitors and pools are closed. Operations that follow fail with `Shutdown`.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the client is closed by the last handle instead.
    pub async fn shutdown(&self) {
        self.inner.closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if let Some(shared) = self.inner.shared.get() {
            if !shared.is_suspended() {
                end_sessions(shared).await;
            }
            shared.close();
        }
    }
}

/// Closes a client until its next operation, also when the future that does it is dropped.
struct Suspending<'a>(&'a Arc<Shared>);

impl Drop for Suspending<'_> {
    fn drop(&mut self) {
        self.0.suspend();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(shared) = self.shared.get().filter(|s| !s.is_closed()) else {
            return;
        };
        let sessions = shared.sessions.with("any", |pool| !pool.is_empty());
        marks::reached(match sessions {
            true => Mark::CancelDriverLastHandle,
            false => Mark::CancelDriverLastHandleBare,
        });
        if sessions && !shared.is_suspended() {
            let closing = Closing(Arc::clone(shared));
            // A runtime that is gone drops the task, which closes as well.
            let _ = shared.life().spawn(shared.weak(), async move {
                end_sessions(&closing.0).await;
            });
        } else {
            shared.close();
        }
    }
}

/// Closes a client whose last handle is gone, also when the runtime drops the task that does it.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Tells the servers which sessions have ended; errors are ignored (sessions: "endSessions").
async fn end_sessions(shared: &Arc<Shared>) {
    let ids = shared.sessions.with(
        "end",
        mongo_client_core::session::ServerSessionPool::drain_ids,
    );
    let deadline: Instant = shared.clock.now() + END_SESSIONS_LIMIT;
    for batch in ids {
        let spec = end_sessions_command(&batch);
        let sent = Execution::new(shared, spec, SessionArg::Implicit, Some(deadline)).await;
        if sent.is_err() {
            return;
        }
    }
}
