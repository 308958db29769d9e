//! The fields of a client's document, found one by one in one pass: each is missing, null, a value, or malformed.
//!
//! The visitors are written out because a derived struct would take an array for an object, and because a field of the wrong type has to
//! be told apart from broken JSON. What means nothing is read by recursion, so that serde_json's limit on nesting holds for all of it.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::id::{ClientId, MessageId};
use super::reject::Reject;
use super::text::Text;

/// A field as it was found.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Found<T> {
    #[default]
    Missing,
    Null,
    Value(T),
    /// Of another type, or a string that says something else.
    Malformed,
}

impl<T: Copy> Found<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Found::Value(value) => Some(value),
            Found::Missing | Found::Null | Found::Malformed => None,
        }
    }

    pub(super) fn require(self, missing: Reject, malformed: Reject) -> Result<T, Reject> {
        match self {
            Found::Value(value) => Ok(value),
            Found::Missing | Found::Null => Err(missing),
            Found::Malformed => Err(malformed),
        }
    }
}

/// The document, field by field.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Fields<'a> {
    pub(super) client_id: Found<ClientId>,
    pub(super) id: Found<MessageId>,
    pub(super) kind: Found<KindName>,
    pub(super) data: Found<DataFields<'a>>,
    /// A field that stood there twice.
    pub(super) doubled: Option<Field>,
}

/// What the data of a `send` holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct DataFields<'a> {
    pub(super) receiver: Found<ClientId>,
    pub(super) text: Found<Text<'a>>,
    pub(super) doubled: Option<DataField>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    ClientId,
    Id,
    Kind,
    Data,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DataField {
    Receiver,
    Text,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KindName {
    Registration,
    Send,
    Ack,
    Error,
    ServerOnly,
    Unknown,
}

impl KindName {
    fn of(name: &str) -> KindName {
        match name {
            "registration" => KindName::Registration,
            "send" => KindName::Send,
            "ack" => KindName::Ack,
            "error" => KindName::Error,
            "connection" | "receive" => KindName::ServerOnly,
            _ => KindName::Unknown,
        }
    }
}

impl<'a> Fields<'a> {
    /// Reads any document.
    pub(super) fn parse(text: &'a str) -> serde_json::Result<Fields<'a>> {
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = json.deserialize_map(ObjectVisitor)?;
        json.end().map(|()| fields)
    }
}

/// The id of a document that is broken somewhere: what can be read of it is read, without recursion.
pub(super) fn find_id(text: &str) -> Option<MessageId> {
    let found = Cell::new(None);
    // An error is what we are here for; what has been found before it counts.
    let _ = serde_json::Deserializer::from_str(text).deserialize_map(IdVisitor(&found));
    found.get()
}

struct IdVisitor<'f>(&'f Cell<Option<MessageId>>);

impl<'de> Visitor<'de> for IdVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            match name {
                Some(Field::Id) => self.0.set(map.next_value_seed(Strings::new(|id| MessageId::parse(id.as_bytes())))?.value()),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key_seed(Name)? {
            let Some(field) = name else {
                map.next_value_seed(Skip)?;
                continue;
            };
            let is_new = match field {
                Field::ClientId => put(&mut fields.client_id, map.next_value_seed(Strings::new(|id| ClientId::parse(id.as_bytes())))?),
                Field::Id => put(&mut fields.id, map.next_value_seed(Strings::new(|id| MessageId::parse(id.as_bytes())))?),
                Field::Kind => put(&mut fields.kind, map.next_value_seed(Strings::new(|kind| Some(KindName::of(kind))))?),
                Field::Data => put(&mut fields.data, map.next_value_seed(Data)?),
            };
            if !is_new {
                fields.doubled = Some(field);
            }
        }
        Ok(fields)
    }
}

/// Fills `place`, and tells whether it was empty.
fn put<T>(place: &mut Found<T>, found: Found<T>) -> bool {
    matches!(std::mem::replace(place, found), Found::Missing)
}

/// Visits the name of a field of the document: `None` for one that means nothing here.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Field>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<Field>, E> {
        Ok(match name {
            "client_id" => Some(Field::ClientId),
            "id" => Some(Field::Id),
            "kind" => Some(Field::Kind),
            "data" => Some(Field::Data),
            _ => None,
        })
    }
}

/// Visits the name of a field of `data`.
struct DataName;

impl<'de> DeserializeSeed<'de> for DataName {
    type Value = Option<DataField>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<DataField>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for DataName {
    type Value = Option<DataField>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<DataField>, E> {
        Ok(match name {
            "receiver_id" => Some(DataField::Receiver),
            "text" => Some(DataField::Text),
            _ => None,
        })
    }
}

/// Implements the visits to values of the types that are not looked at; arrays and objects are read to their end, so that what
/// follows can be read too, and by recursion, so that serde_json's limit on nesting holds.
macro_rules! visit_other_types {
    ($other:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element_seed(Skip)?.is_some() {}
            Ok($other)
        }
    };
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_key::<IgnoredAny>()?.is_some() {
        map.next_value_seed(Skip)?;
    }
    Ok(())
}

/// Visits a value that means nothing.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        skip_map(map)
    }

    visit_other_types!(());
}

/// Visits a value that should be a string, and one that `read` makes sense of.
struct Strings<F, T> {
    read: F,
    value: PhantomData<T>,
}

impl<T, F: FnOnce(&str) -> Option<T>> Strings<F, T> {
    fn new(read: F) -> Self {
        Strings { read, value: PhantomData }
    }
}

impl<'de, T, F: FnOnce(&str) -> Option<T>> DeserializeSeed<'de> for Strings<F, T> {
    type Value = Found<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, F: FnOnce(&str) -> Option<T>> Visitor<'de> for Strings<F, T> {
    type Value = Found<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_unit<E>(self) -> Result<Found<T>, E> {
        Ok(Found::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<T>, E> {
        Ok((self.read)(text).map_or(Found::Malformed, Found::Value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Found<T>, A::Error> {
        skip_map(map).map(|()| Found::Malformed)
    }

    visit_other_types!(Found::Malformed);
}

/// Visits the value of `data`, whatever kind of message it belongs to: the kind may come later.
struct Data;

impl<'de> DeserializeSeed<'de> for Data {
    type Value = Found<DataFields<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<DataFields<'de>>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Data {
    type Value = Found<DataFields<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Found::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Found::Malformed)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut data = DataFields::default();
        while let Some(name) = map.next_key_seed(DataName)? {
            let Some(field) = name else {
                map.next_value_seed(Skip)?;
                continue;
            };
            let is_new = match field {
                DataField::Receiver => put(&mut data.receiver, map.next_value_seed(Strings::new(|id| ClientId::parse(id.as_bytes())))?),
                DataField::Text => put(&mut data.text, found_text(map.next_value()?)),
            };
            if !is_new {
                data.doubled = Some(field);
            }
        }
        Ok(Found::Value(data))
    }

    visit_other_types!(Found::Malformed);
}

fn found_text(raw: &RawValue) -> Found<Text<'_>> {
    match raw.get() {
        "null" => Found::Null,
        _ => Text::new(raw).map_or(Found::Malformed, Found::Value),
    }
}
