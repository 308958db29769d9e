//! How the broker is and what it did: read by the operator's pages, written by its threads.
//!
//! Every number only grows, but for the two of the queue and that of the Sentinels. They are read one by one, so they need not fit together to the last message.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::wire::delivery::Refusal;

/// Kinds of refusal.
const REFUSALS: usize = Refusal::LoopBusy as usize + 1;

/// The state and the counters of a broker.
#[derive(Debug, Default)]
pub struct Status {
    pub(super) publishing: LinkStatus,
    pub(super) subscribed: LinkStatus,
    pub(super) published: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) garbage: AtomicU64,
    pub(super) strays: AtomicU64,
    pub(super) moves: AtomicU64,
    sentinels: AtomicUsize,
    pub(super) queue_entries: AtomicUsize,
    pub(super) queue_bytes: AtomicUsize,
    refused: [AtomicU64; REFUSALS],
}

/// The state of one connection to Redis, written by its thread alone.
#[derive(Debug, Default)]
pub(super) struct LinkStatus {
    up: AtomicBool,
    connects: AtomicU64,
}

impl LinkStatus {
    pub(super) fn rise(&self) {
        self.connects.fetch_add(1, Relaxed);
        self.up.store(true, Relaxed);
    }

    pub(super) fn fall(&self) {
        self.up.store(false, Relaxed);
    }

    fn reconnects(&self) -> u64 {
        self.connects.load(Relaxed).saturating_sub(1)
    }
}

impl Status {
    /// Whether messages can be published.
    pub fn is_publisher_up(&self) -> bool {
        self.publishing.up.load(Relaxed)
    }

    /// Whether messages of other nodes arrive.
    pub fn is_subscriber_up(&self) -> bool {
        self.subscribed.up.load(Relaxed)
    }

    /// Connections made after the first ones.
    pub fn reconnects(&self) -> u64 {
        self.publishing.reconnects() + self.subscribed.reconnects()
    }

    /// Times that both connections were left for another master, or because they did not serve.
    pub fn moves(&self) -> u64 {
        self.moves.load(Relaxed)
    }

    /// Sentinels that would be heard.
    pub fn sentinels(&self) -> usize {
        self.sentinels.load(Relaxed)
    }

    /// A Sentinel is listened to from now on, or no longer.
    pub(super) fn note_sentinel(&self, is_up: bool) {
        if is_up {
            self.sentinels.fetch_add(1, Relaxed)
        } else {
            self.sentinels.fetch_sub(1, Relaxed)
        };
    }

    /// Messages that Redis has taken.
    pub fn published(&self) -> u64 {
        self.published.load(Relaxed)
    }

    /// Messages that were offered and refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Relaxed)
    }

    /// Messages of other nodes that were handed to the loops.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Payloads that are not messages.
    pub fn garbage(&self) -> u64 {
        self.garbage.load(Relaxed)
    }

    /// Messages on a channel of this node for a client that is not of this node.
    pub fn strays(&self) -> u64 {
        self.strays.load(Relaxed)
    }

    /// Messages and refusals that are not settled yet.
    pub fn queue_entries(&self) -> usize {
        self.queue_entries.load(Relaxed)
    }

    /// Bytes that they occupy.
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes.load(Relaxed)
    }

    pub(super) fn count_refusal(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
    }
}
