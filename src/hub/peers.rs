//! The connections of one loop, as a message handler sees them: find a client, say something to it, close it.
//!
//! Nothing is written here. What is said goes to the outbox of its connection and marks it unsettled; at the end of the tick the runtime
//! writes each unsettled connection once. So ten messages for one client cost one system call.
//!
//! Invariants: an open client is listed in the directory, and so is one that leaves but is owed answers; a connection with bytes owed is
//! unsettled or blocked; a closed one is in `ended` exactly once.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::HubSettings;
use super::arrivals::Visitor;
use super::close_reason::CloseReason;
use super::connection::{Connection, First, Peer, Work};
use super::deadlines::Moment;
use super::directory::Directory;
use super::gate::{Gate, GateSettings};
use super::limit::Limit;
use super::tally::Tally;
use crate::limits::{CONTROL_BYTES_MAX, EXCESS_MESSAGES, FRAME_HEADER_BYTES_MAX, SPARES_KEPT, SPARES_MAX};
use crate::wire::frame::{self, Kind};
use crate::wire::id::{ClientId, IdSource, MessageId, NodeTag};

/// A connection of one hub. It never leaves its loop; between threads a client is a [`ClientId`].
///
/// The generation is part of the tenant's own id, so what is late for one tenant of a slot never reaches the next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// The key as one number, for the kernel to keep.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The key in a number made by [`Key::to_bits`].
    pub fn from_bits(bits: u64) -> Key {
        Key { slot: bits as u32, generation: (bits >> 32) as u32 }
    }

    pub(super) fn slot(self) -> u32 {
        self.slot
    }
}

/// The debt for messages that a client may have: a second's.
pub(super) const DEBT_MAX: u16 = 1 << 15;

/// What becomes of a message, by the rate of its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charge {
    /// It is taken.
    Within,
    /// It is refused.
    Above,
    /// It is refused, and the client is to be sent away.
    FarAbove,
}

/// The connections of one hub.
pub struct Peers<S> {
    pub(super) slots: Slab<Peer<S>>,
    /// One more than the highest slot ever used since the hub was last empty.
    pub(super) slots_end: usize,
    pub(super) settings: HubSettings,
    pub(super) now: Moment,
    pub(super) unsettled: Vec<Key>,
    pub(super) ended: Vec<Key>,
    pub(super) blocked: Vec<Key>,
    pub(super) gate: Arc<Gate>,
    /// The connections that were refused when they came, by their slots; few at a time, see [`Gate::may_tell`].
    pub(super) refused: HashMap<u32, Limit>,
    /// Whose the connections are, by their slots, if that is counted.
    pub(super) visitors: Vec<Visitor>,
    directory: Directory,
    ids: IdSource,
    tag: NodeTag,
    event_loop: u8,
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
    spares: Vec<Box<Work>>,
    /// What is counted.
    pub tally: Tally,
}

impl<S> Peers<S> {
    pub(super) fn new(settings: HubSettings, tag: NodeTag, event_loop: u8, ids: IdSource) -> Peers<S> {
        Peers {
            slots: Slab::new(),
            slots_end: 0,
            settings,
            now: Moment::default(),
            unsettled: Vec::new(),
            ended: Vec::new(),
            blocked: Vec::new(),
            gate: Arc::new(Gate::new(GateSettings::default())),
            refused: HashMap::new(),
            visitors: Vec::new(),
            directory: Directory::default(),
            ids,
            tag,
            event_loop,
            spares: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The id of the client on the connection `key`.
    pub fn client_id(&self, key: Key) -> Option<ClientId> {
        self.peer(key).map(|peer| self.id_of(peer))
    }

    /// The open connection of `client`.
    pub fn find(&self, client: ClientId) -> Option<Key> {
        self.find_listed(client).filter(|key| self.slots[key.slot as usize].connection.is_open())
    }

    /// Whether the client is here to be talked to.
    pub fn is_open(&self, key: Key) -> bool {
        self.peer(key).is_some_and(|peer| peer.connection.is_open())
    }

    /// Whether what the client says is heard; see [`Connection::is_heard`].
    pub(super) fn is_heard(&self, key: Key) -> bool {
        self.peer(key).is_some_and(|peer| peer.connection.is_heard())
    }

    /// The tag of this node and the number of this loop.
    pub fn place(&self) -> (NodeTag, u8) {
        (self.tag, self.event_loop)
    }

    /// A fresh id for a message that answers no request.
    pub fn message_id(&mut self) -> MessageId {
        self.ids.message_id()
    }

    /// Bytes that may wait for one client.
    pub fn outbox_bytes_max(&self) -> usize {
        self.settings.outbox_bytes_max
    }

    /// Where to append a frame of at most `frame_bytes` bytes for the client; `None` if it is not to be talked to any more.
    ///
    /// A client for which too much is waiting already is closed as a slow reader.
    pub fn owe(&mut self, key: Key, frame_bytes: usize) -> Option<&mut Vec<u8>> {
        let bytes_max = self.settings.outbox_bytes_max;
        let peer = self.peer_mut(key).filter(|peer| peer.connection.is_listed())?;
        let waiting = peer.connection.work().map_or(0, |work| work.outbox.len());
        if waiting + frame_bytes > bytes_max {
            self.tally.limit_hits[Limit::Outbox as usize] += 1;
            self.close(key, CloseReason::SlowReader);
            return None;
        }
        if waiting + frame_bytes > self.gate.settings().outbox_bytes_tried {
            self.tally.limit_hits_dry[Limit::Outbox as usize] += 1;
        }
        self.append(key)
    }

    /// Says one whole message of `kind` to the client. Returns whether it was put into its queue.
    pub fn send(&mut self, key: Key, kind: Kind, payload: &[u8]) -> bool {
        let out = self.owe(key, payload.len() + FRAME_HEADER_BYTES_MAX);
        out.map(|out| frame::write(out, kind, payload)).is_some()
    }

    /// Notes that a message of the client is on its way and will be answered by [`Peers::take_answered`], so a client that leaves
    /// meanwhile is not let go before.
    pub fn expect_answer(&mut self, key: Key) {
        self.with_work(key, |work| work.unanswered += 1);
    }

    /// The connection that an answer for `client` goes to, which is one answer nearer to being owed none.
    ///
    /// Call [`Peers::farewell`] once the answer is written.
    pub fn take_answered(&mut self, client: ClientId) -> Option<Key> {
        let key = self.find_listed(client)?;
        let work = self.peer_mut(key)?.connection.work()?;
        work.unanswered = work.unanswered.saturating_sub(1);
        Some(key)
    }

    /// Whether the client may say one more message now, which it is charged for. Always, unless a rate is set.
    ///
    /// A leaky bucket: each message is a debt of a second divided by the rate, which time pays back; more than a second of it is too much.
    /// What is too much is a debt as well, though a smaller one, and a second of that ends the connection.
    pub fn charge_message(&mut self, key: Key) -> Charge {
        let Some(rate) = self.settings.message_rate_max else { return Charge::Within };
        let is_dry_run = self.gate.settings().is_dry_run;
        let Some(Peer { connection: Connection::Open { debt, .. }, .. }) = self.peer_mut(key) else { return Charge::Within };
        let cost = u32::from(DEBT_MAX) / rate.get();
        if u32::from(*debt) + cost <= u32::from(DEBT_MAX) {
            *debt += cost as u16;
            return Charge::Within;
        }
        let excess = u16::try_from((cost / EXCESS_MESSAGES).max(1)).unwrap_or(u16::MAX);
        let charged = debt.checked_add(excess);
        if !is_dry_run {
            *debt = charged.unwrap_or(u16::MAX);
        }
        match self.gate.hit(Limit::MessageRate, &mut self.tally) {
            Ok(()) => Charge::Within,
            Err(_) if charged.is_none() => Charge::FarAbove,
            Err(_) => Charge::Above,
        }
    }

    /// Where to append to the outbox of a connection that is not closed, whatever its state.
    pub(super) fn append(&mut self, key: Key) -> Option<&mut Vec<u8>> {
        let spares = &mut self.spares;
        let peer = self.slots.get_mut(key.slot as usize).filter(|peer| peer.serial.generation() == key.generation)?;
        let work = peer.connection.work_place()?.get_or_insert_with(|| spares.pop().unwrap_or_default());
        if !work.is_unsettled && work.blocked.is_none() {
            work.is_unsettled = true;
            self.unsettled.push(key);
        }
        Some(work.outbox.end())
    }

    /// Runs `change` on the box of a connection that is not closed.
    pub(super) fn with_work(&mut self, key: Key, change: impl FnOnce(&mut Work)) {
        let spares = &mut self.spares;
        let peer = self.slots.get_mut(key.slot as usize).filter(|peer| peer.serial.generation() == key.generation);
        if let Some(place) = peer.and_then(|peer| peer.connection.work_place()) {
            change(place.get_or_insert_with(|| spares.pop().unwrap_or_default()));
        }
    }

    /// Takes the box from a connection that is idle again.
    pub(super) fn release(&mut self, key: Key) {
        let Some(place) = self.peer_mut(key).and_then(|peer| peer.connection.work_place()) else { return };
        let Some(mut work) = place.take_if(|work| work.is_done()) else { return };
        if self.spares.len() < SPARES_MAX {
            work.outbox.trim();
            self.spares.push(work);
        }
    }

    /// Lets go of half of the kept boxes: what a busy moment needed, quiet seconds give back.
    pub(super) fn thin_out_spares(&mut self) {
        if self.spares.len() > SPARES_KEPT {
            self.spares.truncate((self.spares.len() / 2).max(SPARES_KEPT));
        }
    }

    /// A pong with the payload of the ping (RFC 6455 section 5.5.3).
    pub(super) fn pong(&mut self, key: Key, payload: &[u8]) {
        debug_assert!(payload.len() <= CONTROL_BYTES_MAX);
        self.send(key, Kind::Pong, payload);
    }

    pub(super) fn insert(&mut self, socket: S, first: First) -> Key {
        let serial = self.ids.serial();
        let connection = Connection::Opening { first, since: self.now.stamp(), work: None };
        let slot = self.slots.insert(Peer { serial, socket, connection });
        self.slots_end = self.slots_end.max(slot + 1);
        self.tally.accepted += 1;
        Key { slot: slot as u32, generation: serial.generation() }
    }

    /// Gives the connection its session.
    pub(super) fn list(&mut self, key: Key) {
        let slots = &self.slots;
        let hash_of = |slot: u32| slots[slot as usize].serial.hash();
        self.directory.insert(hash_of(key.slot), key.slot, hash_of);
    }

    pub(super) fn unlist(&mut self, key: Key) {
        let slots = &self.slots;
        let hash_of = |slot: u32| slots[slot as usize].serial.hash();
        self.directory.remove(hash_of(key.slot), key.slot, hash_of);
    }

    fn find_listed(&self, client: ClientId) -> Option<Key> {
        if (client.tag(), client.event_loop()) != (self.tag, self.event_loop) {
            return None;
        }
        let serial = client.serial();
        let slot = self.directory.find(serial.hash(), |slot| self.slots[slot as usize].serial == serial)?;
        Some(Key { slot, generation: serial.generation() })
    }

    pub(super) fn peer(&self, key: Key) -> Option<&Peer<S>> {
        self.slots.get(key.slot as usize).filter(|peer| peer.serial.generation() == key.generation)
    }

    pub(super) fn peer_mut(&mut self, key: Key) -> Option<&mut Peer<S>> {
        self.slots.get_mut(key.slot as usize).filter(|peer| peer.serial.generation() == key.generation)
    }

    /// The key of the tenant of `slot`, if it has one.
    pub(super) fn key_of(&self, slot: usize) -> Option<Key> {
        self.slots.get(slot).map(|peer| Key { slot: slot as u32, generation: peer.serial.generation() })
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Peer<S>> {
        self.peer(key)?;
        let peer = self.slots.remove(key.slot as usize);
        self.depart(key.slot);
        if self.slots.is_empty() {
            self.slots_end = 0;
        }
        Some(peer)
    }

    /// Gives back the memory of connections that are gone.
    pub(super) fn shrink(&mut self) {
        self.spares = Vec::new();
        self.directory.shrink();
        self.slots.shrink_to_fit();
        self.slots_end = self.slots.iter().next_back().map_or(0, |(slot, _)| slot + 1);
        self.visitors.truncate(self.slots_end);
        self.visitors.shrink_to_fit();
        self.unsettled.shrink_to(SPARES_MAX);
        self.ended.shrink_to(SPARES_MAX);
        self.blocked.shrink_to(SPARES_MAX);
    }

    /// Clients that are listed.
    pub(super) fn clients(&self) -> usize {
        self.directory.count()
    }

    /// Slots in use and slots there is memory for.
    pub(super) fn occupancy(&self) -> (usize, usize) {
        (self.slots.len(), self.slots.capacity())
    }

    fn id_of(&self, peer: &Peer<S>) -> ClientId {
        ClientId::new(self.tag, self.event_loop, peer.serial)
    }

    /// Panics if an invariant does not hold. Looks at every connection, so it is for tests.
    pub(super) fn check_invariants(&self) {
        let listed = self.slots.iter().filter(|(_, peer)| peer.connection.is_listed());
        assert_eq!(listed.count(), self.directory.count());
        self.directory.check_invariants(|slot| self.slots[slot as usize].serial.hash());
        let mut blocked = 0;
        assert!(self.refused.keys().all(|&slot| self.slots.contains(slot as usize)));
        let mut visitors = self.visitors.iter().enumerate();
        assert!(visitors.all(|(slot, visitor)| *visitor == Visitor::Unknown || self.slots.contains(slot)));
        for (slot, peer) in &self.slots {
            assert!(slot < self.slots_end);
            let key = Key { slot: slot as u32, generation: peer.serial.generation() };
            let ended = self.ended.iter().filter(|&&ended| ended == key).count();
            let (is_closed, work) = match &peer.connection {
                Connection::Opening { work, .. } | Connection::Open { work, .. } | Connection::Closing { work, .. } => {
                    (false, work.as_deref())
                }
                Connection::Closed { .. } => (true, None),
            };
            assert_eq!(ended, usize::from(is_closed));
            let Some(work) = work else { continue };
            assert_eq!(self.unsettled.contains(&key), work.is_unsettled);
            assert!(work.blocked.is_none_or(|place| self.blocked[place as usize] == key));
            blocked += usize::from(work.blocked.is_some());
            assert!(work.outbox.is_empty() || work.is_unsettled || work.blocked.is_some());
            assert!(
                work.outbox.len() <= self.settings.outbox_bytes_max + FRAME_HEADER_BYTES_MAX + CONTROL_BYTES_MAX
                    || !peer.connection.is_open()
            );
        }
        assert_eq!(self.blocked.len(), blocked);
    }
}
