//! Identifiers: who a client is, and which message is meant.
//!
//! A [`ClientId`] is a random (version 4) UUID, and it is also the route to its client:
//!
//! ```text
//!  bits   0..24   node tag, chosen at random when the node starts
//!  bits  24..32   number of the event loop that holds the connection
//!  bits  32..128  96 bits: 90 random, 4 of the version, 2 of the variant (RFC 9562 section 5.4)
//! ```
//!
//! So nothing has to remember where a client lives, and a node subscribes to the channels of its own tag alone. In text the tag is the
//! first six hexadecimal digits, the loop the next two.

use std::fmt;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use uuid::fmt::Hyphenated;
use uuid::{Builder, Uuid};

/// Length of a UUID in the only form Texto speaks: lower-case and hyphenated.
pub const UUID_TEXT_LEN: usize = Hyphenated::LENGTH;

/// Where the two digits of each byte of a UUID stand in its text, and where the hyphens.
const DIGITS_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
const HYPHENS_AT: [usize; 4] = [8, 13, 18, 23];

/// Reads a hyphenated UUID in either case; braces, `urn:` and the form without hyphens are refused.
///
/// A routed message brings three UUIDs and takes five along, so they are read and written here, which
/// is some 200 instructions fewer per message than by the crate.
#[inline]
fn parse_hyphenated(text: &[u8]) -> Option<Uuid> {
    let [a, b, c, d] = digits(text)?.map(hexadecimal);
    Some(Uuid::from_u64_pair(a << 32 | b, c << 32 | d))
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// The 32 digits of a hyphenated UUID, eight in a word, if that is what `text` is.
#[inline]
fn digits(text: &[u8]) -> Option<[u64; 4]> {
    let text: &[u8; UUID_TEXT_LEN] = text.try_into().ok()?;
    let eight = |at: usize| text[at..].first_chunk().map_or(0, |digits| u64::from_be_bytes(*digits));
    let four = |at: usize| text[at..].first_chunk().map_or(0, |digits| u64::from(u32::from_be_bytes(*digits)));
    let words = [eight(0), four(9) << 32 | four(14), four(19) << 32 | four(24), eight(28)];
    let has_hyphens = HYPHENS_AT.iter().all(|&at| text[at] == b'-');
    let wrong = words.iter().fold(0, |wrong, &word| wrong | not_digits(word));
    (has_hyphens && wrong == 0).then_some(words)
}

/// Sets the top bit of each byte of `word` that is no hexadecimal digit. Where one is not ASCII, other bits may be wrong, but not all zero.
fn not_digits(word: u64) -> u64 {
    const TOPS: u64 = 0x80 * ONES;
    // The top bit of each byte tells whether it is at least `least`. The bytes must be ASCII, so that nothing is borrowed from a neighbour.
    let at_least = |word: u64, least: u8| (word | TOPS) - u64::from(least) * ONES;
    let lower = word | (0x20 * ONES);
    let is_digit = at_least(word, b'0') & !at_least(word, b'9' + 1);
    let is_letter = at_least(lower, b'a') & !at_least(lower, b'f' + 1);
    (word | !(is_digit | is_letter)) & TOPS
}

/// The value of the eight hexadecimal digits in `word`: all are looked at by the same few operations.
fn hexadecimal(word: u64) -> u64 {
    // Letters have bit 6 set, and the low four bits of `a` are 1.
    let nibbles = (word & (0x0f * ONES)) + ((word >> 6) & ONES) * 9;
    let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    (halves | halves >> 16) & 0xffff_ffff
}

/// Writes the lower-case hyphenated text.
fn write_hyphenated(uuid: Uuid, text: &mut [u8; UUID_TEXT_LEN]) {
    for at in HYPHENS_AT {
        text[at] = b'-';
    }
    for (byte, at) in uuid.as_bytes().iter().zip(DIGITS_AT) {
        [text[at], text[at + 1]] = PAIRS[usize::from(*byte)];
    }
}

/// The two digits of each byte.
static PAIRS: [[u8; 2]; 256] = {
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The session of one client, valid as long as its connection. Ids of clients on other implementations' nodes may be any UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Uuid);

impl ClientId {
    /// The id of a client of loop `event_loop` on node `tag`, from the 12 bytes that are its own.
    pub fn new(tag: NodeTag, event_loop: u8, serial: Serial) -> ClientId {
        let mut bytes = [0; 16];
        bytes[..3].copy_from_slice(&tag.0);
        bytes[3] = event_loop;
        bytes[4..].copy_from_slice(&serial.0);
        ClientId(Uuid::from_bytes(bytes))
    }

    /// Reads a hyphenated UUID in either case, nothing else.
    pub fn parse(text: &[u8]) -> Option<ClientId> {
        parse_hyphenated(text).map(ClientId)
    }

    /// The tag of the node that gave out this id, if a Texto node did.
    pub fn tag(self) -> NodeTag {
        let bytes = self.0.as_bytes();
        NodeTag([bytes[0], bytes[1], bytes[2]])
    }

    /// The number of the event loop that gave out this id, if a Texto node did.
    pub fn event_loop(self) -> u8 {
        self.0.as_bytes()[3]
    }

    /// The part of the id that differs between the clients of one loop.
    pub fn serial(self) -> Serial {
        let mut serial = [0; 12];
        serial.copy_from_slice(&self.0.as_bytes()[4..]);
        Serial(serial)
    }

    /// Writes the lower-case hyphenated text.
    pub fn write(self, text: &mut [u8; UUID_TEXT_LEN]) {
        write_hyphenated(self.0, text);
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A client's id together with its text, for where the text is needed more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpelledId {
    id: ClientId,
    text: [u8; UUID_TEXT_LEN],
}

impl SpelledId {
    /// The id.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The lower-case hyphenated text.
    pub fn text(&self) -> &[u8; UUID_TEXT_LEN] {
        &self.text
    }
}

impl From<ClientId> for SpelledId {
    fn from(id: ClientId) -> SpelledId {
        let mut text = [0; UUID_TEXT_LEN];
        id.write(&mut text);
        SpelledId { id, text }
    }
}

/// The 12 bytes of a [`ClientId`] that are the client's own: 90 random bits, the version and the variant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Serial([u8; 12]);

impl Serial {
    /// 32 of the random bits, uniformly distributed.
    pub fn hash(self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// 32 bits that tell this tenant of a slot from the one before: none of them is in [`Serial::hash`].
    pub fn generation(self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[3], self.0[5]])
    }
}

/// The first 24 bits of every id that a node gives out. Two nodes that drew the same tag only cost each other some unwanted deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeTag([u8; 3]);

impl NodeTag {
    /// The tag made of the low 24 bits of `bits`.
    pub fn from_bits(bits: u32) -> NodeTag {
        let [_, a, b, c] = bits.to_be_bytes();
        NodeTag([a, b, c])
    }
}

/// Six lower-case hexadecimal digits: how every id of the node begins.
impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}")
    }
}

impl fmt::Debug for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One message: a request, whose answer carries the same id, or something the server says unasked.
///
/// Nothing is done with it but saying it again, so it is kept as its text: a UUID, lower-case and hyphenated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId([u8; UUID_TEXT_LEN]);

impl MessageId {
    /// Reads a hyphenated UUID in either case, nothing else.
    #[inline]
    pub fn parse(text: &[u8]) -> Option<MessageId> {
        digits(text)?;
        // Digits and hyphens have this bit already, and with it capital letters are small ones.
        text.try_into().ok().map(|text: [u8; UUID_TEXT_LEN]| MessageId(text.map(|byte| byte | 0x20)))
    }

    /// The lower-case hyphenated text.
    pub fn text(&self) -> &[u8; UUID_TEXT_LEN] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0).expect("hexadecimal digits and hyphens"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where ids come from: a cryptographic generator, because whoever guesses a client's id can write to it.
///
/// Each user owns one, so drawing an id takes neither a lock nor a system call; a seeded one repeats itself, for tests and simulations.
pub struct IdSource {
    random: StdRng,
}

impl IdSource {
    /// A source seeded by the operating system.
    pub fn from_system() -> std::io::Result<IdSource> {
        let random = StdRng::try_from_rng(&mut SysRng).map_err(std::io::Error::other)?;
        Ok(IdSource { random })
    }

    /// A source that draws the same ids for the same `seed`. Not for production: its ids can be guessed.
    pub fn seeded(seed: u64) -> IdSource {
        IdSource { random: StdRng::seed_from_u64(seed) }
    }

    /// A tag for a node that starts.
    pub fn node_tag(&mut self) -> NodeTag {
        NodeTag::from_bits(self.random.next_u32())
    }

    /// The client's own part of a new [`ClientId`].
    pub fn serial(&mut self) -> Serial {
        let uuid = self.uuid();
        ClientId(uuid).serial()
    }

    /// The id of a message that answers no request.
    pub fn message_id(&mut self) -> MessageId {
        let mut text = [0; UUID_TEXT_LEN];
        write_hyphenated(self.uuid(), &mut text);
        MessageId(text)
    }

    /// 64 random bits, for jitter and the like.
    pub fn bits(&mut self) -> u64 {
        self.random.next_u64()
    }

    fn uuid(&mut self) -> Uuid {
        let bits = u128::from(self.bits()) << 64 | u128::from(self.bits());
        Builder::from_random_bytes(bits.to_ne_bytes()).into_uuid()
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdSource")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_version_4_uuids_that_name_their_route() {
        let mut ids = IdSource::seeded(7);
        for event_loop in [0, 1, 200, 255] {
            let tag = ids.node_tag();
            let serial = ids.serial();
            let id = ClientId::new(tag, event_loop, serial);
            let text = id.to_string();
            assert_eq!(ClientId::parse(text.as_bytes()), Some(id));
            assert_eq!((id.tag(), id.event_loop(), id.serial()), (tag, event_loop, serial));
            let uuid = Uuid::parse_str(&text).unwrap();
            assert_eq!(uuid.get_version_num(), 4);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(text[..8], format!("{tag}{event_loop:02x}"));
        }
    }

    #[test]
    fn only_the_hyphenated_form_is_read() {
        let plain = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert!(ClientId::parse(plain.as_bytes()).is_some());
        assert_eq!(ClientId::parse(plain.to_uppercase().as_bytes()), ClientId::parse(plain.as_bytes()));
        for odd in [
            "",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67e55044-10b1-426f-9247-bb680e5fe0c",
            "67e55044-10b1-426f-9247-bb680e5fe0cg",
            "67e5504410b1-426f-9247-bb680e5fe0c8-",
            " 67e55044-10b1-426f-9247-bb680e5fe0c",
        ] {
            assert_eq!(ClientId::parse(odd.as_bytes()), None, "{odd}");
            assert_eq!(MessageId::parse(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn hash_and_generation_share_no_bits_and_avoid_the_fixed_ones() {
        let mut ids = IdSource::seeded(1);
        let (mut hash_or, mut generation_or) = (0, 0);
        let (mut hash_and, mut generation_and) = (u32::MAX, u32::MAX);
        for _ in 0..1000 {
            let serial = ids.serial();
            hash_or |= serial.hash();
            hash_and &= serial.hash();
            generation_or |= serial.generation();
            generation_and &= serial.generation();
        }
        assert_eq!((hash_or, hash_and), (u32::MAX, 0));
        assert_eq!((generation_or, generation_and), (u32::MAX, 0));
    }

    #[test]
    fn texts_are_those_of_the_uuid_crate() {
        let mut ids = IdSource::seeded(11);
        for _ in 0..1000 {
            let uuid = ids.uuid();
            let mut text = [0; UUID_TEXT_LEN];
            write_hyphenated(uuid, &mut text);
            assert_eq!(str::from_utf8(&text).unwrap(), uuid.to_string());
            assert_eq!(parse_hyphenated(&text), Some(uuid));
            // With any one character replaced by any other, both read the same or nothing.
            let at = ids.bits() as usize % UUID_TEXT_LEN;
            text[at] = ids.bits() as u8;
            assert_eq!(parse_hyphenated(&text), Uuid::try_parse_ascii(&text).ok(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_seed_repeats_itself() {
        assert_eq!(IdSource::seeded(3).serial(), IdSource::seeded(3).serial());
        assert_ne!(IdSource::seeded(3).serial(), IdSource::seeded(4).serial());
    }
}
