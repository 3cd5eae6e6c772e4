//! Code in the style of the official crate, under another name: it must compile.
//! What needs no server is also run.

use futures_util::{StreamExt, TryStreamExt};
use mongo_client as mongodb;
use mongodb::{
    BoxFuture, Client, ClientSession, Collection, Cursor, Database, Namespace, ServerType,
    SessionCursor, TopologyType,
    action::Action,
    bson::{Bson, Document, doc, oid::ObjectId},
    error::{Error, ErrorKind, Result, WriteFailure},
    event::{
        EventHandler, cmap::CmapEvent, command::CommandEvent, command::CommandStartedEvent,
        sdam::SdamEvent,
    },
    options::{
        Acknowledgment, AggregateOptions, AuthMechanism, ClientOptions, Collation,
        CollationStrength, CollectionOptions, Compressor, ConnectionString,
        CreateCollectionOptions, Credential, CursorType, DatabaseOptions, DriverInfo,
        FindOneAndUpdateOptions, FindOneOptions, FindOptions, Hint, InsertManyOptions, ReadConcern,
        ReadConcernLevel, ReadPreference, ReadPreferenceOptions, ReturnDocument, SelectionCriteria,
        ServerAddress, ServerApi, ServerApiVersion, SessionOptions, Tls, TlsOptions,
        UpdateModifications, UpdateOptions, WriteConcern,
    },
    results::{
        CollectionSpecification, CollectionType, DatabaseSpecification, DeleteResult,
        InsertManyResult, InsertOneResult, UpdateResult,
    },
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Book {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    id: Option<ObjectId>,
    title: String,
    author: String,
}

/// A type that borrows from the cursor.
#[derive(Debug, Deserialize)]
struct Title<'a> {
    #[serde(borrow)]
    title: &'a str,
}

async fn connect() -> Result<Client> {
    let _ = Client::with_uri_str("mongodb://localhost:27017").await?;
    let _ = Client::with_uri_str(String::from("mongodb://localhost:27017")).await?;
    let mut options = ClientOptions::parse("mongodb://localhost:27017").await?;
    let owned = String::from("mongodb://localhost:27017");
    let _ = ClientOptions::parse(&owned).await?;
    options.app_name = Some("app".to_string());
    options.max_pool_size = Some(10);
    options.server_selection_timeout = Some(Duration::from_secs(5));
    options.server_api = Some(ServerApi::builder().version(ServerApiVersion::V1).build());
    options.credential = Some(
        Credential::builder()
            .username("user".to_string())
            .password("pencil".to_string())
            .source("admin".to_string())
            .mechanism(AuthMechanism::ScramSha256)
            .build(),
    );
    options.compressors = Some(vec![Compressor::Zlib { level: Some(4) }]);
    options.tls = Some(Tls::Enabled(
        TlsOptions::builder()
            .ca_file_path(PathBuf::from("ca.pem"))
            .cert_key_file_path(PathBuf::from("client.pem"))
            .allow_invalid_certificates(true)
            .build(),
    ));
    options.command_event_handler = Some(EventHandler::callback(|event| {
        if let CommandEvent::Started(CommandStartedEvent { command_name, .. }) = event {
            println!("{command_name}");
        }
    }));
    options.cmap_event_handler = Some(EventHandler::callback(|event: CmapEvent| {
        println!("{event:?}");
    }));
    options.sdam_event_handler = Some(EventHandler::callback(|event: SdamEvent| {
        println!("{event:?}");
    }));
    Client::with_options(options)
}

fn built_options() -> ClientOptions {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 27017));
    let _: ServerAddress = address.into();
    ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp {
            host: "localhost".to_string(),
            port: Some(27017),
        }])
        .app_name("app".to_string())
        .direct_connection(true)
        .max_pool_size(5)
        .min_pool_size(Some(1))
        .connect_timeout(Duration::from_secs(1))
        .repl_set_name("rs".to_string())
        .retry_writes(false)
        .driver_info(DriverInfo::builder().name("wrapper").build())
        .read_concern(ReadConcern::majority())
        .write_concern(
            WriteConcern::builder()
                .w(Acknowledgment::Majority)
                .w_timeout(Duration::from_secs(1))
                .journal(true)
                .build(),
        )
        .selection_criteria(SelectionCriteria::ReadPreference(
            ReadPreference::SecondaryPreferred {
                options: Some(
                    ReadPreferenceOptions::builder()
                        .max_staleness(Duration::from_secs(120))
                        .build(),
                ),
            },
        ))
        .build()
}

fn handles(client: &Client) -> Result<Collection<Book>> {
    let db: Database = client.database("library");
    let _ = client.database_with_options(
        "library",
        DatabaseOptions::builder()
            .read_concern(ReadConcern::local())
            .build(),
    );
    let _ = client.default_database().map(|db| db.name().to_string());
    let options = CollectionOptions::builder()
        .write_concern(WriteConcern::nodes(1))
        .selection_criteria(SelectionCriteria::from(ReadPreference::nearest(None)))
        .build();
    let books: Collection<Book> = db.collection_with_options("books", options);
    let _: Collection<Document> = books.clone_with_type();
    let namespace: Namespace = books.namespace();
    println!("{namespace} {} {:?}", books.name(), books.read_concern());
    let _: Namespace = "library.books".parse()?;
    Ok(db.collection("books"))
}

async fn reads(books: &Collection<Book>) -> Result<()> {
    let options = FindOptions::builder()
        .sort(doc! { "title": 1 })
        .limit(10)
        .skip(Some(5))
        .projection(doc! { "title": 1 })
        .collation(
            Collation::builder()
                .locale("en")
                .strength(CollationStrength::Secondary)
                .build(),
        )
        .hint(Hint::Keys(doc! { "title": 1 }))
        .cursor_type(CursorType::NonTailable)
        .build();
    let cursor: Cursor<Book> = books.find(doc! {}).with_options(options).await?;
    let all: Vec<Book> = cursor.try_collect().await?;
    println!("{}", all.len());

    let mut cursor = books.find(doc! { "author": "A" }).batch_size(2).await?;
    while let Some(book) = cursor.try_next().await? {
        println!("{}", book.title);
    }
    let mut cursor = books.find(doc! {}).comment("why").await?;
    while let Some(book) = cursor.next().await {
        println!("{}", book?.title);
    }
    let mut cursor = books.clone_with_type::<Title<'_>>().find(doc! {}).await?;
    while cursor.advance().await? {
        println!("{}", cursor.deserialize_current()?.title);
        println!("{:?}", cursor.current().get_str("title").ok());
    }
    let _ = cursor.has_next();

    let one: Option<Book> = books.find_one(doc! { "title": "Emma" }).await?;
    let _ = one.map(|book| book.author);
    let _ = books
        .find_one(doc! {})
        .with_options(FindOneOptions::builder().sort(doc! { "_id": -1 }).build())
        .await?;
    let count: u64 = books.count_documents(doc! {}).limit(3).await?;
    let estimate: u64 = books.estimated_document_count().await?;
    let values: Vec<Bson> = books.distinct("author", doc! {}).await?;
    println!("{count} {estimate} {values:?}");

    let pipeline = vec![doc! { "$match": {} }, doc! { "$sort": { "title": 1 } }];
    let mut cursor: Cursor<Document> = books.aggregate(pipeline.clone()).await?;
    let _ = cursor.try_next().await?;
    let typed: Vec<Book> = books
        .aggregate(pipeline)
        .with_options(AggregateOptions::builder().allow_disk_use(true).build())
        .with_type::<Book>()
        .await?
        .try_collect()
        .await?;
    println!("{}", typed.len());
    let limit = Some(3);
    let _ = books
        .find(doc! {})
        .optional(limit, |find, limit| find.limit(limit))
        .selection_criteria(ReadPreference::Primary)
        .read_concern(ReadConcern::from(ReadConcernLevel::Majority))
        .await?;
    Ok(())
}

async fn writes(books: &Collection<Book>, book: Book) -> Result<()> {
    let inserted: InsertOneResult = books.insert_one(&book).await?;
    let _: Option<ObjectId> = inserted.inserted_id.as_object_id();
    books.insert_one(book.clone()).await?;
    let many: InsertManyResult = books
        .insert_many(vec![book.clone(), book.clone()])
        .ordered(false)
        .await?;
    println!("{}", many.inserted_ids.len());
    books.insert_many([&book, &book]).await?;
    books
        .insert_many(std::slice::from_ref(&book))
        .with_options(InsertManyOptions::builder().ordered(true).build())
        .await?;
    let updated: UpdateResult = books
        .update_one(doc! {}, doc! { "$set": { "title": "x" } })
        .upsert(true)
        .array_filters(vec![doc! { "x": 1 }])
        .await?;
    println!("{:?} {}", updated.upserted_id, updated.matched_count);
    books
        .update_many(
            doc! {},
            UpdateModifications::Pipeline(vec![doc! { "$set": { "a": 1 } }]),
        )
        .with_options(UpdateOptions::builder().upsert(false).build())
        .await?;
    books
        .update_many(doc! {}, vec![doc! { "$set": { "a": 1 } }])
        .await?;
    books.replace_one(doc! {}, &book).upsert(true).await?;
    let deleted: DeleteResult = books.delete_one(doc! {}).await?;
    println!("{}", deleted.deleted_count);
    books.delete_many(doc! {}).hint(doc! { "_id": 1 }).await?;
    books
        .delete_many(doc! {})
        .hint(Hint::Name("i".into()))
        .await?;

    let before: Option<Book> = books
        .find_one_and_update(doc! {}, doc! { "$inc": { "n": 1 } })
        .return_document(ReturnDocument::After)
        .await?;
    let options = FindOneAndUpdateOptions::builder()
        .return_document(ReturnDocument::Before)
        .upsert(true)
        .build();
    books
        .find_one_and_update(doc! {}, doc! { "$inc": { "n": 1 } })
        .with_options(options)
        .await?;
    books.find_one_and_replace(doc! {}, book).await?;
    books
        .find_one_and_delete(doc! {})
        .sort(doc! { "n": 1 })
        .await?;
    println!("{before:?}");
    Ok(())
}

fn failures(error: &Error) -> i32 {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => println!("{} {}", command.code_name, command.message),
        ErrorKind::ServerSelection { message, .. } => println!("{message}"),
        ErrorKind::Io(io) => println!("{:?}", io.kind()),
        ErrorKind::InsertMany(many) => {
            for error in many.write_errors.iter().flatten() {
                println!("{} {}", error.index, error.message);
            }
        }
        ErrorKind::Authentication { message, .. } => println!("{message}"),
        _ => println!("{error}"),
    }
    println!("{:?} {:?}", error.labels(), error.get_custom::<String>());
    let transient = error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR);
    match *error.kind {
        ErrorKind::Write(WriteFailure::WriteError(ref e)) if e.code == 11000 => 1,
        ErrorKind::Write(WriteFailure::WriteConcernError(ref e)) => e.code,
        _ if transient => 2,
        _ => 0,
    }
}

async fn databases(client: &Client, db: &Database) -> Result<()> {
    let reply: Document = db.run_command(doc! { "ping": 1 }).await?;
    println!("{reply}");
    db.run_command(doc! { "ping": 1 })
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .await?;
    let cursor: Cursor<Document> = db.run_cursor_command(doc! { "find": "books" }).await?;
    drop(cursor);
    let names: Vec<String> = client.list_database_names().await?;
    let specs: Vec<DatabaseSpecification> = client.list_databases().await?;
    println!("{names:?} {}", specs.len());
    let names: Vec<String> = db.list_collection_names().await?;
    println!("{names:?}");
    let mut specs: Cursor<CollectionSpecification> = db.list_collections().await?;
    while let Some(spec) = specs.try_next().await? {
        let view = matches!(spec.collection_type, CollectionType::View);
        println!("{} {view} {:?}", spec.name, spec.info.uuid);
    }
    db.create_collection("capped")
        .with_options(
            CreateCollectionOptions::builder()
                .capped(true)
                .size(4096)
                .build(),
        )
        .await?;
    db.create_collection(String::from("plain")).await?;
    db.collection::<Document>("plain").drop().await?;
    db.drop().await?;
    client.clone().shutdown().await;
    Ok(())
}

async fn sessions(client: &Client, books: &Collection<Book>, book: Book) -> Result<()> {
    let mut session: ClientSession = client.start_session().await?;
    let options = SessionOptions::builder().causal_consistency(true).build();
    let _ = client.start_session().with_options(options).await?;
    books.insert_one(&book).session(&mut session).await?;
    books.find_one(doc! {}).session(&mut session).await?;
    books
        .update_one(doc! {}, doc! { "$set": { "a": 1 } })
        .session(&mut session)
        .await?;
    books.delete_one(doc! {}).session(&mut session).await?;
    books.count_documents(doc! {}).session(&mut session).await?;
    let mut cursor: SessionCursor<Book> = books.find(doc! {}).session(&mut session).await?;
    while let Some(book) = cursor.next(&mut session).await.transpose()? {
        println!("{}", book.title);
    }
    let mut cursor = books.aggregate([doc! {}]).session(&mut session).await?;
    let all: Vec<Document> = cursor.stream(&mut session).try_collect().await?;
    println!("{}", all.len());
    while cursor.advance(&mut session).await? {
        println!("{:?}", cursor.current());
    }
    with_borrowed(books, &mut session).await
}

async fn with_borrowed(books: &Collection<Book>, session: &mut ClientSession) -> Result<()> {
    books.delete_one(doc! {}).session(&mut *session).await?;
    books.delete_one(doc! {}).session(session).await?;
    Ok(())
}

fn names(server: ServerType, topology: TopologyType) -> BoxFuture<'static, Result<()>> {
    Box::pin(async move {
        println!("{server:?} {topology:?}");
        let text: ConnectionString = "mongodb://localhost:27017".parse()?;
        println!("{text:?}");
        std::fs::read("nothing")?;
        let _: Book = mongodb::bson::deserialize_from_document(doc! {})?;
        Ok(())
    })
}

/// Futures of the verbs can be spawned.
fn spawned(client: Client, books: Collection<Book>, book: Book) {
    tokio::spawn(async move {
        connect().await?;
        reads(&books).await?;
        writes(&books, book.clone()).await?;
        sessions(&client, &books, book).await?;
        names(ServerType::Mongos, TopologyType::Sharded).await?;
        databases(&client, &client.database("library")).await
    });
}

#[test]
fn code_of_the_official_crate_compiles_with_another_name() {
    let _ = spawned as fn(Client, Collection<Book>, Book);
    let client = Client::with_options(built_options()).unwrap();
    let books = handles(&client).unwrap();
    assert_eq!(books.namespace(), Namespace::new("library", "books"));
    assert_eq!(client.write_concern().unwrap().journal, Some(true));
    assert_eq!(failures(&Error::custom(String::from("mine"))), 0);
    assert_eq!(
        "localhost:27018".parse::<ServerAddress>().unwrap(),
        ServerAddress::Tcp {
            host: "localhost".into(),
            port: Some(27018)
        }
    );
}
