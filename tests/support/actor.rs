//! A client of the simulation, that remembers what it said and checks what it gets.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::frames::{self, CLOSE, PING, PONG, TEXT};
use super::random::Random;

/// What all clients together sent, by the beginning of the text: `sender/number`.
pub(crate) type Ledger = HashMap<String, Entry>;

/// One message.
pub(crate) struct Entry {
    /// The text as JSON.
    pub(crate) json: String,
    pub(crate) sender: usize,
    /// The session of the sender.
    pub(crate) session: String,
    pub(crate) receiver: String,
    /// `None` while there is no answer; then nothing for an ack, or the description of the error.
    pub(crate) answer: Option<Result<(), String>>,
    pub(crate) arrivals: u32,
}

/// Where the client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It waits for the response.
    Opening,
    /// Both may speak.
    Open,
    /// It has sent a Close of its own, with this code, and waits for the answer.
    Closing(u16),
    /// It has sent a Close of its own, and it was answered.
    Closed,
    /// It has closed its sending side and waits for what is still to come.
    HalfClosed,
    /// It has broken a rule, and is owed nothing any more.
    Guilty,
    /// The server has ended it, or the network, or it left without a word.
    Gone,
}

/// One client.
pub(crate) struct Actor {
    pub(crate) number: usize,
    pub(crate) stage: Stage,
    /// Its session, once it knows it.
    pub(crate) session: Option<String>,
    inbox: Vec<u8>,
    /// The server has sent Close, after which it sends nothing.
    was_told_goodbye: bool,
    sent: u32,
    /// Sends without an answer, in order, by their recipient.
    waiting: HashMap<String, VecDeque<(String, String)>>,
    /// Requests that will be refused under a fresh id.
    nonsense: u32,
    /// The payloads of the pings to be answered.
    pings: VecDeque<Vec<u8>>,
    /// The number of the last message from each sender.
    heard: HashMap<usize, u32>,
}

impl Actor {
    /// A client that has just connected.
    pub(crate) fn new(number: usize) -> Actor {
        Actor {
            number,
            stage: Stage::Opening,
            session: None,
            inbox: Vec::new(),
            was_told_goodbye: false,
            sent: 0,
            waiting: HashMap::new(),
            nonsense: 0,
            pings: VecDeque::new(),
            heard: HashMap::new(),
        }
    }

    /// Whether all that it said has been answered: messages, nonsense and pings.
    pub(crate) fn is_content(&self) -> bool {
        self.waiting.values().all(VecDeque::is_empty) && self.nonsense == 0 && self.pings.is_empty()
    }

    /// The bytes of a new message for the client `receiver`.
    pub(crate) fn send(&mut self, receiver: &str, dice: &mut Random, ledger: &mut Ledger) -> Vec<u8> {
        let session = self.session.clone().expect("only a client that has a session sends");
        self.sent += 1;
        let name = format!("{}/{}", self.number, self.sent);
        let json = format!("\"{name} {}\"", padding(dice));
        let id = format!("{:08x}-0000-4000-8000-{:012x}", self.number, self.sent);
        let entry = Entry {
            json: json.clone(),
            sender: self.number,
            session: session.clone(),
            receiver: receiver.into(),
            answer: None,
            arrivals: 0,
        };
        ledger.insert(name.clone(), entry);
        self.waiting.entry(receiver.into()).or_default().push_back((id.clone(), name));
        let data = format!(r#"{{"receiver_id":"{receiver}","text":{json}}}"#);
        let text = format!(r#"{{"client_id":"{session}","id":"{id}","kind":"send","data":{data}}}"#);
        fragments(text.as_bytes(), dice, &mut self.pings)
    }

    /// The bytes of something that the server refuses.
    pub(crate) fn talk_nonsense(&mut self, dice: &mut Random) -> Vec<u8> {
        self.nonsense += 1;
        match dice.below(3) {
            0 => frames::frame(0x82, b"binary"),
            1 => frames::frame(TEXT, b"[\"not an object\"]"),
            _ => frames::frame(TEXT, b"{\"kind\":\"registration\""),
        }
    }

    /// Looks at what has come. Returns what it has to say to that.
    pub(crate) fn hear(&mut self, bytes: &mut Vec<u8>, ledger: &mut Ledger) -> Vec<u8> {
        if self.stage == Stage::Gone {
            return Vec::new();
        }
        self.inbox.append(bytes);
        let mut reply = Vec::new();
        if self.stage == Stage::Opening {
            let Some(head) = frames::take_head(&mut self.inbox) else { return reply };
            let is_open = head.starts_with("HTTP/1.1 101 ");
            assert!(is_open || head.starts_with("HTTP/1.1 503 ") || head.starts_with("HTTP/1.1 408 "), "{head}");
            self.stage = if is_open { Stage::Open } else { Stage::Gone };
            if !is_open {
                return reply;
            }
        }
        while let Some((first, payload)) = frames::take_frame(&mut self.inbox).expect("the server keeps the rules") {
            assert!(!self.was_told_goodbye, "{first:#04x} came after the end");
            match first {
                TEXT => self.hear_message(std::str::from_utf8(&payload).expect("text is UTF-8"), ledger),
                PING => reply.extend(frames::frame(PONG, &payload)),
                PONG => assert_eq!(self.pings.pop_front(), Some(payload), "a pong for no ping"),
                _ => reply.extend(self.hear_close(&payload)),
            }
        }
        // A client that has closed its side cannot answer any more.
        if matches!(self.stage, Stage::HalfClosed | Stage::Closing(_) | Stage::Closed | Stage::Guilty) { Vec::new() } else { reply }
    }

    fn hear_close(&mut self, payload: &[u8]) -> Vec<u8> {
        self.was_told_goodbye = true;
        self.stage = match self.stage {
            Stage::Closing(code) if payload == code.to_be_bytes() => Stage::Closed,
            _ => Stage::Gone,
        };
        frames::frame(CLOSE, payload.get(..2).unwrap_or_default())
    }

    fn hear_message(&mut self, text: &str, ledger: &mut Ledger) {
        let message: Value = serde_json::from_str(text).expect("the server speaks JSON");
        let field = |name: &str| message[name].as_str().unwrap_or_else(|| panic!("{name} in {text}"));
        let session = field("client_id");
        assert_eq!(self.session.get_or_insert_with(|| session.to_owned()), session, "a message for another client: {text}");
        match field("kind") {
            "connection" => assert_eq!(message["data"]["client_id"].as_str(), Some(session)),
            "receive" => self.hear_text(&message, text, ledger),
            "ack" => self.hear_answer(field("id"), Ok(()), ledger),
            "error" => {
                let (code, words) =
                    (message["data"]["code"].as_str(), message["data"]["description"].as_str().unwrap_or_default().to_owned());
                if code == Some("ESYNTAX") {
                    self.nonsense = self.nonsense.checked_sub(1).expect("an error for no nonsense");
                } else {
                    assert_eq!(code, Some("EBROKER"), "{text}");
                    self.hear_answer(field("id"), Err(words), ledger);
                }
            }
            kind => panic!("{kind} came"),
        }
    }

    /// Answers to the sends for one recipient come in their order, so the answered one is the first of some recipient's.
    fn hear_answer(&mut self, id: &str, answer: Result<(), String>, ledger: &mut Ledger) {
        let mut firsts = self.waiting.values_mut().filter(|waiting| waiting.front().is_some_and(|(first, _)| first == id));
        let waiting = firsts.next().unwrap_or_else(|| panic!("an answer for {id}, which is not the next to be answered"));
        let (_, name) = waiting.pop_front().expect("it has a first");
        let entry = ledger.get_mut(&name).expect("what was sent is in the ledger");
        assert!(entry.answer.replace(answer).is_none(), "{name} is answered twice");
    }

    fn hear_text(&mut self, message: &Value, whole: &str, ledger: &mut Ledger) {
        let text = message["data"]["text"].as_str().expect("a text is a string");
        let name = text.split(' ').next().unwrap_or_default();
        let entry = ledger.get_mut(name).unwrap_or_else(|| panic!("{name} was never sent"));
        entry.arrivals += 1;
        assert_eq!(entry.arrivals, 1, "{name} arrived twice");
        assert_eq!(message["data"]["sender_id"].as_str(), Some(entry.session.as_str()), "{name} came under another name");
        assert_eq!(Some(&entry.receiver), self.session.as_ref(), "{name} was for someone else");
        assert!(whole.contains(&format!("\"text\":{}", entry.json)), "{name} was changed on the way: {whole}");
        let number: u32 = name.split_once('/').and_then(|(_, number)| number.parse().ok()).expect("a name ends with a number");
        let last = self.heard.insert(entry.sender, number).unwrap_or(0);
        assert!(last < number, "{name} came after number {last} of the same sender");
    }
}

/// More or less text, with what is hard to get right in it.
fn padding(dice: &mut Random) -> String {
    let unit = *dice.pick(&["a", "é", "\\u00e9", "😀", "\\ud83d\\ude00", "\\\"", "\\n", "漢"]);
    let times = if dice.one_in(8) { dice.below(200) } else { dice.below(12) };
    unit.repeat(times)
}

/// A text message in one frame or several, with pings in between, whose payloads go to `pings`.
fn fragments(text: &[u8], dice: &mut Random, pings: &mut VecDeque<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    let mut opcode = 0x01;
    while dice.one_in(3) && !rest.is_empty() {
        let (part, after) = rest.split_at(dice.below(rest.len()));
        bytes.extend(frames::frame(opcode, part));
        (opcode, rest) = (0x00, after);
        if dice.one_in(2) {
            let payload: Vec<u8> = (0..dice.below(126)).map(|_| dice.bits() as u8).collect();
            bytes.extend(frames::frame(PING, &payload));
            pings.push_back(payload);
        }
    }
    bytes.extend(frames::frame(0x80 | opcode, rest));
    bytes
}
