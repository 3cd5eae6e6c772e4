//! This client.

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongo_client::{Client, Collection};
use mongo_client_bench_harness::{Case, DATABASE, NewSmall, Small, big, kib64, new_small, small};

use crate::Result;

/// How many documents `find` reads.
const MANY: i64 = 10_000;

/// Fills the collections that the cases read.
pub(crate) async fn prepare(uri: &str) -> Result<()> {
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
pub(crate) async fn ops(uri: &str, case: Case, count: u64) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let target = Target::new(&client, case);
    target.sink.drop().await?;
    for n in 0..count {
        target.run(case, n as i64).await?;
    }
    client.shutdown().await;
    Ok(())
}

/// The handles and documents of the cases.
struct Target {
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

    async fn run(&self, case: Case, n: i64) -> Result<()> {
        let id = n % MANY;
        match case {
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

fn found<T>(document: &Option<T>) -> Result<()> {
    match document {
        Some(_) => Ok(()),
        None => Err("the document is missing".into()),
    }
}

fn all(count: i64) -> Result<()> {
    if count == MANY {
        Ok(())
    } else {
        Err(format!("{count} documents instead of {MANY}").into())
    }
}
