//! What is said on a connection: the client's `send` written, the server's messages read.
//!
//! Reading is strict on purpose: the protocol promises compact JSON with four fields in a fixed order, so a message is matched against
//! that shape byte by byte. It is faster than a JSON parser, and a server that drifts from the promise fails the run.

/// A UUID as a number: its text is lower-case and hyphenated, always.
pub(crate) type Id = u128;

const ID_BYTES: usize = 36;

/// A message of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said<'a> {
    /// The session begins.
    Connection,
    /// The request with the message's id was accepted.
    Ack,
    /// A message for this client.
    Receive {
        /// Who sent it.
        sender: Id,
        /// What it says, as it stands in the JSON.
        text: &'a [u8],
    },
    /// The request was refused.
    Error(&'a [u8]),
}

/// The envelope around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) client: Id,
    pub(crate) id: Id,
    pub(crate) said: Said<'a>,
}

impl<'a> Message<'a> {
    /// Reads a server's message; `None` when it is not exactly what the protocol promises.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        let (client, rest) = id(bytes.strip_prefix(b"{\"client_id\":\"")?)?;
        let (id, rest) = id(rest.strip_prefix(b"\",\"id\":\"")?)?;
        let said = said(rest.strip_prefix(b"\",\"kind\":\"")?, client)?;
        Some(Message { client, id, said })
    }
}

fn said(rest: &[u8], client: Id) -> Option<Said<'_>> {
    if rest == b"ack\",\"data\":null}" {
        return Some(Said::Ack);
    }
    if let Some(rest) = rest.strip_prefix(b"receive\",\"data\":{\"sender_id\":\"") {
        let (sender, rest) = id(rest)?;
        let text = rest.strip_prefix(b"\",\"text\":\"")?.strip_suffix(b"\"}}")?;
        return Some(Said::Receive { sender, text });
    }
    if let Some(rest) = rest.strip_prefix(b"connection\",\"data\":{\"client_id\":\"") {
        let (named, rest) = id(rest)?;
        return (named == client && rest == b"\"}}").then_some(Said::Connection);
    }
    Some(Said::Error(rest.strip_prefix(b"error\",\"data\":")?.strip_suffix(b"}")?))
}

/// Reads an id from the front.
fn id(bytes: &[u8]) -> Option<(Id, &[u8])> {
    let (text, rest) = bytes.split_at_checked(ID_BYTES)?;
    let mut id = 0;
    for (at, &byte) in text.iter().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        id = id << 4 | Id::from(digit);
    }
    Some((id, rest))
}

fn push_id(out: &mut Vec<u8>, id: Id) {
    for nibble in 0..32 {
        if matches!(nibble, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        out.push(b"0123456789abcdef"[(id >> (124 - 4 * nibble) & 15) as usize]);
    }
}

/// Appends a `send`; `text` holds nothing that JSON would escape.
pub(crate) fn write_send(out: &mut Vec<u8>, client: Id, id: Id, receiver: Id, text: &[u8]) {
    out.extend_from_slice(b"{\"client_id\":\"");
    push_id(out, client);
    out.extend_from_slice(b"\",\"id\":\"");
    push_id(out, id);
    out.extend_from_slice(b"\",\"kind\":\"send\",\"data\":{\"receiver_id\":\"");
    push_id(out, receiver);
    out.extend_from_slice(b"\",\"text\":\"");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\"}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "0b5ad2b0-7e9c-4d1f-8a35-2f1f6a1c9e01";
    const ID: &str = "11111111-2222-4333-8444-555555555555";

    fn check(kind_and_data: &str, expected: Option<Said<'_>>) {
        let bytes = format!(r#"{{"client_id":"{ME}","id":"{ID}","kind":{kind_and_data}}}"#);
        let read = Message::read(bytes.as_bytes());
        assert_eq!(read.map(|message| message.said), expected, "{bytes}");
        if let Some(message) = read {
            assert_eq!(message.client, 0x0b5a_d2b0_7e9c_4d1f_8a35_2f1f_6a1c_9e01);
            assert_eq!(message.id, 0x1111_1111_2222_4333_8444_5555_5555_5555);
        }
    }

    #[test]
    fn every_kind_of_the_server_is_read() {
        check(r#""ack","data":null"#, Some(Said::Ack));
        check(&format!(r#""connection","data":{{"client_id":"{ME}"}}"#), Some(Said::Connection));
        let sender = 0x1111_1111_2222_4333_8444_5555_5555_5555;
        check(&format!(r#""receive","data":{{"sender_id":"{ID}","text":"hi"}}"#), Some(Said::Receive { sender, text: b"hi" }));
        check(r#""error","data":{"code":"EKIND"}"#, Some(Said::Error(br#"{"code":"EKIND"}"#)));
    }

    #[test]
    fn whatever_drifts_from_the_promised_shape_is_refused() {
        check(r#""ack","data":{}"#, None);
        check(r#""ack", "data":null"#, None);
        check(&format!(r#""connection","data":{{"client_id":"{ID}"}}"#), None);
        check(&format!(r#""receive","data":{{"sender_id":"{}","text":"hi"}}"#, ME.to_uppercase()), None);
    }

    #[test]
    fn ids_come_back_as_they_went() {
        let mut out = Vec::new();
        let number = 0x0b5a_d2b0_7e9c_4d1f_8a35_2f1f_6a1c_9e01;
        push_id(&mut out, number);
        assert_eq!(out, ME.as_bytes());
        assert_eq!(id(&out), Some((number, &b""[..])));
    }

    #[test]
    fn a_send_is_compact_json_in_order() {
        let mut out = Vec::new();
        write_send(&mut out, 1, 2, 3, b"hi");
        let expected = r#"{"client_id":"00000000-0000-0000-0000-000000000001","id":"00000000-0000-0000-0000-000000000002","kind":"send","data":{"receiver_id":"00000000-0000-0000-0000-000000000003","text":"hi"}}"#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
