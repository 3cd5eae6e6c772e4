//! UUIDs in each of their representations.

use bson::Uuid;

/// A type that stands for a UUID, or for one that may be missing.
pub trait AsUuid: Sized {
    /// The UUID; `None` for a null.
    fn to_uuid(&self) -> Option<Uuid>;

    /// The value of a UUID, or of a null; `None` when it cannot be null.
    fn from_uuid(uuid: Option<Uuid>) -> Option<Self>;
}

impl AsUuid for Uuid {
    fn to_uuid(&self) -> Option<Uuid> {
        Some(*self)
    }

    fn from_uuid(uuid: Option<Uuid>) -> Option<Self> {
        uuid
    }
}

#[cfg(feature = "uuid-1")]
impl AsUuid for uuid::Uuid {
    fn to_uuid(&self) -> Option<Uuid> {
        Some(Uuid::from_bytes(self.into_bytes()))
    }

    fn from_uuid(uuid: Option<Uuid>) -> Option<Self> {
        uuid.map(|uuid| Self::from_bytes(uuid.bytes()))
    }
}

impl<T: AsUuid> AsUuid for Option<T> {
    fn to_uuid(&self) -> Option<Uuid> {
        self.as_ref().and_then(T::to_uuid)
    }

    fn from_uuid(uuid: Option<Uuid>) -> Option<Self> {
        match uuid {
            None => Some(None),
            some => T::from_uuid(some).map(Some),
        }
    }
}

macro_rules! representation {
    ($(#[$documentation:meta])* $module:ident, $representation:ident) => {
        $(#[$documentation])*
        pub mod $module {
            use bson::Binary;
            use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

            use super::AsUuid;
            use crate::options::UuidRepresentation;

            /// Serializes a UUID.
            ///
            /// # Errors
            ///
            /// Those of the serializer.
            pub fn serialize<T: AsUuid, S: Serializer>(
                value: &T,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let Some(uuid) = value.to_uuid() else {
                    return serializer.serialize_none();
                };
                let binary = UuidRepresentation::$representation.to_binary(uuid);
                binary.map_err(ser::Error::custom)?.serialize(serializer)
            }

            /// Deserializes a UUID.
            ///
            /// # Errors
            ///
            /// When the value is of another representation, and those of the deserializer.
            pub fn deserialize<'de, T: AsUuid, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<T, D::Error> {
                let binary = Option::<Binary>::deserialize(deserializer)?;
                let uuid = binary
                    .map(|binary| UuidRepresentation::$representation.to_uuid(&binary))
                    .transpose()
                    .map_err(de::Error::custom)?;
                let null = || de::Error::custom("a UUID was expected, not null");
                T::from_uuid(uuid).ok_or_else(null)
            }
        }
    };
}

representation! {
    /// UUIDs in binary subtype 4, as all drivers store them today: `#[serde(with = "..")]`.
    uuid_standard, Standard
}
representation! {
    /// UUIDs as the C# driver stored them, in binary subtype 3: `#[serde(with = "..")]`.
    uuid_csharp_legacy, CSharpLegacy
}
representation! {
    /// UUIDs as the Java driver stored them, in binary subtype 3: `#[serde(with = "..")]`.
    uuid_java_legacy, JavaLegacy
}
representation! {
    /// UUIDs as PyMongo stored them, in binary subtype 3: `#[serde(with = "..")]`.
    uuid_python_legacy, PythonLegacy
}
