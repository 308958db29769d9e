//! What both benchmarks need: a hub as a node sets it up, and the two halves of what a loop does for a client.

use std::num::NonZeroUsize;
use std::time::Duration;

use texto::hub::{Hub, HubSettings, Key, Moment, Router};
use texto::wire::id::{IdSource, NodeTag};
use texto::wire::message::Limits;

/// A node's hub, with nothing where a socket would be.
pub(crate) type Clients = Hub<(), Router>;

/// What the hub is asked for by every client: as short as a browser's request is at least.
pub(crate) const REQUEST: &[u8] =
    b"GET /v1/texto HTTP/1.1\r\nHost: localhost:8398\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n\
    Accept: */*\r\nOrigin: http://localhost:8398\r\nCache-Control: no-cache\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Longer than any benchmark: nobody is pinged, so an idle client stays idle.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// A hub without clients, which draws the same ids each time.
pub(crate) fn hub() -> Clients {
    let settings = HubSettings {
        endpoint: Some("/v1/texto"),
        message: Limits { message_bytes_max: 1 << 20, message_frames_max: 64 },
        message_timeout: NEVER,
        message_rate_max: None,
        outbox_bytes_max: 1 << 21,
        handshake_timeout: NEVER,
        close_timeout: NEVER,
        ping_after: NEVER,
        pong_timeout: NEVER,
    };
    Hub::new(settings, NodeTag::from_bits(0x00c0_ffee), 0, IdSource::seeded(1), Router::new(1, false, &[]))
}

/// A client connects and asks for its session; the answer waits to be written.
pub(crate) fn open(hub: &mut Clients, request: &mut [u8], now: Moment) -> Key {
    let key = hub.open((), None, now).expect("nothing is limited");
    hub.receive(key, request, now);
    key
}

/// The end of a tick: every socket takes all that its client is owed. Returns how many bytes that is; `keys` is empty before and after.
pub(crate) fn flush(hub: &mut Clients, keys: &mut Vec<Key>) -> usize {
    hub.take_unsettled(keys);
    let mut total = 0;
    for key in keys.drain(..) {
        if let Some(len) = hub.owed(key).and_then(|((), owed)| NonZeroUsize::new(owed.len())) {
            hub.sent(key, len.get());
            total += len.get();
        }
    }
    total
}

/// The numbers below `count`, far from each other, each once per round.
pub(crate) fn scattered(count: usize) -> impl Iterator<Item = usize> {
    // A prime, so it has no divisor in common with any count that is used here.
    const STRIDE: usize = (1 << 31) - 1;
    (0..).map(move |turn: usize| turn % count * STRIDE % count)
}
