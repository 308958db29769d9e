//! Churn with faults, for a while: what a node holds must not grow with the number of those who have come and gone.
//!
//! Thirty seconds show a leak of a descriptor, or of a hundred bytes per connection. `TEXTO_SOAK_SECONDS=3600 cargo test --test hostile
//! soak` shows what takes longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::arena::{KIB, MIB, withstands};
use crate::node::{Http, Node, UPGRADE, eventually, frame};

const CHURNERS: u64 = 4;

fn duration() -> Duration {
    let seconds = std::env::var("TEXTO_SOAK_SECONDS").map_or(30, |seconds| seconds.parse().expect("TEXTO_SOAK_SECONDS is a number"));
    Duration::from_secs(seconds)
}

#[test]
fn a_soak_of_churn_with_faults_leaves_descriptors_and_memory_flat() {
    withstands(&[("message-timeout", "1s"), ("handshake-timeout", "1s"), ("outbox-size", "512KiB")], |node| {
        let visits = AtomicU64::new(0);
        let half = duration() / 2;
        churn(node, half, &visits);
        let (warm, first) = (at_rest(node), visits.load(Ordering::Relaxed));
        churn(node, half, &visits);
        let (after, all) = (at_rest(node), visits.load(Ordering::Relaxed));
        println!("{all} visits; at rest {} KiB after the first {first}, {} KiB after all", warm / KIB as u64, after / KIB as u64);
        assert!(after < warm + MIB, "{warm} bytes after {first} visits, {after} after {all}");
    });
}

/// Memory once all visitors have gone and what they needed has been given back, as far as it will be.
fn at_rest(node: &Node) -> u64 {
    eventually("they are gone", || node.metric("connections") == 2);
    let process = node.process();
    let mut least = process.anonymous_bytes();
    let since = Instant::now();
    eventually("some seconds have passed", || {
        least = least.min(process.anonymous_bytes());
        since.elapsed() > Duration::from_secs(3)
    });
    least
}

fn churn(node: &Node, time: Duration, visits: &AtomicU64) {
    let until = Instant::now() + time;
    thread::scope(|scope| {
        for churner in 0..CHURNERS {
            scope.spawn(move || {
                for visit in (churner..).step_by(CHURNERS as usize).take_while(|_| Instant::now() < until) {
                    call(node, visit);
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
}

/// One visitor: some behave, most do not.
fn call(node: &Node, visit: u64) {
    let cut = (visit / 12) as usize;
    match visit % 12 {
        0 => node.client().check(),
        1 => node.http().write(&UPGRADE.as_bytes()[..cut % UPGRADE.len()]),
        2 => drop(node.http().get("/nothing")),
        3 => abandon(node, &frame(0x81, &[b'x'; 3000])[..1 + cut % 3000]),
        4 => abandon(node, &frame(0x01, &[b'x'; 20 * KIB])),
        5 => fail(node, &frame(0xc1, b"x")),
        6 => fail(node, &frame(0x81, b"\xff")),
        7 => fail(node, &[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]),
        8 => abandon(node, &frame(0x89, b"ping").repeat(50)),
        9 => talk_to_the_gone(node),
        10 => node.client().reset(),
        _ => stop_reading(node),
    }
}

/// Says something and is gone before the answer.
fn abandon(node: &Node, bytes: &[u8]) {
    let mut client = node.client();
    client.write(bytes);
    if bytes.len().is_multiple_of(2) { client.reset() } else { drop(client) }
}

/// Breaks a rule and is told so.
fn fail(node: &Node, bytes: &[u8]) {
    let mut client = node.client();
    client.write(bytes);
    assert!(client.expect_close().is_some());
}

fn talk_to_the_gone(node: &Node) {
    let gone = node.client().id().to_owned();
    let mut client = node.client();
    (0..10).for_each(|number| client.deliver(&gone, &number.to_string()));
}

/// Leaves half a megabyte unread.
fn stop_reading(node: &Node) {
    let (stopped, mut sender) = (node.client(), node.client());
    let text = "x".repeat(100 * KIB);
    (0..5).for_each(|_| sender.deliver(stopped.id(), &text));
    Http::adopt(stopped.into_stream()).half_close();
}
