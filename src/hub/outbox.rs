//! Bytes owed to one socket.
//!
//! What is said to a connection during a tick is appended here and written once at the end of the tick. Whole frames only: a frame
//! that would pass the bound is not begun.
//!
//! Invariant: `sent <= bytes.len()`, and both are zero when the socket has taken everything.

use crate::limits::SPARE_BYTES_MAX;

/// The outgoing queue of a connection.
#[derive(Default, Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What waits, in order.
    pub fn owed(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Where to append a frame.
    pub fn end(&mut self) -> &mut Vec<u8> {
        // The part already sent goes before the buffer would have to grow: a reader that is always a little behind must not make it
        // grow for ever, and moving at most half of it each time costs a constant per byte.
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    /// Notes that the socket has taken the first `len` bytes of what was owed.
    pub fn advance(&mut self, len: usize) {
        self.sent += len;
        assert!(self.sent <= self.bytes.len(), "a socket takes no more than it is given");
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
        }
    }

    /// Lets go of what an unusually long queue needed, before the buffer is kept for the next connection.
    pub fn trim(&mut self) {
        debug_assert!(self.is_empty());
        if self.bytes.capacity() > SPARE_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_memory_follows() {
        let mut outbox = Outbox::default();
        let mut expected = std::collections::VecDeque::new();
        for round in 0..10_000_usize {
            let added = [round as u8; 7];
            outbox.end().extend_from_slice(&added);
            expected.extend(added);
            let taken = (round * 13 % 15).min(outbox.len());
            assert!(outbox.owed().iter().eq(expected.iter()), "{round}");
            outbox.advance(taken);
            expected.drain(..taken);
            assert_eq!(outbox.is_empty(), expected.is_empty());
            assert!(outbox.end().capacity() < 8 * (expected.len() + 64), "{round}");
        }
    }

    #[test]
    fn a_trimmed_outbox_keeps_only_a_small_buffer() {
        let mut outbox = Outbox::default();
        for len in [SPARE_BYTES_MAX / 2, SPARE_BYTES_MAX * 2] {
            outbox.end().resize(len, 0);
            outbox.advance(len);
            outbox.trim();
            assert!(outbox.end().capacity() <= SPARE_BYTES_MAX);
        }
    }
}
