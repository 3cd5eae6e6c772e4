//! The elements of documents and arrays, as serde asks for them.

use serde::de::{
    DeserializeSeed, EnumAccess, MapAccess, SeqAccess, value::BorrowedStrDeserializer,
};

use super::{Fail, Form, Value, utf8};
use crate::codec::walk::{Element, Elements};

/// Gives out the elements of a document or an array.
pub(super) struct Fields<'de> {
    elements: Elements<'de>,
    /// The value of the element that was last come to.
    value: Option<Value<'de>>,
    form: Form,
    levels: u16,
}

impl<'de> Fields<'de> {
    /// `levels` is how many may be entered from here.
    #[inline]
    pub(super) fn new(bytes: &'de [u8], form: Form, levels: u16) -> Result<Self, Fail> {
        Ok(Self {
            elements: Elements::new(bytes)?,
            value: None,
            form,
            levels,
        })
    }

    /// Goes to the next element and returns its value, with its name checked.
    pub(super) fn advance(&mut self) -> Result<Option<Value<'de>>, Fail> {
        Ok(self.advance_name()?.and(self.value))
    }

    /// Goes to the next element and returns its name.
    #[inline]
    fn advance_name(&mut self) -> Result<Option<&'de str>, Fail> {
        self.next_name()?.map(utf8).transpose()
    }

    /// Goes to the next element of an array, whose name nobody looks at.
    #[inline]
    fn advance_item(&mut self) -> Result<(), Fail> {
        match self.next_name()? {
            Some(name) if !name.is_ascii() => utf8(name).map(drop),
            _ => Ok(()),
        }
    }

    #[inline]
    fn next_name(&mut self) -> Result<Option<&'de [u8]>, Fail> {
        let Some(element) = self.elements.next() else {
            self.value = None;
            return Ok(None);
        };
        let Element { kind, key, value } = element?;
        self.come_to(kind, value);
        Ok(Some(key))
    }

    /// Goes to the next element if it has this name; whether it has.
    #[inline]
    fn next_named(&mut self, name: &str) -> bool {
        match self.elements.next_named(name.as_bytes()) {
            Some((kind, value)) => {
                self.come_to(kind, value);
                true
            }
            None => false,
        }
    }

    #[inline]
    fn come_to(&mut self, kind: u8, bytes: &'de [u8]) {
        self.value = Some(Value {
            kind,
            form: self.form,
            levels: self.levels,
            bytes,
        });
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Fail;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fail> {
        match self.advance_name()? {
            Some(key) => seed
                .deserialize(BorrowedStrDeserializer::new(key))
                .map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fail> {
        seed.deserialize(self.value.ok_or(Fail)?)
    }
}

/// Gives out the fields of a struct, which mostly come in the order in which it names them.
///
/// A name that is expected need not be checked to be UTF-8: the struct's own is given out.
pub(super) struct StructFields<'de> {
    fields: Fields<'de>,
    /// The names that did not come yet, as far as the order was kept.
    expected: &'static [&'static str],
}

impl<'de> StructFields<'de> {
    #[inline]
    pub(super) fn new(fields: Fields<'de>, expected: &'static [&'static str]) -> Self {
        Self { fields, expected }
    }

    /// Goes to the next element if it is the field that is next; returns its name.
    #[inline]
    fn advance_expected(&mut self) -> Option<&'static str> {
        let (first, rest) = self.expected.split_first()?;
        if !self.fields.next_named(first) {
            return None;
        }
        self.expected = rest;
        Some(first)
    }

    /// The struct's own copy of a name, if it is that of the field after the next: fields are often
    /// optional.
    #[inline]
    fn skip_to(&mut self, name: &[u8]) -> Option<&'static str> {
        match self.expected {
            [_, second, rest @ ..] if second.as_bytes() == name => {
                self.expected = rest;
                Some(second)
            }
            _ => None,
        }
    }
}

impl<'de> MapAccess<'de> for StructFields<'de> {
    type Error = Fail;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fail> {
        let name = match self.advance_expected() {
            Some(own) => own,
            None => match self.fields.next_name()? {
                Some(name) => match self.skip_to(name) {
                    Some(own) => own,
                    None => utf8(name)?,
                },
                None => return Ok(None),
            },
        };
        seed.deserialize(BorrowedStrDeserializer::new(name))
            .map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fail> {
        self.fields.next_value_seed(seed)
    }
}

impl<'de> SeqAccess<'de> for Fields<'de> {
    type Error = Fail;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fail> {
        self.advance_item()?;
        self.value.map(|value| seed.deserialize(value)).transpose()
    }
}

/// An enum is a document with the variant's name as the name of its first element.
impl<'de> EnumAccess<'de> for Fields<'de> {
    type Error = Fail;
    type Variant = Value<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        mut self,
        seed: V,
    ) -> Result<(V::Value, Value<'de>), Fail> {
        let name = self.advance_name()?.ok_or(Fail)?;
        let variant = seed.deserialize(BorrowedStrDeserializer::<Fail>::new(name))?;
        Ok((variant, self.value.ok_or(Fail)?))
    }
}
