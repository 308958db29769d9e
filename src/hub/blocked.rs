//! Connections whose sockets do not take what they are owed: each is told apart, so that an operator can see how many there are and how
//! much waits for them, without a look at the others.
//!
//! ```text
//!   settled ──owed──▶ unsettled ──written in part──▶ blocked ──writable──▶ unsettled ──▶ …
//! ```
//!
//! Invariant: a connection stands in `Peers::blocked` once if its box says at which place, and not at all otherwise.

use super::connection::Work;
use super::peers::{Key, Peers};

impl<S> Peers<S> {
    /// The socket has left bytes: it will say when it takes more.
    pub(super) fn block(&mut self, key: Key) {
        let place = self.blocked.len() as u32;
        let Some(work) = self.work(key) else { return };
        if work.blocked.is_none() {
            work.blocked = Some(place);
            self.blocked.push(key);
        }
    }

    /// The socket takes bytes again: if any wait, they are written this tick.
    pub(super) fn unblock(&mut self, key: Key) {
        if self.unlist_blocked(key)
            && let Some(work) = self.work(key)
        {
            work.is_unsettled = true;
            self.unsettled.push(key);
        }
    }

    /// Takes the connection from the list, if it stands there. Returns whether it did.
    pub(super) fn unlist_blocked(&mut self, key: Key) -> bool {
        let Some(place) = self.work(key).and_then(|work| work.blocked.take()) else { return false };
        self.blocked.swap_remove(place as usize);
        if let Some(&moved) = self.blocked.get(place as usize)
            && let Some(work) = self.work(moved)
        {
            work.blocked = Some(place);
        }
        true
    }

    /// How many connections are blocked, and how many bytes wait for them.
    pub(super) fn blocked(&self) -> (usize, usize) {
        let waiting = |&key: &Key| self.peer(key).and_then(|peer| peer.connection.work_ref()).map_or(0, |work| work.outbox.len());
        (self.blocked.len(), self.blocked.iter().map(waiting).sum())
    }

    fn work(&mut self, key: Key) -> Option<&mut Work> {
        self.peer_mut(key)?.connection.work()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Hub, HubSettings, Message, MessageHandler, Moment};
    use super::*;
    use crate::wire::id::{IdSource, NodeTag};
    use crate::wire::message::Limits;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    struct Silent;

    impl MessageHandler for Silent {
        fn message<S>(&mut self, _: &mut Peers<S>, _: Key, _: Message<'_>) {}
    }

    fn hub() -> Hub<(), Silent> {
        let time = Duration::from_secs(60);
        let settings = HubSettings {
            endpoint: Some("/"),
            message: Limits { message_bytes_max: 1024, message_frames_max: 1 },
            message_timeout: time,
            message_rate_max: None,
            outbox_bytes_max: 2048,
            handshake_timeout: time,
            close_timeout: time,
            ping_after: time,
            pong_timeout: time,
        };
        Hub::new(settings, NodeTag::from_bits(1), 0, IdSource::seeded(1), Silent)
    }

    /// Writes all but `left` bytes of what is owed to each unsettled connection.
    fn flush(hub: &mut Hub<(), Silent>, left: usize) {
        let mut keys = Vec::new();
        hub.take_unsettled(&mut keys);
        for key in keys {
            let len = hub.owed(key).unwrap().1.len();
            hub.sent(key, len - left);
        }
    }

    #[test]
    fn each_blocked_connection_is_counted_with_what_waits_for_it() {
        let mut hub = hub();
        let keys = [10, 20, 30].map(|left| {
            let key = hub.open((), None, Moment::default()).expect("nothing is limited");
            hub.receive(key, &mut REQUEST.to_vec(), Moment::default());
            flush(&mut hub, left);
            key
        });
        let check = |hub: &Hub<(), Silent>, expected| {
            hub.check_invariants();
            assert_eq!(hub.blocked(), expected);
        };
        check(&hub, (3, 60));
        hub.writable(keys[0]);
        check(&hub, (2, 50));
        flush(&mut hub, 5);
        check(&hub, (3, 55));
        hub.socket_failed(keys[1]);
        check(&hub, (2, 35));
        assert!(hub.reap().is_some());
        hub.writable(keys[2]);
        flush(&mut hub, 0);
        check(&hub, (1, 5));
        hub.writable(keys[0]);
        flush(&mut hub, 0);
        check(&hub, (0, 0));
    }
}
