//! A cluster under stress, decided by one seed: several nodes of several hubs, a toy Redis between them, and clients of every kind, in
//! one thread and without sockets or a clock.
//!
//! Bytes are cut anywhere in both directions; clients read slowly, hang up, half-close, talk nonsense; Redis is down, refuses, stalls;
//! mailboxes overflow; the clock jumps; nodes drain and start again, sometimes with the tag of another.
//!
//! After every step the hubs check their invariants, and each client checks what it gets: its own messages only, unchanged, each once,
//! in the order of its sender, and exactly one answer to each send, in the order of the sends for each recipient. At the end everything
//! comes to rest, and then:
//!
//! - who stayed, or left politely and waited, has an answer to every send;
//! - a message with an ack has arrived at a recipient who stayed, unless Redis is known to have lost it;
//! - a message with an error has not arrived, unless the error says that it may;
//! - nothing is left over, and the hubs counted what happened.
//!
//! `TEXTO_SEED=7 cargo test --test simulation` plays one run again.

#[path = "support/actor.rs"]
mod actor;
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/random.rs"]
mod random;
#[path = "support/toy_redis.rs"]
mod toy_redis;

use std::collections::BTreeMap;
use std::time::Duration;

use actor::{Actor, Ledger, Stage};
use cluster::{Cluster, Health};
use random::Random;
use texto::hub::CloseReason;
use texto::wire::delivery::Refusal;

const RUNS: u64 = 200;
const STEPS: usize = 4000;

/// Clients at the same time.
const ACTORS_MAX: usize = 20;

/// A client whose closing takes as long as this may have been given up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[test]
fn acknowledged_messages_arrive_once_in_order_whatever_happens() {
    let mut seen = BTreeMap::new();
    for seed in random::seeds(RUNS) {
        let epitaph = random::Epitaph(seed);
        Run::new(seed).play(&mut seen);
        drop(epitaph);
    }
    println!("{seen:#?}");
    // A simulation in which something never happens shows nothing about it.
    let all_refusals = [Refusal::Down, Refusal::QueueFull, Refusal::Rejected, Refusal::Unanswered, Refusal::LoopBusy];
    let refusals = all_refusals.iter().map(|refusal| refusal.description());
    // Limits that these clients do not reach are for transcripts.
    let unreached = [CloseReason::TooManyFragments, CloseReason::Answered, CloseReason::Flooding];
    let reasons = CloseReason::ALL.into_iter().filter(|reason| !unreached.contains(reason)).map(CloseReason::label);
    for event in refusals.chain(reasons).chain(["acknowledged", "arrived", "lost"]) {
        assert!(random::is_replay() || seen.contains_key(event), "it never happened: {event}");
    }
}

struct Run {
    dice: Random,
    cluster: Cluster,
    /// By the number of their wires.
    actors: Vec<Actor>,
    ledger: Ledger,
    /// Runs without trouble are part of the picture: they fill outboxes and mailboxes.
    is_calm: bool,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut dice = Random::new(seed);
        let nodes = if dice.one_in(6) { 1 } else { 2 + dice.below(2) };
        let loops = 1 + dice.below(3);
        let cluster = Cluster::new(nodes, loops, &mut dice);
        let is_calm = dice.one_in(4);
        Run { dice, cluster, actors: Vec::new(), ledger: Ledger::new(), is_calm }
    }

    /// Counts what happened in `seen`.
    fn play(mut self, seen: &mut BTreeMap<String, usize>) {
        for _ in 0..STEPS {
            self.step();
        }
        self.come_to_rest();
        self.check_answers();
        self.check_arrivals();
        self.cluster.check_counts();
        self.leave();
        self.cluster.check_empty();
        self.count(seen);
    }

    fn count(&self, seen: &mut BTreeMap<String, usize>) {
        let mut count = |event: &str, times: usize| *seen.entry(event.to_owned()).or_default() += times;
        for entry in self.ledger.values() {
            match &entry.answer {
                Some(Ok(())) => count("acknowledged", 1),
                Some(Err(why)) => count(why, 1),
                None => count("unanswered", 1),
            }
            count("arrived", entry.arrivals as usize);
        }
        self.cluster.lost.iter().for_each(|_| count("lost", 1));
        self.cluster.wires.iter().filter_map(|wire| wire.reaped).for_each(|(_, reason)| count(reason.label(), 1));
    }

    fn step(&mut self) {
        let wait = if self.dice.one_in(10) { self.dice.below(100) } else { 0 };
        self.cluster.now = self.cluster.now.plus(Duration::from_millis(wait as u64));
        match self.dice.below(100) {
            0..=3 => self.connect(),
            4..=15 => self.converse(),
            16..=45 => self.receive(),
            46..=60 => self.flush(),
            61..=68 => self.read(),
            69..=78 => self.collect(),
            79..=87 => self.publish(),
            88..=95 => self.subscribe(),
            96 => self.pass_time(),
            97 => self.slow_down(),
            98 => self.depart(),
            _ => self.make_trouble(),
        }
    }

    fn place(&mut self) -> (usize, usize) {
        let (nodes, loops) = self.cluster.size();
        (self.dice.below(nodes), self.dice.below(loops))
    }

    /// One of the clients that are in one of these stages.
    fn actor(&mut self, is_wanted: impl Fn(Stage) -> bool) -> Option<usize> {
        let wanted: Vec<usize> = self.actors.iter().filter(|actor| is_wanted(actor.stage)).map(|actor| actor.number).collect();
        (!wanted.is_empty()).then(|| *self.dice.pick(&wanted))
    }

    /// One of the connections, mostly one that is still there.
    fn connection(&mut self) -> Option<usize> {
        let is_any = self.dice.one_in(20);
        let wires = self.cluster.wires.iter().enumerate();
        let wanted: Vec<usize> = wires.filter(|(_, wire)| is_any || wire.reaped.is_none()).map(|(number, _)| number).collect();
        (!wanted.is_empty()).then(|| *self.dice.pick(&wanted))
    }

    fn connect(&mut self) {
        if self.actors.iter().filter(|actor| actor.stage != Stage::Gone && actor.stage != Stage::Closed).count() >= ACTORS_MAX {
            return;
        }
        let place = self.place();
        let is_surplus = self.dice.one_in(40);
        let number = self.cluster.open(place, is_surplus);
        let is_mute = self.dice.one_in(100);
        self.cluster.wires[number].upstream.extend(if is_mute { b"GET /v1".to_vec() } else { frames::request("/v1/texto") });
        self.actors.push(Actor::new(number));
    }

    /// A client says something.
    fn converse(&mut self) {
        let Some(number) = self.actor(|stage| stage == Stage::Open) else { return };
        let bytes = match self.dice.below(20) {
            0 => self.actors[number].talk_nonsense(&mut self.dice),
            _ if self.actors[number].session.is_none() => return,
            _ => {
                let times = 1 + self.dice.below(4);
                (0..times).flat_map(|_| self.send(number)).collect()
            }
        };
        self.cluster.wires[number].upstream.extend(bytes);
    }

    fn send(&mut self, number: usize) -> Vec<u8> {
        let receiver = match self.dice.below(20) {
            0 => "00000000-0000-4000-8000-00000000dead".to_owned(),
            1 => self.actors[number].session.clone().expect("it has a session"),
            // Mostly the young, who are mostly still there.
            choice => {
                let known: Vec<&String> = self.actors.iter().rev().filter_map(|actor| actor.session.as_ref()).collect();
                let reach = if choice < 5 { known.len() } else { known.len().min(ACTORS_MAX) };
                known[self.dice.below(reach)].clone()
            }
        };
        self.actors[number].send(&receiver, &mut self.dice, &mut self.ledger)
    }

    /// A hub reads some of what a client sent; sometimes of one that is long gone.
    fn receive(&mut self) {
        let Some(number) = self.connection() else { return };
        let len = if self.dice.one_in(3) { self.dice.below(20) } else { self.dice.below(3000) };
        self.cluster.receive(number, len);
    }

    fn flush(&mut self) {
        let place = self.place();
        self.cluster.flush(place, &mut self.dice);
    }

    /// A client reads what has come, and makes room for more.
    fn read(&mut self) {
        let Some(number) = self.connection() else { return };
        self.hear(number);
        let room = if self.dice.one_in(4) { self.dice.below(2000) } else { usize::MAX };
        self.cluster.make_room(number, room);
    }

    fn hear(&mut self, number: usize) {
        let mut bytes = std::mem::take(&mut self.cluster.wires[number].downstream);
        let reply = self.actors[number].hear(&mut bytes, &mut self.ledger);
        let wire = &mut self.cluster.wires[number];
        wire.upstream.extend(reply);
        if wire.is_shut || wire.reaped.is_some() {
            // It has read to the end, and closes its own side.
            wire.is_half_closed = true;
            if matches!(self.actors[number].stage, Stage::Opening | Stage::Open | Stage::Closing(_) | Stage::Guilty) {
                self.actors[number].stage = Stage::Gone;
            }
        }
    }

    fn collect(&mut self) {
        let (place, posts) = (self.place(), 1 + self.dice.below(10));
        self.cluster.collect(place, posts);
    }

    fn publish(&mut self) {
        let (node, messages) = (self.place().0, 1 + self.dice.below(10));
        self.cluster.publish(node, messages, &mut self.dice);
    }

    fn subscribe(&mut self) {
        let (node, messages) = (self.place().0, 1 + self.dice.below(10));
        self.cluster.subscribe(node, messages);
    }

    fn pass_time(&mut self) {
        let jump = match self.dice.below(40) {
            0 if !self.is_calm => self.dice.below(120_000),
            1..=4 if !self.is_calm => self.dice.below(5_000),
            _ => self.dice.below(300),
        };
        self.cluster.now = self.cluster.now.plus(Duration::from_millis(jump as u64));
        self.expire();
        let node = self.place().0;
        self.cluster.restart_if_drained(node, &mut self.dice);
    }

    fn expire(&mut self) {
        let (nodes, loops) = self.cluster.size();
        for place in (0..nodes).flat_map(|node| (0..loops).map(move |number| (node, number))) {
            self.cluster.expire(place);
        }
    }

    /// A client takes no bytes for a while.
    fn slow_down(&mut self) {
        if let Some(number) = self.actor(|stage| stage == Stage::Open) {
            self.cluster.wires[number].room = self.dice.below(500);
        }
    }

    /// A client leaves, in one way or another.
    fn depart(&mut self) {
        let is_early = self.dice.one_in(20);
        let Some(number) = self.actor(|stage| stage == Stage::Open || is_early && stage == Stage::Opening) else { return };
        let wire = &mut self.cluster.wires[number];
        let is_open = self.actors[number].stage == Stage::Open;
        self.actors[number].stage = match self.dice.below(14) {
            0..=5 if is_open => {
                let code = *self.dice.pick(&[1000, 1001, 3000, 4999]);
                wire.upstream.extend(frames::frame(frames::CLOSE, &u16::to_be_bytes(code)));
                Stage::Closing(code)
            }
            6..=11 if is_open => {
                wire.is_half_closed = true;
                Stage::HalfClosed
            }
            12 if is_open => {
                wire.upstream.extend(*self.dice.pick(&[
                    &b"\x81\x01a"[..],
                    b"\x81\x81\0\0\0\0\xff",
                    b"\x83\x80\0\0\0\0",
                    b"\x81\xff\0\0\0\0\0\x01\0\0\0\0\0\0",
                ]));
                Stage::Guilty
            }
            _ => {
                self.cluster.reset(number);
                Stage::Gone
            }
        };
    }

    fn make_trouble(&mut self) {
        let node = self.place().0;
        match self.dice.below(8) {
            _ if self.is_calm => {}
            0 | 1 => self.cluster.health = *self.dice.pick(&[Health::Down, Health::Rejecting, Health::Stalled]),
            2..=4 => self.cluster.health = Health::Up,
            5 => self.cluster.set_subscribed(node, false),
            6 => (0..self.cluster.size().0).for_each(|node| self.cluster.set_subscribed(node, true)),
            _ if !self.dice.one_in(4) => {}
            _ => {
                let span = Duration::from_millis(self.dice.below(2000) as u64);
                self.cluster.drain(node, span);
            }
        }
    }

    /// Everything that is under way arrives; no time passes.
    fn come_to_rest(&mut self) {
        self.cluster.health = Health::Up;
        let (nodes, loops) = self.cluster.size();
        (0..nodes).for_each(|node| self.cluster.set_subscribed(node, true));
        let mut still = 0;
        while still < 3 {
            let mut is_still = self.cluster.is_quiet();
            for number in 0..self.actors.len() {
                self.cluster.make_room(number, usize::MAX);
                is_still &= self.cluster.wires[number].upstream.is_empty() && self.cluster.wires[number].downstream.is_empty();
                self.hear(number);
                self.cluster.receive(number, usize::MAX);
            }
            for node in 0..nodes {
                self.cluster.publish(node, 20, &mut self.dice);
                self.cluster.subscribe(node, 20);
                for number in 0..loops {
                    self.cluster.collect((node, number), 20);
                    self.cluster.flush((node, number), &mut self.dice);
                }
            }
            still = if is_still { still + 1 } else { 0 };
        }
    }

    fn check_answers(&self) {
        for actor in &self.actors {
            let wire = &self.cluster.wires[actor.number];
            let is_owed = match actor.stage {
                Stage::Open | Stage::Closed => true,
                // It may have waited for longer than a server waits; or the server closed it first, for being slow or to drain.
                Stage::HalfClosed => match (wire.input_ended, wire.reaped) {
                    (Some(told), Some((reaped, CloseReason::HungUp))) => reaped.after(told) < CLOSE_TIMEOUT,
                    _ => false,
                },
                Stage::Opening | Stage::Closing(_) | Stage::Guilty | Stage::Gone => false,
            };
            assert!(!is_owed || actor.is_content(), "{:?} client {} waits for an answer", actor.stage, actor.number);
        }
    }

    fn check_arrivals(&self) {
        let stayed = |session: &str| {
            let mut clients = self.actors.iter().filter(|actor| actor.session.as_deref() == Some(session));
            clients.next().is_some_and(|actor| actor.stage == Stage::Open)
        };
        for (name, entry) in &self.ledger {
            match &entry.answer {
                Some(Ok(())) if stayed(&entry.receiver) && !self.cluster.lost.contains(&entry.json) => {
                    assert_eq!(entry.arrivals, 1, "{name} was acknowledged and has not arrived");
                }
                Some(Err(why)) if !why.contains("it may still arrive") => {
                    assert_eq!(entry.arrivals, 0, "{name} was refused and arrived nevertheless: {why}");
                }
                Some(Ok(()) | Err(_)) | None => assert!(entry.arrivals <= 1),
            }
        }
    }

    /// All leave, and the servers wait as long as they wait for anyone.
    fn leave(&mut self) {
        for number in 0..self.actors.len() {
            if self.actors[number].stage == Stage::Open {
                let is_polite = self.dice.one_in(2);
                let bytes = if is_polite { frames::frame(frames::CLOSE, &1000_u16.to_be_bytes()) } else { Vec::new() };
                self.cluster.wires[number].upstream.extend(bytes);
                self.cluster.wires[number].is_half_closed = !is_polite;
                self.actors[number].stage = if is_polite { Stage::Closing(1000) } else { Stage::HalfClosed };
            }
        }
        self.come_to_rest();
        let politely_closed = |stage: Stage| !matches!(stage, Stage::Open | Stage::Closing(_));
        assert!(self.actors.iter().all(|actor| politely_closed(actor.stage)), "a Close is without an answer");
        for _ in 0..20 {
            self.cluster.now = self.cluster.now.plus(Duration::from_secs(1));
            self.expire();
            self.come_to_rest();
        }
    }
}
