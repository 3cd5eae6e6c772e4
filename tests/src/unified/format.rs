//! The file format as types. Arguments, expectations and options stay documents: what they may hold
//! depends on the operation.

use bson::{Bson, Document};
use serde::{Deserialize, Deserializer};

use super::{requirements::Requirement, schema, version::Version};
use crate::spec::value;

/// A test file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestFile {
    /// Its name.
    pub description: String,
    /// The version of the format that it is written for.
    pub schema_version: String,
    /// Where it can run; anywhere when there are none.
    pub run_on_requirements: Option<Vec<Requirement>>,
    /// What to create before each case.
    #[serde(default)]
    pub create_entities: Vec<Document>,
    /// The collections before each case.
    #[serde(default)]
    pub initial_data: Vec<CollectionData>,
    /// The cases.
    pub tests: Vec<Case>,
    /// Nothing to us.
    #[serde(rename = "_yamlAnchors")]
    pub yaml_anchors: Option<Document>,
}

/// A collection's contents.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectionData {
    /// The collection.
    pub collection_name: String,
    /// Its database.
    pub database_name: String,
    /// Options of `create`.
    pub create_options: Option<Document>,
    /// The documents, by `_id`.
    pub documents: Vec<Document>,
}

/// A case.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// Its name.
    pub description: String,
    /// Where it can run, besides the file's requirements.
    pub run_on_requirements: Option<Vec<Requirement>>,
    /// Why it must not run.
    pub skip_reason: Option<String>,
    /// What to do.
    pub operations: Vec<Operation>,
    /// The events that must have come.
    #[serde(default)]
    pub expect_events: Vec<ExpectedEvents>,
    /// The log messages that must have come.
    #[serde(default)]
    pub expect_log_messages: Vec<ExpectedLogs>,
    /// The spans that must have come.
    pub expect_tracing_messages: Option<Bson>,
    /// The collections afterwards.
    #[serde(default)]
    pub outcome: Vec<CollectionData>,
}

/// An operation.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// What to do.
    pub name: String,
    /// The entity, or `testRunner`.
    pub object: String,
    /// The arguments.
    #[serde(default)]
    pub arguments: Document,
    /// Whether any result and any error is fine.
    #[serde(default)]
    pub ignore_result_and_error: bool,
    /// What the error must be.
    pub expect_error: Option<Document>,
    /// What the result must be; `null` is not the same as nothing.
    #[serde(default, deserialize_with = "present")]
    pub expect_result: Option<Bson>,
    /// The name under which to keep the result.
    pub save_result_as_entity: Option<String>,
}

/// The events of a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedEvents {
    /// The client's entity.
    pub client: String,
    /// `command` (the default), `cmap` or `sdam`.
    pub event_type: Option<String>,
    /// One key each: the name of the event.
    pub events: Vec<Document>,
    /// Whether more may follow.
    #[serde(default)]
    pub ignore_extra_events: bool,
}

/// The log messages of a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedLogs {
    /// The client's entity.
    pub client: String,
    /// What must have come, in this order.
    pub messages: Vec<ExpectedLog>,
    /// What does not count.
    #[serde(default)]
    pub ignore_messages: Vec<ExpectedLog>,
    /// Whether more may follow.
    #[serde(default)]
    pub ignore_extra_messages: bool,
}

/// A log message.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedLog {
    /// The level's name.
    pub level: String,
    /// The component's name.
    pub component: String,
    /// The fields.
    pub data: Document,
    /// Whether the failure is there without the server's text.
    pub failure_is_redacted: Option<bool>,
}

/// Keeps an explicit `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bson>, D::Error> {
    Bson::deserialize(deserializer).map(Some)
}

impl TestFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it is not of the format, or of a version that this runner does not know.
    pub fn load(json: &serde_json::Value) -> Result<Self, String> {
        schema::check(json).map_err(|violation| violation.to_string())?;
        let document = value::document(json)?;
        let file: Self = bson::deserialize_from_document(document).map_err(|e| e.to_string())?;
        let version = Version::parse(&file.schema_version)?;
        if !version.is_runnable() {
            return Err(format!(
                "schemaVersion {} is not supported (up to {})",
                file.schema_version,
                Version::FORMAT
            ));
        }
        Ok(file)
    }
}
