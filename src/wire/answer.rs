//! The JSON document that the server sends: `client_id`, `id`, `kind`, `data`, in this order and without blanks.
//!
//! It is appended to an outgoing queue as a whole frame. Every length is known before, so nothing is copied twice.

use super::frame::{self, Kind};
use super::id::{MessageId, SpelledId, UUID_TEXT_LEN};
use super::reject::Reject;
use super::text::Text;
use crate::limits::{ENVELOPE_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// What the server says to one client, as frames appended to that client's outgoing queue.
pub struct Answer<'a> {
    /// The recipient's own session.
    pub client: &'a SpelledId,
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
        sender: &'a SpelledId,
        /// What it says.
        text: Text<'a>,
    },
}

// The documents, with blanks where ids go: each part is one copy, and the ids are written over the blanks.
const HEAD: &[u8; 104] = br#"{"client_id":"                                    ","id":"                                    ","kind":""#;
const HEAD_CLIENT_AT: usize = 14;
const HEAD_ID_AT: usize = 58;
const CONNECTION: &[u8; 72] = br#"connection","data":{"client_id":"                                    "}}"#;
const CONNECTION_CLIENT_AT: usize = 33;
const ACK: &[u8; 17] = br#"ack","data":null}"#;
const ERROR: [&str; 3] = [r#"error","data":{"code":""#, r#"","description":""#, r#""}}"#];
const ERROR_LEN: usize = ERROR[0].len() + ERROR[1].len() + ERROR[2].len();
const RECEIVE: &[u8; 75] = br#"receive","data":{"sender_id":"                                    ","text":"#;
const RECEIVE_SENDER_AT: usize = 30;
const RECEIVE_END: &[u8; 2] = b"}}";

impl Body<'_> {
    /// The kinds, in the order in which they are counted.
    pub const KINDS: [&'static str; 4] = ["connection", "ack", "error", "receive"];

    /// Where the kind stands in [`Body::KINDS`].
    pub fn kind_index(&self) -> usize {
        match self {
            Body::Connection => 0,
            Body::Ack => 1,
            Body::Error(_) => 2,
            Body::Receive { .. } => 3,
        }
    }

    /// Bytes from the kind to the end of the document.
    fn len(&self) -> usize {
        match self {
            Body::Connection => CONNECTION.len(),
            Body::Ack => ACK.len(),
            Body::Error(reject) => reject.code().len() + reject.description().len() + ERROR_LEN,
            Body::Receive { text, .. } => RECEIVE.len() + text.as_json().len() + RECEIVE_END.len(),
        }
    }
}

impl Answer<'_> {
    /// Bytes of the document.
    pub fn json_len(&self) -> usize {
        HEAD.len() + self.body.len()
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
        let head = push(out, HEAD);
        *place(head, HEAD_CLIENT_AT) = *self.client.text();
        *place(head, HEAD_ID_AT) = *self.id.text();
        match self.body {
            Body::Connection => *place(push(out, CONNECTION), CONNECTION_CLIENT_AT) = *self.client.text(),
            Body::Ack => out.extend_from_slice(ACK),
            Body::Error(reject) => {
                for part in [ERROR[0], reject.code(), ERROR[1], reject.description(), ERROR[2]] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            Body::Receive { sender, text } => {
                *place(push(out, RECEIVE), RECEIVE_SENDER_AT) = *sender.text();
                out.extend_from_slice(text.as_json().as_bytes());
                out.extend_from_slice(RECEIVE_END);
            }
        }
    }
}

/// Appends `part`, and lends it to be filled in.
fn push<'o, const N: usize>(out: &'o mut Vec<u8>, part: &[u8; N]) -> &'o mut [u8; N] {
    out.extend_from_slice(part);
    out.last_chunk_mut().expect("it has just been appended")
}

/// The place of an id in `part`.
fn place<const N: usize>(part: &mut [u8; N], at: usize) -> &mut [u8; UUID_TEXT_LEN] {
    part[at..].first_chunk_mut().expect("every part ends behind its last id")
}

const _: () = assert!(HEAD.len() + RECEIVE.len() + RECEIVE_END.len() + FRAME_HEADER_BYTES_MAX <= ENVELOPE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::delivery::Refusal;
    use crate::wire::id::ClientId;

    const CLIENT: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    const SENDER: &str = "11e55044-10b1-426f-9247-bb680e5fe0c8";
    const ID: &str = "22e55044-10b1-426f-9247-bb680e5fe0c8";

    fn check(body: Body<'_>, kind: &str, data: &str) {
        let client = ClientId::parse(CLIENT.as_bytes()).unwrap().into();
        let answer = Answer { client: &client, id: MessageId::parse(ID.as_bytes()).unwrap(), body };
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
        let sender = &ClientId::parse(SENDER.as_bytes()).unwrap().into();
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
