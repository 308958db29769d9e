//! The self-probe: a message that a node sends to itself through Redis every few seconds, to know that messages come round.
//!
//! A connection may stand and answer while nothing that is published arrives: the publisher and the subscriber are at different servers,
//! the subscription is gone, or something between swallows what it should pass on. Only a message that makes the whole way shows that.
//!
//! ```text
//!  publisher ──"7"──▶ Redis ──▶ subscriber      came round: its time is counted, messages come round
//!                               nothing         missed: after some, they do not; after as many again and again, both links are given up
//! ```
//!
//! The probe is a message like any other, from and to an id that no client has, so whatever loses messages loses it as well; other nodes,
//! also those of the earlier implementation, find nobody of that id.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::Failure;
use super::status::Status;
use crate::limits::{PROBE_MISSES_MAX, PROBES_MAX};
use crate::wire::delivery::Delivery;
use crate::wire::id::ClientId;

/// The most that the patience may grow to when giving up the links does not help: that costs whoever could still be reached.
const PATIENCE_MAX: usize = 8 * PROBE_MISSES_MAX;

/// The probe of one broker, shared by the two links.
#[derive(Debug)]
pub(super) struct Probe {
    id: ClientId,
    interval: Duration,
    status: Arc<Status>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// That of the last one; they are sent in the order of their numbers.
    number: u64,
    due: Instant,
    /// Those that have not come round, oldest first.
    under_way: VecDeque<(u64, Instant)>,
    /// How many have been sent since one came round or a link was made.
    unanswered: usize,
    /// How many of these it takes for the links to be given up.
    patience: usize,
}

impl Probe {
    /// One from and to `id`, which no client may have.
    pub(super) fn new(id: ClientId, interval: Duration, status: Arc<Status>) -> Probe {
        let (due, under_way) = (Instant::now(), VecDeque::new());
        let state = Mutex::new(State { number: 0, due, under_way, unanswered: 0, patience: PROBE_MISSES_MAX });
        Probe { id, interval, status, state }
    }

    /// Whom a probe is for.
    pub(super) fn id(&self) -> ClientId {
        self.id
    }

    /// When the next one is to be sent.
    pub(super) fn due(&self) -> Instant {
        self.state().due
    }

    /// One of the links is new: what was sent before it can be lost without a meaning, and what comes of it is to be known soon.
    pub(super) fn begin(&self, now: Instant) {
        let mut state = self.state();
        state.due = now;
        state.under_way.clear();
        state.unanswered = 0;
    }

    /// The probe to be sent, if it is due.
    pub(super) fn send(&self, now: Instant) -> Option<Delivery> {
        let mut state = self.state();
        if now < state.due {
            return None;
        }
        if !state.under_way.is_empty() {
            self.status.probes_missed.fetch_add(1, Relaxed);
        }
        if state.under_way.len() >= PROBE_MISSES_MAX {
            self.status.come_round.store(false, Relaxed);
        }
        if state.under_way.len() == PROBES_MAX {
            state.under_way.pop_front();
        }
        state.number += 1;
        state.unanswered += 1;
        state.due = now + self.interval;
        let number = state.number;
        state.under_way.push_back((number, now));
        Some(self.message(number))
    }

    /// A probe that means nothing: what it wakes on its way is all that it is for.
    pub(super) fn nudge(&self) -> Delivery {
        self.message(0)
    }

    /// Redis has refused the last one. Another connection would not change that.
    pub(super) fn refuse(&self) {
        let mut state = self.state();
        state.under_way.pop_back();
        state.unanswered = 0;
        self.status.probes_missed.fetch_add(1, Relaxed);
        self.status.come_round.store(false, Relaxed);
    }

    /// A probe has come round.
    pub(super) fn come(&self, delivery: &Delivery, now: Instant) {
        let number = delivery.text.borrow().as_json().trim_matches('"').parse::<u64>().ok();
        let mut state = self.state();
        let Some(&(number, sent)) = state.under_way.iter().find(|(sent, _)| Some(*sent) == number) else { return };
        // Redis keeps the order: those before it are lost.
        state.under_way.retain(|(other, _)| *other > number);
        state.unanswered = 0;
        state.patience = PROBE_MISSES_MAX;
        let is_prompt = state.under_way.len() < PROBE_MISSES_MAX;
        drop(state);
        self.status.count_round_trip(now.saturating_duration_since(sent));
        self.status.come_round.store(is_prompt, Relaxed);
    }

    /// Whether so many have been lost that the links are to be given up.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        let state = self.state();
        now >= state.due && state.unanswered >= state.patience
    }

    /// Gives them up. If that does not help, it is tried again only after twice the time.
    pub(super) fn give_up(&self) -> Failure {
        let mut state = self.state();
        state.patience = (2 * state.patience).min(PATIENCE_MAX);
        self.status.come_round.store(false, Relaxed);
        Failure::elsewhere("it answers, but the messages that this node sends to itself do not come round")
    }

    fn message(&self, number: u64) -> Delivery {
        let payload = format!(r#"{{"SenderID":"{0}","RecipientID":"{0}","Text":"{number}"}}"#, self.id);
        Delivery::parse(payload.as_bytes()).expect("an id and digits need no escapes")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    /// A probe with a clock of its own.
    struct Bench {
        probe: Probe,
        status: Arc<Status>,
        now: Instant,
    }

    fn bench() -> Bench {
        let (id, status) = (ClientId::parse(b"67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap(), Arc::<Status>::default());
        let probe = Probe::new(id, INTERVAL, Arc::clone(&status));
        let now = Instant::now();
        probe.begin(now);
        Bench { probe, status, now }
    }

    impl Bench {
        /// Sends the one that is due, and lets as much time pass as there is until the next.
        fn send(&mut self) -> Delivery {
            assert!(!self.probe.is_lost(self.now));
            let message = self.probe.send(self.now).expect("one is due");
            assert!(self.probe.send(self.now).is_none(), "only one is");
            self.now = self.probe.due();
            message
        }

        fn comes_round(&self) -> bool {
            self.status.do_messages_come_round()
        }
    }

    #[test]
    fn a_probe_that_comes_round_is_timed() {
        let mut bench = bench();
        assert!(!bench.comes_round(), "nothing is known yet");
        let message = bench.send();
        assert_eq!((message.to, message.from), (bench.probe.id(), bench.probe.id()));
        bench.probe.come(&message, bench.now - INTERVAL + Duration::from_millis(3));
        assert!(bench.comes_round());
        bench.probe.come(&message, bench.now);
        bench.probe.come(&bench.probe.nudge(), bench.now);
        let times = bench.status.round_trips();
        assert_eq!((times.len(), times.sum(), bench.status.probes_missed()), (1, Duration::from_millis(3), 0));
    }

    #[test]
    fn some_misses_in_a_row_show_that_messages_do_not_come_round() {
        let mut bench = bench();
        let message = bench.send();
        bench.probe.come(&message, bench.now);
        for missed in 0..PROBE_MISSES_MAX {
            assert!(bench.comes_round() && !bench.probe.is_lost(bench.now), "{missed}");
            bench.send();
        }
        assert!(bench.probe.is_lost(bench.now));
        bench.probe.give_up();
        assert!(!bench.comes_round());
        assert_eq!(bench.status.probes_missed(), PROBE_MISSES_MAX as u64 - 1);
    }

    #[test]
    fn links_are_given_up_less_and_less_often_when_it_does_not_help() {
        let mut bench = bench();
        for rounds in [1, 2, 4, 8, 8, 8] {
            (0..rounds * PROBE_MISSES_MAX).for_each(|_| drop(bench.send()));
            assert!(bench.probe.is_lost(bench.now), "{rounds}");
            bench.probe.give_up();
            bench.probe.begin(bench.now);
        }
        let message = bench.send();
        bench.probe.come(&message, bench.now);
        (0..PROBE_MISSES_MAX).for_each(|_| drop(bench.send()));
        assert!(bench.probe.is_lost(bench.now), "once one has come round, it is as at the beginning");
    }

    #[test]
    fn a_way_that_is_slow_is_told_but_not_given_up() {
        let mut bench = bench();
        let mut under_way = VecDeque::new();
        // It gets slower and slower, until a probe takes as long as it takes for some to be missed.
        for sent in 0..3 * PROBES_MAX {
            under_way.push_back(bench.send());
            if under_way.len() > (sent / 4).min(PROBE_MISSES_MAX) {
                bench.probe.come(&under_way.pop_front().unwrap(), bench.now);
            }
        }
        assert!(!bench.comes_round() && !bench.probe.is_lost(bench.now));
        bench.probe.come(&under_way.pop_back().unwrap(), bench.now);
        assert!(bench.comes_round(), "the newest is here");
    }

    #[test]
    fn a_refused_probe_is_told_but_no_reason_to_connect_anew() {
        let mut bench = bench();
        for _ in 0..2 * PATIENCE_MAX {
            bench.send();
            bench.probe.refuse();
        }
        assert!(!bench.comes_round() && !bench.probe.is_lost(bench.now));
        assert_eq!(bench.status.probes_missed(), 2 * PATIENCE_MAX as u64);
    }
}
