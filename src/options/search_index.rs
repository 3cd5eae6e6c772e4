//! The description of a search index.

use bson::Document;

/// A search index: its definition, and what else is said of it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SearchIndexModel {
    /// The definition.
    pub definition: Document,
    /// The name. Default: `default`.
    pub name: Option<String>,
    /// What kind of index it is. Default: a search index.
    pub index_type: Option<SearchIndexType>,
}

impl SearchIndexModel {
    /// Starts with nothing set; see the setters and [`Self::build`].
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Sets the definition.
    #[must_use]
    pub fn definition(mut self, value: impl Into<Document>) -> Self {
        self.definition = value.into();
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn name(mut self, value: impl Into<Option<String>>) -> Self {
        self.name = value.into();
        self
    }

    /// Sets what kind of index it is.
    #[must_use]
    pub fn index_type(mut self, value: impl Into<Option<SearchIndexType>>) -> Self {
        self.index_type = value.into();
        self
    }

    /// Ends a builder chain.
    #[must_use]
    pub fn build(self) -> Self {
        self
    }

    pub(crate) fn to_document(&self) -> Document {
        let mut out = Document::new();
        out.insert("definition", self.definition.clone());
        if let Some(name) = &self.name {
            out.insert("name", name);
        }
        if let Some(kind) = &self.index_type {
            out.insert("type", kind.as_str());
        }
        out
    }
}

/// What kind of search index it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchIndexType {
    /// A search index.
    Search,
    /// A vector search index.
    VectorSearch,
    /// One that this client does not know.
    Other(String),
}

impl SearchIndexType {
    /// The name that is sent to the server.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Search => "search",
            Self::VectorSearch => "vectorSearch",
            Self::Other(name) => name,
        }
    }
}
