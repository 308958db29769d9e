//! Where a transcript is played: over a hub, or over a server. Both look the same to the clients.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use texto::hub::{AfterWrite, Forward, Gate, GateSettings, Hub, HubSettings, Key, MessageHandler, Moment, ProxyProtocol, Router};
use texto::wire::address::Networks;
use texto::wire::delivery::{Delivery, Refusal, Settlement};
use texto::wire::id::{IdSource, NodeTag};
use texto::wire::message::Limits;
use texto::wire::origin::Origins;
use texto::wire::upgrade::Page;

use super::transcript::RedisAct;

/// What a client finds when it reads.
pub(crate) enum Came {
    /// Bytes, some.
    Bytes(Vec<u8>),
    /// The end.
    End,
    /// Nothing, however patient it was.
    Nothing,
}

/// The server's side of a conversation, as its clients see it. They are numbered in the order in which they connect.
pub(crate) trait World {
    /// A client connects.
    fn connect(&mut self) -> Result<usize, String>;
    /// It sends bytes.
    fn send(&mut self, client: usize, bytes: &[u8]) -> Result<(), String>;
    /// It reads; if nothing is there it waits, but not much longer than its `patience`.
    fn read(&mut self, client: usize, patience: Duration) -> Result<Came, String>;
    /// Whether something is there to be read. `None` if only time would tell.
    fn has_come(&mut self, client: usize) -> Option<bool>;
    /// It leaves what comes where it is, or no longer.
    fn set_reading(&mut self, client: usize, is_reading: bool);
    /// It closes its sending side.
    fn half_close(&mut self, client: usize) -> Result<(), String>;
    /// It closes its socket.
    fn hang_up(&mut self, client: usize);
    /// Time passes.
    fn wait(&mut self, time: Duration);
    /// The node drains.
    fn drain(&mut self, span: Duration);
    /// Redis acts. Returns the channel and the payload that it was given, as one line.
    fn redis(&mut self, act: RedisAct, payload: &str) -> Result<String, String>;
    /// All have left: panics if something of them is left over.
    fn check_end(&mut self);
}

/// How the bytes of clients come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// As they were sent.
    Whole,
    /// One by one, at least at the beginning.
    Single,
    /// With all that the same client sent just before.
    Joined,
}

/// How many bytes come one by one with [`Cut::Single`]: more than any header, and not a whole large message.
const SINGLE_BYTES: usize = 300;

#[derive(PartialEq, Eq)]
enum Redis {
    None,
    Down,
    Toy,
}

/// A hub without sockets, under a clock that is moved by hand.
pub(crate) struct HubWorld {
    hub: Hub<usize, Router>,
    now: Moment,
    ends: Vec<End>,
    cut: Cut,
    redis: Redis,
    forwards: VecDeque<Forward>,
}

/// The client's end of a connection.
struct End {
    key: Key,
    /// Sent by the client, not yet come.
    outgoing: Vec<u8>,
    /// Come, not yet read.
    incoming: Vec<u8>,
    is_reading: bool,
    has_ended: bool,
}

const fn page(content_type: &'static str, entity_tag: &'static str, body: &'static [u8]) -> Page {
    Page { status: "200 OK", content_type, extra_fields: "", entity_tag, body: std::borrow::Cow::Borrowed(body) }
}

static PAGES: [(&str, Page); 3] = [
    ("/", page("text/html; charset=utf-8", "\"a\"", b"<!doctype html>")),
    ("/texto.js", page("text/javascript; charset=utf-8", "\"b\"", b"export {};")),
    ("/health", texto::runtime::health::ALIVE),
];

impl HubWorld {
    /// A hub with these settings, to which bytes come as `cut` says.
    pub(crate) fn new(settings: &[(String, String)], cut: Cut) -> HubWorld {
        let mut hub_settings = default_settings();
        let (mut redis, mut gate) = (Redis::None, GateSettings::default());
        for (name, value) in settings {
            let number = || value.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {value}"));
            let time = || Duration::from_secs(value.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).expect("seconds"));
            match name.as_str() {
                "redis" if value == "down" => redis = Redis::Down,
                "redis" => redis = Redis::Toy,
                "max-connections" => gate.connections_max = number(),
                "max-connections-per-address" => gate.connections_per_address_max = NonZeroUsize::new(number()),
                "max-handshakes" => gate.handshakes_max = NonZeroUsize::new(number()),
                "accept-rate" => gate.accept_rate_max = NonZeroU32::new(number() as u32),
                "allowed-origins" => gate.allowed_origins = Origins::parse(value).expect("origins"),
                "trusted-proxies" => gate.trusted_proxies = Networks::parse(value).expect("networks"),
                "proxy-protocol" if value == "accept" => gate.proxy_protocol = ProxyProtocol::Accept,
                "proxy-protocol" if value == "require" => gate.proxy_protocol = ProxyProtocol::Require,
                "limits-dry-run" => gate.is_dry_run = value == "true",
                "message-size" => hub_settings.message.message_bytes_max = number(),
                "message-fragments" => hub_settings.message.message_frames_max = number() as u32,
                "message-rate" => hub_settings.message_rate_max = NonZeroU32::new(number() as u32),
                "outbox-size" => hub_settings.outbox_bytes_max = number(),
                "ping-after" => hub_settings.ping_after = time(),
                "pong-timeout" => hub_settings.pong_timeout = time(),
                "handshake-timeout" => hub_settings.handshake_timeout = time(),
                _ => panic!("transcripts know no setting {name}"),
            }
        }
        let router = Router::new(1, redis != Redis::None, &PAGES);
        let hub = Hub::new(hub_settings, NodeTag::from_bits(0xabcdef), 0, IdSource::seeded(8398), router).behind(Arc::new(Gate::new(gate)));
        // Not at zero: the clock of a node may be anywhere when a client comes.
        let now = Moment::from_millis((1 << 32) - 10_000);
        HubWorld { hub, now, ends: Vec::new(), cut, redis, forwards: VecDeque::new() }
    }

    /// What the runtime does at the end of a tick.
    fn settle(&mut self) {
        self.hub.expire(self.now);
        self.exchange();
        self.flush();
        while let Some((client, _)) = self.hub.reap() {
            self.ends[client].has_ended = true;
        }
        self.hub.check_invariants();
    }

    fn exchange(&mut self) {
        let forwards = self.hub.handler().forwards().map(std::mem::take).unwrap_or_default();
        for forward in forwards {
            match self.redis {
                Redis::Down => self.answer(&forward, Err(Refusal::Down)),
                Redis::Toy => self.forwards.push_back(forward),
                Redis::None => panic!("a node that runs alone has nobody to forward to"),
            }
        }
    }

    fn answer(&mut self, forward: &Forward, outcome: Result<(), Refusal>) {
        self.hub.settle(Settlement { request: forward.request, outcome }, self.now);
    }

    fn flush(&mut self) {
        let mut unsettled = Vec::new();
        self.hub.take_unsettled(&mut unsettled);
        for key in unsettled {
            let Some((&mut client, bytes)) = self.hub.owed(key) else { continue };
            let end = &mut self.ends[client];
            let taken = if end.is_reading { bytes.len() } else { 0 };
            end.incoming.extend_from_slice(&bytes[..taken]);
            let is_over = self.hub.sent(key, taken) == AfterWrite::ShutDown;
            self.ends[client].has_ended |= is_over;
        }
    }

    /// Hands over what a client has sent.
    fn receive(&mut self, client: usize) {
        let End { key, outgoing, .. } = &mut self.ends[client];
        let key = *key;
        let mut bytes = std::mem::take(outgoing);
        let singles = if self.cut == Cut::Single { SINGLE_BYTES.min(bytes.len()) } else { 0 };
        let (singles, rest) = bytes.split_at_mut(singles);
        for piece in singles.chunks_mut(1).chain((!rest.is_empty()).then_some(rest)) {
            self.hub.receive(key, piece, self.now);
            self.settle();
        }
    }

    fn receive_all(&mut self) {
        for client in 0..self.ends.len() {
            self.receive(client);
        }
    }

    /// Moves the clock to the next deadline or to `end`, whichever is first. Returns whether it is there.
    fn step(&mut self, end: Moment) -> bool {
        let next = self.hub.next_deadline().unwrap_or(end).min(end);
        assert!(next >= self.now && (next > self.now || next == end), "a deadline lies in the past");
        self.now = next;
        self.settle();
        next == end
    }
}

impl World for HubWorld {
    fn connect(&mut self) -> Result<usize, String> {
        self.receive_all();
        let client = self.ends.len();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let key = self.hub.open(client, Some(loopback), self.now).ok_or("the connection is closed without a word")?;
        self.ends.push(End { key, outgoing: Vec::new(), incoming: Vec::new(), is_reading: true, has_ended: false });
        self.settle();
        Ok(client)
    }

    fn send(&mut self, client: usize, bytes: &[u8]) -> Result<(), String> {
        for other in (0..self.ends.len()).filter(|&other| other != client) {
            self.receive(other);
        }
        self.ends[client].outgoing.extend_from_slice(bytes);
        if self.cut != Cut::Joined {
            self.receive(client);
        }
        Ok(())
    }

    fn read(&mut self, client: usize, patience: Duration) -> Result<Came, String> {
        self.receive_all();
        let end = self.now.plus(patience);
        loop {
            let is_late = patience.is_zero() || self.ends[client].has_ended || !self.ends[client].incoming.is_empty() || self.step(end);
            let End { incoming, has_ended, .. } = &mut self.ends[client];
            match (incoming.is_empty(), *has_ended) {
                (false, _) => return Ok(Came::Bytes(std::mem::take(incoming))),
                (true, true) => return Ok(Came::End),
                (true, false) if is_late => return Ok(Came::Nothing),
                (true, false) => {}
            }
        }
    }

    fn has_come(&mut self, client: usize) -> Option<bool> {
        self.receive_all();
        Some(!self.ends[client].incoming.is_empty() || self.ends[client].has_ended)
    }

    fn set_reading(&mut self, client: usize, is_reading: bool) {
        self.receive_all();
        self.ends[client].is_reading = is_reading;
        if is_reading {
            self.hub.writable(self.ends[client].key);
            self.settle();
        }
    }

    fn half_close(&mut self, client: usize) -> Result<(), String> {
        self.receive_all();
        self.hub.end_of_input(self.ends[client].key, self.now);
        self.settle();
        Ok(())
    }

    fn hang_up(&mut self, client: usize) {
        self.receive_all();
        self.hub.end_of_input(self.ends[client].key, self.now);
        self.settle();
        self.hub.socket_failed(self.ends[client].key);
        self.settle();
    }

    fn wait(&mut self, time: Duration) {
        self.receive_all();
        let end = self.now.plus(time);
        while !self.step(end) {}
    }

    fn drain(&mut self, span: Duration) {
        self.receive_all();
        self.hub.start_drain(span, self.now);
        self.settle();
    }

    fn redis(&mut self, act: RedisAct, payload: &str) -> Result<String, String> {
        self.receive_all();
        if let RedisAct::Brings = act {
            let delivery = Delivery::parse(payload.as_bytes()).map_err(|garbage| format!("{payload} is garbage: {garbage}"))?;
            let is_here = self.hub.deliver(&delivery, self.now);
            self.settle();
            return if is_here { Ok(String::new()) } else { Err(format!("{} is not here", delivery.to)) };
        }
        let forward = self.forwards.pop_front().ok_or("nothing waits for Redis")?;
        let outcome = match act {
            RedisAct::Takes | RedisAct::Brings => Ok(()),
            RedisAct::Refuses => Err(Refusal::Rejected),
            RedisAct::Stalls => Err(Refusal::Unanswered),
        };
        self.answer(&forward, outcome);
        self.settle();
        let mut written = Vec::new();
        forward.delivery.write_channel(&mut written);
        written.push(b' ');
        forward.delivery.write_payload(&mut written);
        String::from_utf8(written).map_err(|error| error.to_string())
    }

    fn check_end(&mut self) {
        for client in 0..self.ends.len() {
            self.hang_up(client);
        }
        assert!(self.hub.is_empty(), "connections are left over");
        self.hub.gate().check_deserted();
        let tally = *self.hub.tally();
        assert_eq!(tally.accepted, self.ends.len() as u64);
        assert_eq!(tally.closed.iter().sum::<u64>(), tally.accepted);
        assert!(self.forwards.is_empty(), "messages are left over that Redis has not been asked about");
        assert_eq!(self.hub.next_deadline().filter(|_| self.hub.is_empty()).map(|_| ()), None, "an empty hub needs no clock");
    }
}

/// The defaults of the program.
fn default_settings() -> HubSettings {
    HubSettings {
        endpoint: Some("/v1/texto"),
        message: Limits { message_bytes_max: 256 * 1024, message_frames_max: 16_384 },
        message_timeout: Duration::from_secs(60),
        message_rate_max: None,
        outbox_bytes_max: 1024 * 1024,
        handshake_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(5),
        ping_after: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(20),
    }
}
