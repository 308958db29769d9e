//! Keepalive over real sockets: who is silent is pinged, who answers stays, who does not is given up.

mod node;

use std::io::Read;
use std::time::{Duration, Instant};

use node::{Came, Node};

/// What the settings below add up to, the clock hand's second included, and room for a busy machine.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(10);

fn impatient_node() -> Node {
    Node::start(&[("ping-after", "1s"), ("pong-timeout", "1s")])
}

#[test]
fn a_client_that_answers_pings_is_never_cut_off() {
    let node = impatient_node();
    let mut client = node.client();
    // Each round is a silence after which a client that had not answered the ping before would have been given up.
    for _ in 0..3 {
        // The library answers it.
        assert_eq!(client.next_within(GIVEN_UP_WITHIN), Came::Ping(Vec::new()));
    }
    client.check();
}

#[test]
fn a_client_that_answers_no_ping_is_given_up() {
    let node = impatient_node();
    let connected = Instant::now();
    // Below the WebSocket library, which would answer by itself.
    let mut silent = node.client().into_stream();
    silent.set_read_timeout(Some(GIVEN_UP_WITHIN)).unwrap();
    let mut ping = [0; 2];
    silent.read_exact(&mut ping).unwrap();
    assert_eq!(ping, [0x89, 0]);
    assert!(connected.elapsed() >= Duration::from_secs(1), "pinged before it had been silent for a second");
    assert_eq!(silent.read(&mut ping).unwrap(), 0, "given up, and not pinged again");
    assert!(connected.elapsed() >= Duration::from_secs(2), "given up before its time to answer had passed");
    node::eventually("the end is counted", || node.metric("connections_closed_total{reason=\"unresponsive\"}") == 1);
}
