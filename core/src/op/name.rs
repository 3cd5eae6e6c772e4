//! Names of databases, which mostly need no allocation.

use std::{fmt, ops::Deref, sync::Arc};

/// The longest name that is kept in place.
const SHORT_MAX: usize = 22;

/// The name of a database: cheap to make and to clone.
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Long(Arc<str>),
    /// The first `len` bytes are UTF-8.
    Short {
        len: u8,
        bytes: [u8; SHORT_MAX],
    },
}

impl Name {
    /// The bytes of the name.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Long(name) => name.as_bytes(),
            Repr::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
        }
    }
}

impl From<&str> for Name {
    #[inline]
    fn from(name: &str) -> Self {
        let mut bytes = [0; SHORT_MAX];
        Self(match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name.as_bytes());
                Repr::Short {
                    len: name.len() as u8,
                    bytes,
                }
            }
            None => Repr::Long(name.into()),
        })
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("made from a string")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_length_is_what_it_was_made_from() {
        for len in [0, 1, SHORT_MAX - 1, SHORT_MAX, SHORT_MAX + 1, 63, 300] {
            let text = "n".repeat(len);
            let name = Name::from(text.as_str());
            assert_eq!((&*name, name.as_bytes()), (&*text, text.as_bytes()));
            assert_eq!(&*name.clone(), &*Name::from(text));
        }
        // Twenty-two bytes are not twenty-two characters.
        assert_eq!(&*Name::from("é".repeat(11).as_str()), "é".repeat(11));
        assert_eq!(&*Name::from("é".repeat(12).as_str()), "é".repeat(12));
    }
}
