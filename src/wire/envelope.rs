//! The JSON document that clients send: one object with `client_id`, `id`, `kind` and `data`.
//!
//! Here is what the fields mean together, and which broken rule is told first. How they are read is in `plain.rs`, for documents in the usual
//! form, and in `fields.rs`, for all of JSON; both borrow from the message, and a `text` stays the JSON string that it was.

use super::fields::{DataFields, Fields, Found, KindName, find_id};
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
    /// `ack`: nothing to do.
    Ack,
    /// `error`: nothing to do.
    Error,
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

impl<'a> Fields<'a> {
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
            KindName::Ack => Said::Ack,
            KindName::Error => Said::Error,
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
            check("ack", rest, Said::Ack);
            check("error", rest, Said::Error);
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
        assert!(parse(&deep(crate::limits::JSON_DEPTH_MAX - 1)).is_ok());
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
