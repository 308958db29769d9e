//! The text of a message, as the JSON string that it arrived in.
//!
//! Texto never needs the characters, only the proof that they are characters: a text is checked once and then spliced, still
//! escaped, into the document for the recipient or for Redis.
//!
//! Invariant: the bytes are one JSON string with its quotes (RFC 8259 section 7), and every escaped surrogate is half of a pair.

use serde_json::value::RawValue;

/// A checked JSON string, borrowed from the message that brought it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// The text in `raw`, or `None` when `raw` is no string or holds half of a surrogate pair, which is not a character.
    pub fn new(raw: &'a RawValue) -> Option<Text<'a>> {
        let raw = raw.get();
        (raw.starts_with('"') && surrogates_are_paired(raw.as_bytes())).then_some(Text(raw))
    }

    /// The text in `json`, of which the caller has seen that the invariant above holds.
    pub(super) fn of_checked(json: &'a str) -> Text<'a> {
        debug_assert!(serde_json::from_str::<String>(json).is_ok());
        Text(json)
    }

    /// The JSON string, quotes included.
    pub fn as_json(self) -> &'a str {
        self.0
    }

    /// A copy for another thread.
    pub fn to_owned(self) -> OwnedText {
        OwnedText(self.0.into())
    }
}

/// A checked JSON string on its way between threads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedText(Box<str>);

impl OwnedText {
    /// The text, borrowed.
    pub fn borrow(&self) -> Text<'_> {
        Text(&self.0)
    }
}

/// Whether each `\uD800`…`\uDBFF` is followed by `\uDC00`…`\uDFFF` and neither stands alone. `json` is a well-formed JSON string.
fn surrogates_are_paired(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        rest = &rest[at..];
        rest = match code_unit(rest) {
            None => &rest[2..],
            Some(0xD800..=0xDBFF) => match code_unit(&rest[6..]) {
                Some(0xDC00..=0xDFFF) => &rest[12..],
                _ => return false,
            },
            Some(0xDC00..=0xDFFF) => return false,
            Some(_) => &rest[6..],
        };
    }
    true
}

/// The UTF-16 code unit that a `\uXXXX` escape at the start of `json` stands for.
fn code_unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, accepted: bool) {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        assert_eq!(Text::new(raw).is_some(), accepted, "{json}");
        if accepted {
            serde_json::from_str::<String>(json).expect("an accepted text is a string of characters");
        }
    }

    #[test]
    fn strings_of_characters_are_texts() {
        for json in [r#""""#, r#""plain""#, r#""\u0000\\u d800 \"""#, r#""\\ud800""#, r#""\uD83D\uDE00\ud83d\ude00""#, r#""é😀\/""#] {
            check(json, true);
        }
    }

    #[test]
    fn lone_surrogates_and_other_values_are_not() {
        let lone = [r#""\ud800""#, r#""\udc00""#, r#""\ud800\ud800\udc00""#, r#""\ud83d x\ude00""#, r#""\ude00\ud83d""#, r#""\ud83d\n""#];
        for json in lone.into_iter().chain(["1", "null", "[\"a\"]", "{}", "true"]) {
            check(json, false);
        }
    }
}
