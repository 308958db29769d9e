//! What happens when nothing happens: deadlines, pings, and the slow emptying of a node that is about to stop.

use std::ops::Range;
use std::time::Duration;

use super::connection::{Connection, Input, Peer};
use super::deadlines::Moment;
use super::{CloseReason, Hub, Key, MessageHandler};
use crate::limits::{DRAIN_STEP_MS, REVOLUTION_MS};
use crate::wire::frame::Kind;
use crate::wire::upgrade::{Method, Refusal};

/// The closing of all connections, spread over a time so that those who come back do not all come at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    since: Moment,
    span: Duration,
    /// Slots below this one have been told.
    told: usize,
    /// Slots there were when it began.
    slots_end: usize,
}

impl Drain {
    /// The slots to tell now.
    fn advance(&mut self, now: Moment) -> Range<usize> {
        let elapsed = now.as_millis() - self.since.as_millis();
        let span = millis(self.span);
        // One step ahead: the first is told at once, and the last by the end of the span.
        let share = if elapsed + DRAIN_STEP_MS >= span { self.slots_end } else { self.share(elapsed + DRAIN_STEP_MS, span) };
        let told = self.told;
        self.told = share.max(told);
        told..self.told
    }

    fn share(&self, elapsed: u64, span: u64) -> usize {
        (self.slots_end as u128 * u128::from(elapsed) / u128::from(span)) as usize
    }
}

/// What a passing clock hand finds to do.
enum Due {
    Nothing,
    Ping,
    Respond(Refusal),
    Close(CloseReason),
    End(CloseReason),
}

impl<S, M: MessageHandler> Hub<S, M> {
    /// When [`Hub::expire`] is to be called next; `None` while there is nothing to watch.
    pub fn next_deadline(&self) -> Option<Moment> {
        let is_telling = self.drain.is_some_and(|drain| drain.told < drain.slots_end);
        let drain = is_telling.then(|| self.peers.now.plus(Duration::from_millis(DRAIN_STEP_MS)));
        match (self.deadlines.due(), drain) {
            (Some(hand), Some(drain)) => Some(hand.min(drain)),
            (hand, drain) => hand.or(drain),
        }
    }

    /// Does what is due at `now`.
    pub fn expire(&mut self, now: Moment) {
        self.peers.now = now;
        for slot in self.deadlines.advance(self.peers.slots_end, now) {
            self.look_at(slot, now);
        }
        if let Some(mut drain) = self.drain {
            for slot in drain.advance(now) {
                self.send_away(slot);
            }
            self.drain = Some(drain);
        }
    }

    /// Begins to close all connections with 1012, spread over `span`. New ones are refused from now on.
    pub fn start_drain(&mut self, span: Duration, now: Moment) {
        self.peers.now = now;
        self.drain = Some(Drain { since: now, span, told: 0, slots_end: self.peers.slots_end });
    }

    /// Whether the node is about to stop and nothing is left to do: the last connection has ended, or whoever is left has had its time.
    pub fn is_drained(&self, now: Moment) -> bool {
        let Some(drain) = self.drain else { return false };
        let patience = drain.span + 2 * self.peers.settings.close_timeout + 2 * Duration::from_millis(REVOLUTION_MS);
        self.is_empty() || drain.since.plus(patience) <= now
    }

    fn send_away(&mut self, slot: usize) {
        let Some(key) = self.peers.key_of(slot) else { return };
        match self.peers.peer(key).map(|peer| &peer.connection) {
            Some(Connection::Open { .. }) => self.peers.close_when_answered(key, CloseReason::Draining),
            Some(Connection::Opening { .. }) => self.refuse(key, Refusal::Draining, Method::Get),
            Some(Connection::Closing { .. } | Connection::Closed { .. }) | None => {}
        }
    }

    fn look_at(&mut self, slot: usize, now: Moment) {
        let Some(key) = self.peers.key_of(slot) else { return };
        match self.due(key, now) {
            Due::Nothing => {}
            Due::Ping => self.ping(key),
            Due::Respond(refusal) => self.refuse(key, refusal, Method::Get),
            Due::Close(reason) => self.peers.close(key, reason),
            Due::End(reason) => self.peers.end(key, reason),
        }
    }

    fn due(&self, key: Key, now: Moment) -> Due {
        let settings = &self.peers.settings;
        let Some(Peer { connection, serial, .. }) = self.peers.peer(key) else { return Due::Nothing };
        match connection {
            Connection::Opening { since, .. } if has_passed(since.elapsed(now), settings.handshake_timeout) => {
                Due::Respond(Refusal::TooSlow)
            }
            Connection::Closing { since, reason, .. } if has_passed(since.elapsed(now), settings.close_timeout) => Due::End(*reason),
            Connection::Open { is_pinged, heard, work, .. } => {
                let silence = heard.elapsed(now);
                let is_in_message = work.as_ref().filter(|work| matches!(work.input, Input::Message(_)));
                // Only who did not answer a ping is given up: after a pause of the whole node, nobody has been asked yet.
                if *is_pinged && has_passed(silence, settings.ping_after + settings.pong_timeout) {
                    Due::Close(CloseReason::Unresponsive)
                } else if is_in_message.is_some_and(|work| has_passed(work.input_since.elapsed(now), settings.message_timeout)) {
                    Due::Close(CloseReason::SlowMessage)
                } else if !is_pinged && silence >= millis(settings.ping_after) + spread(serial.hash(), settings.pong_timeout) {
                    Due::Ping
                } else {
                    Due::Nothing
                }
            }
            Connection::Opening { .. } | Connection::Closing { .. } | Connection::Closed { .. } => Due::Nothing,
        }
    }

    fn ping(&mut self, key: Key) {
        if let Some(Peer { connection: Connection::Open { is_pinged, .. }, .. }) = self.peers.peer_mut(key) {
            *is_pinged = true;
            self.peers.tally.pings_sent += 1;
            self.peers.send(key, Kind::Ping, b"");
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn has_passed(elapsed: u64, timeout: Duration) -> bool {
    elapsed >= millis(timeout)
}

/// How many milliseconds later than it might a connection is pinged: up to an eighth of the time it has to answer, so that clients
/// who fell silent together are not pinged together, and those who then do not answer are still found in time.
fn spread(hash: u32, pong_timeout: Duration) -> u64 {
    (millis(pong_timeout) / 8 * u64::from(hash)) >> 32
}
