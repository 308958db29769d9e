//! The clients: they connect, send numbered messages to each other, note all that they see, and come back when they are cut.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::history::{End, Message, Recorder, What};
use super::random::Random;
use crate::node::{Came, Client};

/// Pause before a client that could not connect tries again.
const RETRY: Duration = Duration::from_millis(50);

/// What all are doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Talking,
    Listening,
    Leaving,
}

/// What the clients share.
struct Meeting {
    recorder: Arc<Recorder>,
    phase: AtomicU8,
    /// The sessions of those who are connected.
    present: Mutex<Vec<String>>,
}

/// A number of clients, each with a thread of its own.
pub(crate) struct Crowd {
    meeting: Arc<Meeting>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// A client for each of these addresses, to which it always comes back; each sends once in a `pause`.
    pub(crate) fn gather(addresses: &[SocketAddr], pause: Duration, seed: u64, recorder: &Arc<Recorder>) -> Crowd {
        let meeting = Arc::new(Meeting { recorder: Arc::clone(recorder), phase: AtomicU8::new(0), present: Mutex::default() });
        let threads = addresses.iter().enumerate().map(|(number, &address)| {
            let meeting = Arc::clone(&meeting);
            let dice = Random::new(seed << 16 | (number as u64 + 1));
            thread::spawn(move || {
                let mut speaker = Speaker { meeting, dice, pause, address };
                while speaker.meeting.phase() != Phase::Leaving {
                    speaker.visit();
                }
            })
        });
        Crowd { threads: threads.collect(), meeting }
    }

    /// The sessions of those who are connected.
    pub(crate) fn present(&self) -> Vec<String> {
        self.meeting.present.lock().unwrap().clone()
    }

    /// From now on nobody says anything.
    pub(crate) fn hush(&self) {
        self.meeting.phase.store(Phase::Listening as u8, Ordering::Release);
    }

    /// All leave. A client that failed makes this fail.
    pub(crate) fn leave(self) {
        self.meeting.phase.store(Phase::Leaving as u8, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("a client has seen nothing that breaks WebSocket or JSON");
        }
    }
}

impl Meeting {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Talking,
            1 => Phase::Listening,
            _ => Phase::Leaving,
        }
    }
}

/// One client, through all its sessions.
struct Speaker {
    meeting: Arc<Meeting>,
    dice: Random,
    pause: Duration,
    address: SocketAddr,
}

/// One session of it.
struct Visit {
    client: Client,
    /// What it sent, by the ids of the requests. Kept when they are answered: a second answer is to be noticed as one.
    requests: HashMap<String, Message>,
    sent: HashMap<String, u32>,
}

impl Speaker {
    /// From a connection to its end.
    fn visit(&mut self) {
        let Some(client) = Client::try_connect(self.address) else { return thread::sleep(RETRY) };
        let session = client.id().to_owned();
        self.note(What::Opened(session.clone()));
        self.meeting.present.lock().unwrap().push(session.clone());
        let end = self.stay(&mut Visit { client, requests: HashMap::new(), sent: HashMap::new() });
        self.meeting.present.lock().unwrap().retain(|present| *present != session);
        self.note(What::Ended(session, end));
    }

    fn stay(&mut self, visit: &mut Visit) -> End {
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            match self.meeting.phase() {
                Phase::Talking if now >= due => {
                    self.speak(visit);
                    due += self.pause;
                }
                Phase::Talking | Phase::Listening => {}
                Phase::Leaving => return End::Left,
            }
            let patience = due.saturating_duration_since(now).clamp(Duration::from_millis(1), Duration::from_millis(20));
            match visit.client.next_within(patience) {
                Came::Message(message) => self.hear(visit, &message),
                Came::Nothing | Came::Ping(_) | Came::Pong(_) => {}
                Came::Close(code, _) => return code.map_or(End::Broken, End::Close),
                Came::End | Came::Reset => return End::Broken,
            }
        }
    }

    /// Sends one message, or some in one breath, to somebody who is there: to oneself, too.
    fn speak(&mut self, visit: &mut Visit) {
        let to = self.dice.pick(&self.meeting.present.lock().unwrap()).clone();
        let count = if self.dice.one_in(16) { 10 } else { 1 };
        for _ in 0..count {
            let number = visit.sent.entry(to.clone()).or_default();
            *number += 1;
            let message = Message { from: visit.client.id().to_owned(), to: to.clone(), number: *number };
            let (request, id) = visit.client.request(&to, &format!("{message} {}", "x".repeat(self.dice.below(200))));
            self.note(What::Sent(message.clone()));
            visit.requests.insert(id, message);
            visit.client.say(&request);
        }
    }

    fn hear(&self, visit: &Visit, message: &Value) {
        let session = visit.client.id().to_owned();
        let id = message["id"].as_str().unwrap_or_default();
        let what = match message["kind"].as_str().unwrap_or_default() {
            _ if message["client_id"] != session => None,
            "ack" => visit.requests.get(id).cloned().map(What::Acked),
            "error" if message["data"]["code"] == "EBROKER" => {
                let why = message["data"]["description"].as_str().unwrap_or_default().to_owned();
                visit.requests.get(id).cloned().map(|message| What::Refused(message, why))
            }
            "receive" => received(&session, &message["data"]),
            _ => None,
        };
        self.note(what.unwrap_or_else(|| What::Strange(session, message.to_string())));
    }

    fn note(&self, what: What) {
        self.meeting.recorder.note(what);
    }
}

/// A message whose text says from whom it is, and the node says the same.
fn received(session: &str, data: &Value) -> Option<What> {
    let message = Message::parse(data["text"].as_str()?)?;
    (data["sender_id"] == message.from).then(|| What::Received(session.to_owned(), message))
}
