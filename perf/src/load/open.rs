//! Open load: messages fall due at a fixed rate, whatever the server does.
//!
//! Latency counts from the moment when a message was due, not from when it was written: a server that stalls would otherwise stop the
//! clock for all the messages that it kept from being sent (coordinated omission). A rate that was not reached voids the result, for
//! then the load was another one than it says.

use std::io;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::{Outcome, PATIENCE};
use crate::fleet::{Conversation, Fleet};
use crate::record::Latencies;
use crate::words::Message;

/// More messages than this on their way: the server does not follow, and the tool must not fill memory to prove it.
const OUTSTANDING_MAX: u64 = 200_000;
/// Messages written in one turn at most, so that reading is never put off for long.
const BURST_MAX: u64 = 1_000;

/// Messages that fall due.
pub(crate) struct Tide {
    ledger: Ledger,
    interval: f64,
    since: Instant,
    sent: u64,
    flow: usize,
    /// How late the tool itself wrote what was due.
    lateness: Latencies,
    progress: Instant,
}

impl Conversation for Tide {
    fn message(&mut self, fleet: &mut Fleet, link: usize, message: &Message<'_>, now: Instant) {
        self.progress = now;
        self.ledger.take(fleet, link, message, now);
    }
}

/// What an open load came to, beside its latencies.
pub(crate) struct Kept {
    pub(crate) outcome: Outcome,
    /// Messages that fell due in the time.
    pub(crate) due: u64,
    /// How late the tool wrote them.
    pub(crate) lateness: Latencies,
}

impl Kept {
    /// Whether the load was what it says: all that was due was sent, and is through within `wall`, to one in a hundred.
    pub(crate) fn is_valid(&self, rate: f64, wall: Duration) -> bool {
        let messages = self.outcome.messages as f64;
        messages >= self.due as f64 * 0.99 && messages >= rate * wall.as_secs_f64() * 0.99
    }
}

impl Tide {
    /// `per_second` messages, dealt to the flows in turn.
    pub(crate) fn new(ledger: Ledger, per_second: f64) -> Tide {
        let now = Instant::now();
        Tide { ledger, interval: 1.0 / per_second, since: now, sent: 0, flow: 0, lateness: Latencies::new(), progress: now }
    }

    /// Keeps the rate for `time`, and while `busy` says so.
    pub(crate) fn run(&mut self, fleet: &mut Fleet, time: Duration, mut busy: impl FnMut(&Fleet) -> bool) -> io::Result<Kept> {
        self.since = Instant::now();
        (self.sent, self.lateness) = (0, Latencies::new());
        self.ledger.clear_latencies();
        let settled = self.ledger.settled();
        while fleet.fault().is_none() && (self.since.elapsed() < time || busy(fleet)) {
            self.send_due(fleet);
            let due = self.due_at(self.sent);
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                fleet.wake_at(due)?;
            }
            fleet.turn(wait.min(Duration::from_millis(20)), self)?;
        }
        let elapsed = self.since.elapsed();
        let due = (elapsed.as_secs_f64() / self.interval) as u64;
        self.drain(fleet)?;
        let messages = self.ledger.settled() - settled;
        let (delivery, ack) = self.ledger.take_latencies();
        let lateness = std::mem::replace(&mut self.lateness, Latencies::new());
        Ok(Kept { outcome: Outcome { messages, elapsed, delivery, ack }, due, lateness })
    }

    fn due_at(&self, number: u64) -> Instant {
        self.since + Duration::from_secs_f64(number as f64 * self.interval)
    }

    fn send_due(&mut self, fleet: &mut Fleet) {
        let now = Instant::now();
        for _ in 0..BURST_MAX {
            let due = self.due_at(self.sent);
            if due > now || self.ledger.outstanding() >= OUTSTANDING_MAX {
                return;
            }
            self.lateness.note(Some(due), now);
            self.ledger.send(fleet, self.flow, due);
            self.flow = (self.flow + 1) % self.ledger.flow_count();
            self.sent += 1;
        }
    }

    /// Waits for what is on its way. What does not come is lost.
    fn drain(&mut self, fleet: &mut Fleet) -> io::Result<()> {
        self.progress = Instant::now();
        while fleet.fault().is_none() && self.ledger.outstanding() > 0 {
            if self.progress.elapsed() > PATIENCE {
                fleet.fail(format!("{} messages were lost: nothing has come for {PATIENCE:?}", self.ledger.outstanding()));
            }
            fleet.turn(Duration::from_millis(20), self)?;
        }
        Ok(())
    }
}
