//! The cases by the driver that the program calls `driver`: this client or the official one, in the
//! same code.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongo_client_bench_harness::{
    Case, DATABASE, MANY, NewSmall, Result, Small, Worker, all, big, found, kib64, new_small, small,
};

use crate::driver::{
    Client, Collection,
    bson::{Document, RawDocumentBuf, doc},
};

/// Fills the collections that the cases read.
pub(crate) async fn prepare(uri: &str) -> Result {
    let client = Client::with_uri_str(uri).await?;
    let db = client.database(DATABASE);
    db.drop().await?;
    let documents: Vec<Small> = (0..MANY).map(small).collect();
    db.collection::<Small>("small")
        .insert_many(&documents)
        .await?;
    db.collection::<Document>("big").insert_one(big(1)).await?;
    client.shutdown().await;
    Ok(())
}

/// Runs a case `count` times.
pub(crate) async fn ops(client: Client, case: Case, count: u64) -> Result {
    let target = Target::new(&client, case);
    target.sink.drop().await?;
    for n in 0..count {
        target.run(n as i64).await?;
    }
    client.shutdown().await;
    Ok(())
}

/// As many tasks that share a client.
pub(crate) fn callers(client: &Client, case: Case, concurrency: usize) -> Vec<Caller> {
    let target = Arc::new(Target::new(client, case));
    vec![Caller(target); concurrency]
}

/// One of the tasks that share a client.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Target>);

impl Worker for Caller {
    async fn run(&mut self, n: i64) -> Result {
        self.0.run(n).await
    }
}

/// The handles and documents of a case.
struct Target {
    case: Case,
    client: Client,
    small: Collection<Small>,
    raw: Collection<RawDocumentBuf>,
    document: Collection<Document>,
    big: Collection<Document>,
    big_raw: Collection<RawDocumentBuf>,
    sink: Collection<NewSmall>,
    sink_raw: Collection<RawDocumentBuf>,
    one: NewSmall,
    many: Vec<NewSmall>,
    large: Vec<RawDocumentBuf>,
}

impl Target {
    fn new(client: &Client, case: Case) -> Self {
        let db = client.database(DATABASE);
        Self {
            case,
            client: client.clone(),
            small: db.collection("small"),
            raw: db.collection("small"),
            document: db.collection("small"),
            big: db.collection("big"),
            big_raw: db.collection("big"),
            sink: db.collection("sink"),
            sink_raw: db.collection("sink"),
            one: new_small(1),
            many: match case {
                Case::InsertMany => (0..MANY).map(new_small).collect(),
                _ => Vec::new(),
            },
            large: match case {
                Case::InsertManyLarge => vec![kib64(); 64],
                _ => Vec::new(),
            },
        }
    }

    async fn run(&self, n: i64) -> Result {
        let id = n % MANY;
        match self.case {
            Case::Ping => {
                let admin = self.client.database("admin");
                admin.run_command(doc! { "ping": 1 }).await?;
            }
            Case::FindOneTyped => found(&self.small.find_one(doc! { "_id": id }).await?)?,
            Case::FindOneRaw => found(&self.raw.find_one(doc! { "_id": id }).await?)?,
            Case::FindOneDocument => found(&self.document.find_one(doc! { "_id": id }).await?)?,
            Case::FindOneBigDocument => found(&self.big.find_one(doc! { "_id": 1_i64 }).await?)?,
            Case::FindOneBigRaw => found(&self.big_raw.find_one(doc! { "_id": 1_i64 }).await?)?,
            Case::InsertOne => {
                self.sink.insert_one(&self.one).await?;
            }
            Case::UpdateOne => {
                let update = doc! { "$set": { "age": (n % 100) as i32 } };
                self.small.update_one(doc! { "_id": id }, update).await?;
            }
            Case::ReplaceOne => {
                self.small
                    .replace_one(doc! { "_id": id }, small(id))
                    .await?;
            }
            Case::FindManyRaw => {
                let mut cursor = self.raw.find(doc! {}).await?;
                let mut count = 0;
                while cursor.advance().await? {
                    count += i64::from(!cursor.current().is_empty());
                }
                all(count)?;
            }
            Case::FindManyTyped => {
                let mut cursor = self.small.find(doc! {}).await?;
                let mut count = 0;
                while let Some(small) = cursor.try_next().await? {
                    count += i64::from(small.active);
                }
                all(count)?;
            }
            Case::FindManyDocument => {
                let mut cursor = self.document.find(doc! {}).await?;
                let mut count = 0;
                while let Some(document) = cursor.try_next().await? {
                    count += i64::from(!document.is_empty());
                }
                all(count)?;
            }
            Case::InsertMany => {
                self.sink.insert_many(&self.many).await?;
            }
            Case::InsertManyLarge => {
                self.sink_raw.insert_many(&self.large).await?;
            }
        }
        Ok(())
    }
}
