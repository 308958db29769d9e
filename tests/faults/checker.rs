//! Reads a history and says where it breaks what Texto promises. It knows nothing of how the history came about.
//!
//! Two things excuse a loss, and each only what it can explain: while the way between nodes is disturbed, a message from one node to
//! another may be lost after its `ack`, because Redis has taken it and Pub/Sub keeps nothing; and who leaves misses what comes then. A
//! node that dies excuses the end of its own clients' connections. Nothing excuses a duplicate, a wrong recipient, a broken order, a
//! second answer, or the loss of a message within a node.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use super::history::{End, Event, History, Message, Scope, What};

/// What was on its way this long before a fault may be struck by it.
const MARGIN: Duration = Duration::from_millis(500);

/// A message that its recipient should get is there within this time, if nothing is wrong; far more than it takes.
const ARRIVAL_MAX: Duration = Duration::from_secs(3);

/// The same for the answer to a send, which also waits for a Redis that does not answer. Far above the publish timeout of the nodes.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The description of the one refusal after which a message may still arrive.
const DOUBT: &str = "may still arrive";

/// What Texto promises, by what it looks like when it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// An ack for a message that never reached a healthy recipient.
    FalseAck,
    /// A refusal that was sure of itself, and the message arrived.
    FalseRefusal,
    /// A message arrived twice.
    Duplicate,
    /// A message arrived at somebody else.
    WrongRecipient,
    /// A message arrived that nobody had sent.
    Invented,
    /// Messages of one sender to one recipient arrived in another order.
    BrokenOrder,
    /// Answers to sends for one recipient came in another order.
    AnswersOutOfOrder,
    /// One send was answered with both ack and error.
    BothAnswers,
    /// One send was answered twice in the same way.
    AnsweredTwice,
    /// A send on a connection that lived was not answered.
    Unanswered,
    /// A client lost its connection though its node lived.
    Disconnected,
    /// A client got something that no client may get.
    Strange,
}

/// A broken promise.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    story: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.story)
    }
}

/// How much a history shows.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) sent: usize,
    pub(crate) acked: usize,
    pub(crate) refused: usize,
    pub(crate) arrived: usize,
    /// Acknowledged, not arrived, and excused by a fault of the way between nodes.
    pub(crate) lost: usize,
    /// Acknowledged messages that had no excuse not to arrive.
    pub(crate) due: usize,
    /// The longest that a send waited for its answer.
    pub(crate) slowest_answer: Duration,
}

/// What became of a message.
#[derive(Default)]
struct Fate {
    sent: Option<Duration>,
    /// `None`: an ack.
    answers: Vec<(Duration, Option<String>)>,
    arrivals: Vec<String>,
}

/// A time in which a fault may excuse something.
struct Window {
    scope: Scope,
    from: Duration,
    to: Duration,
}

/// All promises that this history breaks, and how much it shows.
pub(crate) fn check(history: &History) -> (Vec<Violation>, Counts) {
    let mut checker = Checker::default();
    history.0.iter().for_each(|event| checker.read(event));
    checker.close_windows();
    for (message, fate) in &checker.fates {
        checker.found.extend(judge(message, fate, &checker));
    }
    checker.judge_ends();
    let counts = checker.counts();
    (checker.found, counts)
}

#[derive(Default)]
struct Checker {
    now: Duration,
    tags: HashMap<String, usize>,
    /// When the connection of each session ended.
    lives: HashMap<String, Option<Duration>>,
    fates: BTreeMap<Message, Fate>,
    windows: Vec<Window>,
    ends: Vec<(Duration, String, End)>,
    last_arrival: HashMap<(String, String), u32>,
    last_answer: HashMap<(String, String), u32>,
    found: Vec<Violation>,
}

fn violation(rule: Rule, at: Duration, story: impl fmt::Display) -> Violation {
    Violation { rule, story: format!("{story} (at {:.3})", at.as_secs_f64()) }
}

impl Checker {
    fn read(&mut self, event: &Event) {
        self.now = event.at;
        match &event.what {
            What::Node(number, tag) => drop(self.tags.insert(tag.clone(), *number)),
            What::Opened(session) => drop(self.lives.insert(session.clone(), None)),
            What::Sent(message) => self.fate(message).sent = Some(event.at),
            What::Acked(message) => self.answer(message, None),
            What::Refused(message, why) => self.answer(message, Some(why.clone())),
            What::Received(by, message) => self.arrive(by, message),
            What::Strange(session, words) => self.found.push(violation(Rule::Strange, event.at, format!("{session}: {words}"))),
            What::Ended(session, end) => {
                self.ends.push((event.at, session.clone(), *end));
                self.lives.insert(session.clone(), Some(event.at));
            }
            What::Begins(scope, _) => self.windows.push(Window { scope: *scope, from: event.at, to: Duration::MAX }),
            What::Ends(scope) => {
                let open = self.windows.iter_mut().rev().find(|window| window.scope == *scope);
                open.expect("a fault ends after it began").to = event.at;
            }
            What::Note(_) => {}
        }
    }

    fn fate(&mut self, message: &Message) -> &mut Fate {
        self.fates.entry(message.clone()).or_default()
    }

    fn answer(&mut self, message: &Message, refusal: Option<String>) {
        let at = self.now;
        self.fate(message).answers.push((at, refusal));
        let last = self.last_answer.insert((message.from.clone(), message.to.clone()), message.number);
        if last > Some(message.number) {
            self.found.push(violation(Rule::AnswersOutOfOrder, at, format!("{message} was answered after {}", last.unwrap_or_default())));
        }
    }

    fn arrive(&mut self, by: &str, message: &Message) {
        let at = self.now;
        self.fate(message).arrivals.push(by.to_owned());
        let last = self.last_arrival.insert((message.from.clone(), by.to_owned()), message.number);
        if last > Some(message.number) {
            self.found.push(violation(Rule::BrokenOrder, at, format!("{message} arrived after {}", last.unwrap_or_default())));
        }
    }

    /// A fault that never ended excuses nothing: whoever writes a history ends its faults when it has seen that they are over.
    fn close_windows(&mut self) {
        let now = self.now;
        self.windows.iter_mut().filter(|window| window.to == Duration::MAX).for_each(|window| window.to = now.min(window.from + MARGIN));
    }

    /// Whether a fault of this kind falls into the time.
    fn is_struck(&self, scope: Scope, from: Duration, to: Duration) -> bool {
        self.windows.iter().any(|window| window.scope == scope && window.from <= to && window.to >= from)
    }

    /// Whether a message that was acknowledged at `acked` has no excuse not to arrive.
    fn is_due(&self, message: &Message, sent: Duration, acked: Duration) -> bool {
        let Some(ended) = self.lives.get(&message.to) else { return false };
        let lived_on = ended.is_none_or(|ended| ended >= acked + ARRIVAL_MAX);
        lived_on && (message.is_local() || !self.is_struck(Scope::Redis, sent, acked + MARGIN))
    }

    /// Who lost the connection, and why not by a fault of the node?
    fn judge_ends(&mut self) {
        for (at, session, end) in std::mem::take(&mut self.ends) {
            // A client may be faster to see that a node is there than who started it, so its tag is looked up now.
            let node = session.get(..6).and_then(|tag| self.tags.get(tag));
            let is_excused = end == End::Left || node.is_some_and(|&node| self.is_struck(Scope::Node(node), at.saturating_sub(MARGIN), at));
            if !is_excused {
                self.found.push(violation(Rule::Disconnected, at, format!("{session} ended with: {end}")));
            }
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (message, fate) in &self.fates {
            let Some(sent) = fate.sent else { continue };
            counts.sent += 1;
            counts.arrived += usize::from(!fate.arrivals.is_empty());
            for (at, refusal) in &fate.answers {
                counts.slowest_answer = counts.slowest_answer.max(at.saturating_sub(sent));
                counts.refused += usize::from(refusal.is_some());
                if refusal.is_none() {
                    let is_due = self.is_due(message, sent, *at);
                    counts.acked += 1;
                    counts.due += usize::from(is_due);
                    counts.lost += usize::from(!is_due && fate.arrivals.is_empty() && self.is_struck(Scope::Redis, sent, *at + MARGIN));
                }
            }
        }
        counts
    }
}

/// What is wrong with the way of one message.
fn judge(message: &Message, fate: &Fate, checker: &Checker) -> Vec<Violation> {
    let Some(sent) = fate.sent else { return vec![violation(Rule::Invented, checker.now, message)] };
    let mut found = Vec::new();
    let mut complain = |rule, story: String| found.push(violation(rule, sent, format!("{message}, sent then, {story}")));
    if fate.arrivals.len() > 1 {
        complain(Rule::Duplicate, format!("arrived {} times", fate.arrivals.len()));
    }
    if let Some(by) = fate.arrivals.iter().find(|by| **by != message.to) {
        complain(Rule::WrongRecipient, format!("arrived at {by}"));
    }
    let is_acked = fate.answers.iter().any(|(_, refusal)| refusal.is_none());
    let refusal = fate.answers.iter().find_map(|(_, refusal)| refusal.as_ref());
    match (is_acked, refusal) {
        (true, Some(why)) => complain(Rule::BothAnswers, format!("got an ack and an error: {why}")),
        (_, _) if fate.answers.len() > 1 => complain(Rule::AnsweredTwice, format!("got {} answers", fate.answers.len())),
        (false, Some(why)) if !fate.arrivals.is_empty() && !why.contains(DOUBT) => {
            complain(Rule::FalseRefusal, format!("arrived, and was refused: {why}"));
        }
        (true, None) if fate.arrivals.is_empty() && checker.is_due(message, sent, fate.answers[0].0) => {
            complain(Rule::FalseAck, "was acknowledged and never arrived".to_owned());
        }
        (false, None) if is_answer_due(message, sent, checker) => complain(Rule::Unanswered, "was never answered".to_owned()),
        _ => {}
    }
    found
}

/// Whether the connection on which a message was sent lived long enough to bring an answer.
fn is_answer_due(message: &Message, sent: Duration, checker: &Checker) -> bool {
    let ended = checker.lives.get(&message.from).copied().flatten();
    ended.is_none_or(|ended| ended >= sent + ANSWER_MAX)
}
