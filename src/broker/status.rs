//! How the broker is and what it did: read by the operator's pages, written by its threads.
//!
//! Every number only grows, but for the two of the queue and that of the Sentinels. They are read one by one, so they need not fit together to the last message.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::histogram::Histogram;
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
    /// Whether the last probes came round.
    pub(super) come_round: AtomicBool,
    pub(super) probes_missed: AtomicU64,
    pub(super) cuts: AtomicU64,
    /// Locked every few seconds.
    round_trips: Mutex<Histogram>,
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
    /// How often the other side has shown that it is there; only of the publisher's connection.
    checks: AtomicU64,
}

impl LinkStatus {
    pub(super) fn rise(&self) {
        self.connects.fetch_add(1, Relaxed);
        self.up.store(true, Relaxed);
    }

    pub(super) fn fall(&self) {
        self.up.store(false, Relaxed);
    }

    /// The other side has shown that it is there.
    pub(super) fn check(&self) {
        self.checks.fetch_add(1, Relaxed);
    }

    /// Which connection this is, and how often the other side has shown that it is there.
    pub(super) fn age(&self) -> (u64, u64) {
        (self.connects.load(Relaxed), self.checks.load(Relaxed))
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

    /// Whether the messages that this node sends to itself come round.
    pub fn do_messages_come_round(&self) -> bool {
        self.come_round.load(Relaxed)
    }

    /// What keeps messages from going from node to node, if anything does.
    pub fn troubles(&self) -> Vec<&'static str> {
        let (can_publish, can_hear) = (self.is_publisher_up(), self.is_subscriber_up());
        let troubles = [
            (!can_publish, "redis: no connection to publish"),
            (!can_hear, "redis: no connection to subscribe"),
            (can_publish && can_hear && !self.do_messages_come_round(), "redis: what is published does not arrive"),
        ];
        troubles.into_iter().filter_map(|(is_so, trouble)| is_so.then_some(trouble)).collect()
    }

    /// Probes that had not come round when the next was due, or that Redis refused.
    pub fn probes_missed(&self) -> u64 {
        self.probes_missed.load(Relaxed)
    }

    /// How long probes took to come round.
    pub fn round_trips(&self) -> Histogram {
        *self.round_trips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count_round_trip(&self, time: Duration) {
        self.round_trips.lock().unwrap_or_else(PoisonError::into_inner).count(time);
    }

    /// Subscriptions that Redis ended although all was well otherwise.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Relaxed)
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
