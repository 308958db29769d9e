//! Numbers for the operator: each loop has a block of its own, which it alone writes and anybody may read.
//!
//! A loop copies its tally here when it is asked to: counting costs a message no atomic operation, and a reader never makes a loop wait.

use std::fmt::{Display, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::hub::{CloseReason, STATUSES, Tally};
use crate::limits::ACCEPT_FAILURES_PER_LINE;
use crate::wire::reject::CODES;

/// What the loops of a node share: counts, and whether it is about to stop.
pub struct Status {
    /// Connections of all loops, counted to know whether the node is full.
    pub connections: AtomicUsize,
    /// Connections that the node may hold.
    pub connections_max: usize,
    /// Whether the node is about to stop.
    pub is_draining: AtomicBool,
    accept_failures: AtomicU64,
    drained: AtomicUsize,
    /// How often the loops have been asked for their numbers.
    asked: AtomicU64,
    loops: Vec<LoopStatus>,
}

struct LoopStatus {
    /// The last question that the numbers below answer.
    answered: AtomicU64,
    connections: AtomicU64,
    ticks: [AtomicU64; TickTimes::CELLS],
    cells: [AtomicU64; Tally::CELLS],
}

impl LoopStatus {
    fn new() -> LoopStatus {
        let zero = |_| AtomicU64::new(0);
        LoopStatus { answered: zero(0), connections: zero(0), ticks: std::array::from_fn(zero), cells: std::array::from_fn(zero) }
    }
}

impl Status {
    /// The status of a node with as many `loops`.
    pub fn new(loops: usize, connections_max: usize) -> Status {
        let loops = (0..loops).map(|_| LoopStatus::new()).collect();
        Status {
            connections: AtomicUsize::new(0),
            connections_max,
            is_draining: AtomicBool::new(false),
            accept_failures: AtomicU64::new(0),
            drained: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            loops,
        }
    }

    /// For loop `number` alone: makes its numbers known.
    pub fn publish(&self, number: u8, connections: usize, tally: &Tally, ticks: &TickTimes) {
        let Some(status) = self.loops.get(usize::from(number)) else { return };
        let question = self.asked();
        status.connections.store(connections as u64, Ordering::Relaxed);
        for (cell, value) in status.ticks.iter().zip(ticks.cells) {
            cell.store(value, Ordering::Relaxed);
        }
        for (cell, value) in status.cells.iter().zip(tally.cells()) {
            cell.store(value, Ordering::Relaxed);
        }
        status.answered.store(question, Ordering::Release);
    }

    /// Asks all loops for their numbers. They see it in their next tick; who wants them now wakes them.
    pub fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The last question.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// Whether all loops have answered `question`.
    pub fn is_answered(&self, question: u64) -> bool {
        self.loops.iter().all(|status| status.answered.load(Ordering::Acquire) >= question)
    }

    /// Notes that a connection could not be accepted. Told at most once in a while: it comes in crowds.
    pub fn note_accept_failure(&self, error: &io::Error) {
        if self.accept_failures.fetch_add(1, Ordering::Relaxed).is_multiple_of(ACCEPT_FAILURES_PER_LINE) {
            log::warn!("connections wait, because they cannot be accepted: {error}");
        }
    }

    /// How often a connection could not be accepted.
    pub fn accept_failures(&self) -> u64 {
        self.accept_failures.load(Ordering::Relaxed)
    }

    /// Notes that one more loop has no client left, on a node that is about to stop.
    pub fn note_drained(&self) {
        self.drained.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether no loop has a client left.
    pub fn are_all_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire) >= self.loops.len()
    }

    /// The connections of all loops together.
    pub fn connections(&self) -> u64 {
        self.loops.iter().map(|status| status.connections.load(Ordering::Relaxed)).sum()
    }

    /// The tallies of all loops together.
    pub fn tally(&self) -> Tally {
        Tally::from_cells(&self.sums(|status| &status.cells))
    }

    /// The times of the ticks of all loops together.
    pub fn ticks(&self) -> TickTimes {
        TickTimes { cells: self.sums(|status| &status.ticks) }
    }

    /// Cell by cell, the sums over all loops.
    fn sums<const N: usize>(&self, cells: impl Fn(&LoopStatus) -> &[AtomicU64; N]) -> [u64; N] {
        std::array::from_fn(|index| self.loops.iter().map(|status| cells(status)[index].load(Ordering::Relaxed)).sum())
    }
}

/// How long the ticks of a loop took: a histogram. A loop that stands still for long shows here, whatever the reason.
#[derive(Clone, Copy, Default)]
pub struct TickTimes {
    /// Ticks by [`TickTimes::BOUNDS`], then those that took longer, then the microseconds of all together.
    cells: [u64; TickTimes::CELLS],
}

impl TickTimes {
    /// Upper bounds of the buckets: in microseconds, and in seconds as they are told.
    const BOUNDS: [(u64, &'static str); 9] = [
        (100, "0.0001"),
        (250, "0.00025"),
        (500, "0.0005"),
        (1_000, "0.001"),
        (2_500, "0.0025"),
        (5_000, "0.005"),
        (10_000, "0.01"),
        (25_000, "0.025"),
        (100_000, "0.1"),
    ];
    const CELLS: usize = TickTimes::BOUNDS.len() + 2;

    /// Counts a tick.
    pub fn count(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = TickTimes::BOUNDS.iter().position(|(bound, _)| micros <= *bound);
        self.cells[bucket.unwrap_or(TickTimes::BOUNDS.len())] += 1;
        self.cells[TickTimes::CELLS - 1] += micros;
    }
}

/// Metrics in Prometheus' text format (version 0.0.4).
#[derive(Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// One number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    /// One number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    /// Numbers that only grow, told apart by one label.
    pub fn counters(&mut self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (String, u64)>) {
        self.family(name, "counter", help);
        for (value_of_label, value) in values {
            self.sample(name, &format!("{{{label}=\"{value_of_label}\"}}"), value);
        }
    }

    /// The times of ticks.
    pub fn ticks(&mut self, ticks: &TickTimes) {
        const NAME: &str = "loop_tick_seconds";
        self.family(NAME, "histogram", "Time that event loops take for what one wait brings.");
        let mut count = 0;
        for ((_, bound), cell) in TickTimes::BOUNDS.iter().zip(ticks.cells) {
            count += cell;
            self.sample(&format!("{NAME}_bucket"), &format!("{{le=\"{bound}\"}}"), count);
        }
        count += ticks.cells[TickTimes::BOUNDS.len()];
        self.sample(&format!("{NAME}_bucket"), "{le=\"+Inf\"}", count);
        let micros = ticks.cells[TickTimes::CELLS - 1];
        self.sample(&format!("{NAME}_sum"), "", format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        self.sample(&format!("{NAME}_count"), "", count);
    }

    /// What has been written.
    pub fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.text, "# HELP texto_{name} {help}\n# TYPE texto_{name} {kind}").expect("a String takes everything");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        writeln!(self.text, "texto_{name}{labels} {value}").expect("a String takes everything");
    }

    /// What the loops have counted.
    pub fn tally(&mut self, tally: &Tally) {
        self.counter("connections_accepted_total", "Connections accepted.", tally.accepted);
        let responses = STATUSES.iter().map(ToString::to_string).zip(tally.responses);
        self.counters("http_responses_total", "HTTP responses, 101 being a WebSocket.", "status", responses);
        let closed = CloseReason::ALL.iter().map(|reason| reason.label().to_owned()).zip(tally.closed);
        self.counters("connections_closed_total", "Connections ended.", "reason", closed);
        self.counter("received_bytes_total", "Bytes read from clients.", tally.bytes_received);
        self.counter("sent_bytes_total", "Bytes written to clients.", tally.bytes_sent);
        self.counter("messages_received_total", "WebSocket messages from clients.", tally.messages_received);
        self.counter("pings_sent_total", "Pings to silent clients.", tally.pings_sent);
        let sends = [
            ("loop", tally.sends_to_loop),
            ("sibling", tally.sends_to_sibling),
            ("redis", tally.sends_to_broker),
            ("nobody", tally.sends_to_nobody),
        ];
        let sends = sends.map(|(route, count)| (route.to_owned(), count));
        self.counters("sends_total", "Messages from clients to clients, by where they went.", "route", sends);
        self.counter("deliveries_total", "Messages from other loops and nodes put into a client's queue.", tally.deliveries);
        let dropped = "Messages from other loops and nodes for a client that is not here, or too large for its queue.";
        self.counter("deliveries_dropped_total", dropped, tally.deliveries_dropped);
        let rejects = CODES.iter().map(|&code| code.to_owned()).zip(tally.rejects);
        self.counters("errors_total", "Requests refused.", "code", rejects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_loops_are_summed() {
        let status = Status::new(2, 10);
        let mut tally = Tally { accepted: 3, bytes_sent: 5, ..Tally::default() };
        tally.rejects[5] = 7;
        tally.count_close(CloseReason::SlowHead);
        let mut ticks = TickTimes::default();
        [90, 100, 101, 100_001].into_iter().for_each(|micros| ticks.count(Duration::from_micros(micros)));
        status.publish(0, 2, &tally, &ticks);
        status.publish(1, 4, &tally, &ticks);
        status.publish(2, 100, &tally, &ticks);
        let total = status.tally();
        assert_eq!((total.accepted, total.bytes_sent, total.rejects[5], status.connections()), (6, 10, 14, 6));
        assert_eq!(total.closed[CloseReason::SlowHead as usize], 2);
        let mut exposition = Exposition::default();
        exposition.ticks(&status.ticks());
        let text = exposition.into_text();
        for line in ["bucket{le=\"0.0001\"} 4", "bucket{le=\"0.1\"} 6", "bucket{le=\"+Inf\"} 8", "sum 0.200584", "count 8"] {
            assert!(text.contains(&format!("texto_loop_tick_seconds_{line}\n")), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_exposition_names_type_and_help_before_the_samples() {
        let mut exposition = Exposition::default();
        exposition.tally(&Tally { accepted: 3, ..Tally::default() });
        let text = exposition.into_text();
        assert!(text.contains("# TYPE texto_connections_accepted_total counter\ntexto_connections_accepted_total 3\n"), "{text}");
        assert!(text.contains("texto_connections_closed_total{reason=\"slow_reader\"} 0\n"), "{text}");
    }
}
