//! What happened in a run, as those saw it who took part: one event per line, in the order in which they were noted.
//!
//! ```text
//!     0.310 node 1 a3f0c2                        node 1 runs, and hands out ids that begin with this tag
//!     0.402 opened a3f0c2…                       a client has this session
//!     0.517 sent a3f0c2… 90b1d7… 4               it has sent its message number 4 to this session
//!     0.519 acked a3f0c2… 90b1d7… 4              and was told `ack`
//!     0.519 refused a3f0c2… 90b1d7… 4 WORDS      or `EBROKER`
//!     0.520 received 90b1d7… a3f0c2… 90b1d7… 4   a session has received a message, whose text says from whom, for whom, and its number
//!     0.611 strange a3f0c2… WORDS                it has got what nobody may get
//!     0.700 ended a3f0c2… left | broken | close 1012
//!     1.000 begins redis WORDS                   from here on messages may get lost between nodes
//!     2.130 ends redis                           no longer: they have been seen to pass
//!     3.000 begins node 1 WORDS                  the clients of this node may lose their connection
//!     4.250 ends node 1
//!     5.000 note WORDS                           done on purpose, and an excuse for nothing
//! ```
//!
//! The text of a message names it, so a history needs no ids of requests: whoever writes it has matched them.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A message by its name: each session numbers what it sends to another from 1 on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) number: u32,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client left by itself.
    Left,
    /// The node said goodbye with this code.
    Close(u16),
    /// It ended without a word.
    Broken,
}

/// What a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The way between the nodes.
    Redis,
    /// A node, by its number.
    Node(usize),
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Node(usize, String),
    Opened(String),
    Sent(Message),
    Acked(Message),
    Refused(Message, String),
    Received(String, Message),
    Strange(String, String),
    Ended(String, End),
    Begins(Scope, String),
    Ends(Scope),
    Note(String),
}

/// Something seen, and when it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

/// All that was seen in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History(pub(crate) Vec<Event>);

/// Takes notes from everybody who takes part in a run.
pub(crate) struct Recorder {
    since: Instant,
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder { since: Instant::now(), events: Mutex::default() }
    }

    /// Notes what happens now. The time is taken with the list in hand, so the list is in order.
    pub(crate) fn note(&self, what: What) {
        let mut events = self.events.lock().unwrap();
        events.push(Event { at: self.since.elapsed(), what });
    }

    /// All notes so far.
    pub(crate) fn history(&self) -> History {
        History(self.events.lock().unwrap().clone())
    }
}

impl Message {
    /// The message that a text names with its first words.
    pub(crate) fn parse(text: &str) -> Option<Message> {
        let mut words = text.split(' ');
        let (from, to) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Message { from, to, number: words.next()?.parse().ok()? })
    }

    /// Whether both ends are on one node: their sessions begin with its tag.
    pub(crate) fn is_local(&self) -> bool {
        self.from.get(..6) == self.to.get(..6)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.from, self.to, self.number)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Left => f.write_str("left"),
            End::Close(code) => write!(f, "close {code}"),
            End::Broken => f.write_str("broken"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Redis => f.write_str("redis"),
            Scope::Node(number) => write!(f, "node {number}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:9.3} ", self.at.as_secs_f64())?;
        match &self.what {
            What::Node(number, tag) => write!(f, "node {number} {tag}"),
            What::Opened(session) => write!(f, "opened {session}"),
            What::Sent(message) => write!(f, "sent {message}"),
            What::Acked(message) => write!(f, "acked {message}"),
            What::Refused(message, why) => write!(f, "refused {message} {why}"),
            What::Received(by, message) => write!(f, "received {by} {message}"),
            What::Strange(session, words) => write!(f, "strange {session} {words}"),
            What::Ended(session, end) => write!(f, "ended {session} {end}"),
            What::Begins(scope, words) => write!(f, "begins {scope} {words}"),
            What::Ends(scope) => write!(f, "ends {scope}"),
            What::Note(words) => write!(f, "note {words}"),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl History {
    /// Reads what [`History`] displays; blank lines and what follows `#` are left out.
    pub(crate) fn parse(text: &str) -> History {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
        History(lines.map(|line| event(line).unwrap_or_else(|| panic!("not a line of a history: {line}"))).collect())
    }
}

fn event(line: &str) -> Option<Event> {
    let (at, rest) = line.split_once(' ')?;
    let (verb, rest) = rest.split_once(' ')?;
    let first = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
    let after = |words: usize| rest.splitn(words + 1, ' ').nth(words);
    let what = match verb {
        "node" => What::Node(first(rest).parse().ok()?, after(1)?.to_owned()),
        "opened" => What::Opened(rest.to_owned()),
        "sent" => What::Sent(Message::parse(rest)?),
        "acked" => What::Acked(Message::parse(rest)?),
        "refused" => What::Refused(Message::parse(rest)?, after(3)?.to_owned()),
        "received" => What::Received(first(rest), Message::parse(after(1)?)?),
        "strange" => What::Strange(first(rest), after(1)?.to_owned()),
        "ended" => What::Ended(first(rest), end(after(1)?)?),
        "begins" => begins(rest)?,
        "ends" => What::Ends(scope(rest)?),
        "note" => What::Note(rest.to_owned()),
        _ => return None,
    };
    Some(Event { at: Duration::from_secs_f64(at.parse().ok()?), what })
}

fn end(words: &str) -> Option<End> {
    match words {
        "left" => Some(End::Left),
        "broken" => Some(End::Broken),
        _ => words.strip_prefix("close ")?.parse().ok().map(End::Close),
    }
}

fn begins(rest: &str) -> Option<What> {
    let words_of_scope = if rest.starts_with("node ") { 2 } else { 1 };
    let at = rest.match_indices(' ').nth(words_of_scope - 1)?.0;
    Some(What::Begins(scope(&rest[..at])?, rest[at + 1..].to_owned()))
}

fn scope(words: &str) -> Option<Scope> {
    match words {
        "redis" => Some(Scope::Redis),
        _ => words.strip_prefix("node ")?.parse().ok().map(Scope::Node),
    }
}
