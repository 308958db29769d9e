//! A message on its way to a client that is not on the sender's own loop, and what becomes of it.
//!
//! Between nodes it travels through Redis Pub/Sub: on the channel `texto:<recipient>` goes the JSON object
//! `{"SenderID":UUID,"RecipientID":UUID,"Text":string}`. Unknown fields are ignored on the way in; the recipient is the one in the
//! payload, whatever the channel says.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::id::{ClientId, MessageId, NodeTag, UUID_TEXT_LEN};
use super::text::{OwnedText, Text};

/// What every channel begins with.
pub const CHANNEL_PREFIX: &str = "texto:";

/// Length of a channel's name in bytes.
pub const CHANNEL_LEN: usize = CHANNEL_PREFIX.len() + UUID_TEXT_LEN;

/// The Redis pattern that matches the channels of all clients of the node `tag`, and hardly any other.
pub fn channel_pattern(tag: NodeTag) -> String {
    format!("{CHANNEL_PREFIX}{tag}*")
}

/// A message that has been accepted from its sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The recipient.
    pub to: ClientId,
    /// The sender.
    pub from: ClientId,
    /// What is said.
    pub text: OwnedText,
}

impl Delivery {
    /// Appends the name of the recipient's channel.
    pub fn write_channel(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(CHANNEL_PREFIX.as_bytes());
        push_id(out, self.to);
    }

    /// Appends the payload for Redis, [`Delivery::payload_len`] bytes.
    pub fn write_payload(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"SenderID":""#);
        push_id(out, self.from);
        out.extend_from_slice(br#"","RecipientID":""#);
        push_id(out, self.to);
        out.extend_from_slice(br#"","Text":"#);
        out.extend_from_slice(self.text.borrow().as_json().as_bytes());
        out.push(b'}');
    }

    /// Length in bytes of what [`Delivery::write_payload`] appends.
    pub fn payload_len(&self) -> usize {
        const FRAME: usize = r#"{"SenderID":"","RecipientID":"","Text":}"#.len();
        FRAME + 2 * UUID_TEXT_LEN + self.text.borrow().as_json().len()
    }

    /// Reads a payload from Redis.
    pub fn parse(payload: &[u8]) -> Result<Delivery, Garbage> {
        let payload: Payload<'_> = serde_json::from_slice(payload).map_err(|_| Garbage::NotAnObject)?;
        Ok(Delivery {
            to: payload.recipient.ok_or(Garbage::BadRecipient)?,
            from: payload.sender.ok_or(Garbage::BadSender)?,
            text: payload.text.and_then(Text::new).ok_or(Garbage::BadText)?.to_owned(),
        })
    }
}

fn push_id(out: &mut Vec<u8>, id: ClientId) {
    let mut text = [0; UUID_TEXT_LEN];
    id.write(&mut text);
    out.extend_from_slice(&text);
}

/// Why something on a channel is not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Garbage {
    /// It is not JSON, or JSON but not an object.
    NotAnObject,
    /// `SenderID` is missing or not a UUID.
    BadSender,
    /// `RecipientID` is missing or not a UUID.
    BadRecipient,
    /// `Text` is missing, not a string, or holds half of a surrogate pair.
    BadText,
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Garbage::NotAnObject => "not a JSON object",
            Garbage::BadSender => "SenderID is missing or not a UUID",
            Garbage::BadRecipient => "RecipientID is missing or not a UUID",
            Garbage::BadText => "Text is missing or not a string of characters",
        })
    }
}

/// The payload with its fields read one by one; a wrong field is `None`, as a missing one is.
#[derive(Default)]
struct Payload<'a> {
    sender: Option<ClientId>,
    recipient: Option<ClientId>,
    text: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Payload<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload<'de>, A::Error> {
        let mut payload = Payload::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*name {
                "SenderID" => payload.sender = client_id(map.next_value()?),
                "RecipientID" => payload.recipient = client_id(map.next_value()?),
                "Text" => payload.text = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(payload)
    }
}

/// The client id in a JSON value, which may use escapes.
fn client_id(raw: &RawValue) -> Option<ClientId> {
    let text: std::borrow::Cow<'_, str> = serde_json::from_str(raw.get()).ok()?;
    ClientId::parse(text.as_bytes())
}

/// The `send` that an answer belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Who asked, and waits for the answer.
    pub client: ClientId,
    /// The request's own id, echoed in the answer.
    pub id: MessageId,
}

/// What became of a message that had to leave its loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// The request to answer.
    pub request: Request,
    /// `Ok` becomes an `ack`, a refusal becomes `EBROKER`.
    pub outcome: Result<(), Refusal>,
}

/// Why a message could not be handed on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// There is no connection to Redis.
    Down,
    /// Too much is waiting for Redis already.
    QueueFull,
    /// Redis answered with an error.
    Rejected,
    /// Redis may or may not have taken the message: it did not answer in time, or the connection broke first.
    Unanswered,
    /// The loop of this node that holds the recipient has too much waiting.
    LoopBusy,
}

impl Refusal {
    /// One plain English sentence for the user.
    pub fn description(self) -> &'static str {
        match self {
            Refusal::Down => "the message was not sent: this node has no connection to the other nodes at the moment",
            Refusal::QueueFull => "the message was not sent: too many messages are waiting for the other nodes",
            Refusal::Rejected => "the message was not sent: the connection between the nodes refused it",
            Refusal::Unanswered => "nothing confirmed the message in time: it may still arrive, or it may be lost",
            Refusal::LoopBusy => "the message was not sent: too many messages are waiting for the recipient's part of this node",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    const FROM: &str = "11e55044-10b1-426f-9247-bb680e5fe0c8";

    fn payload(text: &str) -> String {
        format!(r#"{{"SenderID":"{FROM}","RecipientID":"{TO}","Text":{text}}}"#)
    }

    #[test]
    fn a_payload_survives_the_way_there_and_back() {
        for text in [r#""""#, r#""a\u003cb""#, r#""\ud83d\ude00 é""#] {
            let delivery = Delivery::parse(payload(text).as_bytes()).unwrap();
            let mut written = Vec::new();
            delivery.write_payload(&mut written);
            assert_eq!(String::from_utf8(written).unwrap(), payload(text));
            assert_eq!(delivery.payload_len(), payload(text).len());
            let mut channel = Vec::new();
            delivery.write_channel(&mut channel);
            assert_eq!(channel, format!("texto:{TO}").into_bytes());
            assert_eq!(channel.len(), CHANNEL_LEN);
        }
    }

    #[test]
    fn odd_but_valid_payloads_are_read() {
        let odd = format!(
            r#" {{"Extra":[{{}}],"T\u0065xt":"x","RecipientID":"{}","SenderID":"\u00311e55044-10b1-426f-9247-bb680e5fe0c8","text":7}} "#,
            TO.to_uppercase()
        );
        let delivery = Delivery::parse(odd.as_bytes()).unwrap();
        assert_eq!((delivery.to.to_string().as_str(), delivery.from.to_string().as_str()), (TO, FROM));
        assert_eq!(delivery.text.borrow().as_json(), "\"x\"");
    }

    #[test]
    fn garbage_is_told_apart() {
        let check = |payload: &[u8], garbage| assert_eq!(Delivery::parse(payload), Err(garbage), "{}", payload.escape_ascii());
        check(b"", Garbage::NotAnObject);
        check(b"hello", Garbage::NotAnObject);
        check(format!(r#"["{FROM}","{TO}","x"]"#).as_bytes(), Garbage::NotAnObject);
        check((payload("\"x\"") + "}").as_bytes(), Garbage::NotAnObject);
        check(b"{\"Text\":\"\xff\"}", Garbage::NotAnObject);
        check(format!(r#"{{"RecipientID":"{TO}","Text":"x"}}"#).as_bytes(), Garbage::BadSender);
        check(payload("\"x\"").replace(FROM, "7").as_bytes(), Garbage::BadSender);
        check(payload("\"x\"").replace(&format!("\"{FROM}\""), "7").as_bytes(), Garbage::BadSender);
        check(payload("\"x\"").replace(TO, &TO.replace('-', "")).as_bytes(), Garbage::BadRecipient);
        check(format!(r#"{{"SenderID":"{FROM}","RecipientID":"{TO}"}}"#).as_bytes(), Garbage::BadText);
        for text in ["1", "null", "[]", r#""\ud800""#] {
            check(payload(text).as_bytes(), Garbage::BadText);
        }
    }

    #[test]
    fn the_pattern_matches_the_channels_of_the_node() {
        let tag = NodeTag::from_bits(0x00ab_cdef);
        assert_eq!(channel_pattern(tag), "texto:abcdef*");
    }
}
