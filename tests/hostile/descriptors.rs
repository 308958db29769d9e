//! A node that has no descriptors left.

use std::time::{Duration, Instant};

use super::arena::withstands;
use crate::node::{Http, Process, poll};

/// For how long its processor time is watched.
const WATCH: Duration = Duration::from_secs(3);

#[test]
fn a_node_without_descriptors_waits_for_some_without_spinning() {
    const ROOM: usize = 20;
    withstands(&[("max-connections", "10000")], |node| {
        let process = node.process();
        let usual = share_of_a_core(process);
        process.limit_descriptors(ROOM);
        let crowd: Vec<Http> = (0..200).map(|_| node.http()).collect();
        node.wait_for_log("connections wait, because they cannot be accepted");
        let waiting = share_of_a_core(process);
        println!("{:.1} % of a core without descriptors, {:.1} % before", waiting * 100.0, usual * 100.0);
        assert!(waiting < usual + 0.05, "{waiting} of a core, and {usual} before");
        drop(crowd);
        // By itself: nothing but its own clock tells it.
        node.client().check();
        assert!(node.metric("accept_failures_total") > 0);
    });
}

/// What a process takes of a core, the talk of the well-behaved pair included.
fn share_of_a_core(process: Process) -> f64 {
    let (begun, ticks) = (Instant::now(), process.cpu_ticks());
    poll(WATCH, || false);
    (process.cpu_ticks() - ticks) as f64 / 100.0 / begun.elapsed().as_secs_f64()
}
