//! The cases.

use std::{fmt, str::FromStr};

macro_rules! cases {
    ($($(#[$doc:meta])* $case:ident = $name:literal,)*) => {
        /// One kind of operation, over and over.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Case {
            $($(#[$doc])* $case,)*
        }

        impl Case {
            /// Every case.
            pub const ALL: &'static [Self] = &[$(Self::$case,)*];

            /// The name in tables and arguments.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$case => $name,)*
                }
            }
        }
    };
}

cases! {
    /// `ping`.
    Ping = "ping",
    /// `find_one` by `_id`, 200 B, into a struct.
    FindOneTyped = "find1_200_typed",
    /// `find_one` by `_id`, 200 B, as raw BSON.
    FindOneRaw = "find1_200_raw",
    /// `find_one` by `_id`, 200 B, as a `Document`.
    FindOneDocument = "find1_200_doc",
    /// `find_one` by `_id`, 4 KiB, as a `Document`.
    FindOneBigDocument = "find1_4k_doc",
    /// `find_one` by `_id`, 4 KiB, as raw BSON.
    FindOneBigRaw = "find1_4k_raw",
    /// `insert_one` of a struct of 200 B.
    InsertOne = "insert1",
    /// `update_one` by `_id`.
    UpdateOne = "update1",
    /// `replace_one` by `_id` with a struct of 200 B.
    ReplaceOne = "replace1",
    /// `find` of 10,000 documents of 200 B, borrowed.
    FindManyRaw = "find10k_raw",
    /// `find` of 10,000 documents of 200 B, into structs.
    FindManyTyped = "find10k_typed",
    /// `find` of 10,000 documents of 200 B, as `Document`s.
    FindManyDocument = "find10k_doc",
    /// `insert_many` of 10,000 structs of 200 B.
    InsertMany = "insert10k",
    /// `insert_many` of 64 raw documents of 64 KiB.
    InsertManyLarge = "insert64k",
}

impl Case {
    /// How many documents one operation moves.
    #[must_use]
    pub fn documents(self) -> u64 {
        match self {
            Self::FindManyRaw | Self::FindManyTyped | Self::FindManyDocument | Self::InsertMany => {
                10_000
            }
            Self::InsertManyLarge => 64,
            _ => 1,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let case = Self::ALL.iter().find(|case| case.name() == name);
        case.copied().ok_or_else(|| format!("no case {name}"))
    }
}
