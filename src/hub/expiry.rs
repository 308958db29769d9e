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
        let passed = self.deadlines.advance(self.peers.slots_end, now);
        if !passed.is_empty() {
            self.peers.thin_out_spares();
        }
        for slot in passed {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{HubSettings, Message, Peers};
    use super::*;
    use crate::wire::id::{IdSource, NodeTag};
    use crate::wire::message::Limits;

    const CLIENTS: usize = 2000;
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// Says nothing, so whatever a client gets is a ping.
    struct Silent;

    impl MessageHandler for Silent {
        fn message<S>(&mut self, _: &mut Peers<S>, _: Key, _: Message<'_>) {}
    }

    fn hub(ping_after: Duration, pong_timeout: Duration) -> Hub<(), Silent> {
        let settings = HubSettings {
            endpoint: Some("/"),
            message: Limits { message_bytes_max: 1024, message_frames_max: 1 },
            message_timeout: Duration::from_secs(60),
            message_rate_max: None,
            outbox_bytes_max: 2048,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            ping_after,
            pong_timeout,
        };
        Hub::new(settings, NodeTag::from_bits(1), 0, IdSource::seeded(1), Silent)
    }

    /// Everything that is owed is written. How many connections that were.
    fn flush(hub: &mut Hub<(), Silent>) -> usize {
        let mut keys = Vec::new();
        hub.take_unsettled(&mut keys);
        for &key in &keys {
            let len = hub.owed(key).expect("who is unsettled is owed something").1.len();
            hub.sent(key, len);
        }
        keys.len()
    }

    /// Clients fall silent all at once. When how many are pinged, and when how many are given up, in milliseconds of their silence.
    fn silence(ping_after: Duration, pong_timeout: Duration) -> [BTreeMap<u64, usize>; 2] {
        let mut hub = hub(ping_after, pong_timeout);
        let start = Moment::from_millis(u64::from(u32::MAX) - 10_000);
        for _ in 0..CLIENTS {
            let key = hub.open((), None, start).expect("nothing is limited");
            hub.receive(key, &mut REQUEST.to_vec(), start);
        }
        assert_eq!(flush(&mut hub), CLIENTS, "each has its response");
        hub.expire(start);
        let [mut pinged, mut given_up] = [BTreeMap::new(), BTreeMap::new()];
        while let Some(now) = hub.next_deadline() {
            hub.expire(now);
            let silence = now.as_millis() - start.as_millis();
            let pings = flush(&mut hub);
            let ends = std::iter::from_fn(|| hub.reap()).inspect(|(_, reason)| assert_eq!(*reason, CloseReason::Unresponsive)).count();
            (pings > 0).then(|| pinged.insert(silence, pings));
            (ends > 0).then(|| given_up.insert(silence, ends));
        }
        [pinged, given_up]
    }

    fn check(ping_after: u64, pong_timeout: u64) {
        let (ping_after, pong_timeout) = (Duration::from_secs(ping_after), Duration::from_secs(pong_timeout));
        let [pinged, given_up] = silence(ping_after, pong_timeout);
        assert_eq!((pinged.values().sum::<usize>(), given_up.values().sum::<usize>()), (CLIENTS, CLIENTS), "each once");
        let spread = pong_timeout / 8;
        // The hand passes once a second, so what is due is done within the second after.
        let within = |due: Duration, spread: Duration| millis(due)..=millis(due + spread) + REVOLUTION_MS;
        assert!(pinged.keys().all(|at| within(ping_after, spread).contains(at)), "{pinged:?}");
        assert!(given_up.keys().all(|at| within(ping_after + pong_timeout, Duration::ZERO).contains(at)), "{given_up:?}");
        let revolutions = millis(spread).div_ceil(REVOLUTION_MS) as usize;
        assert!(pinged.len() >= revolutions, "not spread over {spread:?}: {pinged:?}");
        // Chance makes no two seconds equal.
        let fair = CLIENTS as u64 * REVOLUTION_MS / millis(spread).max(REVOLUTION_MS);
        assert!(pinged.values().all(|&pings| pings as u64 <= fair + fair / 5), "not spread evenly, {fair} a second: {pinged:?}");
    }

    #[test]
    fn clients_who_fell_silent_together_are_pinged_one_after_the_other_and_given_up_in_time() {
        check(25, 20);
        check(25, 80);
        check(1, 16);
        // An eighth of this is less than the hand takes to go around.
        check(5, 4);
    }
}
