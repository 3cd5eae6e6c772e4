//! Where a verb works: a database or collection and what it inherits.

use std::sync::Arc;

use bson::RawDocumentBuf;
use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    error::{Error, Result},
    op::{CommandSpec, Name, Retryability, Target},
    read_preference::{ReadPreference, SelectionCriteria},
};

use crate::client::Client;

/// The inside of a `Database` or a `Collection`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) scope: Scope,
}

/// Names and concerns of a database or collection, the inherited ones included.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) db: Name,
    /// The collection; empty for a database.
    pub(crate) name: Box<str>,
    /// Why no command can be built: a name breaks a rule.
    pub(crate) invalid: Option<Box<Error>>,
    /// Shared with whoever they are inherited from; `None` where there are none.
    pub(crate) concerns: Option<Arc<Concerns>>,
}

/// What operations take from their place unless their own options say otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Concerns {
    pub(crate) read_concern: Option<ReadConcern>,
    pub(crate) write_concern: Option<WriteConcern>,
    pub(crate) criteria: Option<SelectionCriteria>,
}

impl Concerns {
    /// Shares them, if there are any.
    pub(crate) fn share(self) -> Option<Arc<Self>> {
        let any =
            self.read_concern.is_some() || self.write_concern.is_some() || self.criteria.is_some();
        any.then(|| Arc::new(self))
    }

    /// What inherits from `inherited` with these of its own.
    pub(crate) fn over(self, inherited: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        match (self.share(), inherited) {
            (None, inherited) => inherited.cloned(),
            (own, None) => own,
            (Some(own), Some(inherited)) => {
                let mut all = (**inherited).clone();
                let own = Arc::unwrap_or_clone(own);
                all.read_concern = own.read_concern.or(all.read_concern);
                all.write_concern = own.write_concern.or(all.write_concern);
                all.criteria = own.criteria.or(all.criteria);
                all.share()
            }
        }
    }
}

impl Scope {
    /// A command on the database.
    ///
    /// # Errors
    ///
    /// `InvalidName` when the name of the database or the collection breaks a rule.
    #[inline]
    pub(crate) fn command(&self, name: &'static str, body: RawDocumentBuf) -> Result<CommandSpec> {
        match &self.invalid {
            None => Ok(CommandSpec::new(name, self.db.clone(), body)),
            Some(error) => Err(Error::clone(error)),
        }
    }

    pub(crate) fn read_concern(&self) -> Option<&ReadConcern> {
        self.concerns.as_ref()?.read_concern.as_ref()
    }

    pub(crate) fn write_concern(&self) -> Option<&WriteConcern> {
        self.concerns.as_ref()?.write_concern.as_ref()
    }

    pub(crate) fn criteria(&self) -> Option<&SelectionCriteria> {
        self.concerns.as_ref()?.criteria.as_ref()
    }

    /// A command that reads: retried, sent to where the read preference says.
    #[inline]
    pub(crate) fn read(
        &self,
        name: &'static str,
        body: RawDocumentBuf,
        criteria: Option<&SelectionCriteria>,
        read_concern: Option<&ReadConcern>,
    ) -> Result<CommandSpec> {
        let mut spec = self.command(name, body)?;
        spec.target = Target::Read(read_preference(criteria.or(self.criteria())));
        spec.retryability = Retryability::Read;
        spec.read_concern = read_concern.or(self.read_concern()).cloned();
        Ok(spec)
    }

    /// A command that writes to the primary.
    #[inline]
    pub(crate) fn write(
        &self,
        name: &'static str,
        body: RawDocumentBuf,
        retryability: Retryability,
        write_concern: Option<&WriteConcern>,
    ) -> Result<CommandSpec> {
        let mut spec = self.command(name, body)?;
        spec.retryability = retryability;
        spec.write_concern = write_concern.or(self.write_concern()).cloned();
        if let Some(concern) = &spec.write_concern {
            concern.validate()?;
        }
        spec.check_write_concern_error = true;
        Ok(spec)
    }
}

/// The read preference of some criteria; primary where there are none.
#[inline]
pub(crate) fn read_preference(criteria: Option<&SelectionCriteria>) -> ReadPreference {
    criteria
        .and_then(SelectionCriteria::as_read_pref)
        .cloned()
        .unwrap_or_default()
}
