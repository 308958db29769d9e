//! What waits for Redis: a bounded queue that keeps the order of the answers.
//!
//! The answers to the sends for one recipient must come in the order of the sends, refusals included. A refusal given at once overtakes
//! whatever is still waiting, so it is only given at once when nothing for the same recipient is. Otherwise it takes its place in the queue
//! as a tombstone: an entry without a text that is settled when its turn comes.
//!
//! ```text
//!            open                    close_when_empty              empty
//!  Closed ─────────▶ Open ──────────────────────────▶ Closing ───────────▶ Closed
//!  every offer is refused            entries are taken, in both states
//! ```
//!
//! While the queue is `Closing`, what is offered still goes in behind what is there, to be refused in its turn. So when an offer meets
//! `Closed` for the first time, everything offered before it has been settled.
//!
//! Invariant: an entry counts from its offer until [`Queue::release`], after its settlement was handed over; `unsettled` is the number
//! of these entries per recipient.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Publication;
use super::status::Status;
use crate::limits::{
    PUBLICATION_BYTES, PUBLICATION_SLOTS_KEPT, PUBLICATIONS_MAX, PUBLISH_BATCH_BYTES_MAX, PUBLISH_BATCH_ENTRIES_MAX, TOMBSTONES_MAX,
};
use crate::wire::delivery::{Delivery, Refusal, Request, Settlement};
use crate::wire::id::ClientId;

/// Something to be settled in its turn.
#[derive(Debug)]
pub(super) enum Entry {
    /// To be published.
    Message { delivery: Delivery, request: Option<Request>, offered: Instant },
    /// Refused with [`Refusal::QueueFull`]; only the refusal waits for its turn.
    Tombstone { to: ClientId, request: Request },
}

impl Entry {
    fn recipient(&self) -> ClientId {
        match self {
            Entry::Message { delivery, .. } => delivery.to,
            Entry::Tombstone { to, .. } => *to,
        }
    }

    /// Who waits for the answer.
    pub(super) fn request(&self) -> Option<Request> {
        match self {
            Entry::Message { request, .. } => *request,
            Entry::Tombstone { request, .. } => Some(*request),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Entry::Message { delivery, .. } => bytes_of(delivery),
            Entry::Tombstone { .. } => 0,
        }
    }
}

fn bytes_of(delivery: &Delivery) -> usize {
    PUBLICATION_BYTES + delivery.text.borrow().as_json().len()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    Closed,
    Open,
    Closing,
}

/// The queue; no thread waits in it, see `publisher.rs` for that.
#[derive(Debug)]
pub(super) struct Queue {
    gate: Gate,
    entries: VecDeque<Entry>,
    /// Messages and tombstones not settled: queued, or taken and not released.
    messages: usize,
    tombstones: usize,
    /// Bytes of these messages, at most `bytes_max` or one message.
    bytes: usize,
    bytes_max: usize,
    /// The standard library's keyed hash: clients choose whom they write to, and must not be able to choose collisions.
    unsettled: HashMap<ClientId, u32>,
    status: Arc<Status>,
}

impl Queue {
    /// Closed and empty.
    pub(super) fn new(bytes_max: usize, status: Arc<Status>) -> Queue {
        let (entries, unsettled) = (VecDeque::new(), HashMap::new());
        Queue { gate: Gate::Closed, entries, messages: 0, tombstones: 0, bytes: 0, bytes_max, unsettled, status }
    }

    /// Takes in a batch and leaves it empty. What is refused at once goes to `refused`, in order.
    pub(super) fn offer(&mut self, batch: &mut Vec<Publication>, refused: &mut Vec<Settlement>, now: Instant) {
        for Publication { delivery, request } in batch.drain(..) {
            if self.gate == Gate::Closed {
                self.refuse(request, Refusal::Down, refused);
            } else if self.has_room_for(&delivery) {
                self.push(Entry::Message { delivery, request, offered: now });
            } else if let Some(request) = request
                && self.tombstones < TOMBSTONES_MAX
                && self.unsettled.contains_key(&delivery.to)
            {
                self.push(Entry::Tombstone { to: delivery.to, request });
            } else {
                self.refuse(request, Refusal::QueueFull, refused);
            }
        }
        self.report();
    }

    /// Whether there is nothing to take. What was taken may still be unsettled.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// From now on offers are taken.
    pub(super) fn open(&mut self) {
        assert!(self.gate == Gate::Closed && self.unsettled.is_empty(), "a connection begins with nothing left of the one before");
        self.gate = Gate::Open;
    }

    /// Offers are taken until the queue is empty for the first time, see [`Queue::close_if_empty`].
    pub(super) fn close_when_empty(&mut self) {
        if self.gate == Gate::Open {
            self.gate = Gate::Closing;
        }
    }

    /// Closes a queue that is on the way to it; `false` when there is something left to take and to release before.
    pub(super) fn close_if_empty(&mut self) -> bool {
        debug_assert_ne!(self.gate, Gate::Open);
        if !self.entries.is_empty() {
            return false;
        }
        assert!(self.unsettled.is_empty(), "whoever takes a batch releases it before it closes the queue");
        self.gate = Gate::Closed;
        true
    }

    /// Moves the next entries into `batch`: at least one if there is any, and no more than a batch may hold.
    pub(super) fn take(&mut self, batch: &mut Vec<Entry>) {
        debug_assert!(batch.is_empty(), "one batch is released before the next is taken");
        let mut bytes = 0;
        while batch.len() < PUBLISH_BATCH_ENTRIES_MAX
            && let Some(next) = self.entries.front()
            && (batch.is_empty() || bytes + next.bytes() <= PUBLISH_BATCH_BYTES_MAX)
        {
            bytes += next.bytes();
            batch.extend(self.entries.pop_front());
        }
    }

    /// Forgets entries that were taken, and whose settlements have been handed over.
    pub(super) fn release(&mut self, batch: &mut Vec<Entry>) {
        for entry in batch.drain(..) {
            match entry {
                Entry::Message { .. } => self.messages -= 1,
                Entry::Tombstone { .. } => self.tombstones -= 1,
            }
            self.bytes -= entry.bytes();
            let count = self.unsettled.get_mut(&entry.recipient()).expect("push counted this entry for its recipient");
            *count -= 1;
            if *count == 0 {
                self.unsettled.remove(&entry.recipient());
            }
        }
        if self.unsettled.is_empty() {
            self.entries.shrink_to(PUBLICATION_SLOTS_KEPT);
            self.unsettled.shrink_to(PUBLICATION_SLOTS_KEPT);
        }
        self.report();
    }

    fn has_room_for(&self, delivery: &Delivery) -> bool {
        // The largest message that a client may send must not depend on the size of the queue: an empty one takes anything.
        let is_within = self.messages < PUBLICATIONS_MAX && self.bytes + bytes_of(delivery) <= self.bytes_max;
        is_within || self.messages == 0
    }

    fn push(&mut self, entry: Entry) {
        match entry {
            Entry::Message { .. } => self.messages += 1,
            Entry::Tombstone { .. } => self.tombstones += 1,
        }
        self.bytes += entry.bytes();
        *self.unsettled.entry(entry.recipient()).or_default() += 1;
        self.entries.push_back(entry);
    }

    fn refuse(&self, request: Option<Request>, refusal: Refusal, refused: &mut Vec<Settlement>) {
        self.status.count_refusal(refusal);
        refused.extend(request.map(|request| Settlement { request, outcome: Err(refusal) }));
    }

    /// Ends each change: shows the new state and checks it.
    fn report(&self) {
        self.status.queue_entries.store(self.messages + self.tombstones, Relaxed);
        self.status.queue_bytes.store(self.bytes, Relaxed);
        debug_assert!(self.entries.len() <= self.messages + self.tombstones);
        debug_assert!(self.bytes <= self.bytes_max || self.messages == 1);
        debug_assert_eq!(self.unsettled.is_empty(), self.messages + self.tombstones == 0);
        debug_assert!(self.gate != Gate::Closed || self.unsettled.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::{IdSource, MessageId, NodeTag};

    const ROOM_FOR_THREE: usize = 3 * (PUBLICATION_BYTES + 3);

    /// A queue, and offers told apart by a number that stands in their request.
    struct Bench {
        queue: Queue,
        status: Arc<Status>,
        clients: Vec<ClientId>,
        now: Instant,
    }

    fn bench(bytes_max: usize) -> Bench {
        let mut ids = IdSource::seeded(1);
        let clients = (0..3).map(|_| ClientId::new(NodeTag::from_bits(1), 0, ids.serial())).collect();
        let status = Arc::new(Status::default());
        Bench { queue: Queue::new(bytes_max, Arc::clone(&status)), status, clients, now: Instant::now() }
    }

    fn message_id(number: u32) -> MessageId {
        MessageId::parse(format!("00000000-0000-4000-8000-{number:012}").as_bytes()).unwrap()
    }

    fn number(request: Request) -> u32 {
        request.id.to_string()[24..].parse().unwrap()
    }

    impl Bench {
        fn publication(&self, to: usize, number: u32) -> Publication {
            let (to, from) = (self.clients[to], self.clients[0]);
            let payload = format!(r#"{{"SenderID":"{from}","RecipientID":"{to}","Text":"x"}}"#);
            let delivery = Delivery::parse(payload.as_bytes()).unwrap();
            Publication { delivery, request: Some(Request { client: from, id: message_id(number) }) }
        }

        /// Offers `(recipient, number)` each; the numbers that were refused at once, all for the same reason.
        fn offer(&mut self, offers: &[(usize, u32)], refusal: Refusal) -> Vec<u32> {
            let mut batch = offers.iter().map(|&(to, number)| self.publication(to, number)).collect();
            let mut refused = vec![];
            self.queue.offer(&mut batch, &mut refused, self.now);
            assert!(batch.is_empty());
            assert!(refused.iter().all(|settlement| settlement.outcome == Err(refusal)), "{refused:?}");
            refused.iter().map(|settlement| number(settlement.request)).collect()
        }

        /// Takes and releases one batch: numbers of messages, and of tombstones as negative ones.
        fn turn(&mut self) -> Vec<i64> {
            let mut batch = vec![];
            self.queue.take(&mut batch);
            let name = |entry: &Entry| match entry {
                Entry::Message { request, .. } => i64::from(number(request.unwrap())),
                Entry::Tombstone { request, .. } => -i64::from(number(*request)),
            };
            let names = batch.iter().map(name).collect();
            self.queue.release(&mut batch);
            names
        }
    }

    #[test]
    fn a_closed_queue_refuses_at_once_and_in_order() {
        let mut bench = bench(ROOM_FOR_THREE);
        assert_eq!(bench.offer(&[(0, 1), (1, 2), (0, 3)], Refusal::Down), [1, 2, 3]);
        assert_eq!(bench.status.refused(Refusal::Down), 3);
        assert!(bench.queue.is_empty());
    }

    #[test]
    fn a_full_queue_refuses_at_once_only_who_has_nothing_in_it() {
        let mut bench = bench(ROOM_FOR_THREE);
        bench.queue.open();
        assert!(bench.offer(&[(0, 1), (1, 2), (0, 3)], Refusal::Down).is_empty());
        assert_eq!(bench.offer(&[(0, 4), (2, 5), (1, 6), (2, 7), (0, 8)], Refusal::QueueFull), [5, 7]);
        assert_eq!(bench.status.queue_entries(), 6);
        assert_eq!(bench.turn(), [1, 2, 3, -4, -6, -8]);
        assert_eq!((bench.status.queue_entries(), bench.status.queue_bytes()), (0, 0));
    }

    #[test]
    fn what_is_taken_counts_until_it_is_released() {
        let mut bench = bench(ROOM_FOR_THREE);
        bench.queue.open();
        bench.offer(&[(0, 1), (0, 2), (0, 3)], Refusal::Down);
        let mut batch = vec![];
        bench.queue.take(&mut batch);
        assert_eq!(bench.offer(&[(0, 4), (1, 5)], Refusal::QueueFull), [5]);
        bench.queue.release(&mut batch);
        // Number 4 is a tombstone that still waits, and there is room again: the order of the entries is the order of the answers.
        assert!(bench.offer(&[(0, 6)], Refusal::QueueFull).is_empty());
        assert_eq!(bench.turn(), [-4, 6]);
    }

    #[test]
    fn a_message_without_a_request_leaves_no_tombstone_but_is_counted() {
        let mut bench = bench(PUBLICATION_BYTES);
        bench.queue.open();
        let mut batch = vec![bench.publication(0, 1), Publication { request: None, ..bench.publication(0, 2) }];
        let mut refused = vec![];
        bench.queue.offer(&mut batch, &mut refused, bench.now);
        assert!(refused.is_empty());
        assert_eq!((bench.status.refused(Refusal::QueueFull), bench.turn()), (1, vec![1]));
    }

    #[test]
    fn an_empty_queue_takes_a_message_larger_than_its_bound() {
        let mut bench = bench(1);
        bench.queue.open();
        assert_eq!(bench.offer(&[(0, 1), (1, 2)], Refusal::QueueFull), [2]);
        assert_eq!(bench.turn(), [1]);
    }

    #[test]
    fn tombstones_are_bounded() {
        let mut bench = bench(1);
        bench.queue.open();
        let offers: Vec<_> = (0..=TOMBSTONES_MAX as u32 + 1).map(|number| (0, number)).collect();
        assert_eq!(bench.offer(&offers, Refusal::QueueFull), [TOMBSTONES_MAX as u32 + 1]);
    }

    #[test]
    fn a_batch_is_bounded_in_entries_and_bytes() {
        let mut bench = bench(usize::MAX);
        bench.queue.open();
        let offers: Vec<_> = (0..2 * PUBLISH_BATCH_ENTRIES_MAX as u32).map(|number| (0, number)).collect();
        bench.offer(&offers, Refusal::Down);
        let by_bytes = PUBLISH_BATCH_BYTES_MAX / (PUBLICATION_BYTES + 3);
        assert_eq!(bench.turn().len(), by_bytes.min(PUBLISH_BATCH_ENTRIES_MAX));
        assert!(!bench.queue.is_empty());
    }

    #[test]
    fn a_closing_queue_takes_offers_until_it_is_empty() {
        let mut bench = bench(ROOM_FOR_THREE);
        bench.queue.open();
        bench.offer(&[(0, 1)], Refusal::Down);
        bench.queue.close_when_empty();
        assert!(bench.offer(&[(0, 2)], Refusal::Down).is_empty());
        assert!(!bench.queue.close_if_empty());
        assert_eq!(bench.turn(), [1, 2]);
        assert!(bench.queue.close_if_empty());
        assert_eq!(bench.offer(&[(0, 3)], Refusal::Down), [3]);
        bench.queue.open();
        assert!(bench.offer(&[(0, 4)], Refusal::Down).is_empty());
    }
}
