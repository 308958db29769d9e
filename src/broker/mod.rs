//! The broker: what goes between the nodes, through Redis Pub/Sub, by a few threads of plain blocking code.
//!
//! ```text
//!  event loops ─offer─▶ Queue ─▶ texto-publish ──PUBLISH pipeline──▶ Redis ──pattern──▶ texto-subscribe
//!                                     │                                                      │
//!                                     ▼ settle                                      deliver  ▼
//!                                  Loops (the mailboxes of the event loops of this node)
//! ```
//!
//! With Sentinels there is a thread `texto-sentinel` for each of them, which hears when the master changes; see `locator.rs` for how Redis
//! is found, and `orders.rs` for how a move is told to both links.
//!
//! Blocking threads, because Redis is one peer and not a million: a pipeline that is written once and read to its end is the fastest way
//! to use it, and nothing here may make an event loop wait.
//!
//! Invariants: each [`Publication`] that somebody waits for is settled exactly once; the settlements for one recipient come in the order
//! of the offers; a message is only settled `Ok` when Redis said so; every wait has an end.

pub mod address;
mod backoff;
mod dial;
mod group;
mod journal;
mod link;
mod locator;
mod orders;
mod pipeline;
mod probe;
mod publisher;
mod queue;
mod role;
mod sentinel;
mod status;
mod subscriber;
mod watch;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::delivery::{Delivery, Request, Settlement};
use crate::wire::id::{ClientId, IdSource, NodeTag};
use link::Keeper;
use locator::Locator;
use orders::Orders;
use probe::Probe;
use publisher::PublishSession;
use subscriber::SubscribeSession;
use watch::Watch;

pub use address::Address;
pub use publisher::Publisher;
pub use status::Status;

/// Where messages and answers go: the loops of this node. Implemented by the runtime; must never block.
pub trait Loops: Send + 'static {
    /// Hands a message to the loop that its recipient's id names. What no loop takes is dropped and counted there.
    fn deliver(&mut self, delivery: Delivery);
    /// Hands an answer to the loop of the client that asked.
    fn settle(&mut self, settlement: Settlement);
    /// Wakes the loops that got something since the last call.
    ///
    /// The publisher calls it once per batch. The subscriber cannot see whether another message is already in its buffer, so it calls it
    /// once per message: let it cost nothing when the loop has been woken already and not yet looked.
    fn ring(&mut self);
}

/// A message for a client of another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// The message.
    pub delivery: Delivery,
    /// Who waits for the answer, if anybody does.
    pub request: Option<Request>,
}

/// What the broker has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Redis is.
    pub address: Address,
    /// This node: whose messages to listen for.
    pub tag: NodeTag,
    /// The time that Redis has to take a message, counted from the offer. Beyond, the connection is given up.
    pub answer_timeout: Duration,
    /// Bytes of messages that may wait for Redis, in the queue or on the way. Beyond, messages are refused.
    pub queue_bytes_max: usize,
    /// Time between two messages that the node sends to itself, to know that messages come round.
    pub probe_interval: Duration,
}

impl Settings {
    /// The settings of a node of which nothing else is said: two seconds, because a person who waits longer tries again; 64 MiB, a second
    /// or so of what Redis can take; a probe every two seconds, which is nothing to Redis.
    pub fn new(address: Address, tag: NodeTag) -> Settings {
        let (answer_timeout, probe_interval) = (Duration::from_secs(2), Duration::from_secs(2));
        Settings { address, tag, answer_timeout, queue_bytes_max: 64 << 20, probe_interval }
    }
}

/// Time that [`Broker::stop`] grants the threads above what the last answers may take. A thread that is still in a name resolver or in
/// a slow handshake then is left behind: the process is about to end.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// Time that [`Broker::wait_for_first_attempts`] grants a Redis that does not answer, a hundred times what one needs that does.
const FIRST_ATTEMPTS_TIME: Duration = Duration::from_secs(1);

/// The threads that connect this node to the others.
#[derive(Debug)]
pub struct Broker {
    publisher: Publisher,
    status: Arc<Status>,
    orders: Arc<Orders>,
    answer_timeout: Duration,
    /// Nothing is ever sent: it ends when both links have tried once to connect.
    tried: Receiver<()>,
    /// The same, when all threads have ended.
    ended: Receiver<()>,
}

/// Starts the threads. Redis need not be there: they wait for it, and messages are refused until then.
pub fn start(settings: Settings, loops: impl Loops + Clone, mut ids: IdSource) -> io::Result<Broker> {
    let Settings { address, tag, answer_timeout, queue_bytes_max, probe_interval } = settings;
    let (status, orders) = (Arc::new(Status::default()), Arc::new(Orders::default()));
    let publisher = Publisher::new(queue_bytes_max, Arc::clone(&status));
    let sentinels = address.sentinels().len();
    let locator = Arc::new(Locator::new(address, Arc::clone(&orders), publisher.clone(), Arc::clone(&status)));
    // Drawn like those of clients, so none of them will ever have it.
    let probe = Arc::new(Probe::new(ClientId::new(tag, u8::MAX, ids.serial()), probe_interval, Arc::clone(&status)));
    let (alive, ended) = channel();
    let (first_attempt, tried) = channel();
    let broker = Broker { publisher, status, orders, answer_timeout, tried, ended };
    // Jitter need not be unguessable, only different from node to node.
    let mut random = || IdSource::seeded(ids.bits());

    let keeper = Keeper::new(Arc::clone(&locator), "publish", random(), first_attempt.clone());
    let session = PublishSession::new(broker.publisher(), loops.clone(), answer_timeout, Arc::clone(&broker.orders), Arc::clone(&probe));
    broker.spawn("texto-publish", alive.clone(), move || keeper.run(session))?;

    let keeper = Keeper::new(Arc::clone(&locator), "subscribe", random(), first_attempt);
    let session = SubscribeSession::new(tag, loops, broker.status(), Arc::clone(&broker.orders), probe, broker.publisher());
    broker.spawn("texto-subscribe", alive.clone(), move || keeper.run(session))?;

    for number in 0..sentinels {
        let watch = Watch::new(number, Arc::clone(&locator), broker.status(), random());
        broker.spawn("texto-sentinel", alive.clone(), move || watch.run())?;
    }
    Ok(broker)
}

impl Broker {
    /// The way in for messages; clones share one queue.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Waits until both links are there, or have failed to be, or a second has passed: who becomes a client after that can be reached by
    /// the other nodes, if anybody can.
    pub fn wait_for_first_attempts(&self) {
        // A disconnected channel is what is waited for.
        let _ = self.tried.recv_timeout(FIRST_ATTEMPTS_TIME);
    }

    /// How it is and what it did.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Publishes what is queued, if Redis takes it within the answer timeout, and ends all threads. Everything offered is settled.
    pub fn stop(self) {
        self.tell_to_stop();
        // A disconnected channel is the good end; a timeout leaves a thread behind, see STOP_SLACK.
        let _ = self.ended.recv_timeout(self.answer_timeout + STOP_SLACK);
    }

    fn tell_to_stop(&self) {
        self.orders.stop();
        self.publisher.stop(Instant::now() + self.answer_timeout);
    }

    fn spawn(&self, name: &str, alive: Sender<()>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let body = move || {
            run();
            drop(alive);
        };
        thread::Builder::new().name(name.to_owned()).spawn(body).inspect_err(|_| self.tell_to_stop())?;
        Ok(())
    }
}
