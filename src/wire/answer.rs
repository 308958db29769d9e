//! The JSON document that the server sends: `client_id`, `id`, `kind`, `data`, in this order and without blanks.
//!
//! It is appended to an outgoing queue as a whole frame. Every length is known before, so nothing is copied twice.

use super::frame::{self, Kind};
use super::id::{ClientId, MessageId, UUID_TEXT_LEN};
use super::reject::Reject;
use super::text::Text;
use crate::limits::{ENVELOPE_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// What the server says to one client, as frames appended to that client's outgoing queue.
pub struct Answer<'a> {
    /// The recipient's own session.
    pub client: ClientId,
    /// The id of the request, or a fresh one.
    pub id: MessageId,
    /// What is said.
    pub body: Body<'a>,
}

/// The kinds of message that the server sends.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// `connection`: tells the client its session.
    Connection,
    /// `ack`: the `send` was accepted.
    Ack,
    /// `error`: the request was refused.
    Error(Reject),
    /// `receive`: a message from another client.
    Receive {
        /// Who sent it.
        sender: ClientId,
        /// What it says.
        text: Text<'a>,
    },
}

const HEAD: [&str; 3] = [r#"{"client_id":""#, r#"","id":""#, r#"","kind":""#];
const CONNECTION: [&str; 2] = [r#"connection","data":{"client_id":""#, r#""}}"#];
const ACK: &str = r#"ack","data":null}"#;
const ERROR: [&str; 3] = [r#"error","data":{"code":""#, r#"","description":""#, r#""}}"#];
const RECEIVE: [&str; 3] = [r#"receive","data":{"sender_id":""#, r#"","text":"#, "}}"];

const fn total_len(parts: &[&str]) -> usize {
    let (mut total, mut at) = (0, 0);
    while at < parts.len() {
        total += parts[at].len();
        at += 1;
    }
    total
}

impl Body<'_> {
    /// Bytes from the kind to the end of the document.
    fn len(&self) -> usize {
        match self {
            Body::Connection => const { total_len(&CONNECTION) + UUID_TEXT_LEN },
            Body::Ack => ACK.len(),
            Body::Error(reject) => reject.code().len() + reject.description().len() + const { total_len(&ERROR) },
            Body::Receive { text, .. } => text.as_json().len() + const { total_len(&RECEIVE) + UUID_TEXT_LEN },
        }
    }
}

impl Answer<'_> {
    /// Bytes of the document.
    pub fn json_len(&self) -> usize {
        self.body.len() + const { total_len(&HEAD) + 2 * UUID_TEXT_LEN }
    }

    /// Appends the document as one text frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let len = self.json_len();
        out.reserve(len + FRAME_HEADER_BYTES_MAX);
        frame::write_header(out, Kind::Text, len);
        let start = out.len();
        self.write_json(out);
        debug_assert_eq!(out.len() - start, len);
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut uuid = [0; UUID_TEXT_LEN];
        push(out, HEAD[0]);
        push(out, self.client.encode(&mut uuid));
        push(out, HEAD[1]);
        push(out, self.id.encode(&mut uuid));
        push(out, HEAD[2]);
        match self.body {
            Body::Connection => {
                push(out, CONNECTION[0]);
                push(out, self.client.encode(&mut uuid));
                push(out, CONNECTION[1]);
            }
            Body::Ack => push(out, ACK),
            Body::Error(reject) => {
                push(out, ERROR[0]);
                push(out, reject.code());
                push(out, ERROR[1]);
                push(out, reject.description());
                push(out, ERROR[2]);
            }
            Body::Receive { sender, text } => {
                push(out, RECEIVE[0]);
                push(out, sender.encode(&mut uuid));
                push(out, RECEIVE[1]);
                push(out, text.as_json());
                push(out, RECEIVE[2]);
            }
        }
    }
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

const _: () = assert!(total_len(&HEAD) + total_len(&RECEIVE) + 3 * UUID_TEXT_LEN + FRAME_HEADER_BYTES_MAX <= ENVELOPE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::delivery::Refusal;

    const CLIENT: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    const SENDER: &str = "11e55044-10b1-426f-9247-bb680e5fe0c8";
    const ID: &str = "22e55044-10b1-426f-9247-bb680e5fe0c8";

    fn check(body: Body<'_>, kind: &str, data: &str) {
        let client = ClientId::parse(CLIENT.as_bytes()).unwrap();
        let answer = Answer { client, id: MessageId::parse(ID.as_bytes()).unwrap(), body };
        let mut out = Vec::new();
        answer.write(&mut out);
        let expected = format!(r#"{{"client_id":"{CLIENT}","id":"{ID}","kind":"{kind}","data":{data}}}"#);
        assert!(out.ends_with(expected.as_bytes()), "{}", out.escape_ascii());
        assert_eq!(answer.json_len(), expected.len());
        serde_json::from_str::<serde::de::IgnoredAny>(&expected).unwrap();
    }

    #[test]
    fn documents_have_four_fields_in_order() {
        check(Body::Connection, "connection", &format!(r#"{{"client_id":"{CLIENT}"}}"#));
        check(Body::Ack, "ack", "null");
        check(Body::Error(Reject::UnknownKind), "error", r#"{"code":"EKIND","description":"kind is none that exists"}"#);
        let raw = serde_json::value::RawValue::from_string(r#""a\n\u00e9""#.into()).unwrap();
        let sender = ClientId::parse(SENDER.as_bytes()).unwrap();
        let text = Text::new(&raw).unwrap();
        check(Body::Receive { sender, text }, "receive", &format!(r#"{{"sender_id":"{SENDER}","text":"a\n\u00e9"}}"#));
    }

    #[test]
    fn refusals_of_every_kind_can_be_spliced_into_json() {
        for refusal in [Refusal::Down, Refusal::QueueFull, Refusal::Rejected, Refusal::Unanswered, Refusal::LoopBusy] {
            let reject = Reject::NotHandedOn(refusal);
            let plain = reject.description().chars().all(|c| c.is_ascii() && c != '"' && c != '\\' && !c.is_control());
            assert!(plain && reject.code() == "EBROKER", "{}", reject.description());
        }
    }
}
