//! The envelope in the form in which nearly every client sends it, read without a general JSON parser.
//!
//! Plain is: one object with some of the four fields, each once; ids and kind as strings without escapes; `data` null, or an object
//! with just `receiver_id` and `text`. What is not plain, be it only unusual or wrong, is left to `fields.rs`, which knows all of JSON; so
//! nothing is decided here that is not decided there in the same way, only for a third of the instructions.
//!
//! Invariant: what this reads, `fields.rs` reads too, with the same result.

use super::fields::{DataFields, Fields, Found, KindName};
use super::id::{ClientId, MessageId, SpelledId, UUID_TEXT_LEN};
use super::text::Text;

/// The fields of a plain document from the client of `session`; `None` for one that is not plain.
pub(super) fn read<'a>(text: &'a str, session: &'a SpelledId) -> Option<Fields<'a>> {
    let mut scan = Scan { text, rest: text.as_bytes(), session };
    let mut fields = Fields::default();
    scan.object(|scan| {
        if scan.name(br#""client_id""#)? {
            put(&mut fields.client_id, scan.client_id_or_null()?)
        } else if scan.name(br#""id""#)? {
            put(&mut fields.id, Found::Value(MessageId::parse(scan.uuid()?)?))
        } else if scan.name(br#""kind""#)? {
            put(&mut fields.kind, Found::Value(scan.kind()?))
        } else if scan.name(br#""data""#)? {
            put(&mut fields.data, scan.data()?)
        } else {
            None
        }
    })?;
    scan.skip_blanks();
    scan.rest.is_empty().then_some(fields)
}

/// Fills an empty place. A field that is there twice is not plain.
fn put<T>(place: &mut Found<T>, found: Found<T>) -> Option<()> {
    matches!(std::mem::replace(place, found), Found::Missing).then_some(())
}

/// A document, and what of it has not been read yet.
struct Scan<'a> {
    text: &'a str,
    rest: &'a [u8],
    session: &'a SpelledId,
}

impl<'a> Scan<'a> {
    #[inline]
    fn skip_blanks(&mut self) {
        // Mostly there is none, and one comparison tells.
        if self.rest.first().is_some_and(|&byte| byte <= b' ') {
            self.skip_some_blanks();
        }
    }

    #[cold]
    fn skip_some_blanks(&mut self) {
        while let [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Goes on behind `token`, if it stands here. With its length known, it is compared as a word or two.
    #[inline]
    fn take<const N: usize>(&mut self, token: &[u8; N]) -> bool {
        match self.rest.split_first_chunk() {
            Some((here, rest)) if here == token => {
                self.rest = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Goes on behind `token`, which has to come, after any blanks.
    #[inline]
    fn expect<const N: usize>(&mut self, token: &[u8; N]) -> Option<()> {
        self.skip_blanks();
        self.take(token).then_some(())
    }

    /// An object, of which `field` reads name and value.
    fn object(&mut self, mut field: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b"{")?;
        loop {
            self.skip_blanks();
            field(self)?;
            self.skip_blanks();
            if !self.take(b",") {
                return self.take(b"}").then_some(());
            }
        }
    }

    /// Whether the field here has this name; its value comes next.
    #[inline]
    fn name<const N: usize>(&mut self, name: &[u8; N]) -> Option<bool> {
        if !self.take(name) {
            return Some(false);
        }
        self.expect(b":")?;
        self.skip_blanks();
        Some(true)
    }

    /// A string as long as a UUID.
    fn uuid(&mut self) -> Option<&'a [u8; UUID_TEXT_LEN]> {
        self.take(b"\"").then_some(())?;
        let (uuid, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        self.take(b"\"").then_some(uuid)
    }

    fn client_id_or_null(&mut self) -> Option<Found<ClientId>> {
        if self.take(b"null") {
            return Some(Found::Null);
        }
        let uuid = self.uuid()?;
        // Nearly always it is the client's own id, which is known.
        if uuid == self.session.text() { Some(Found::Value(self.session.id())) } else { ClientId::parse(uuid).map(Found::Value) }
    }

    fn kind(&mut self) -> Option<KindName> {
        if self.take(br#""send""#) {
            Some(KindName::Send)
        } else if self.take(br#""ack""#) {
            Some(KindName::Ack)
        } else if self.take(br#""registration""#) {
            Some(KindName::Registration)
        } else {
            None
        }
    }

    fn data(&mut self) -> Option<Found<DataFields<'a>>> {
        if self.take(b"null") {
            return Some(Found::Null);
        }
        let mut data = DataFields::default();
        self.object(|scan| {
            if scan.name(br#""receiver_id""#)? {
                put(&mut data.receiver, Found::Value(ClientId::parse(scan.uuid()?)?))
            } else if scan.name(br#""text""#)? {
                put(&mut data.text, Found::Value(scan.string()?))
            } else {
                None
            }
        })?;
        Some(Found::Value(data))
    }

    /// A string with any escape but those by number, which may be half of a surrogate pair.
    fn string(&mut self) -> Option<Text<'a>> {
        let start = self.text.len() - self.rest.len();
        self.take(b"\"").then_some(())?;
        loop {
            self.rest = &self.rest[plain_len(self.rest)..];
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(Text::of_checked(&self.text[start..self.text.len() - rest.len()]));
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => self.rest = rest,
                // An escape by number, a control character, or the end.
                _ => return None,
            }
        }
    }
}

/// How many bytes there are before the first that means something in a JSON string: a quote, a backslash or a control character.
fn plain_len(bytes: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let (words, last) = bytes.as_chunks::<WORD>();
    for (index, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return index * WORD + special.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < b' ';
    bytes.len() - last.len() + last.iter().position(is_special).unwrap_or(last.len())
}

/// Sets the top bit of each byte of `word` that is a quote, a backslash or a control character. Above the lowest of those it may be wrong,
/// because what is subtracted borrows from the next byte.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x80 * ONES;
    // A byte below the one subtracted from it borrows, which sets its top bit, unless that was set before.
    let below = |word: u64, limit: u8| word.wrapping_sub(u64::from(limit) * ONES) & !word;
    let equal = |byte: u8| below(word ^ (u64::from(byte) * ONES), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    fn session() -> SpelledId {
        ClientId::parse(UUID.as_bytes()).unwrap().into()
    }

    fn check(json: &str, is_plain: bool) {
        let json = json.replace('U', UUID);
        let session = session();
        let plain = read(&json, &session);
        assert_eq!(plain.is_some(), is_plain, "{json}");
        if let Some(fields) = plain {
            assert_eq!(Some(fields), Fields::parse(&json).ok(), "{json}");
        }
    }

    #[test]
    fn usual_documents_are_plain() {
        for json in [
            r#"{"client_id":"U","id":"U","kind":"send","data":{"receiver_id":"U","text":"hi"}}"#,
            r#" { "kind" : "send" , "id" : "U" , "data" : { "text" : "" , "receiver_id" : "U" } , "client_id" : null } "#,
            r#"{"id":"U","kind":"registration"}"#,
            r#"{"kind":"ack","data":null}"#,
            r#"{"data":{"text":"a\n\"\\\/é😀 and more than one block of sixteen bytes"}}"#,
        ] {
            check(json, true);
        }
    }

    #[test]
    fn everything_else_is_left_to_the_general_parser() {
        for json in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            "{\"id\"}",
            r#"{"id":"U"} x"#,
            r#"{"id":"U",}"#,
            r#"{"id":"U" "kind":"send"}"#,
            r#"{"id":"U","id":"U"}"#,
            r#"{"id":null}"#,
            r#"{"id":"u"}"#,
            r#"{"x":1}"#,
            r#"{"kind":"error"}"#,
            r#"{"kind":"s\u0065nd"}"#,
            r#"{"i\u0064":"U"}"#,
            r#"{"data":{}}"#,
            r#"{"data":7}"#,
            r#"{"data":{"text":"\u0041"}}"#,
            r#"{"data":{"text":"\x"}}"#,
            r#"{"data":{"text":"never ends"#,
            r#"{"data":{"text":null}}"#,
            "{\"data\":{\"text\":\"\u{1}\"}}",
            r#"{"data":{"text":"a","text":"b"}}"#,
            r#"{"id":"U","kind":"registration","x":{"data":null}}"#,
            r#"{"id" "U"}"#,
            r#"{"id":'U'}"#,
            r#"{"id":"U"}}"#,
        ] {
            check(json, false);
        }
    }

    #[test]
    fn a_broken_document_never_reads_otherwise_than_by_the_general_parser() {
        let whole =
            r#"{"client_id":"U","id":"U","kind":"send","data":{"receiver_id":"U","text":"a\n\"é😀 bcdefghijklmnop"}}"#.replace('U', UUID);
        let odd = b"\"\\{}:,nu \t\x01a0[]";
        let session = session();
        let mut ids = crate::wire::id::IdSource::seeded(5);
        for _ in 0..100_000 {
            let mut bytes = whole.clone().into_bytes();
            for _ in 0..=ids.bits() % 3 {
                let at = ids.bits() as usize % bytes.len();
                match ids.bits() % 3 {
                    0 => bytes[at] = odd[ids.bits() as usize % odd.len()],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, odd[ids.bits() as usize % odd.len()]),
                }
            }
            let Ok(json) = String::from_utf8(bytes) else { continue };
            if let Some(fields) = read(&json, &session) {
                assert_eq!(Some(fields), Fields::parse(&json).ok(), "{json}");
            }
        }
    }

    #[test]
    fn special_bytes_are_found_wherever_they_stand() {
        for len in 0..40 {
            let mut bytes = vec![b'a'; len];
            assert_eq!(plain_len(&bytes), len);
            for at in 0..len {
                for special in *b"\"\\\x00\x1f" {
                    bytes[at] = special;
                    assert_eq!(plain_len(&bytes), at);
                }
                bytes[at] = 0xc3;
            }
        }
    }
}
