//! A whole cluster while parts of it fail: nginx, three nodes, and a Redis or a Sentinel group, all of them real, and clients that go on
//! talking.
//!
//! ```text
//!   plan.rs       what goes wrong, decided by a seed
//!   rig.rs        nginx and nodes; what goes wrong is done to them, and waited out until messages pass again
//!   backend.rs    one Redis or a Sentinel group
//!   lookout.rs    notes a failover that nobody asked for
//!   proxy.rs      the road to Redis, on which bytes can be delayed, held up and lost
//!   crowd.rs      clients that send numbered messages, note what they see, and come back when they are cut
//!   history.rs    what was seen, as text
//!   checker.rs    reads a history and says which promises it breaks
//!   pause.rs      Redis stands still for long, under load: `TEXTO_PAUSE=30` for half a minute
//!   recovery.rs   measures how long it takes until messages pass again; only when asked for
//!   start.rs      a node that has just been started
//!   falsified.rs  the checker's own test: small lies in an honest history
//! ```
//!
//! A seed decides what is done, and in which order; how the processes take it is theirs. When a run fails, it prints its seed and plan,
//! the promises that were broken, and the file that holds its whole history and all logs.
//!
//! ```sh
//! cargo test --locked --test faults                                           # a few seeds
//! TEXTO_SEEDS=20 cargo test --locked --test faults promises -- --nocapture    # as many as one likes
//! TEXTO_SEED=7 cargo test --locked --test faults promises -- --nocapture      # that one again
//! ```

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod nginx;
mod node;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "this test has an epitaph of its own")]
mod random;
mod redis;

mod faults {
    pub(crate) use crate::random;

    mod backend;
    pub(crate) mod checker;
    pub(crate) mod crowd;
    mod falsified;
    pub(crate) mod history;
    mod lookout;
    mod pause;
    pub(crate) mod plan;
    pub(crate) mod proxy;
    mod recovery;
    pub(crate) mod rig;
    mod start;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use faults::checker::{Counts, Rule, Violation, check};
use faults::crowd::Crowd;
use faults::history::{History, Recorder};
use faults::plan::Plan;
use faults::rig::{NODES, Rig};
use node::{PATIENCE, poll};

/// Seeds in a usual run of the tests.
const SEEDS: u64 = 4;

/// Runs at the same time. They mostly wait.
const LANES: usize = 2;

const CLIENTS: usize = 12;

/// Between two sends of a client.
const PAUSE: Duration = Duration::from_millis(30);

/// The seeds to be run: `TEXTO_SEED` alone, or `0..TEXTO_SEEDS`.
fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("TEXTO_SEEDS").map_or(SEEDS, |count| count.parse().expect("TEXTO_SEEDS is a number"));
    random::seeds(count)
}

#[test]
fn promises_are_kept_whatever_part_of_the_cluster_fails() {
    let (seeds, next) = (seeds(), AtomicU64::new(0));
    let next_seed = || Some(seeds.start + next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed));
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(seed) = next_seed() {
                    run(&Plan::new(seed, NODES));
                }
            });
        }
    });
}

/// Plays a plan, and fails if a promise was broken.
fn run(plan: &Plan) {
    let recorder = Arc::new(Recorder::new());
    let mut rig = Rig::start(plan.is_group, &recorder);
    let crowd = Crowd::gather(&rig.addresses(CLIENTS), PAUSE, plan.seed, &recorder);
    poll(PATIENCE, || crowd.present().len() == CLIENTS);
    for (calm, act) in &plan.acts {
        thread::sleep(Duration::from_millis(*calm));
        rig.act(*act, &crowd.present());
    }
    crowd.hush();
    let (history, violations, counts) = settle(&recorder);
    crowd.leave();
    println!("{plan}\n    {counts:?}\n    recovered after {:?}", rig.recoveries);
    if !violations.is_empty() || random::is_replay() {
        println!("the history is in {}", keep(plan, &rig, &history));
    }
    assert!(violations.is_empty(), "{plan}\n{}", report(plan, &violations));
    assert!(
        counts.due > counts.acked / 4 && counts.arrived >= counts.due,
        "a run in which hardly anything was due shows nothing: {counts:?}"
    );
}

/// Waits until everything is answered and everything has arrived, or until it is clear that this will never be.
fn settle(recorder: &Recorder) -> (History, Vec<Violation>, Counts) {
    let mut last = None;
    poll(PATIENCE, || {
        let history = recorder.history();
        let (violations, counts) = check(&history);
        let may_mend = violations.iter().any(|violation| [Rule::FalseAck, Rule::Unanswered].contains(&violation.rule));
        last = Some((history, violations, counts));
        !may_mend
    });
    last.expect("it was looked at least once")
}

/// Writes down all that is needed to find out what happened; where.
fn keep(plan: &Plan, rig: &Rig, history: &History) -> String {
    let path = format!("{}/faults-{}.txt", env!("CARGO_TARGET_TMPDIR"), plan.seed);
    std::fs::write(&path, format!("{plan}\n\n{history}\n{}", rig.logs())).unwrap();
    path
}

fn report(plan: &Plan, violations: &[Violation]) -> String {
    let some: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
    format!("{} broken promises, play it again with TEXTO_SEED={}\n  {}", violations.len(), plan.seed, some.join("\n  "))
}
