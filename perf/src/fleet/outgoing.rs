//! Bytes out: collected during a turn, written once per connection at its end.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};

use super::{Fleet, State};
use crate::frame;
use crate::words::{self, Id};

/// What the connections owe the server.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Bytes of this turn by connection; the first `used` are in use, the others keep their allocation.
    turn: Vec<(usize, Vec<u8>)>,
    used: usize,
    /// What has to wait until the socket takes it: before it is connected, or while it is full.
    held: HashMap<usize, Vec<u8>>,
    /// The message being written.
    payload: Vec<u8>,
    /// State of a xorshift: masks need to differ, not to surprise.
    mask: u32,
}

impl Outgoing {
    pub(super) fn hold(&mut self, link: usize, bytes: Vec<u8>) {
        self.held.insert(link, bytes);
    }

    /// A connection has ended: nobody waits for its bytes, and the next one of that number must not inherit them.
    pub(super) fn forget(&mut self, link: usize, owed: u32) {
        self.held.remove(&link);
        if let Some((_, bytes)) = (owed as usize).checked_sub(1).and_then(|at| self.turn.get_mut(at)) {
            bytes.clear();
        }
    }

    fn next_mask(&mut self) -> [u8; 4] {
        let mut mask = self.mask.max(0x9E37_79B9);
        mask ^= mask << 13;
        mask ^= mask >> 17;
        mask ^= mask << 5;
        self.mask = mask;
        mask.to_ne_bytes()
    }
}

impl Fleet {
    /// Sends a message; it is written at the end of the turn.
    pub(crate) fn send(&mut self, link: usize, id: Id, receiver: Id, text: &[u8]) {
        let mut payload = std::mem::take(&mut self.outgoing.payload);
        payload.clear();
        words::write_send(&mut payload, self.client(link), id, receiver, text);
        self.frame(link, frame::TEXT, &payload);
        self.outgoing.payload = payload;
    }

    /// Close with 1000, as a client that is done.
    pub(super) fn say_goodbye(&mut self, link: usize) {
        self.frame(link, frame::CLOSE, &1000u16.to_be_bytes());
    }

    pub(super) fn frame(&mut self, link: usize, opcode: u8, payload: &[u8]) {
        let mask = self.outgoing.next_mask();
        frame::mask(self.owe(link), opcode, payload, mask);
    }

    fn owe(&mut self, link: usize) -> &mut Vec<u8> {
        let (owed, out) = (&mut self.links[link].owed, &mut self.outgoing);
        if *owed == 0 {
            if out.used == out.turn.len() {
                out.turn.push((link, Vec::new()));
            }
            out.turn[out.used].0 = link;
            out.used += 1;
            *owed = u32::try_from(out.used).expect("a fleet is smaller than u32 counts");
        }
        &mut out.turn[*owed as usize - 1].1
    }

    pub(super) fn flush(&mut self) {
        let mut turn = std::mem::take(&mut self.outgoing.turn);
        for (link, bytes) in &mut turn[..self.outgoing.used] {
            self.links[*link].owed = 0;
            self.write(*link, bytes);
            bytes.clear();
        }
        self.outgoing.turn = turn;
        self.outgoing.used = 0;
    }

    fn write(&mut self, link: usize, bytes: &[u8]) {
        if !self.outgoing.held.is_empty()
            && let Some(held) = self.outgoing.held.get_mut(&link)
        {
            return held.extend_from_slice(bytes);
        }
        let Some(stream) = self.links[link].stream.as_mut() else { return };
        let count = match stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return self.ended(link, &error.to_string()),
        };
        if count < bytes.len() {
            self.outgoing.hold(link, bytes[count..].to_vec());
        }
    }

    /// The socket is connected, or takes bytes again.
    pub(super) fn writable(&mut self, link: usize) {
        if self.outgoing.held.is_empty() {
            return;
        }
        let Some(bytes) = self.outgoing.held.remove(&link) else { return };
        if self.links[link].state == State::Opening
            && let Some(stream) = &self.links[link].stream
            && let Ok(Some(error)) = stream.take_error()
        {
            return self.ended(link, &error.to_string());
        }
        self.write(link, &bytes);
    }
}
