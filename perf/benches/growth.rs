//! Whether a hub ever stalls because a table of it grows or shrinks: a million clients come one by one, each with a request, and go one
//! by one in another order. Each of these steps is timed by itself.
//!
//! A mean would hide it: a table that moves all its entries when it is full does so twenty times on the way to a million, and everybody
//! waits for the last of them. Such a table, std's `HashMap`, is timed in the last column for comparison: inserts alone, without a client.
//!
//! Two clocks: `wall` is what a client would notice, `CPU` is what the thread itself took, without what the machine did meanwhile for
//! others. The claim is about the second: no step above 5 ms with a million clients. If it does not hold, the exit code is 1.
//!
//! ```sh
//! cargo bench -p texto-perf --bench growth               # a million; another number may follow after `--`
//! ```

mod support;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use support::{Clients, REQUEST, flush, hub, open, scattered};
use texto::hub::{Key, Moment};
use texto::runtime::sys;
use texto::wire::id::{IdSource, Serial};

const CLIENTS: usize = 1_000_000;

/// What no step may take.
const STEP_MAX: Duration = Duration::from_millis(5);

/// Clients that go between two times at which the hub is asked to give memory back; a node asks a second after the last has gone.
const CLOSINGS_PER_SHRINK: usize = 20_000;

fn main() -> ExitCode {
    // As a node does first of all: the slots then grow in a mapping of their own, which the kernel moves without a copy.
    sys::map_large_blocks();
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(CLIENTS);
    let mut hub = hub();
    let mut keys = Vec::with_capacity(count);
    let opened = open_all(&mut hub, &mut keys, count);
    let (closed, shrunk) = close_all(&mut hub, &keys);
    assert!(hub.is_empty(), "all have gone");
    print(count, &[("open", &opened), ("close", &closed), ("shrink", &shrunk), ("HashMap", &fill_map(count))]);
    let holds = [&opened, &closed, &shrunk].iter().all(|steps| steps.cpu.longest <= STEP_MAX);
    println!("no step of the hub takes more than {STEP_MAX:?} of CPU: {}", if holds { "holds" } else { "DOES NOT HOLD" });
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn open_all(hub: &mut Clients, keys: &mut Vec<Key>, count: usize) -> Steps {
    let (mut steps, mut unsettled, mut request) = (Steps::default(), Vec::new(), REQUEST.to_vec());
    for _ in 0..count {
        keys.push(steps.time(|| {
            let key = open(hub, &mut request, Moment::default());
            flush(hub, &mut unsettled);
            key
        }));
    }
    steps
}

/// The clients go in no order, which leaves holes everywhere. Returns the steps of their closing and those of giving memory back.
fn close_all(hub: &mut Clients, keys: &[Key]) -> (Steps, Steps) {
    let (mut closed, mut shrunk) = (Steps::default(), Steps::default());
    for (gone, at) in scattered(keys.len()).take(keys.len()).enumerate() {
        closed.time(|| {
            hub.end_of_input(keys[at], Moment::default());
            hub.reap().expect("it has just ended")
        });
        if gone % CLOSINGS_PER_SHRINK == CLOSINGS_PER_SHRINK - 1 {
            shrunk.time(|| hub.shrink());
        }
    }
    (closed, shrunk)
}

/// The same table as most would use.
fn fill_map(count: usize) -> Steps {
    let (mut steps, mut ids, mut map) = (Steps::default(), IdSource::seeded(1), HashMap::<Serial, u32>::new());
    for slot in 0..count as u32 {
        let serial = ids.serial();
        steps.time(|| map.insert(serial, slot));
    }
    steps
}

/// Steps of one kind, by both clocks.
#[derive(Default)]
struct Steps {
    wall: Histogram,
    cpu: Histogram,
}

impl Steps {
    /// What the second clock takes to be asked, some tenths of a microsecond, is counted by the first.
    fn time<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let (wall, cpu) = (Instant::now(), thread_time());
        let outcome = step();
        self.cpu.note(thread_time().saturating_sub(cpu));
        self.wall.note(wall.elapsed());
        outcome
    }
}

/// The CPU time of this thread so far.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it counts from zero upwards")
}

/// Rows of the histogram: below 1 µs, below 2 µs, and so on to half a minute.
const ROWS: usize = 26;

/// How often something took how long, in powers of two.
#[derive(Default)]
struct Histogram {
    counts: [u64; ROWS],
    total: u64,
    longest: Duration,
    /// Which one took longest, counted from zero.
    longest_at: u64,
}

impl Histogram {
    fn note(&mut self, took: Duration) {
        let micros = took.as_micros() as u64;
        self.counts[((u64::BITS - micros.leading_zeros()) as usize).min(ROWS - 1)] += 1;
        if took > self.longest {
            (self.longest, self.longest_at) = (took, self.total);
        }
        self.total += 1;
    }
}

fn print(count: usize, columns: &[(&str, &Steps)]) {
    let histograms: Vec<&Histogram> = columns.iter().flat_map(|(_, steps)| [&steps.wall, &steps.cpu]).collect();
    let row = |title: String, cell: &dyn Fn(&Histogram) -> String| {
        let cells: String = histograms.iter().map(|histogram| format!("{:>14}", cell(histogram))).collect();
        println!("{title:>12}{cells}");
    };
    let heads: String =
        columns.iter().flat_map(|(name, _)| [format!("{name} wall"), format!("{name} CPU")]).map(|name| format!("{name:>14}")).collect();
    println!("{count} clients, how many steps took how long\n{:>12}{heads}", "below");
    let last = histograms.iter().filter_map(|histogram| histogram.counts.iter().rposition(|&count| count > 0)).max().unwrap_or(0);
    for at in 0..=last {
        row(format!("{} µs", 1_u64 << at), &|histogram| match histogram.counts[at] {
            0 => "·".into(),
            count => count.to_string(),
        });
    }
    row("longest".into(), &|histogram| format!("{:.1?}", histogram.longest));
    row("which one".into(), &|histogram| histogram.longest_at.to_string());
}
