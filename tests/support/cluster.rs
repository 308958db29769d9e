//! Nodes of several hubs each in one thread: what the runtime does, step by step, with nothing happening unless the simulation says so.
//! What lies between the nodes is in `toy_redis.rs`.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use texto::hub::{AfterWrite, CloseReason, Forward, Gate, GateSettings, Hub, HubSettings, Key, MessageHandler, Moment, Route, Router};
use texto::wire::delivery::{Delivery, Refusal, Request, Settlement};
use texto::wire::id::{IdSource, NodeTag};
use texto::wire::message::Limits;

use super::random::Random;

/// Messages of siblings and of Redis that wait in one mailbox. Small, so that it overflows now and then.
const MAILBOX_MESSAGES_MAX: usize = 24;

/// How Redis is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// It takes what it is given.
    Up,
    /// It cannot be reached.
    Down,
    /// It answers with errors.
    Rejecting,
    /// It does not answer, and may or may not have taken what it was given.
    Stalled,
}

/// What waits in the mailbox of a loop.
pub(crate) enum Post {
    FromSibling(Delivery),
    FromBroker(Delivery),
    Settled(Settlement),
}

/// What waits for Redis.
pub(crate) struct Publication {
    pub(crate) delivery: Delivery,
    /// Who waits for the answer; nobody if it was passed on for a sibling that had not found the recipient.
    pub(crate) request: Option<Request>,
    /// Refused already, and waits only for its turn, because answers do not overtake each other.
    pub(crate) refusal: Option<Refusal>,
}

/// One event loop.
pub(crate) struct Loop {
    hub: Hub<usize, Router>,
    pub(crate) mailbox: VecDeque<Post>,
    counted: Counted,
}

/// What the simulation counted, to be compared with the hub's tally.
#[derive(Default)]
struct Counted {
    opened: u64,
    reaped: u64,
    bytes_in: u64,
    bytes_out: u64,
    to_sibling: u64,
    to_broker: u64,
    delivered: u64,
}

/// One node.
pub(crate) struct Node {
    pub(crate) tag: NodeTag,
    pub(crate) loops: Vec<Loop>,
    pub(crate) queue: VecDeque<Publication>,
    /// What the subscriber has not read yet.
    pub(crate) subscription: VecDeque<Delivery>,
    pub(crate) is_subscribed: bool,
    is_draining: bool,
}

/// The connection between a client and a hub.
pub(crate) struct Wire {
    pub(crate) place: (usize, usize),
    key: Key,
    /// On its way to the hub.
    pub(crate) upstream: VecDeque<u8>,
    /// On its way to the client.
    pub(crate) downstream: Vec<u8>,
    /// Bytes that the client's kernel still takes.
    pub(crate) room: usize,
    /// The client has closed its sending side behind what is upstream.
    pub(crate) is_half_closed: bool,
    /// When the hub was told so.
    pub(crate) input_ended: Option<Moment>,
    /// The server has closed its sending side behind what is downstream.
    pub(crate) is_shut: bool,
    /// When and why the hub let go of it.
    pub(crate) reaped: Option<(Moment, CloseReason)>,
}

/// The whole.
pub(crate) struct Cluster {
    pub(crate) now: Moment,
    pub(crate) health: Health,
    /// The messages that a part outside of the hubs dropped after they had been acknowledged, as Pub/Sub may.
    pub(crate) lost: HashSet<String>,
    pub(crate) wires: Vec<Wire>,
    pub(crate) nodes: Vec<Node>,
    settings: HubSettings,
    has_broker: bool,
    ids: IdSource,
}

impl Cluster {
    /// `nodes` nodes of `loops` loops. Two nodes may draw the same tag.
    pub(crate) fn new(nodes: usize, loops: usize, dice: &mut Random) -> Cluster {
        let mut cluster = Cluster {
            now: Moment::from_millis(dice.bits() >> 20),
            health: Health::Up,
            lost: HashSet::new(),
            wires: Vec::new(),
            nodes: Vec::new(),
            settings: settings(),
            has_broker: nodes > 1,
            ids: IdSource::seeded(dice.bits()),
        };
        for _ in 0..nodes {
            let node = cluster.new_node(loops, dice);
            cluster.nodes.push(node);
        }
        cluster
    }

    fn new_node(&mut self, loops: usize, dice: &mut Random) -> Node {
        let is_twin = !self.nodes.is_empty() && dice.one_in(5);
        let tag = if is_twin { self.nodes[0].tag } else { self.ids.node_tag() };
        let gate = Arc::new(Gate::new(gate_settings()));
        let new_loop = |number: usize| {
            let router = Router::new(loops, self.has_broker, &[]);
            let ids = IdSource::seeded(dice.bits());
            let hub = Hub::new(self.settings.clone(), tag, number as u8, ids, router).behind(Arc::clone(&gate));
            Loop { hub, mailbox: VecDeque::new(), counted: Counted::default() }
        };
        let loops = (0..loops).map(new_loop).collect();
        Node { tag, loops, queue: VecDeque::new(), subscription: VecDeque::new(), is_subscribed: true, is_draining: false }
    }

    /// The number of nodes and of loops in each.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.nodes.len(), self.nodes[0].loops.len())
    }

    pub(crate) fn at(&mut self, place: (usize, usize)) -> &mut Loop {
        &mut self.nodes[place.0].loops[place.1]
    }

    /// A client connects. Its number is that of its wire.
    pub(crate) fn open(&mut self, place: (usize, usize), is_surplus: bool) -> usize {
        let (client, now) = (self.wires.len(), self.now);
        let event_loop = self.at(place);
        event_loop.hub.gate().set_memory_short(is_surplus);
        // Some come from one address, most from another each.
        let peer = IpAddr::V4(Ipv4Addr::from_bits(client as u32 * u32::from(client % 3 != 0)));
        let key = event_loop.hub.open(client, Some(peer), now).expect("few are refused at a time");
        event_loop.counted.opened += 1;
        self.wires.push(Wire {
            place,
            key,
            upstream: VecDeque::new(),
            downstream: Vec::new(),
            room: usize::MAX,
            is_half_closed: false,
            input_ended: None,
            is_shut: false,
            reaped: None,
        });
        client
    }

    /// The hub reads at most `len` bytes of what the client sent, and then perhaps the end of it.
    pub(crate) fn receive(&mut self, client: usize, len: usize) {
        let now = self.now;
        let Wire { place, key, upstream, .. } = &mut self.wires[client];
        let (place, key) = (*place, *key);
        let mut bytes: Vec<u8> = upstream.drain(..len.min(upstream.len())).collect();
        // Even for a client that is gone: the runtime may have an event in hand for a key whose slot has a new tenant.
        let is_over =
            self.wires[client].upstream.is_empty() && self.wires[client].is_half_closed && self.wires[client].input_ended.is_none();
        let event_loop = self.at(place);
        if !bytes.is_empty() {
            event_loop.counted.bytes_in += bytes.len() as u64;
            event_loop.hub.receive(key, &mut bytes, now);
        }
        if is_over {
            event_loop.hub.end_of_input(key, now);
            self.wires[client].input_ended = Some(now);
        }
        self.dispatch(place);
        self.nodes[place.0].loops[place.1].hub.check_invariants();
    }

    /// The connection breaks.
    pub(crate) fn reset(&mut self, client: usize) {
        let Wire { place, key, upstream, .. } = &mut self.wires[client];
        upstream.clear();
        let (place, key) = (*place, *key);
        self.at(place).hub.socket_failed(key);
    }

    /// The client's kernel takes bytes again.
    pub(crate) fn make_room(&mut self, client: usize, room: usize) {
        let Wire { place, key, .. } = self.wires[client];
        self.wires[client].room = room;
        self.at(place).hub.writable(key);
    }

    /// Writes what the loop owes; reaps what has ended.
    pub(crate) fn flush(&mut self, place: (usize, usize), dice: &mut Random) {
        let now = self.now;
        let Loop { hub, counted, .. } = &mut self.nodes[place.0].loops[place.1];
        let mut keys = Vec::new();
        hub.take_unsettled(&mut keys);
        for key in keys {
            let Some((&mut client, bytes)) = hub.owed(key) else { continue };
            let wire = &mut self.wires[client];
            assert_eq!((wire.place, wire.key), (place, key), "a hub confuses its sockets");
            assert!(wire.reaped.is_none(), "a hub writes to a socket that it has given back");
            let most = if dice.one_in(4) { dice.below(bytes.len() + 1) } else { bytes.len() };
            let taken = most.min(wire.room);
            // A socket that refused bytes says when it takes more; one that took a part of them is as good as full.
            wire.room = if taken < bytes.len() { 0 } else { wire.room - taken };
            wire.downstream.extend_from_slice(&bytes[..taken]);
            counted.bytes_out += taken as u64;
            wire.is_shut |= hub.sent(key, taken) == AfterWrite::ShutDown;
        }
        while let Some((client, reason)) = hub.reap() {
            assert!(self.wires[client].reaped.replace((now, reason)).is_none(), "a connection is reaped twice");
            counted.reaped += 1;
        }
        hub.check_invariants();
    }

    /// Looks at the clock of a loop.
    pub(crate) fn expire(&mut self, place: (usize, usize)) {
        let now = self.now;
        let hub = &mut self.at(place).hub;
        hub.expire(now);
        hub.check_invariants();
    }

    /// Takes at most `posts` posts from the mailbox of a loop.
    pub(crate) fn collect(&mut self, place: (usize, usize), posts: usize) {
        let now = self.now;
        for _ in 0..posts {
            let event_loop = self.at(place);
            let Some(post) = event_loop.mailbox.pop_front() else { break };
            match post {
                Post::Settled(settlement) => event_loop.hub.settle(settlement, now),
                Post::FromBroker(delivery) => {
                    event_loop.counted.delivered += 1;
                    event_loop.hub.deliver(&delivery, now);
                }
                Post::FromSibling(delivery) => {
                    event_loop.counted.delivered += 1;
                    if !event_loop.hub.deliver(&delivery, now) && self.has_broker {
                        self.enqueue(place.0, delivery, None);
                    }
                }
            }
            self.at(place).hub.check_invariants();
        }
        self.dispatch(place);
    }

    /// What the exchange does with the messages that leave a loop.
    fn dispatch(&mut self, place: (usize, usize)) {
        let forwards = self.at(place).hub.handler().forwards().map(std::mem::take).unwrap_or_default();
        for Forward { delivery, request, route } in forwards {
            match route {
                Route::Broker => {
                    assert!(self.has_broker, "a node that runs alone has nobody to forward to");
                    self.at(place).counted.to_broker += 1;
                    self.enqueue(place.0, delivery, Some(request));
                }
                Route::Sibling(number) => {
                    assert_ne!(usize::from(number), place.1, "a loop is no sibling of its own");
                    self.at(place).counted.to_sibling += 1;
                    let is_taken = self.post((place.0, usize::from(number)), Post::FromSibling(delivery));
                    let outcome = if is_taken { Ok(()) } else { Err(Refusal::LoopBusy) };
                    let now = self.now;
                    self.at(place).hub.settle(Settlement { request, outcome }, now);
                }
            }
        }
    }

    pub(crate) fn post(&mut self, place: (usize, usize), post: Post) -> bool {
        let mailbox = &mut self.at(place).mailbox;
        let has_room = mailbox.len() < MAILBOX_MESSAGES_MAX;
        if has_room {
            mailbox.push_back(post);
        }
        has_room
    }

    /// A node begins to close its clients.
    pub(crate) fn drain(&mut self, node: usize, span: Duration) {
        let (node, now) = (&mut self.nodes[node], self.now);
        if !node.is_draining {
            node.is_draining = true;
            node.loops.iter_mut().for_each(|event_loop| event_loop.hub.start_drain(span, now));
        }
    }

    /// A node that has drained starts anew, mostly under another tag.
    pub(crate) fn restart_if_drained(&mut self, node: usize, dice: &mut Random) {
        if self.nodes[node].loops.iter().all(|event_loop| event_loop.hub.is_drained(self.now) && event_loop.hub.is_empty()) {
            self.check_node(node);
            self.forget(node);
            self.nodes[node] = self.new_node(self.nodes[node].loops.len(), dice);
        }
    }

    /// Whether nothing is under way between the loops, and nothing is owed that a client would take.
    pub(crate) fn is_quiet(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.queue.is_empty() && node.subscription.is_empty() && node.loops.iter().all(|event_loop| event_loop.mailbox.is_empty())
        })
    }

    /// Panics if what the hubs counted is not what happened.
    pub(crate) fn check_counts(&mut self) {
        for node in 0..self.nodes.len() {
            self.check_node(node);
        }
    }

    fn check_node(&mut self, node: usize) {
        for Loop { hub, counted, .. } in &mut self.nodes[node].loops {
            let is_reaped = counted.opened - counted.reaped == hub.len() as u64;
            assert!(is_reaped, "{} opened, {} reaped, {} here", counted.opened, counted.reaped, hub.len());
            let tally = *hub.tally();
            assert_eq!((tally.accepted, tally.closed.iter().sum::<u64>()), (counted.opened, counted.reaped));
            assert_eq!((tally.bytes_received, tally.bytes_sent), (counted.bytes_in, counted.bytes_out));
            assert_eq!((tally.sends_to_sibling, tally.sends_to_broker), (counted.to_sibling, counted.to_broker));
            assert_eq!(tally.deliveries + tally.deliveries_dropped, counted.delivered);
        }
    }

    /// Panics if anything of a client is left over.
    pub(crate) fn check_empty(&mut self) {
        self.check_counts();
        for event_loop in self.nodes.iter_mut().flat_map(|node| &mut node.loops) {
            let mut keys = Vec::new();
            event_loop.hub.take_unsettled(&mut keys);
            keys.retain(|&key| event_loop.hub.owed(key).is_some());
            assert!(event_loop.hub.is_empty() && keys.is_empty(), "{} connections are left over", event_loop.hub.len());
            assert!(event_loop.hub.handler().forwards().is_none_or(|forwards| forwards.is_empty()));
            event_loop.hub.gate().check_deserted();
        }
        assert!(self.wires.iter().all(|wire| wire.reaped.is_some()), "a connection was never reaped");
    }
}

/// All that a gate can count; only want of memory is refused, when the dice say so.
fn gate_settings() -> GateSettings {
    let most = NonZeroUsize::new(1_000_000);
    GateSettings { connections_per_address_max: most, handshakes_max: most, ..GateSettings::default() }
}

/// Small bounds, so that they are reached.
fn settings() -> HubSettings {
    HubSettings {
        endpoint: Some("/v1/texto"),
        message: Limits { message_bytes_max: 4096, message_frames_max: 64 },
        message_timeout: Duration::from_secs(60),
        message_rate_max: None,
        outbox_bytes_max: 12 * 1024,
        handshake_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(5),
        ping_after: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(20),
    }
}
