//! Where a verb works: a database or collection and what it inherits.

use std::sync::Arc;

use mongo_client_core::{
    concern::{ReadConcern, WriteConcern},
    error::{Error, Result},
    op::{Body, CommandSpec, DocumentSequence, Name, Retryability, Target},
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
    pub(crate) fn command(&self, name: &'static str, body: impl Into<Body>) -> Result<CommandSpec> {
        self.check()?;
        Ok(self.spec(name, body.into()))
    }

    /// Refuses to build a command where a name breaks a rule.
    #[inline]
    fn check(&self) -> Result<()> {
        match &self.invalid {
            None => Ok(()),
            Some(error) => Err(Error::clone(error)),
        }
    }

    #[inline]
    fn spec(&self, name: &'static str, body: Body) -> CommandSpec {
        CommandSpec::new(name, self.db.clone(), body)
    }

    /// The caller's own command: it inherits nothing, and goes where its options say.
    #[inline]
    pub(crate) fn user_command(
        &self,
        name: &'static str,
        body: Body,
        criteria: Option<&SelectionCriteria>,
    ) -> Result<CommandSpec> {
        self.check()?;
        Ok(CommandSpec {
            target: Target::Read(read_preference(criteria)),
            user_command: true,
            ..self.spec(name, body)
        })
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
        body: impl Into<Body>,
        criteria: Option<&SelectionCriteria>,
        read_concern: Option<&ReadConcern>,
    ) -> Result<CommandSpec> {
        self.check()?;
        Ok(CommandSpec {
            target: Target::Read(read_preference(criteria.or(self.criteria()))),
            retryability: Retryability::Read,
            read_concern: read_concern.or(self.read_concern()).cloned(),
            ..self.spec(name, body.into())
        })
    }

    /// A command that writes to the primary.
    #[inline]
    pub(crate) fn write(
        &self,
        name: &'static str,
        body: impl Into<Body>,
        retryability: Retryability,
        write_concern: Option<&WriteConcern>,
    ) -> Result<CommandSpec> {
        self.check()?;
        let concern = write_concern.or(self.write_concern());
        if let Some(concern) = concern {
            concern.validate()?;
        }
        Ok(CommandSpec {
            retryability,
            write_concern: concern.cloned(),
            check_write_concern_error: true,
            ..self.spec(name, body.into())
        })
    }

    /// A command whose one write travels beside it.
    ///
    /// Failures of the write itself are read together with its write concern error.
    #[inline]
    pub(crate) fn write_one(
        &self,
        name: &'static str,
        body: impl Into<Body>,
        retryability: Retryability,
        write_concern: Option<&WriteConcern>,
        write: DocumentSequence,
    ) -> Result<CommandSpec> {
        self.check()?;
        let concern = write_concern.or(self.write_concern());
        if let Some(concern) = concern {
            concern.validate()?;
        }
        Ok(CommandSpec {
            retryability,
            write_concern: concern.cloned(),
            sequences: write.into(),
            ..self.spec(name, body.into())
        })
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
