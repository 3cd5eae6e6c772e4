//! The single rows by the driver that the program calls `driver`.

use std::time::Duration;

use mongo_client_bench_harness::{DATABASE, NewSmall, Result, RowClient, Small, found, new_small};

use crate::driver::{Client, bson::doc};

/// A client with the driver's defaults.
#[derive(Clone)]
pub(crate) struct Alone(Client);

impl RowClient for Alone {
    async fn connect(uri: &str) -> Result<Self> {
        Ok(Self(Client::with_uri_str(uri).await?))
    }

    async fn ping(&self) -> Result {
        let admin = self.0.database("admin");
        admin.run_command(doc! { "ping": 1 }).await?;
        Ok(())
    }

    async fn find_one(&self, id: i64) -> Result {
        let small = self.0.database(DATABASE).collection::<Small>("small");
        found(&small.find_one(doc! { "_id": id }).await?)
    }

    async fn find_slowly(&self, time: Duration) -> Result {
        let small = self.0.database(DATABASE).collection::<Small>("small");
        let wait = format!("sleep({}) || true", time.as_millis());
        found(
            &small
                .find_one(doc! { "_id": 1_i64, "$where": wait })
                .await?,
        )
    }

    async fn insert_one(&self) -> Result {
        let sink = self.0.database(DATABASE).collection::<NewSmall>("sink");
        sink.insert_one(new_small(1)).await?;
        Ok(())
    }

    async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
