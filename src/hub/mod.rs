//! Decisions for the clients of one loop. Pure: no socket is touched, no clock is read; bytes and times come in as arguments.
//!
//! ```text
//!   open ─▶ Key          receive(key, bytes) ─▶ frames ─▶ messages ─▶ MessageHandler ─▶ outboxes     expire(now) ─▶ pings, ends
//!                                                                                          │
//!   reap ◀─ ended        take_unsettled ─▶ keys, owed(key) ─▶ bytes, sent(key, n) ◀─────────┘
//! ```
//!
//! The hub knows WebSocket, not what is said on it: that is its handler's business, a type parameter. The socket `S` has no bound at all,
//! so the hub cannot touch it; tests use `()`.
//!
//! What the hubs of a node share is the gate that connections come through: counts, and the limits on them.
//!
//! The order within a tick is the runtime's: first what came in, then deadlines, then each unsettled connection is written once, last
//! the ended ones are reaped.

mod arrivals;
mod blocked;
mod close_reason;
mod closing;
mod connection;
mod deadlines;
mod directory;
mod expiry;
mod gate;
mod intake;
mod limit;
mod outbox;
mod peers;
mod router;
mod tally;

pub use close_reason::CloseReason;
pub use deadlines::Moment;
pub use directory::Directory;
pub use gate::{Gate, GateSettings, ProxyProtocol};
pub use limit::{Introduction, Limit};
pub use outbox::Outbox;
pub use peers::{Charge, Key, Peers};
pub use router::{Forward, Route, Router};
pub use tally::{HEARD, STATUSES, Tally};

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use connection::{Connection, Farewell, Peer, Phase};
use deadlines::Deadlines;
use expiry::Drain;
use peers::DEBT_MAX;

use crate::wire::delivery::{Delivery, Settlement};
use crate::wire::id::{IdSource, NodeTag};
use crate::wire::message::Limits;
use crate::wire::upgrade::{Opening, Page};

/// What an operator may set of a hub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HubSettings {
    /// The path under which WebSockets live; `None` where there are none.
    pub endpoint: Option<&'static str>,
    /// How large a message may get.
    pub message: Limits,
    /// From the first byte of a message to its last.
    pub message_timeout: Duration,
    /// Messages per second on one connection; `None` is no limit.
    pub message_rate_max: Option<NonZeroU32>,
    /// Bytes that may wait for one client.
    pub outbox_bytes_max: usize,
    /// From the connection to the end of the request head.
    pub handshake_timeout: Duration,
    /// From our Close to the client's, or to the end of the connection.
    pub close_timeout: Duration,
    /// Silence after which a client is pinged.
    pub ping_after: Duration,
    /// Further silence after which it is taken for dead.
    pub pong_timeout: Duration,
}

/// A message from a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl Message<'_> {
    fn len(self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }
}

/// What is said on the connections of a hub.
pub trait MessageHandler {
    /// A client has got its session; `opening` is its request.
    fn opened<S>(&mut self, _peers: &mut Peers<S>, _key: Key, _opening: &Opening<'_>) {}

    /// A client has said something.
    fn message<S>(&mut self, peers: &mut Peers<S>, key: Key, message: Message<'_>);

    /// The page under `path`, if there is one.
    fn page(&mut self, _path: &str) -> Option<Page> {
        None
    }

    /// A message has come from another loop or node. Returns whether its recipient is here.
    fn deliver<S>(&mut self, _peers: &mut Peers<S>, _delivery: &Delivery) -> bool {
        false
    }

    /// It is known what became of a message that had left this loop.
    fn settle<S>(&mut self, _peers: &mut Peers<S>, _settlement: Settlement) {}

    /// The messages that have to leave this loop, in order; whoever takes them empties the list.
    fn forwards(&mut self) -> Option<&mut Vec<Forward>> {
        None
    }
}

/// What the runtime has to do after a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterWrite {
    /// Nothing.
    Nothing,
    /// Shut down the sending side, and go on reading until the peer hangs up.
    ShutDown,
}

/// All clients of one loop.
pub struct Hub<S, M> {
    peers: Peers<S>,
    handler: M,
    deadlines: Deadlines,
    drain: Option<Drain>,
}

impl<S, M: MessageHandler> Hub<S, M> {
    /// A hub without clients. `tag` and `event_loop` go into the ids that it gives out.
    pub fn new(settings: HubSettings, tag: NodeTag, event_loop: u8, ids: IdSource, handler: M) -> Hub<S, M> {
        Hub { peers: Peers::new(settings, tag, event_loop, ids), handler, deadlines: Deadlines::default(), drain: None }
    }

    /// How many connections there are, of every state.
    pub fn len(&self) -> usize {
        self.peers.slots.len()
    }

    /// How many clients have a session.
    pub fn clients(&self) -> usize {
        self.peers.clients()
    }

    /// The connections whose sockets do not take what they are owed, and the bytes that these are owed. Looks at each of them.
    pub fn blocked(&self) -> (usize, usize) {
        self.peers.blocked()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.peers.slots.is_empty()
    }

    /// What has been counted.
    pub fn tally(&self) -> &Tally {
        &self.peers.tally
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut M {
        &mut self.handler
    }

    /// The gate that its connections come through.
    pub fn gate(&self) -> &Gate {
        &self.peers.gate
    }

    /// The socket of a connection.
    pub fn socket(&mut self, key: Key) -> Option<&mut S> {
        self.peers.peer_mut(key).map(|peer| &mut peer.socket)
    }

    /// Whether the client has its session and goes on talking; everybody else comes or goes.
    pub fn is_open(&self, key: Key) -> bool {
        self.peers.is_open(key)
    }

    /// The same hub behind a `gate`, which other hubs may share.
    #[must_use]
    pub fn behind(mut self, gate: Arc<Gate>) -> Hub<S, M> {
        self.peers.gate = gate;
        self
    }

    /// A connection has been accepted, from an address unless it came over a unix socket. One above a limit gets pages, but no session; and
    /// when there are many of those, `None`: it is to be closed without a word.
    pub fn open(&mut self, socket: S, peer: Option<IpAddr>, now: Moment) -> Option<Key> {
        self.peers.now = now;
        self.peers.arrive(socket, peer)
    }

    /// `bytes` have come in; they are unmasked where they lie. Returns how many messages and control frames of an open
    /// connection there were in them; the few behind a request head are not counted.
    pub fn receive(&mut self, key: Key, bytes: &mut [u8], now: Moment) -> usize {
        self.peers.now = now;
        self.peers.tally.bytes_received += bytes.len() as u64;
        let Some(peer) = self.peers.peer_mut(key) else { return 0 };
        let is_heard = peer.connection.is_heard();
        match &mut peer.connection {
            Connection::Opening { first, .. } => {
                let first = *first;
                self.receive_opening(key, first, bytes);
                0
            }
            Connection::Open { is_pinged, heard, debt, .. } => {
                *debt = pay_back(*debt, heard.elapsed(now));
                *heard = now.stamp();
                *is_pinged = false;
                self.receive_frames(key, bytes)
            }
            Connection::Closing { phase: Phase::AwaitingAnswers, .. } if is_heard => self.receive_frames(key, bytes),
            Connection::Closing { phase: Phase::AwaitingClose, reason, .. } => {
                let reason = *reason;
                self.receive_close(key, reason, bytes);
                0
            }
            // Nothing that comes now means anything.
            Connection::Closing { phase: Phase::AwaitingAnswers | Phase::Flushing | Phase::Lingering, .. } | Connection::Closed { .. } => 0,
        }
    }

    /// The client has closed its sending side. What it sent whole before has been handed on already.
    pub fn end_of_input(&mut self, key: Key, now: Moment) {
        self.peers.now = now;
        let Some(peer) = self.peers.peer_mut(key) else { return };
        match peer.connection {
            _ if peer.connection.is_heard() => self.peers.let_go(key, Farewell::Nothing, CloseReason::HungUp),
            Connection::Opening { .. } => self.peers.end(key, CloseReason::HungUp),
            Connection::Open { .. }
            | Connection::Closing { phase: Phase::AwaitingAnswers | Phase::Flushing, .. }
            | Connection::Closed { .. } => {}
            Connection::Closing { phase: Phase::AwaitingClose | Phase::Lingering, reason, .. } => self.end_after_flush(key, reason),
        }
    }

    /// The socket has failed.
    pub fn socket_failed(&mut self, key: Key) {
        let Some(peer) = self.peers.peer_mut(key) else { return };
        match peer.connection {
            Connection::Opening { .. } | Connection::Open { .. } => self.peers.end(key, CloseReason::SocketError),
            // It was about to end anyway, for a better reason.
            Connection::Closing { reason, .. } => self.peers.end(key, reason),
            Connection::Closed { .. } => {}
        }
    }

    /// The socket takes nothing any more, and what was owed to it is dropped. Returns whether the client is still heard: then what has come from it
    /// is to be read first, and only after that the socket has failed.
    pub fn write_failed(&mut self, key: Key) -> bool {
        if !self.peers.is_heard(key) {
            self.socket_failed(key);
            return false;
        }
        self.peers.with_work(key, |work| work.outbox.advance(work.outbox.len()));
        self.peers.release(key);
        true
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, key: Key) {
        self.peers.unblock(key);
    }

    /// A message has come from another loop or node. Returns whether its recipient is here.
    pub fn deliver(&mut self, delivery: &Delivery, now: Moment) -> bool {
        self.peers.now = now;
        self.handler.deliver(&mut self.peers, delivery)
    }

    /// It is known what became of a message that had left this loop.
    pub fn settle(&mut self, settlement: Settlement, now: Moment) {
        self.peers.now = now;
        self.handler.settle(&mut self.peers, settlement);
    }

    /// Moves the keys of the connections to write to, each once, to the end of `keys`.
    pub fn take_unsettled(&mut self, keys: &mut Vec<Key>) {
        keys.append(&mut self.peers.unsettled);
    }

    /// The socket of a connection, and what is to be written to it.
    pub fn owed(&mut self, key: Key) -> Option<(&mut S, &[u8])> {
        let Peer { socket, connection, .. } = self.peers.peer_mut(key)?;
        let work = connection.work()?;
        work.is_unsettled = false;
        (!work.outbox.is_empty()).then(|| (socket, work.outbox.owed()))
    }

    /// The socket has taken the first `len` bytes of what was owed; the rest, if any, it will take when it is writable again.
    pub fn sent(&mut self, key: Key, len: usize) -> AfterWrite {
        self.peers.tally.bytes_sent += len as u64;
        let Some(Peer { connection, .. }) = self.peers.peer_mut(key) else { return AfterWrite::Nothing };
        let Some(work) = connection.work() else { return AfterWrite::Nothing };
        work.outbox.advance(len);
        if !work.outbox.is_empty() {
            self.peers.block(key);
            return AfterWrite::Nothing;
        }
        if matches!(connection, Connection::Closing { phase: Phase::Lingering, .. }) {
            return AfterWrite::ShutDown;
        }
        self.peers.end_if_flushed(key);
        self.peers.release(key);
        AfterWrite::Nothing
    }

    /// Frees one ended connection.
    pub fn reap(&mut self) -> Option<(S, CloseReason)> {
        while let Some(key) = self.peers.ended.pop() {
            if let Some(Peer { socket, connection: Connection::Closed { reason }, .. }) = self.peers.remove(key) {
                self.peers.tally.count_close(reason);
                return Some((socket, reason));
            }
        }
        None
    }

    /// Gives memory back when most of the connections that it was for are gone. Returns whether there was any to give.
    pub fn shrink(&mut self) -> bool {
        let (used, room) = self.peers.occupancy();
        let is_wasteful = room > 1024 && used < room / 4;
        if is_wasteful {
            self.peers.shrink();
        }
        is_wasteful
    }

    /// Panics if an invariant of the hub does not hold. Looks at every connection, so it is for tests and simulations.
    pub fn check_invariants(&self) {
        self.peers.check_invariants();
    }

    fn end_after_flush(&mut self, key: Key, reason: CloseReason) {
        self.peers.begin_closing(key, Phase::Flushing, reason);
        self.peers.end_if_flushed(key);
    }
}

/// What is left of a debt for messages when time has paid it back; see [`Peers::charge_message`].
///
/// What is above a second's worth is for messages that were refused. It is paid first, and keeps nobody from sending once it is.
fn pay_back(debt: u16, millis: u64) -> u16 {
    let paid = u16::try_from(millis.saturating_mul(u64::from(DEBT_MAX)) / 1000).unwrap_or(u16::MAX);
    let is_excessive = debt.saturating_sub(DEBT_MAX) > paid;
    (if is_excessive { debt } else { debt.min(DEBT_MAX) }).saturating_sub(paid)
}
