//! Messages out of frames (RFC 6455 sections 5.4 and 5.6): fragments are joined, control frames may stand between them, and text is
//! checked as UTF-8 while it arrives.
//!
//! A message that arrives whole is handed out where it lies in the read buffer. Only what is incomplete when a read ends is kept, in a
//! [`Partial`] that exists no longer than that:
//!
//! ```text
//!   bytes ──▶ header whole? ──no──▶ Partial.header
//!                  │ checked against Progress
//!                  ▼
//!             payload whole? ──no──▶ Partial.frame, and what is there: control → Partial.control, data → Partial.message
//!                  │
//!        control ──┴── data, first and last frame ──▶ Event, borrowed from the read buffer
//!                          └─ part of a message ──▶ Partial.message ──last──▶ Event, borrowed from there
//! ```
//!
//! Invariant: any stream gives the same events however it is cut into reads.

use simdutf8::compat::Utf8Error;

use super::frame::{self, Header, Kind, Mask, Progress, Violation};
use crate::limits::{CONTROL_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// What the bytes of a client amount to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping with its payload, to be answered by a pong with the same.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The closing handshake, with the code if there is one.
    Close(Option<u16>),
}

/// How large a message may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of payload.
    pub message_bytes_max: usize,
    /// Frames.
    pub message_frames_max: u32,
}

/// What is incomplete between two reads.
#[derive(Default, Debug)]
pub struct Partial {
    header: HeaderBytes,
    frame: Option<OpenFrame>,
    control: Vec<u8>,
    message: Option<Message>,
}

impl Partial {
    /// Whether a message has begun and not ended: what a deadline has to watch.
    pub fn is_in_message(&self) -> bool {
        self.header.len > 0 || self.frame.is_some() || self.message.as_ref().is_some_and(|message| !message.is_complete)
    }

    fn progress(&self, limits: Limits) -> Progress {
        match &self.message {
            None => Progress { in_message: false, bytes_left: limits.message_bytes_max, frames_left: limits.message_frames_max },
            Some(message) => Progress {
                in_message: true,
                bytes_left: limits.message_bytes_max - message.bytes.len(),
                frames_left: limits.message_frames_max.saturating_sub(message.frames),
            },
        }
    }

    /// Forgets what the last event was borrowed from.
    fn release(&mut self) {
        self.message.take_if(|message| message.is_complete);
        if self.frame.is_none() {
            self.control = Vec::new();
        }
    }

    /// Takes what `bytes` has of the payload of `frame`. Returns whether the frame is whole.
    fn absorb(&mut self, mut frame: OpenFrame, bytes: &mut [u8]) -> Result<bool, Violation> {
        frame.mask.apply(bytes);
        frame.missing -= bytes.len();
        match frame.kind {
            Kind::Close | Kind::Ping | Kind::Pong => self.control.extend_from_slice(bytes),
            Kind::Text | Kind::Binary | Kind::Continuation => self.message.get_or_insert_default().append(bytes)?,
        }
        let is_whole = frame.missing == 0;
        self.frame = (!is_whole).then_some(frame);
        Ok(is_whole)
    }

    /// What the frame that has just become whole amounts to: nothing yet, if more of its message is to come.
    fn finish(&mut self, kind: Kind, fin: bool) -> Result<Option<Event<'_>>, Violation> {
        if kind.is_control() {
            return control_event(kind, &self.control).map(Some);
        }
        let message = self.message.as_mut().expect("absorbing a data frame began a message");
        if fin { message.complete().map(Some) } else { Ok(None) }
    }

    /// Notes that a data frame begins.
    fn begin(&mut self, kind: Kind) {
        if !kind.is_control() {
            self.message.get_or_insert_with(|| Message { is_text: kind == Kind::Text, ..Message::default() }).frames += 1;
        }
    }
}

/// The first bytes of a header.
#[derive(Default, Debug)]
struct HeaderBytes {
    bytes: [u8; FRAME_HEADER_BYTES_MAX],
    len: usize,
}

/// A frame whose payload is still arriving. Invariant: `missing > 0` between two reads.
#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    kind: Kind,
    fin: bool,
    missing: usize,
    mask: Mask,
}

/// A message of several frames or several reads.
///
/// Invariant: `bytes[..checked]` is UTF-8 if the message is text, and what follows is the beginning of one character.
#[derive(Default, Debug)]
struct Message {
    is_text: bool,
    is_complete: bool,
    frames: u32,
    checked: usize,
    bytes: Vec<u8>,
}

impl Message {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.bytes.extend_from_slice(bytes);
        if !self.is_text {
            return Ok(());
        }
        match from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_some() => return Err(Violation::NotUtf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<Event<'_>, Violation> {
        self.is_complete = true;
        if !self.is_text {
            return Ok(Event::Binary(&self.bytes));
        }
        if self.checked < self.bytes.len() {
            return Err(Violation::NotUtf8);
        }
        // Checked twice, because safe Rust cannot be told that it has been: the price of having no `unsafe` here, on the rare path.
        from_utf8(&self.bytes).map(Event::Text).map_err(|_| Violation::NotUtf8)
    }
}

/// Bytes up to which text is given to the standard library first.
const SHORT_TEXT_BYTES: usize = 512;

/// Checks text. What is short is mostly ASCII, which the standard library sees with half of the instructions; in long text that is not, the
/// other one is ten times as fast.
fn from_utf8(bytes: &[u8]) -> Result<&str, Utf8Error> {
    if bytes.len() <= SHORT_TEXT_BYTES
        && let Ok(text) = str::from_utf8(bytes)
    {
        return Ok(text);
    }
    simdutf8::compat::from_utf8(bytes)
}

fn control_event(kind: Kind, payload: &[u8]) -> Result<Event<'_>, Violation> {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX);
    match kind {
        Kind::Close => frame::parse_close(payload).map(Event::Close),
        Kind::Ping => Ok(Event::Ping(payload)),
        Kind::Pong | Kind::Text | Kind::Binary | Kind::Continuation => Ok(Event::Pong),
    }
}

/// The next event in `input`, which loses what has been read; `None` when all of it has been. What is incomplete goes to `partial`.
///
/// After a violation the stream has no meaning any more, and neither has `partial`.
pub fn next<'e, 'i: 'e>(
    partial: &'e mut Option<Box<Partial>>,
    input: &mut &'i mut [u8],
    limits: Limits,
) -> Result<Option<Event<'e>>, Violation> {
    if let Some(incomplete) = partial {
        incomplete.release();
        if !incomplete.is_in_message() {
            *partial = None;
        }
    }
    if partial.is_none() {
        match next_whole(input, limits)? {
            Whole::Event(event) => return Ok(Some(event)),
            Whole::Nothing => return Ok(None),
            Whole::Incomplete => {}
        }
    }
    next_partial(partial.get_or_insert_default(), input, limits)
}

/// The outcome of looking for a frame that is a message of its own.
enum Whole<'a> {
    Event(Event<'a>),
    Nothing,
    Incomplete,
}

/// The message path: a frame that is all there and stands alone is unmasked where it lies and handed out.
fn next_whole<'a>(input: &mut &'a mut [u8], limits: Limits) -> Result<Whole<'a>, Violation> {
    if input.is_empty() {
        return Ok(Whole::Nothing);
    }
    let fresh = Progress { in_message: false, bytes_left: limits.message_bytes_max, frames_left: limits.message_frames_max };
    let Some((header, header_len)) = frame::parse_header(input, fresh)? else { return Ok(Whole::Incomplete) };
    let frame_len = header_len + header.len;
    if input.len() < frame_len || !header.fin {
        return Ok(Whole::Incomplete);
    }
    let payload = &mut take(input, frame_len)[header_len..];
    let mut mask = header.mask;
    mask.apply(payload);
    let payload = &*payload;
    let event = match header.kind {
        Kind::Text => Event::Text(from_utf8(payload).map_err(|_| Violation::NotUtf8)?),
        Kind::Binary => Event::Binary(payload),
        Kind::Close | Kind::Ping | Kind::Pong | Kind::Continuation => control_event(header.kind, payload)?,
    };
    Ok(Whole::Event(event))
}

/// The other path: joins what came before with what is there now.
fn next_partial<'e>(partial: &'e mut Partial, input: &mut &mut [u8], limits: Limits) -> Result<Option<Event<'e>>, Violation> {
    while !input.is_empty() {
        let frame = match partial.frame.take() {
            Some(frame) => frame,
            None => match next_header(partial, input, limits)? {
                None => return Ok(None),
                Some(header) => {
                    partial.begin(header.kind);
                    OpenFrame { kind: header.kind, fin: header.fin, missing: header.len, mask: header.mask }
                }
            },
        };
        let bytes = take(input, frame.missing.min(input.len()));
        if partial.absorb(frame, bytes)? && (frame.fin || frame.kind.is_control()) {
            return partial.finish(frame.kind, frame.fin);
        }
    }
    Ok(None)
}

/// The header of the next frame, part of which may have come before.
fn next_header(partial: &mut Partial, input: &mut &mut [u8], limits: Limits) -> Result<Option<Header>, Violation> {
    let progress = partial.progress(limits);
    let stored = &mut partial.header;
    let added = input.len().min(FRAME_HEADER_BYTES_MAX - stored.len);
    stored.bytes[stored.len..stored.len + added].copy_from_slice(&input[..added]);
    let Some((header, header_len)) = frame::parse_header(&stored.bytes[..stored.len + added], progress)? else {
        stored.len += added;
        take(input, added);
        return Ok(None);
    };
    take(input, header_len - stored.len);
    stored.len = 0;
    Ok(Some(header))
}

/// Splits the first `len` bytes off.
fn take<'a>(input: &mut &'a mut [u8], len: usize) -> &'a mut [u8] {
    let (head, tail) = std::mem::take(input).split_at_mut(len);
    *input = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { message_bytes_max: 100, message_frames_max: 5 };

    /// A masked frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0x80 | payload.len() as u8, 1, 2, 3, 4];
        bytes.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// Every event of `stream` when it comes in the pieces that `cuts` make, the last word being a violation if there was one.
    fn read(stream: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut events = Vec::new();
        let mut partial = None;
        let mut from = 0;
        for &to in cuts.iter().chain([&stream.len()]) {
            let mut piece = stream[from..to].to_vec();
            from = to;
            let mut input = &mut piece[..];
            loop {
                match next(&mut partial, &mut input, LIMITS) {
                    Ok(Some(event)) => events.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(violation) => {
                        events.push(format!("{}", violation.code()));
                        return events;
                    }
                }
            }
            assert!(input.is_empty(), "all of the input is taken");
        }
        if partial.is_some_and(|partial| partial.is_in_message()) {
            events.push("…".into());
        }
        events
    }

    /// However the stream is cut into two, three or single bytes, the events are `expected`.
    fn check(stream: &[u8], expected: &[&str]) {
        assert_eq!(read(stream, &[]), expected);
        assert_eq!(read(stream, &(1..stream.len()).collect::<Vec<_>>()), expected);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                assert_eq!(read(stream, &[first, second]), expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn events_do_not_depend_on_the_cuts() {
        check(
            &[frame(0x81, "héllo".as_bytes()), frame(0x82, b"\x00\xff"), frame(0x81, b"")].concat(),
            &["Text(\"héllo\")", "Binary([0, 255])", "Text(\"\")"],
        );
        check(&[frame(0x01, "h\u{e9}".split_at(1).0.as_bytes()), frame(0x00, b"\xc3"), frame(0x80, b"\xa9!")].concat(), &["Text(\"hé!\")"]);
        check(
            &[frame(0x01, b"a"), frame(0x89, b"ping"), frame(0x8a, b"pong"), frame(0x80, b"b"), frame(0x89, b"")].concat(),
            &["Ping([112, 105, 110, 103])", "Pong", "Text(\"ab\")", "Ping([])"],
        );
        check(
            &[frame(0x02, b""), frame(0x00, b""), frame(0x80, b""), frame(0x88, b"\x03\xe8bye")].concat(),
            &["Binary([])", "Close(Some(1000))"],
        );
        check(&frame(0x01, b"never ended"), &["…"]);
    }

    #[test]
    fn violations_end_the_stream_wherever_it_is_cut() {
        check(&[frame(0x81, b"ok"), frame(0x81, b"\xff")].concat(), &["Text(\"ok\")", "1007"]);
        check(&[frame(0x01, b"\xc3"), frame(0x80, b"\x28")].concat(), &["1007"]);
        check(&[frame(0x01, b"a"), frame(0x80, b"\xc3")].concat(), &["1007"]);
        check(&[frame(0x01, b"a"), frame(0x89, b"x"), frame(0x81, b"b")].concat(), &["Ping([120])", "1002"]);
        check(&[frame(0x01, &[b'a'; 60]), frame(0x80, &[b'a'; 41])].concat(), &["1009"]);
        check(&[frame(0x01, &[b'a'; 60]), frame(0x80, &[b'a'; 40])].concat(), &[&format!("Text({:?})", "a".repeat(100))]);
        let empties = [frame(0x01, b""), frame(0x00, b""), frame(0x00, b""), frame(0x00, b""), frame(0x00, b"")].concat();
        check(&empties, &["…"]);
        check(&[empties, frame(0x80, b"")].concat(), &["1008"]);
    }

    #[test]
    fn bad_utf8_is_found_before_the_frame_ends() {
        let mut bytes = frame(0x81, b"abc\xf4\x90 and more that never comes");
        let mut partial = None;
        let mut head = &mut bytes[..11];
        assert_eq!(next(&mut partial, &mut head, LIMITS), Err(Violation::NotUtf8));
    }

    #[test]
    fn nothing_is_kept_after_a_whole_message() {
        let mut partial = None;
        let mut bytes = [frame(0x01, b"a"), frame(0x80, b"b")].concat();
        let mut input = &mut bytes[..];
        assert_eq!(next(&mut partial, &mut input, LIMITS), Ok(Some(Event::Text("ab"))));
        assert_eq!(next(&mut partial, &mut input, LIMITS), Ok(None));
        assert!(partial.is_none());
    }
}
