//! The documents of clients: a plain reading of the JSON finds what Texto finds, and an unknown field more changes nothing, although it
//! sends the document from the short way of reading to the general one.

use std::cell::OnceCell;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use texto::wire::envelope::{Envelope, Refused, Said};
use texto::wire::id::{ClientId, MessageId, SpelledId};
use texto::wire::reject::Reject;

/// The session in whose name the documents are read; seeds name it too.
const SESSION: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let session: SpelledId = ClientId::parse(SESSION.as_bytes()).expect("this is a UUID").into();
    let parsed = Envelope::parse(text, &session);
    match &parsed {
        Ok(Envelope { id, said: Said::Send { receiver, text } }) => check_send(bytes, *id, *receiver, text.as_json()),
        Ok(Envelope { said: Said::Registration | Said::Ack | Said::Error, .. }) => {}
        Err(refused) => assert!(!refused.reject.description().is_empty()),
    }
    check_against_plain_reading(text, &parsed);
    check_with_more(text, &session, &parsed);
}

/// What is handed on is a string of characters, and it, the id and the receiver stand in the document.
fn check_send(bytes: &[u8], id: MessageId, receiver: ClientId, text: &str) {
    serde_json::from_str::<String>(text).expect("a text is a string of characters");
    assert!(bytes.windows(text.len()).any(|window| window == text.as_bytes()), "a text is handed on as it was written");
    assert_eq!(MessageId::parse(id.text()), Some(id));
    let receiver: SpelledId = receiver.into();
    assert_eq!(ClientId::parse(receiver.text()), Some(receiver.id()));
}

/// The four fields as a general reader finds them, each once.
#[derive(Default)]
struct Plain<'a> {
    fields: [OnceCell<&'a RawValue>; 4],
    is_doubled: bool,
}

const NAMES: [&str; 4] = ["client_id", "id", "kind", "data"];

impl<'de> Deserialize<'de> for Plain<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PlainVisitor)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Plain<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain<'de>, A::Error> {
        let mut plain = Plain::default();
        while let Some(name) = map.next_key::<String>()? {
            match NAMES.iter().position(|known| *known == name) {
                Some(index) => plain.is_doubled |= plain.fields[index].set(map.next_value()?).is_err(),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(plain)
    }
}

impl Plain<'_> {
    fn string(&self, index: usize) -> Option<String> {
        serde_json::from_str(self.fields[index].get()?.get()).ok()
    }
}

fn check_against_plain_reading(text: &str, parsed: &Result<Envelope<'_>, Refused>) {
    let Ok(plain) = serde_json::from_str::<Plain<'_>>(text) else {
        let refused = parsed.as_ref().expect_err("what is no JSON object is not understood");
        assert_eq!(refused.reject.code(), "ESYNTAX");
        return;
    };
    let id = plain.string(1).and_then(|id| MessageId::parse(id.as_bytes()));
    match parsed {
        Ok(envelope) => {
            assert!(!plain.is_doubled);
            assert_eq!(Some(envelope.id), id);
            let kind = plain.string(2).expect("a message that is understood has a kind");
            match envelope.said {
                Said::Registration => assert_eq!(kind, "registration"),
                Said::Ack => assert_eq!(kind, "ack"),
                Said::Error => assert_eq!(kind, "error"),
                Said::Send { .. } => {
                    assert_eq!(kind, "send");
                    assert!(plain.string(0).expect("a send names its session").eq_ignore_ascii_case(SESSION));
                }
            }
        }
        // With several ids, any of them may be echoed.
        Err(refused) if !plain.is_doubled && refused.reject != Reject::TooDeep && refused.reject != Reject::NotJson => {
            assert_eq!(refused.id, id, "the id of {refused:?}");
        }
        Err(_) => {}
    }
}

/// Whatever an object says, it says the same with one more field that means nothing.
fn check_with_more(text: &str, session: &SpelledId, parsed: &Result<Envelope<'_>, Refused>) {
    let Some(rest) = text.trim_start_matches([' ', '\t', '\r', '\n']).strip_prefix('{') else { return };
    let is_empty = rest.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('}');
    let more = format!(r#"{{"more":0{}{rest}"#, if is_empty { "" } else { "," });
    assert_eq!(&Envelope::parse(&more, session), parsed, "with one more field");
}
