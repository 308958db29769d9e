//! The way from the event loops to Redis: any number of producers, one thread, one connection.
//!
//! The thread works in turns. A turn takes a batch from the queue, writes it as one pipeline, reads the answers in order and settles
//! each message with its own:
//!
//! ```text
//!  Redis answered        Ok, or Rejected; the connection goes on
//!  no answer in time,    the connection is given up: what was written is Unanswered, for Redis may have taken it;
//!  or it broke           what was still queued is Down
//!  not even written      QueueFull: Redis takes messages, but too slowly
//!  in half of the time
//! ```
//!
//! Nothing is ever published twice: a message whose fate is unknown is refused and not repeated.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::warn;
use redis::{Connection, RedisError};

use super::link::{Failure, Session};
use super::orders::Orders;
use super::pipeline::Pipeline;
use super::probe::Probe;
use super::queue::{Entry, Queue};
use super::status::Status;
use super::{Loops, Publication};
use crate::wire::delivery::{Delivery, Refusal, Settlement};

/// The way in for messages. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rung when the thread sleeps and there is something to do.
    work: Condvar,
    status: Arc<Status>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The thread waits for `work`; waking a thread that does not is a system call for nothing.
    is_sleeping: bool,
    /// When to end, whatever is queued then.
    stop_by: Option<Instant>,
}

impl Publisher {
    pub(super) fn new(queue_bytes_max: usize, status: Arc<Status>) -> Publisher {
        let queue = Queue::new(queue_bytes_max, Arc::clone(&status));
        let state = Mutex::new(State { queue, is_sleeping: false, stop_by: None });
        Publisher { shared: Arc::new(Shared { state, work: Condvar::new(), status }) }
    }

    /// Moves the whole batch into the queue and leaves it empty. What cannot be taken is appended to `refused`, in order; for each of
    /// these, everything offered before for the same recipient has been handed to [`Loops::settle`] already. The caller posts them
    /// behind what its own mailbox holds.
    pub fn offer(&self, batch: &mut Vec<Publication>, refused: &mut Vec<Settlement>) {
        if batch.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.queue.offer(batch, refused, now);
        if state.is_sleeping && !state.queue.is_empty() {
            state.is_sleeping = false;
            self.shared.work.notify_one();
        }
    }

    /// Has the thread look at its orders.
    pub(super) fn wake(&self) {
        // With the lock in hand: the thread looks at its orders with the same one, so it either has seen them or is asleep.
        let _state = self.shared.lock();
        self.shared.work.notify_one();
    }

    /// Lets the thread publish what is queued, but not for longer than `by`.
    pub(super) fn stop(&self, by: Instant) {
        self.shared.lock().stop_by = Some(by);
        self.shared.work.notify_one();
    }
}

/// Why the thread woke up.
enum Turn {
    /// A batch was taken, or it is time to look after the connection.
    Work,
    /// It is told to leave the connection, or to end.
    Leave,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A producer that panicked inside left the queue whole: it only moves values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a batch, but not for longer than `until`, nor after somebody called [`Publisher::wake`] and `is_over`.
    fn take(&self, batch: &mut Vec<Entry>, until: impl Fn() -> Instant, is_over: impl Fn(Instant) -> bool) -> Turn {
        let mut state = self.lock();
        loop {
            let (now, until) = (Instant::now(), until());
            if is_over(now) || state.stop_by.is_some_and(|by| state.queue.is_empty() || now >= by) {
                return Turn::Leave;
            }
            if !state.queue.is_empty() || now >= until {
                state.queue.take(batch);
                return Turn::Work;
            }
            state.is_sleeping = true;
            (state, _) = self.work.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner);
            state.is_sleeping = false;
        }
    }
}

/// The thread's side.
pub(super) struct PublishSession<L> {
    publisher: Publisher,
    loops: L,
    answer_timeout: Duration,
    orders: Arc<Orders>,
    probe: Arc<Probe>,
}

impl<L: Loops> Session for PublishSession<L> {
    type Link = Pipeline;

    fn prepare(&mut self, connection: Connection) -> Result<Pipeline, Failure> {
        Pipeline::new(connection, self.answer_timeout)
    }

    fn serve(&mut self, mut pipeline: Pipeline, moves: u64) -> Result<(), Failure> {
        let shared = Arc::clone(&self.publisher.shared);
        shared.lock().queue.open();
        shared.status.publishing.rise();
        self.probe.begin(Instant::now());
        let end = self.publish(&shared, &mut pipeline, moves);
        shared.status.publishing.fall();
        self.refuse_rest(&shared);
        end
    }
}

impl<L: Loops> PublishSession<L> {
    pub(super) fn new(
        publisher: Publisher,
        loops: L,
        answer_timeout: Duration,
        orders: Arc<Orders>,
        probe: Arc<Probe>,
    ) -> PublishSession<L> {
        PublishSession { publisher, loops, answer_timeout, orders, probe }
    }

    /// Turn after turn, until the connection breaks or it is time to move or to end. Each batch is settled before it is released.
    fn publish(&mut self, shared: &Shared, pipeline: &mut Pipeline, moves: u64) -> Result<(), Failure> {
        let (orders, probe) = (Arc::clone(&self.orders), Arc::clone(&self.probe));
        let has_moved = || orders.moves() != moves;
        let mut batch = Vec::new();
        let until = |pipeline: &Pipeline| pipeline.check_due().min(probe.due());
        while let Turn::Work = shared.take(&mut batch, || until(pipeline), |now| has_moved() || probe.is_lost(now)) {
            let now = Instant::now();
            let mut settled = 0;
            let end = self.exchange(&batch, &mut settled, pipeline, now);
            for entry in &batch[settled..] {
                let refusal = self.fate(entry, now).err().unwrap_or(Refusal::Unanswered);
                self.settle(entry, Err(refusal));
            }
            self.release(shared, &mut batch);
            end?;
        }
        if has_moved() {
            // Its answer is not waited for. It wakes the subscriber, which leaves the old place at once.
            pipeline.add(&probe.nudge());
            pipeline.send(Instant::now())?;
            return orders.follow(moves);
        }
        if probe.is_lost(Instant::now()) { Err(probe.give_up()) } else { Ok(()) }
    }

    /// Publishes a batch and settles its entries from the front, as many as get an answer; `settled` counts them.
    fn exchange(&mut self, batch: &[Entry], settled: &mut usize, pipeline: &mut Pipeline, now: Instant) -> Result<(), Failure> {
        let probe = self.probe.send(now);
        probe.iter().for_each(|probe| pipeline.add(probe));
        for entry in batch {
            if let Ok((delivery, _)) = self.fate(entry, now) {
                pipeline.add(delivery);
            }
        }
        let is_check = pipeline.send(now)?;
        // Its answer comes before those of the messages, so it has no more time than the first of them.
        let first_due = batch.iter().find_map(|entry| self.fate(entry, now).ok()).map_or(now + self.answer_timeout, |(_, due)| due);
        if probe.is_some() && pipeline.answer(first_due)?.is_err() {
            self.probe.refuse();
        }
        for entry in batch {
            let outcome = match self.fate(entry, now) {
                Ok((_, due)) => pipeline.answer(due)?.map_err(|error| Self::reject(&error)),
                Err(refusal) => Err(refusal),
            };
            self.settle(entry, outcome);
            *settled += 1;
        }
        if is_check {
            pipeline.check(now + self.answer_timeout)?;
            self.publisher.shared.status.publishing.check();
        }
        Ok(())
    }

    /// What to do with an entry that was taken at `now`: publish it and have the answer by a deadline, or refuse it.
    fn fate<'a>(&self, entry: &'a Entry, now: Instant) -> Result<(&'a Delivery, Instant), Refusal> {
        match entry {
            // Redis needs the other half: written later, a batch would run into its deadline, and a slow connection be lost for it.
            Entry::Message { offered, .. } if now >= *offered + self.answer_timeout / 2 => Err(Refusal::QueueFull),
            Entry::Message { delivery, offered, .. } => Ok((delivery, *offered + self.answer_timeout)),
            Entry::Tombstone { .. } => Err(Refusal::QueueFull),
        }
    }

    /// After the connection has ended: refuses what is queued, and whatever is offered meanwhile, until the queue is closed.
    fn refuse_rest(&mut self, shared: &Shared) {
        let mut batch = Vec::new();
        shared.lock().queue.close_when_empty();
        while !shared.lock().queue.close_if_empty() {
            shared.lock().queue.take(&mut batch);
            for entry in &batch {
                let refusal = match entry {
                    Entry::Message { .. } => Refusal::Down,
                    Entry::Tombstone { .. } => Refusal::QueueFull,
                };
                self.settle(entry, Err(refusal));
            }
            self.release(shared, &mut batch);
        }
    }

    fn settle(&mut self, entry: &Entry, outcome: Result<(), Refusal>) {
        match outcome {
            Ok(()) => drop(self.publisher.shared.status.published.fetch_add(1, Relaxed)),
            Err(refusal) => self.publisher.shared.status.count_refusal(refusal),
        }
        if let Some(request) = entry.request() {
            self.loops.settle(Settlement { request, outcome });
        }
    }

    /// Wakes the loops for their answers and makes room for new messages. In this order: a refusal at once must find these answers posted.
    fn release(&mut self, shared: &Shared, batch: &mut Vec<Entry>) {
        self.loops.ring();
        shared.lock().queue.release(batch);
    }

    fn reject(error: &RedisError) -> Refusal {
        warn!("Redis refused to publish a message: {error}");
        Refusal::Rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::ClientId;

    struct Nowhere;

    impl Loops for Nowhere {
        fn deliver(&mut self, _: Delivery) {}
        fn settle(&mut self, _: Settlement) {}
        fn ring(&mut self) {}
    }

    #[test]
    fn a_message_that_waited_half_of_its_time_is_not_written_any_more() {
        let timeout = Duration::from_secs(2);
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let probe = Arc::new(Probe::new(ClientId::parse(id.as_bytes()).unwrap(), timeout, Arc::default()));
        let session = PublishSession::new(Publisher::new(1000, Arc::default()), Nowhere, timeout, Arc::default(), probe);
        let offered = Instant::now();
        let payload = format!(r#"{{"SenderID":"{id}","RecipientID":"{id}","Text":"x"}}"#);
        let delivery = Delivery::parse(payload.as_bytes()).unwrap();
        let entry = Entry::Message { delivery, request: None, offered };
        let check = |waited, expected| {
            let fate = session.fate(&entry, offered + Duration::from_millis(waited));
            assert_eq!(fate.map(|(_, due)| due - offered), expected, "{waited}");
        };
        check(0, Ok(timeout));
        check(999, Ok(timeout));
        check(1000, Err(Refusal::QueueFull));
        check(5000, Err(Refusal::QueueFull));
    }
}
