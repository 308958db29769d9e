//! Redis stands still for long while a thousand messages per second are sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::crowd::Crowd;
use super::history::{History, Message, Recorder, Scope, What};
use super::plan::Act;
use super::rig::Rig;
use crate::node::{PATIENCE, Process, poll};
use crate::settle;

const CLIENTS: usize = 20;

/// Between two sends of a client: with the bursts, some 1,500 sends per second in all.
const PAUSE: Duration = Duration::from_millis(20);

/// `TEXTO_PAUSE` in seconds, or five.
fn length() -> u64 {
    std::env::var("TEXTO_PAUSE").map_or(5, |seconds| seconds.parse().expect("TEXTO_PAUSE is a number of seconds"))
}

/// The publish timeout of the nodes, with as much again for a machine that does other things. Who waits for Redis waits longer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What waits for Redis at this rate within the publish timeout is half a megabyte. The rest is slack of allocators.
const GROWTH_MAX: u64 = 8 << 20;

/// The most memory that any of the processes had at each look, until `is_over`.
fn watch(processes: &[Process], is_over: &AtomicBool) -> Vec<u64> {
    let mut seen = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        seen.push(processes.iter().map(|process| process.anonymous_bytes()).max().expect("there are nodes"));
        thread::sleep(Duration::from_millis(100));
    }
    seen
}

/// When the fault of Redis began and ended.
fn window(history: &History) -> (Duration, Duration) {
    let find = |is_it: &dyn Fn(&What) -> bool| history.0.iter().find(|event| is_it(&event.what)).expect("Redis was disturbed").at;
    (find(&|what| matches!(what, What::Begins(Scope::Redis, _))), find(&|what| matches!(what, What::Ends(Scope::Redis))))
}

/// How long messages within a node took that were sent in this time, sorted.
fn local_delays(history: &History, from: Duration, to: Duration) -> Vec<Duration> {
    let mut sent: HashMap<&Message, Duration> = HashMap::new();
    let mut delays = Vec::new();
    for event in &history.0 {
        match &event.what {
            What::Sent(message) if message.is_local() && event.at >= from && event.at < to => drop(sent.insert(message, event.at)),
            What::Received(_, message) => delays.extend(sent.get(message).map(|at| event.at - *at)),
            _ => {}
        }
    }
    delays.sort_unstable();
    delays
}

#[test]
fn a_long_pause_of_redis_costs_neither_memory_nor_answers_nor_local_messages() {
    let recorder = Arc::new(Recorder::new());
    let mut rig = Rig::start(false, &recorder);
    let crowd = Crowd::gather(&rig.addresses(CLIENTS), PAUSE, 0, &recorder);
    poll(PATIENCE, || crowd.present().len() == CLIENTS);
    thread::sleep(Duration::from_secs(2));
    let (processes, is_over) = (rig.processes(), AtomicBool::new(false));
    let memory = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&processes, &is_over));
        rig.act(Act::FreezeRedis(length() * 1000), &[]);
        is_over.store(true, Ordering::Release);
        watcher.join().unwrap()
    });
    thread::sleep(Duration::from_secs(1));
    crowd.hush();
    let (history, violations, counts) = settle(&recorder);
    crowd.leave();

    let (begin, end) = window(&history);
    let (calm, frozen) = (local_delays(&history, Duration::ZERO, begin), local_delays(&history, begin, end));
    let (first, most, last) = (memory[0], *memory.iter().max().unwrap(), *memory.last().unwrap());
    println!("Redis stood still for {} s; messages passed again {:?} after that: {counts:?}", length(), rig.recoveries);
    println!("memory of the largest node: {first} bytes before, {most} at most, {last} at the end");
    for (when, delays) in [("before", &calm), ("meanwhile", &frozen)] {
        let at = |share: usize| delays[(delays.len() - 1) * share / 1000];
        println!("{} messages within nodes {when}: median {:?}, p99 {:?}, longest {:?}", delays.len(), at(500), at(990), at(1000));
    }
    assert!(violations.is_empty(), "{violations:?}");
    assert!(counts.refused > 0 && counts.slowest_answer < ANSWER_MAX, "{counts:?}");
    assert!(most < first + GROWTH_MAX, "{first} bytes became {most}");
    assert!(frozen.last() < Some(&ANSWER_MAX) && frozen.len() > 100, "a message within a node waited for {:?}", frozen.last());
}
