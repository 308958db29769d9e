//! The JSON document that clients send: one object with `client_id`, `id`, `kind` and `data`.
//!
//! Reading takes one pass and borrows from the message; a `text` stays the JSON string that it was. The visitors are written out because
//! a derived struct would take an array for an object, and because a field of the wrong type has to be told apart from broken JSON.
//! A document in the usual form takes a shorter way, see `plain.rs`.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::id::{ClientId, MessageId, SpelledId};
use super::plain;
use super::reject::Reject;
use super::text::Text;

/// What a client says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope<'a> {
    /// The client's own name for the message; the answer carries it.
    pub id: MessageId,
    /// What is asked.
    pub said: Said<'a>,
}

/// The kinds of message that a client may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said<'a> {
    /// `registration`: asks for the session.
    Registration,
    /// `send`: a message for another client.
    Send {
        /// Whom it is for.
        receiver: ClientId,
        /// What it says.
        text: Text<'a>,
    },
    /// `ack` or `error`: nothing to do.
    Notice,
}

/// A message that is refused, and the id to say so under if it had one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The id of the message, if it can be read.
    pub id: Option<MessageId>,
    /// Why.
    pub reject: Reject,
}

impl<'a> Envelope<'a> {
    /// Reads what the client of `session` said.
    pub fn parse(text: &'a str, session: &'a SpelledId) -> Result<Envelope<'a>, Refused> {
        let fields = match plain::read(text, session) {
            Some(fields) => Ok(fields),
            None => Fields::parse(text),
        };
        match fields {
            Ok(fields) => fields.resolve(session.id()).map_err(|reject| Refused { id: fields.id.value(), reject }),
            Err(error) => Err(Refused { id: find_id(text), reject: syntax_reject(&error) }),
        }
    }
}

fn syntax_reject(error: &serde_json::Error) -> Reject {
    if error.is_data() {
        Reject::NotAnObject
    } else if error.to_string().starts_with("recursion limit exceeded") {
        Reject::TooDeep
    } else {
        Reject::NotJson
    }
}

/// The id of a document that is broken somewhere: what can be read of it is read, without recursion.
fn find_id(text: &str) -> Option<MessageId> {
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
    fn value(self) -> Option<T> {
        match self {
            Found::Value(value) => Some(value),
            Found::Missing | Found::Null | Found::Malformed => None,
        }
    }

    fn require(self, missing: Reject, malformed: Reject) -> Result<T, Reject> {
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
    doubled: Option<Field>,
}

/// What the data of a `send` holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct DataFields<'a> {
    pub(super) receiver: Found<ClientId>,
    pub(super) text: Found<Text<'a>>,
    doubled: Option<DataField>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    ClientId,
    Id,
    Kind,
    Data,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DataField {
    Receiver,
    Text,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KindName {
    Registration,
    Send,
    Notice,
    ServerOnly,
    Unknown,
}

impl KindName {
    fn of(name: &str) -> KindName {
        match name {
            "registration" => KindName::Registration,
            "send" => KindName::Send,
            "ack" | "error" => KindName::Notice,
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

    /// The checks in the order of their codes: `ESYNTAX`, `EKIND`, `ECID`, `EINVAL`.
    fn resolve(&self, session: ClientId) -> Result<Envelope<'a>, Reject> {
        if self.doubled.is_some() {
            return Err(Reject::DoubledField);
        }
        let id = self.id.require(Reject::MissingId, Reject::MalformedId)?;
        if self.client_id == Found::Malformed {
            return Err(Reject::MalformedClientId);
        }
        let said = match self.kind.require(Reject::MissingKind, Reject::MalformedKind)? {
            KindName::Unknown => return Err(Reject::UnknownKind),
            KindName::ServerOnly => return Err(Reject::ServerKind),
            KindName::Registration => Said::Registration,
            KindName::Notice => Said::Notice,
            KindName::Send if self.client_id != Found::Value(session) => return Err(Reject::ForeignClientId),
            KindName::Send => self.data.require(Reject::MissingData, Reject::MalformedData)?.resolve()?,
        };
        Ok(Envelope { id, said })
    }
}

impl<'a> DataFields<'a> {
    fn resolve(&self) -> Result<Said<'a>, Reject> {
        if self.doubled.is_some() {
            return Err(Reject::DoubledDataField);
        }
        let receiver = self.receiver.require(Reject::MissingReceiver, Reject::MalformedReceiver)?;
        let text = self.text.require(Reject::MissingText, Reject::MalformedText)?;
        Ok(Said::Send { receiver, text })
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

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    const OTHER: &str = "11e55044-10b1-426f-9247-bb680e5fe0c8";
    const ID: &str = "22e55044-10b1-426f-9247-bb680e5fe0c8";

    static SESSION_ID: std::sync::OnceLock<SpelledId> = std::sync::OnceLock::new();

    fn parse(json: &str) -> Result<Envelope<'_>, Refused> {
        Envelope::parse(json, SESSION_ID.get_or_init(|| ClientId::parse(SESSION.as_bytes()).unwrap().into()))
    }

    fn send(data: &str) -> String {
        format!(r#"{{"client_id":"{SESSION}","id":"{ID}","kind":"send","data":{data}}}"#)
    }

    fn text(text: &str) -> String {
        send(&format!(r#"{{"receiver_id":"{OTHER}","text":{text}}}"#))
    }

    /// Refused for the reason `reject`, under the id of the message.
    fn refused(json: &str, reject: Reject) {
        assert_eq!(parse(json), Err(Refused { id: MessageId::parse(ID.as_bytes()), reject }), "{json}");
    }

    /// Refused, without an id that could be read.
    fn nameless(json: &str, reject: Reject) {
        assert_eq!(parse(json), Err(Refused { id: None, reject }), "{json}");
    }

    fn sent(json: &str) -> String {
        match parse(json) {
            Ok(Envelope { said: Said::Send { receiver, text }, id }) => format!("{id} {receiver} {}", text.as_json()),
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn a_send_is_read_in_any_order_and_with_any_escapes() {
        let expected = format!("{ID} {OTHER} \"a\\u00e9b\"");
        assert_eq!(sent(&text(r#""a\u00e9b""#)), expected);
        let odd = format!(
            r#" {{ "data" : {{"x":[[{{}}]],"text":"a\u00e9b","receiver_id":"{}"}}, "k\u0069nd":"s\u0065nd","_":{{"id":1}},"id":"{}","client_id":"{}" }} "#,
            OTHER.to_uppercase(),
            ID.replace('2', "\\u0032"),
            SESSION.to_uppercase()
        );
        assert_eq!(sent(&odd), expected);
    }

    #[test]
    fn other_kinds_ignore_session_and_data() {
        let check = |kind: &str, rest: &str, said: Said<'_>| {
            let json = format!(r#"{{"id":"{ID}","kind":"{kind}"{rest}}}"#);
            assert_eq!(parse(&json).map(|envelope| envelope.said), Ok(said), "{json}");
        };
        for rest in ["", r#","data":null"#, r#","data":7"#, r#","data":{"text":1},"client_id":null"#] {
            check("registration", rest, Said::Registration);
            check("ack", rest, Said::Notice);
            check("error", rest, Said::Notice);
        }
        check("registration", &format!(r#","client_id":"{OTHER}""#), Said::Registration);
    }

    #[test]
    fn broken_documents_are_syntax_errors() {
        nameless("", Reject::NotJson);
        nameless("hello", Reject::NotJson);
        nameless("{", Reject::NotJson);
        nameless("null", Reject::NotAnObject);
        nameless("[]", Reject::NotAnObject);
        nameless("\"text\"", Reject::NotAnObject);
        nameless(&format!(r#"["{SESSION}","{ID}","send",{{}}]"#), Reject::NotAnObject);
        refused(&format!(r#"{{"id":"{ID}","kind":"send","#), Reject::NotJson);
        refused(&(text("\"x\"") + "{}"), Reject::NotJson);
        refused(&format!(r#"{{"id":"{ID}","kind":"registration","x":"\ud800"}}"#), Reject::NotJson);
        let deep = |depth: usize| format!(r#"{{"x":{}{},"id":"{ID}","kind":"registration"}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&deep(crate::limits::JSON_DEPTH_MAX - 2)).is_ok());
        refused(&deep(crate::limits::JSON_DEPTH_MAX), Reject::TooDeep);
        refused(&deep(100_000), Reject::TooDeep);
    }

    #[test]
    fn wrong_fields_are_told_by_name() {
        nameless(&text("\"x\"").replace(&format!(r#""id":"{ID}","#), ""), Reject::MissingId);
        nameless(&text("\"x\"").replace(&format!(r#""{ID}""#), "null"), Reject::MissingId);
        for malformed in ["\"\"", "7", "[]", "{\"a\":[1]}", "true", "\"{67e55044-10b1-426f-9247-bb680e5fe0c8}\""] {
            nameless(&text("\"x\"").replace(&format!(r#""{ID}""#), malformed), Reject::MalformedId);
            refused(&text("\"x\"").replace(&format!(r#""{SESSION}""#), malformed), Reject::MalformedClientId);
            refused(&text("\"x\"").replace(&format!(r#""{OTHER}""#), malformed), Reject::MalformedReceiver);
        }
        refused(&text("\"x\"").replace("\"kind\"", "\"Kind\""), Reject::MissingKind);
        refused(&text("\"x\"").replace("\"send\"", "[\"send\"]"), Reject::MalformedKind);
        for kind in ["", "Send", "send ", "message"] {
            refused(&text("\"x\"").replace("\"send\"", &format!("\"{kind}\"")), Reject::UnknownKind);
        }
        for kind in ["connection", "receive"] {
            refused(&text("\"x\"").replace("\"send\"", &format!("\"{kind}\"")), Reject::ServerKind);
        }
        for foreign in ["null", &format!("\"{OTHER}\"")] {
            refused(&text("\"x\"").replace(&format!("\"{SESSION}\""), foreign), Reject::ForeignClientId);
        }
        refused(&format!(r#"{{"id":"{ID}","id":"{ID}","kind":"registration"}}"#), Reject::DoubledField);
    }

    #[test]
    fn wrong_data_is_told_by_name() {
        refused(&send("null"), Reject::MissingData);
        for data in ["7", "\"x\"", "[]", "[\"a\",\"b\"]", "false"] {
            refused(&send(data), Reject::MalformedData);
        }
        refused(&send("{}"), Reject::MissingReceiver);
        refused(&send(r#"{"receiver_id":null,"text":"x"}"#), Reject::MissingReceiver);
        refused(&send(&format!(r#"{{"receiver_id":"{OTHER}"}}"#)), Reject::MissingText);
        refused(&text("null"), Reject::MissingText);
        for malformed in ["7", "[]", "{}", "true", r#""\ud800""#, r#""\udc00\ud800""#] {
            refused(&text(malformed), Reject::MalformedText);
        }
        refused(&send(&format!(r#"{{"receiver_id":"{OTHER}","text":"a","text":"b"}}"#)), Reject::DoubledDataField);
    }

    #[test]
    fn the_first_broken_rule_names_the_code() {
        let kind = format!(r#"{{"client_id":"{OTHER}","id":"{ID}","kind":"nonsense","data":7}}"#);
        refused(&kind, Reject::UnknownKind);
        refused(&kind.replace("nonsense", "send"), Reject::ForeignClientId);
    }
}
