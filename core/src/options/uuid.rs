//! UUIDs in documents, as this and older drivers store them.

use bson::{Binary, Uuid};

use super::UuidRepresentation;
use crate::error::{Error, Result};

impl UuidRepresentation {
    /// The UUID as a value of a document: subtype 4 for the standard representation, subtype 3 with
    /// the driver's order of bytes for the others.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for
    /// [`Self::Unspecified`].
    pub fn to_binary(self, uuid: Uuid) -> Result<Binary> {
        let representation = self.specified()?;
        Ok(Binary::from_uuid_with_representation(uuid, representation))
    }

    /// The UUID that a value of a document stands for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for
    /// [`Self::Unspecified`], for the subtype of another representation, and for a length other
    /// than 16 bytes.
    pub fn to_uuid(self, binary: &Binary) -> Result<Uuid> {
        let representation = self.specified()?;
        binary
            .to_uuid_with_representation(representation)
            .map_err(|_| {
                let subtype = match self {
                    Self::Standard => 4,
                    _ => 3,
                };
                Error::invalid_argument(format!(
                    "option \"uuidRepresentation\": a {self:?} UUID has 16 bytes of binary subtype \
                     {subtype}, not {} of {}",
                    binary.bytes.len(),
                    u8::from(binary.subtype)
                ))
            })
    }

    fn specified(self) -> Result<bson::UuidRepresentation> {
        use bson::UuidRepresentation as B;
        Ok(match self {
            Self::CSharpLegacy => B::CSharpLegacy,
            Self::JavaLegacy => B::JavaLegacy,
            Self::PythonLegacy => B::PythonLegacy,
            Self::Standard => B::Standard,
            Self::Unspecified => {
                return Err(Error::invalid_argument(
                    "option \"uuidRepresentation\": unspecified says nothing of UUIDs; standard, \
                     csharpLegacy, javaLegacy and pythonLegacy do",
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;

    use super::*;

    const UUID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn each_representation_has_its_order_of_bytes() {
        use UuidRepresentation as R;
        let uuid = Uuid::from_bytes(UUID);
        let old = BinarySubtype::UuidOld;
        for (representation, subtype, bytes) in [
            (R::Standard, BinarySubtype::Uuid, UUID),
            (R::PythonLegacy, old, UUID),
            (
                R::JavaLegacy,
                old,
                [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8],
            ),
            (
                R::CSharpLegacy,
                old,
                [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15],
            ),
        ] {
            let binary = representation.to_binary(uuid).expect("specified");
            assert_eq!(binary.subtype, subtype, "{representation:?}");
            assert_eq!(binary.bytes, bytes, "{representation:?}");
            assert_eq!(representation.to_uuid(&binary).expect("its own"), uuid);
        }
    }

    #[test]
    fn what_is_of_another_representation_is_refused() {
        use UuidRepresentation as R;
        let uuid = Uuid::from_bytes(UUID);
        let new = R::Standard.to_binary(uuid).expect("specified");
        let old = R::JavaLegacy.to_binary(uuid).expect("specified");
        let short = Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![0; 15],
        };
        for error in [
            R::Unspecified.to_binary(uuid).expect_err("unspecified"),
            R::Unspecified.to_uuid(&new).expect_err("unspecified"),
            R::Standard.to_uuid(&old).expect_err("subtype 3"),
            R::JavaLegacy.to_uuid(&new).expect_err("subtype 4"),
            R::Standard.to_uuid(&short).expect_err("15 bytes"),
        ] {
            assert!(error.to_string().contains("uuidRepresentation"), "{error}");
        }
    }
}
