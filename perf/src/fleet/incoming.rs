//! Bytes in: read until the socket is drained, cut into frames, handed on as messages.

use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::time::Instant;

use memchr::memmem;

use super::{Conversation, Fleet, State};
use crate::frame::{self, Seen};
use crate::words::{Message, Said};

/// The answer to the key of every request, see `target.rs`.
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Fleet {
    /// A short read is the end: the socket is edge-triggered and drained.
    pub(super) fn receive(&mut self, link: usize, talk: &mut impl Conversation) {
        loop {
            let kept = self.recall(link);
            let Some(stream) = self.links[link].stream.as_mut() else { return };
            match stream.read(&mut self.scratch[kept..]) {
                Ok(0) => return self.ended(link, "end of stream"),
                Ok(count) => {
                    let filled = kept + count;
                    self.take(link, filled, talk);
                    if filled < self.scratch.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.keep(link, 0..kept),
                Err(error) => return self.ended(link, &error.to_string()),
            }
        }
    }

    /// Puts the beginning of a cut frame in front of what comes next.
    fn recall(&mut self, link: usize) -> usize {
        if self.partial.is_empty() {
            return 0;
        }
        let Some(bytes) = self.partial.remove(&link) else { return 0 };
        self.scratch[..bytes.len()].copy_from_slice(&bytes);
        bytes.len()
    }

    fn keep(&mut self, link: usize, rest: Range<usize>) {
        if rest.len() >= self.scratch.len() {
            self.fail(format!("connection {link} got a frame above {} bytes", self.scratch.len()));
        } else if !rest.is_empty() {
            self.partial.insert(link, self.scratch[rest].to_vec());
        }
    }

    fn take(&mut self, link: usize, filled: usize, talk: &mut impl Conversation) {
        let now = Instant::now();
        // Taken out for the loop: whoever hears a message may write through the fleet.
        let scratch = std::mem::take(&mut self.scratch);
        let mut at = 0;
        if self.links[link].state == State::Opening {
            at = self.upgraded(link, &scratch[..filled]).unwrap_or(0);
        }
        while !matches!(self.links[link].state, State::Opening | State::Closed) {
            match frame::look(&scratch[at..filled]) {
                Seen::Partial => break,
                Seen::Broken(why) => {
                    self.fail(format!("connection {link} got {why}"));
                    break;
                }
                Seen::Whole(opcode, payload) => {
                    let end = at + payload.end;
                    self.hear(link, opcode, &scratch[at + payload.start..end], talk, now);
                    at = end;
                }
            }
        }
        self.scratch = scratch;
        if self.links[link].state != State::Closed {
            self.keep(link, at..filled);
        }
    }

    /// The answer to the opening handshake: where the frames begin, once it is whole.
    fn upgraded(&mut self, link: usize, bytes: &[u8]) -> Option<usize> {
        let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let head = &bytes[..end];
        if head.starts_with(b"HTTP/1.1 101 ") && memmem::find(head, ACCEPT).is_some() {
            self.links[link].state = State::Greeting;
            return Some(end);
        }
        let first_line = String::from_utf8_lossy(head.split(|&byte| byte == b'\r').next().unwrap_or_default()).into_owned();
        self.ended(link, &first_line);
        None
    }

    fn hear(&mut self, link: usize, opcode: u8, payload: &[u8], talk: &mut impl Conversation, now: Instant) {
        match (opcode, self.links[link].state) {
            (frame::PONG, _) | (frame::TEXT, State::Leaving) => {}
            (frame::TEXT, state) => match Message::read(payload) {
                Some(Message { client, said: Said::Connection, .. }) if state == State::Greeting => {
                    let slot = &mut self.links[link];
                    slot.client = client.to_be_bytes();
                    slot.state = State::Open;
                    self.opening -= 1;
                    self.open += 1;
                }
                Some(message) if state == State::Open && message.client == self.client(link) => talk.message(self, link, &message, now),
                Some(message) => self.fail(format!("connection {link} got a message for another, or too early: {message:?}")),
                None => {
                    self.fail(format!("connection {link} got {:?}, which the protocol does not know", String::from_utf8_lossy(payload)));
                }
            },
            (frame::PING, _) => self.frame(link, frame::PONG, payload),
            (frame::CLOSE, _) => self.ended(link, &close_reason(payload)),
            (other, _) => self.fail(format!("connection {link} got a frame with opcode {other}")),
        }
    }
}

fn close_reason(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => format!("Close {} {}", u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(reason)),
        _ => "Close without a code".to_owned(),
    }
}
