//! A subscriber that keeps what the client tells `tracing`.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

/// An event of the client.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The target: `mongo_client::command` and so on.
    pub target: String,
    /// The level.
    pub level: Level,
    /// The message.
    pub message: String,
    /// The other fields.
    pub fields: Map<String, Value>,
    /// The innermost span of the client in which it was told.
    pub span: Option<u64>,
}

impl Entry {
    /// A field that must be there.
    #[must_use]
    pub fn field(&self, name: &str) -> &Value {
        let field = self.fields.get(name);
        field.unwrap_or_else(|| panic!("no field {name} in {self:?}"))
    }

    /// A text that must be there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        let text = self.field(name).as_str();
        text.unwrap_or_else(|| panic!("field {name} is no text in {self:?}"))
    }
}

/// A span of the client.
#[derive(Clone, Debug)]
pub struct SpanEntry {
    /// The name.
    pub name: &'static str,
    /// The target.
    pub target: String,
    /// The fields.
    pub fields: Map<String, Value>,
    /// The span in which it was created.
    pub parent: Option<u64>,
    /// How often it was entered.
    pub entered: u32,
    /// Whether nobody holds it any more.
    pub closed: bool,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<Entry>,
    spans: BTreeMap<u64, SpanEntry>,
    handles: BTreeMap<u64, u32>,
}

/// Keeps events and spans of the client, of other crates' too where it listens to all.
#[derive(Clone, Debug)]
pub struct Logs {
    level: LevelFilter,
    targets: &'static str,
    kept: Arc<Mutex<Kept>>,
    ids: Arc<AtomicU64>,
}

thread_local! {
    /// The spans that this thread has entered.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Logs {
    /// Listens to the client's targets up to a level.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self::of("mongo_client", level)
    }

    /// Listens to all targets that begin like this.
    #[must_use]
    pub fn of(targets: &'static str, level: Level) -> Self {
        Self {
            level: LevelFilter::from_level(level),
            targets,
            kept: Arc::default(),
            ids: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Runs a test's section with this subscriber; its thread is the only one that it hears.
    pub fn listen<R>(&self, section: impl FnOnce() -> R) -> R {
        tracing::subscriber::with_default(self.clone(), section)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Entry> {
        self.kept().events.clone()
    }

    /// The events of a target, by its last part.
    #[must_use]
    pub fn component(&self, name: &str) -> Vec<Entry> {
        let target = format!("mongo_client::{name}");
        let mut events = self.events();
        events.retain(|event| event.target == target);
        events
    }

    /// The events with a message.
    #[must_use]
    pub fn with_message(&self, message: &str) -> Vec<Entry> {
        let mut events = self.events();
        events.retain(|event| event.message == message);
        events
    }

    /// The only event with a message.
    #[must_use]
    pub fn one(&self, message: &str) -> Entry {
        let mut events = self.with_message(message);
        assert_eq!(events.len(), 1, "{message}: {:?}", self.events());
        events.remove(0)
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> BTreeMap<u64, SpanEntry> {
        self.kept().spans.clone()
    }

    /// Forgets all events.
    pub fn clear(&self) {
        self.kept().events.clear();
    }
}

/// The messages of events, in their order.
#[must_use]
pub fn messages(events: &[Entry]) -> Vec<&str> {
    events.iter().map(|event| event.message.as_str()).collect()
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Subscriber for Logs {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Several subscribers may live in one process: each is asked each time.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with(self.targets)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut fields = Map::new();
        attributes.record(&mut Fields(&mut fields));
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => innermost(),
            None => None,
        };
        let metadata = attributes.metadata();
        let span = SpanEntry {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            fields,
            parent,
            entered: 0,
            closed: false,
        };
        let mut kept = self.kept();
        kept.spans.insert(id, span);
        kept.handles.insert(id, 1);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(span) = self.kept().spans.get_mut(&span.into_u64()) {
            values.record(&mut Fields(&mut span.fields));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Map::new();
        event.record(&mut Fields(&mut fields));
        let message = match fields.remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        let metadata = event.metadata();
        let entry = Entry {
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            message,
            fields,
            span: if event.is_contextual() {
                innermost()
            } else {
                event.parent().map(Id::into_u64)
            },
        };
        self.kept().events.push(entry);
    }

    fn enter(&self, span: &Id) {
        let id = span.into_u64();
        ENTERED.with_borrow_mut(|entered| entered.push(id));
        if let Some(span) = self.kept().spans.get_mut(&id) {
            span.entered += 1;
        }
    }

    fn exit(&self, span: &Id) {
        let id = span.into_u64();
        ENTERED.with_borrow_mut(|entered| {
            let at = entered.iter().rposition(|entered| *entered == id);
            entered.remove(at.expect("a span is left where it was entered"));
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        *self.kept().handles.entry(id.into_u64()).or_default() += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let id = id.into_u64();
        let mut kept = self.kept();
        let handles = kept.handles.entry(id).or_default();
        *handles = handles.saturating_sub(1);
        let closed = *handles == 0;
        if let Some(span) = kept.spans.get_mut(&id) {
            span.closed |= closed;
        }
        closed
    }
}

fn innermost() -> Option<u64> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

impl Logs {
    /// The spans that the calling thread has entered and not left.
    #[must_use]
    pub fn entered() -> usize {
        ENTERED.with_borrow(Vec::len)
    }
}
