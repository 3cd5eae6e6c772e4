//! The entity map of a case: named clients, databases, sessions, results.
//!
//! Names are unique, and a name that is looked up must be of the kind that is wanted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bson::{Bson, Document, Timestamp};
use mongo_client::{
    ClientSession, Collection, Cursor, Database, SessionCursor,
    options::{CollectionOptions, DatabaseOptions, SessionOptions},
    topology::TopologyDescription,
};

use super::{
    Checked, Stop, arguments::Args, client::ClientEntity, deployment::Deployment, matching::Lookup,
    operations::thread::ThreadEntity,
};

/// A session that operations take turns with; `None` after it was ended.
pub(super) type SharedSession = Arc<tokio::sync::Mutex<Option<ClientSession>>>;

/// A session entity.
#[derive(Clone, Debug)]
pub(super) struct SessionEntity {
    pub(super) session: SharedSession,
    pub(super) client: Arc<ClientEntity>,
    /// The id, which stays known after the end.
    pub(super) lsid: Document,
}

/// A cursor that a test iterates by itself.
#[derive(Debug)]
pub(super) enum CursorEntity {
    Plain(Cursor<Document>),
    InSession(SessionCursor<Document>, SharedSession),
    Closed,
}

/// An entity.
#[derive(Clone, Debug)]
pub(super) enum Entity {
    Client(Arc<ClientEntity>),
    Database(Database, Arc<ClientEntity>),
    Collection(Collection<Document>, Arc<ClientEntity>),
    Session(SessionEntity),
    Cursor(Arc<tokio::sync::Mutex<CursorEntity>>, Arc<ClientEntity>),
    Thread(ThreadEntity),
    Topology(Arc<TopologyDescription>),
    Bson(Bson),
}

impl Entity {
    fn kind(&self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Database(..) => "database",
            Self::Collection(..) => "collection",
            Self::Session(_) => "session",
            Self::Cursor(..) => "cursor",
            Self::Thread(_) => "thread",
            Self::Topology(_) => "topology description",
            Self::Bson(_) => "BSON value",
        }
    }

    /// The client that its operations go through.
    pub(super) fn client(&self) -> Option<&Arc<ClientEntity>> {
        match self {
            Self::Client(client)
            | Self::Database(_, client)
            | Self::Collection(_, client)
            | Self::Cursor(_, client) => Some(client),
            Self::Session(session) => Some(&session.client),
            Self::Thread(_) | Self::Topology(_) | Self::Bson(_) => None,
        }
    }
}

/// The entities of a case.
#[derive(Debug, Default)]
pub(super) struct Entities {
    map: Mutex<BTreeMap<String, Entity>>,
}

macro_rules! getter {
    ($name:ident, $kind:literal, $pattern:pat => $value:expr, $ty:ty) => {
        pub(super) fn $name(&self, name: &str) -> Checked<$ty> {
            match self.get(name)? {
                $pattern => Ok($value),
                other => Err(Stop::Failed(format!(
                    "the entity {name:?} is a {}, not a {}",
                    other.kind(),
                    $kind
                ))),
            }
        }
    };
}

impl Entities {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entity>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, name: &str, entity: Entity) -> Checked {
        let mut map = self.lock();
        if map.contains_key(name) {
            return Err(Stop::Failed(format!("there is already an entity {name:?}")));
        }
        map.insert(name.to_owned(), entity);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Checked<Entity> {
        let found = self.lock().get(name).cloned();
        found.ok_or_else(|| Stop::Failed(format!("there is no entity {name:?}")))
    }

    getter!(client, "client", Entity::Client(client) => client, Arc<ClientEntity>);
    getter!(session, "session", Entity::Session(session) => session, SessionEntity);
    getter!(thread, "thread", Entity::Thread(thread) => thread, ThreadEntity);
    getter!(
        topology, "topology description", Entity::Topology(topology) => topology,
        Arc<TopologyDescription>
    );
    getter!(
        database, "database", Entity::Database(database, client) => (database, client),
        (Database, Arc<ClientEntity>)
    );
    getter!(bson, "BSON value", Entity::Bson(value) => value, Bson);

    /// All clients.
    pub(super) fn clients(&self) -> Vec<Arc<ClientEntity>> {
        let map = self.lock();
        let clients = map.values().filter_map(|entity| match entity {
            Entity::Client(client) => Some(Arc::clone(client)),
            _ => None,
        });
        clients.collect()
    }

    /// Ends everything; clients come last.
    pub(super) async fn close(&self) {
        let map = std::mem::take(&mut *self.lock());
        let clients: Vec<_> = map
            .values()
            .filter_map(|entity| match entity {
                Entity::Client(client) => Some(Arc::clone(client)),
                _ => None,
            })
            .collect();
        drop(map);
        for client in clients {
            client.client.close().await;
        }
    }

    /// Creates an entity from its description.
    pub(super) async fn create(&self, deployment: &Deployment, description: &Document) -> Checked {
        let Some((kind, Bson::Document(options))) = description.iter().next() else {
            return Err("an entity is a document with one document".into());
        };
        let id = options
            .get_str("id")
            .map_err(|e| Stop::Failed(format!("{kind}: id: {e}")))?;
        let mut args = Args::new(kind, options.clone());
        args.raw("id");
        let entity = match kind.as_str() {
            "client" => Entity::Client(Arc::new(ClientEntity::build(deployment, options).await?)),
            "database" => self.create_database(args)?,
            "collection" => self.create_collection(args)?,
            "session" => self.create_session(args).await?,
            "thread" => Entity::Thread(ThreadEntity::start()),
            "bucket" => {
                // The database must be there, whatever becomes of the bucket.
                self.database(&args.required::<String>("database")?)?;
                return Err(Stop::Skipped("GridFS is postponed".into()));
            }
            "clientEncryption" => return Err(Stop::Skipped("encryption".into())),
            other => return Err(Stop::Failed(format!("there are no entities {other:?}"))),
        };
        self.insert(id, entity)
    }

    fn create_database(&self, mut args: Args) -> Checked<Entity> {
        let client = self.client(&args.required::<String>("client")?)?;
        let name: String = args.required("databaseName")?;
        let mut own = Args::new(
            "databaseOptions",
            args.opt("databaseOptions")?.unwrap_or_default(),
        );
        args.finish()?;
        let mut options = DatabaseOptions::default();
        options.read_concern = own.read_concern()?;
        options.write_concern = own.write_concern()?;
        options.selection_criteria = own.criteria()?;
        own.finish()?;
        let database = client.client.database_with_options(&name, options);
        Ok(Entity::Database(database, client))
    }

    fn create_collection(&self, mut args: Args) -> Checked<Entity> {
        let (database, client) = self.database(&args.required::<String>("database")?)?;
        let name: String = args.required("collectionName")?;
        let own = args.opt("collectionOptions")?.unwrap_or_default();
        let mut own = Args::new("collectionOptions", own);
        args.finish()?;
        let mut options = CollectionOptions::default();
        options.read_concern = own.read_concern()?;
        options.write_concern = own.write_concern()?;
        options.selection_criteria = own.criteria()?;
        own.finish()?;
        let collection = database.collection_with_options(&name, options);
        Ok(Entity::Collection(collection, client))
    }

    async fn create_session(&self, mut args: Args) -> Checked<Entity> {
        let client = self.client(&args.required::<String>("client")?)?;
        let mut own = Args::new(
            "sessionOptions",
            args.opt("sessionOptions")?.unwrap_or_default(),
        );
        args.finish()?;
        let mut options = SessionOptions::default();
        options.causal_consistency = own.opt("causalConsistency")?;
        options.snapshot = own.opt("snapshot")?;
        if let Some(name) = own.opt::<String>("snapshotTime")? {
            options.snapshot_time = Some(self.timestamp(&name)?);
        }
        if own.raw("defaultTransactionOptions").is_some() {
            return Err(Stop::Skipped("transactions are postponed".into()));
        }
        if own.raw("defaultTimeoutMS").is_some() {
            return Err(Stop::Skipped("timeoutMS is postponed".into()));
        }
        own.finish()?;
        let session = client.client.start_session().with_options(options).await;
        let session = session.map_err(|error| Stop::Failed(format!("startSession: {error}")))?;
        Ok(Entity::Session(SessionEntity {
            lsid: session.id().clone(),
            session: Arc::new(tokio::sync::Mutex::new(Some(session))),
            client,
        }))
    }

    fn timestamp(&self, name: &str) -> Checked<Timestamp> {
        match self.bson(name)? {
            Bson::Timestamp(time) => Ok(time),
            other => Err(Stop::Failed(format!("{name}: {other} is no timestamp"))),
        }
    }
}

impl Lookup for Entities {
    fn entity(&self, name: &str) -> Result<Bson, String> {
        self.bson(name).map_err(text)
    }

    fn lsid(&self, name: &str) -> Result<Document, String> {
        self.session(name).map(|s| s.lsid).map_err(text)
    }
}

fn text(stop: Stop) -> String {
    match stop {
        Stop::Failed(why) | Stop::Skipped(why) => why,
    }
}
