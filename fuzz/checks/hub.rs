//! A whole hub: a few clients do what the bytes say, in any order, under a clock that jumps. Every invariant of the hub holds after each
//! step; what a client gets is a response and then frames that any reader takes; and when all have left, nothing is left over.

use std::time::Duration;

use texto::hub::{AfterWrite, Forward, Hub, HubSettings, Key, MessageHandler, Moment, Router};
use texto::wire::delivery::{Refusal, Settlement};
use texto::wire::id::{IdSource, NodeTag};
use texto::wire::message::Limits;

use super::frames;

const CLIENTS: usize = 4;
const STEPS_MAX: usize = 200;
const STEP: Duration = Duration::from_millis(700);

/// A stranger: not on this hub, so a message for it goes to Redis.
const STRANGER: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

pub(crate) fn check(script: &[u8]) {
    let mut stage = Stage::new();
    let mut script = script;
    for _ in 0..STEPS_MAX {
        let [step, rest @ ..] = script else { break };
        script = rest;
        let client = usize::from(step & 0x3);
        stage.play(client, step >> 2, &mut script);
        stage.end_tick();
    }
    stage.close();
}

struct Stage {
    hub: Hub<usize, Router>,
    now: Moment,
    clients: [Option<Client>; CLIENTS],
    /// What clients that have gone were told.
    accepted: u64,
    forwards: Vec<Forward>,
}

struct Client {
    key: Key,
    id: Option<String>,
    heard: Vec<u8>,
    is_reading: bool,
    is_upgraded: bool,
}

impl Stage {
    fn new() -> Stage {
        let settings = HubSettings {
            endpoint: Some("/v1/texto"),
            message: Limits { message_bytes_max: 600, message_frames_max: 20 },
            message_timeout: Duration::from_secs(3),
            message_rate_max: std::num::NonZeroU32::new(30),
            outbox_bytes_max: 4096,
            handshake_timeout: Duration::from_secs(2),
            close_timeout: Duration::from_secs(1),
            ping_after: Duration::from_secs(3),
            pong_timeout: Duration::from_secs(2),
        };
        let hub = Hub::new(settings, NodeTag::from_bits(0x00ab_cdef), 0, IdSource::seeded(1), Router::new(1, true, &[]));
        Stage { hub, now: Moment::from_millis(1_000_000), clients: [const { None }; CLIENTS], accepted: 0, forwards: Vec::new() }
    }

    fn play(&mut self, client: usize, step: u8, script: &mut &[u8]) {
        match (step, &self.clients[client]) {
            (_, None) => self.connect(client),
            (0..=9, Some(_)) => self.say_raw(client, script),
            (10..=19, Some(_)) => self.say_frame(client, step, script),
            (20..=35, Some(_)) => self.say_send(client, step),
            (36..=39, Some(_)) => self.say(client, &frames::request("/v1/texto")),
            (40..=44, Some(one)) => self.hub.end_of_input(one.key, self.now),
            (45..=46, Some(one)) => self.hub.socket_failed(one.key),
            (47..=50, Some(_)) => self.toggle_reading(client),
            (51..=57, Some(_)) => self.now = self.now.plus(STEP * u32::from(step - 50)),
            (58..=62, Some(_)) => self.settle_one(step),
            (_, Some(_)) => self.hub.start_drain(STEP, self.now),
        }
    }

    fn connect(&mut self, client: usize) {
        self.hub.gate().set_memory_short(client == CLIENTS - 1);
        let key = self.hub.open(client, None, self.now).expect("few are refused at a time");
        self.accepted += 1;
        self.clients[client] = Some(Client { key, id: None, heard: Vec::new(), is_reading: true, is_upgraded: false });
        if client < CLIENTS - 1 {
            self.say(client, &frames::request("/v1/texto"));
        }
    }

    fn say(&mut self, client: usize, bytes: &[u8]) {
        if let Some(one) = &self.clients[client] {
            self.hub.receive(one.key, &mut bytes.to_vec(), self.now);
        }
    }

    /// The next bytes of the script, as they are.
    fn say_raw(&mut self, client: usize, script: &mut &[u8]) {
        let bytes = take(script);
        self.say(client, bytes);
    }

    /// The next bytes of the script, as the payload of a frame.
    fn say_frame(&mut self, client: usize, step: u8, script: &mut &[u8]) {
        const FIRST: [u8; 10] = [0x81, 0x01, 0x00, 0x80, 0x82, 0x89, 0x8a, 0x88, 0x02, 0x81];
        let frame = frames::frame(FIRST[usize::from(step - 10)], take(script));
        self.say(client, &frame);
    }

    /// A good message: for one of the clients, or for a stranger.
    fn say_send(&mut self, client: usize, step: u8) {
        let id_of = |client: usize| self.clients[client].as_ref().and_then(|one| one.id.as_deref());
        let receiver = id_of(usize::from(step) % CLIENTS).filter(|_| step < 32).unwrap_or(STRANGER);
        let session = id_of(client).unwrap_or(STRANGER);
        let text = "x".repeat(usize::from(step) * 7);
        let json =
            format!(r#"{{"client_id":"{session}","id":"{STRANGER}","kind":"send","data":{{"receiver_id":"{receiver}","text":"{text}"}}}}"#);
        self.say(client, &frames::frame(frames::TEXT, json.as_bytes()));
    }

    fn toggle_reading(&mut self, client: usize) {
        if let Some(one) = &mut self.clients[client] {
            one.is_reading = !one.is_reading;
            if one.is_reading {
                self.hub.writable(one.key);
            }
        }
    }

    /// Redis answers for the oldest message that it was given.
    fn settle_one(&mut self, step: u8) {
        if !self.forwards.is_empty() {
            let request = self.forwards.remove(0).request;
            let outcome = if step.is_multiple_of(2) { Ok(()) } else { Err(Refusal::Unanswered) };
            self.hub.settle(Settlement { request, outcome }, self.now);
        }
    }

    /// What the runtime does at the end of a tick.
    fn end_tick(&mut self) {
        self.hub.expire(self.now);
        self.forwards.append(self.hub.handler().forwards().expect("a router forwards"));
        let mut unsettled = Vec::new();
        self.hub.take_unsettled(&mut unsettled);
        for key in unsettled {
            self.flush(key);
        }
        while let Some((client, _)) = self.hub.reap() {
            let gone = self.clients[client].take().expect("who ends was here");
            check_heard(gone);
        }
        self.hub.check_invariants();
        if let Some(next) = self.hub.next_deadline() {
            assert!(next >= self.now, "a deadline lies in the past");
        }
    }

    fn flush(&mut self, key: Key) {
        let Some((&mut client, bytes)) = self.hub.owed(key) else { return };
        let one = self.clients[client].as_mut().expect("who is owed something is here");
        let taken = if one.is_reading { bytes.len() } else { bytes.len() / 2 };
        one.heard.extend_from_slice(&bytes[..taken]);
        note_session(one);
        if self.hub.sent(key, taken) == AfterWrite::ShutDown {
            self.hub.end_of_input(key, self.now);
        }
    }

    /// All leave; the clock runs until every deadline has passed.
    fn close(mut self) {
        while !self.forwards.is_empty() {
            self.settle_one(0);
            self.end_tick();
        }
        for client in 0..CLIENTS {
            if let Some(one) = &self.clients[client] {
                self.hub.socket_failed(one.key);
                self.end_tick();
            }
        }
        assert!(self.hub.is_empty(), "a connection is left over");
        let tally = self.hub.tally();
        assert_eq!(tally.accepted, self.accepted);
        assert_eq!(tally.closed.iter().sum::<u64>(), tally.accepted);
    }
}

/// As many bytes as the next one says.
fn take<'s>(script: &mut &'s [u8]) -> &'s [u8] {
    let [len, rest @ ..] = *script else { return &[] };
    let (taken, rest) = rest.split_at(usize::from(*len).min(rest.len()));
    *script = rest;
    taken
}

/// Finds the session in what the client has heard.
fn note_session(one: &mut Client) {
    const BEFORE: &[u8] = br#"{"client_id":""#;
    if one.id.is_none()
        && let Some(at) = one.heard.windows(BEFORE.len()).position(|window| window == BEFORE)
        && let Some(id) = one.heard.get(at + BEFORE.len()..at + BEFORE.len() + STRANGER.len())
    {
        one.is_upgraded = true;
        one.id = Some(String::from_utf8(id.to_vec()).expect("an id is text"));
    }
}

/// A response, and after a 101 nothing but good frames. The last of them may be cut off.
fn check_heard(one: Client) {
    let mut heard = one.heard;
    let Some(head) = frames::take_head(&mut heard) else { return };
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    if !head.starts_with("HTTP/1.1 101 ") {
        assert!(!one.is_upgraded);
        return;
    }
    while let Some((first, payload)) = frames::take_frame(&mut heard).expect("a node breaks no rule") {
        if first == frames::TEXT {
            let message: serde_json::Value = serde_json::from_slice(&payload).expect("a node speaks JSON");
            let names: Vec<&String> = message.as_object().expect("a message is an object").keys().collect();
            assert_eq!(names.len(), 4, "{message}");
        }
    }
}
