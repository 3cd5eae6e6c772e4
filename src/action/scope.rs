//! Where a verb works: a database or collection and what it inherits.

use std::sync::Arc;

use bson::RawDocumentBuf;
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    error::Result,
    op::{CommandSpec, Retryability, Target},
    read_preference::{ReadPreference, SelectionCriteria},
};

use crate::client::Client;

/// The shared inside of a `Database` or a `Collection`.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) scope: Scope,
}

/// Names and concerns of a database or collection, the inherited ones included.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) db: Arc<str>,
    /// The collection; empty for a database.
    pub(crate) name: Box<str>,
    pub(crate) read_concern: Option<ReadConcern>,
    pub(crate) write_concern: Option<WriteConcern>,
    pub(crate) criteria: Option<SelectionCriteria>,
}

impl Scope {
    /// A command that reads: retried, sent to where the read preference says.
    pub(crate) fn read(
        &self,
        name: &'static str,
        body: RawDocumentBuf,
        criteria: Option<&SelectionCriteria>,
        read_concern: Option<&ReadConcern>,
    ) -> CommandSpec {
        let mut spec = CommandSpec::new(name, Arc::clone(&self.db), body);
        spec.target = Target::Read(read_preference(criteria.or(self.criteria.as_ref())));
        spec.retryability = Retryability::Read;
        spec.read_concern = read_concern.or(self.read_concern.as_ref()).cloned();
        spec
    }

    /// A command that writes to the primary.
    pub(crate) fn write(
        &self,
        name: &'static str,
        body: RawDocumentBuf,
        retryability: Retryability,
        write_concern: Option<&WriteConcern>,
    ) -> Result<CommandSpec> {
        let mut spec = CommandSpec::new(name, Arc::clone(&self.db), body);
        spec.retryability = retryability;
        spec.write_concern = write_concern.or(self.write_concern.as_ref()).cloned();
        if let Some(concern) = &spec.write_concern {
            concern.validate()?;
        }
        spec.check_write_concern_error = true;
        Ok(spec)
    }
}

/// The read preference of some criteria; primary where there are none.
pub(crate) fn read_preference(criteria: Option<&SelectionCriteria>) -> ReadPreference {
    criteria
        .and_then(SelectionCriteria::as_read_pref)
        .cloned()
        .unwrap_or_default()
}
