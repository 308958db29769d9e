//! What each part of a message's way costs by itself: frames, text, envelopes, answers, ids, the directory, and a hub as a whole.
//!
//! Next to a part of Texto stands what one would use instead of it, where there is such a thing. The parts are called as the server calls
//! them; only sockets and the kernel are missing, which cost more than all the rest (`perf/compare.sh` measures them).
//!
//! ```sh
//! cargo bench -p texto-perf --bench parts                # all, under a minute
//! cargo bench -p texto-perf --bench parts -- directory   # those with the word in their path
//! ```

#[path = "parts/directory.rs"]
mod directory;
#[path = "parts/hub.rs"]
mod hub;
mod support;

use std::time::Duration;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

/// Bytes of payload: a word, a page of text, and the largest message that a node takes unless it is told otherwise.
const LENGTHS: [usize; 3] = [32, 1024, 64 * 1024];

fn main() {
    // Long enough to meet a quiet moment on a machine that does other things, too. The command line has the last word.
    divan::Divan::default().min_time(Duration::from_millis(100)).max_time(Duration::from_millis(500)).config_with_args().main();
}

/// A masked text frame around `payload`. A key of zeros is as much work as any, and leaves the frame as it was, so it can be read again.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    texto::wire::frame::write_header(&mut bytes, texto::wire::frame::Kind::Text, payload.len());
    bytes[1] |= 0x80;
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The header of one frame.
mod header {
    use std::io::Cursor;

    use divan::black_box_drop;
    use texto::wire::frame::{Progress, parse_header};
    use tungstenite::protocol::frame::FrameHeader;

    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn texto(bencher: Bencher<'_, '_>, len: usize) {
        let frame = frame(&vec![b'x'; len]);
        let fresh = Progress { in_message: false, bytes_left: 1 << 20, frames_left: 64 };
        bencher.bench_local(|| black_box_drop(parse_header(black_box(&frame), black_box(fresh))));
    }

    #[divan::bench(args = LENGTHS)]
    fn tungstenite(bencher: Bencher<'_, '_>, len: usize) {
        let frame = frame(&vec![b'x'; len]);
        bencher.bench_local(|| black_box_drop(FrameHeader::parse(&mut Cursor::new(black_box(&frame)))));
    }
}

/// Bytes to one text message: header, unmasking, UTF-8. `cut` has it in two reads.
mod message {
    use std::io::{self, Read, Write};

    use texto::wire::message::{Limits, Partial, next};
    use tungstenite::WebSocket;
    use tungstenite::protocol::Role;

    use super::*;

    const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, message_frames_max: 64 };

    fn read(partial: &mut Option<Box<Partial>>, mut bytes: &mut [u8]) {
        while let Some(event) = next(partial, &mut bytes, LIMITS).expect("the frame breaks no rule") {
            black_box(event);
        }
    }

    #[divan::bench(args = LENGTHS)]
    fn texto_whole(bencher: Bencher<'_, '_>, len: usize) {
        let mut frame = frame(&vec![b'x'; len]);
        bencher.counter(BytesCount::new(len)).bench_local(|| read(&mut None, black_box(&mut frame)));
    }

    #[divan::bench(args = LENGTHS)]
    fn texto_cut(bencher: Bencher<'_, '_>, len: usize) {
        let mut frame = frame(&vec![b'x'; len]);
        let (first, last) = frame.split_at_mut(len / 2);
        let mut partial = None;
        bencher.counter(BytesCount::new(len)).bench_local(|| {
            read(&mut partial, black_box(first));
            read(&mut partial, black_box(last));
        });
    }

    /// tungstenite has a buffer of its own and fills it as far as it can, so this is its best case: a read brings many frames.
    #[divan::bench(args = LENGTHS, sample_size = 100)]
    fn tungstenite(bencher: Bencher<'_, '_>, len: usize) {
        let mut socket = WebSocket::from_raw_socket(Endless { frame: frame(&vec![b'x'; len]), at: 0 }, Role::Server, None);
        bencher.counter(BytesCount::new(len)).bench_local(|| divan::black_box_drop(socket.read()));
    }

    /// A client that says the same for ever.
    struct Endless {
        frame: Vec<u8>,
        at: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut filled = 0;
            while filled < buffer.len() {
                let len = (self.frame.len() - self.at).min(buffer.len() - filled);
                buffer[filled..filled + len].copy_from_slice(&self.frame[self.at..self.at + len]);
                filled += len;
                self.at = (self.at + len) % self.frame.len();
            }
            Ok(filled)
        }
    }

    impl Write for Endless {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

/// Unmasking in place, and copying the same bytes, which is what a buffer in between would cost.
mod unmask {
    use texto::wire::frame::Mask;

    use super::*;

    #[divan::bench(args = LENGTHS)]
    fn texto(bencher: Bencher<'_, '_>, len: usize) {
        let mut bytes = vec![b'x'; len];
        let mut mask = Mask::new([0x37, 0xfa, 0x21, 0x3d]);
        bencher.counter(BytesCount::new(len)).bench_local(|| mask.apply(black_box(&mut bytes)));
    }

    #[divan::bench(args = LENGTHS)]
    fn copy(bencher: Bencher<'_, '_>, len: usize) {
        let (from, mut to) = (vec![b'x'; len], vec![0; len]);
        bencher.counter(BytesCount::new(len)).bench_local(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    }
}

/// Whether bytes are UTF-8: the check that the server uses, and the standard library's.
mod utf8 {
    use super::*;

    fn check(bencher: Bencher<'_, '_>, pattern: &str, len: usize, is_utf8: impl Fn(&[u8]) -> bool) {
        let text = pattern.repeat(len / pattern.len());
        bencher.counter(BytesCount::of_str(&text)).bench_local(|| assert!(is_utf8(black_box(text.as_bytes()))));
    }

    const ASCII: &str = "sixteen letters ";
    const MIXED: &str = "Grüße, 世界! 🌍 ok Привет.";

    #[divan::bench(args = LENGTHS)]
    fn texto_ascii(bencher: Bencher<'_, '_>, len: usize) {
        check(bencher, ASCII, len, |bytes| simdutf8::compat::from_utf8(bytes).is_ok());
    }

    #[divan::bench(args = LENGTHS)]
    fn std_ascii(bencher: Bencher<'_, '_>, len: usize) {
        check(bencher, ASCII, len, |bytes| str::from_utf8(bytes).is_ok());
    }

    #[divan::bench(args = LENGTHS)]
    fn texto_mixed(bencher: Bencher<'_, '_>, len: usize) {
        check(bencher, MIXED, len.max(MIXED.len()), |bytes| simdutf8::compat::from_utf8(bytes).is_ok());
    }

    #[divan::bench(args = LENGTHS)]
    fn std_mixed(bencher: Bencher<'_, '_>, len: usize) {
        check(bencher, MIXED, len.max(MIXED.len()), |bytes| str::from_utf8(bytes).is_ok());
    }
}

const CLIENT: &str = "00c0ffee-10b1-426f-9247-bb680e5fe0c8";
const OTHER: &str = "00c0ffee-0a41-4f5c-8a3f-2a1bd4c0b7e5";
const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// The JSON of a `send`, in the usual form.
fn send(client: &str, receiver: &str, text: &str) -> String {
    format!(r#"{{"client_id":"{client}","id":"{ID}","kind":"send","data":{{"receiver_id":"{receiver}","text":"{text}"}}}}"#)
}

/// JSON to what it asks for. serde_json reads it into a `Value`, before any of the checks.
mod envelope {
    use texto::wire::envelope::Envelope;
    use texto::wire::id::{ClientId, SpelledId};

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Document {
        /// As clients send it.
        Usual,
        /// The fields in another order, with blanks.
        Reordered,
        /// With an escape in a field's name and a field that nobody knows: for the general parser.
        Unusual,
        /// With 64 KiB of text.
        Large,
    }

    impl Document {
        const ALL: [Document; 4] = [Document::Usual, Document::Reordered, Document::Unusual, Document::Large];

        fn json(self) -> String {
            let usual = send(CLIENT, OTHER, "Hello over there, how are you?");
            match self {
                Document::Usual => usual,
                Document::Reordered => format!(
                    r#"{{ "data": {{ "text": "Hello over there, how are you?", "receiver_id": "{OTHER}" }}, "kind": "send", "id": "{ID}", "client_id": "{CLIENT}" }}"#
                ),
                Document::Unusual => usual.replace(r#""kind""#, r#""at":[1,2],"k\u0069nd""#),
                Document::Large => send(CLIENT, OTHER, &"sixteen letters ".repeat(4096)),
            }
        }
    }

    #[divan::bench(args = Document::ALL)]
    fn texto(bencher: Bencher<'_, '_>, document: Document) {
        let json = document.json();
        let session = SpelledId::from(ClientId::parse(CLIENT.as_bytes()).expect("it is a UUID"));
        assert!(Envelope::parse(&json, &session).is_ok(), "{document:?} is a message");
        bencher.counter(BytesCount::of_str(&json)).bench_local(|| Envelope::parse(black_box(&json), &session).is_ok());
    }

    #[divan::bench(args = Document::ALL)]
    fn serde_json_value(bencher: Bencher<'_, '_>, document: Document) {
        let json = document.json();
        bencher.counter(BytesCount::of_str(&json)).bench_local(|| serde_json::from_str::<serde_json::Value>(black_box(&json)).is_ok());
    }
}

/// Answers, as frames at the end of a queue. serde_json writes a `Value` that has been made before, and no frame around it.
mod answer {
    use serde_json::{Value, json};
    use texto::wire::answer::{Answer, Body};
    use texto::wire::delivery::Delivery;
    use texto::wire::id::{ClientId, MessageId, SpelledId};

    use super::*;

    const TEXT: &str = "Hello over there, how are you?";

    fn write(bencher: Bencher<'_, '_>, body: Body<'_>) {
        let client = &SpelledId::from(ClientId::parse(CLIENT.as_bytes()).expect("it is a UUID"));
        let answer = Answer { client, id: MessageId::parse(ID.as_bytes()).expect("it is a UUID"), body };
        let mut queue = Vec::new();
        bencher.bench_local(|| {
            queue.clear();
            black_box(&answer).write(&mut queue);
            black_box(&queue);
        });
    }

    fn write_value(bencher: Bencher<'_, '_>, kind: &str, data: &Value) {
        let value = json!({ "client_id": CLIENT, "id": ID, "kind": kind, "data": data });
        let mut queue = Vec::new();
        bencher.bench_local(|| {
            queue.clear();
            serde_json::to_writer(&mut queue, black_box(&value)).expect("a Vec takes everything");
            black_box(&queue);
        });
    }

    #[divan::bench]
    fn texto_ack(bencher: Bencher<'_, '_>) {
        write(bencher, Body::Ack);
    }

    #[divan::bench]
    fn serde_json_ack(bencher: Bencher<'_, '_>) {
        write_value(bencher, "ack", &Value::Null);
    }

    #[divan::bench]
    fn texto_receive(bencher: Bencher<'_, '_>) {
        let payload = format!(r#"{{"SenderID":"{OTHER}","RecipientID":"{CLIENT}","Text":"{TEXT}"}}"#);
        let delivery = Delivery::parse(payload.as_bytes()).expect("it is a payload");
        write(bencher, Body::Receive { sender: &delivery.from.into(), text: delivery.text.borrow() });
    }

    #[divan::bench]
    fn serde_json_receive(bencher: Bencher<'_, '_>) {
        write_value(bencher, "receive", &json!({ "sender_id": OTHER, "text": TEXT }));
    }
}

/// Text to UUID and back.
mod id {
    use texto::wire::id::{ClientId, UUID_TEXT_LEN};
    use uuid::Uuid;

    use super::*;

    #[divan::bench]
    fn texto_read(bencher: Bencher<'_, '_>) {
        bencher.bench_local(|| ClientId::parse(black_box(ID.as_bytes())));
    }

    #[divan::bench]
    fn uuid_read(bencher: Bencher<'_, '_>) {
        bencher.bench_local(|| Uuid::try_parse_ascii(black_box(ID.as_bytes())).ok());
    }

    #[divan::bench]
    fn texto_write(bencher: Bencher<'_, '_>) {
        let id = ClientId::parse(ID.as_bytes()).expect("it is a UUID");
        let mut text = [0; UUID_TEXT_LEN];
        bencher.bench_local(|| black_box(id).write(black_box(&mut text)));
    }

    #[divan::bench]
    fn uuid_write(bencher: Bencher<'_, '_>) {
        let id = Uuid::try_parse(ID).expect("it is a UUID");
        let mut text = [0; UUID_TEXT_LEN];
        bencher.bench_local(|| black_box(id).hyphenated().encode_lower(black_box(&mut text)).len());
    }
}
