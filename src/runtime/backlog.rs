//! Connections of which there may be more to read: each once, in turn, and by as much as what it says is worth.
//!
//! Whoever says more than one read takes is gone on with in the next tick. Three rules keep that from slowing down everybody else:
//!
//! - A connection is here once, however often the kernel tells that still more has come, so it is read once in a tick.
//! - A tick goes on with a few of those who are here, in turn; those who have little to say are read when it comes.
//! - What a message costs depends little on its length. So how much is read at once follows from how many messages were in it: a flood
//!   of the smallest frames is read by the kilobyte, and a large message by the whole buffer of the loop.
//!
//! Invariant: `turns` holds each key of `waiting` once, and no other.

use std::collections::{HashMap, VecDeque};

use crate::hub::Key;
use crate::limits::{FIRST_READ_BYTES, MESSAGES_PER_READ, READ_BYTES_MIN, SCRATCH_BYTES};

/// What is known of the end of what a connection says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum End {
    /// More may come.
    Open,
    /// The peer has closed its side: the end is to be read, too.
    Closed,
    /// Nothing can be written any more. What has come is to be read, and then the connection has failed.
    Broken,
}

/// A connection to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unread {
    pub(super) key: Key,
    pub(super) end: End,
    /// How much to read at once.
    pub(super) bytes_max: usize,
}

impl Unread {
    /// A connection of which the kernel tells that something has come.
    pub(super) fn new(key: Key, end: End) -> Unread {
        Unread { key, end, bytes_max: FIRST_READ_BYTES }
    }

    /// The same for the next time, after a read that had as many `messages` in it.
    pub(super) fn fitted_to(self, messages: usize) -> Unread {
        let bytes_max = match messages > MESSAGES_PER_READ {
            true => (self.bytes_max / 2).max(READ_BYTES_MIN),
            false => (self.bytes_max * 2).min(SCRATCH_BYTES),
        };
        Unread { bytes_max, ..self }
    }
}

/// The connections to go on reading.
#[derive(Default, Debug)]
pub(super) struct Backlog {
    turns: VecDeque<Key>,
    waiting: HashMap<Key, Unread>,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Puts a connection behind the others.
    pub(super) fn push(&mut self, unread: Unread) {
        if self.waiting.insert(unread.key, unread).is_none() {
            self.turns.push_back(unread.key);
        }
    }

    /// Whether the connection waits here already, so that there is no need to read it now. What is known of its `end` is remembered.
    pub(super) fn has(&mut self, key: Key, end: End) -> bool {
        // Mostly nobody waits, and no hash has to be computed to see that.
        if self.turns.is_empty() {
            return false;
        }
        let waiting = self.waiting.get_mut(&key);
        waiting.map(|unread| unread.end = unread.end.max(end)).is_some()
    }

    /// The connection whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Unread> {
        let key = self.turns.pop_front()?;
        let unread = self.waiting.remove(&key);
        if self.turns.is_empty() {
            // What a crowd of flooders needed goes back to the allocator.
            *self = Backlog::default();
        }
        unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(number: u64) -> Unread {
        Unread::new(Key::from_bits(number), End::Open)
    }

    #[test]
    fn each_waits_once_and_in_turn() {
        let mut backlog = Backlog::default();
        [1, 2, 1, 3, 2].into_iter().for_each(|number| backlog.push(unread(number)));
        assert_eq!(backlog.len(), 3);
        assert!(backlog.has(Key::from_bits(2), End::Open) && !backlog.has(Key::from_bits(4), End::Open));
        let popped: Vec<Unread> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(popped, [1, 2, 3].map(unread));
        assert!(backlog.is_empty() && !backlog.has(Key::from_bits(1), End::Open));
    }

    #[test]
    fn an_end_that_is_told_meanwhile_is_not_forgotten() {
        let mut backlog = Backlog::default();
        backlog.push(unread(1));
        assert!(backlog.has(Key::from_bits(1), End::Closed) && backlog.has(Key::from_bits(1), End::Open));
        assert_eq!(backlog.pop(), Some(Unread { end: End::Closed, ..unread(1) }));
    }

    #[test]
    fn what_is_read_at_once_follows_from_what_was_in_it() {
        let mut large = unread(1);
        let mut small = unread(1);
        for _ in 0..10 {
            large = large.fitted_to(1);
            small = small.fitted_to(MESSAGES_PER_READ + 1);
            assert!((READ_BYTES_MIN..=SCRATCH_BYTES).contains(&large.bytes_max) && large.bytes_max >= small.bytes_max);
        }
        assert_eq!((large.bytes_max, small.bytes_max), (SCRATCH_BYTES, READ_BYTES_MIN));
    }
}
