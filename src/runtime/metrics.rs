//! Numbers for the operator: each loop has a block of its own, which it alone writes and anybody may read.
//!
//! A loop copies its numbers here when it is asked to: counting costs a message no atomic operation, and a reader never makes a loop wait.
//! How many connections there are is read from the slab at that moment, so it cannot drift.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::memory::MemoryWatch;
use super::process::Birth;
use crate::histogram::Histogram;
use crate::hub::Tally;

/// What the loops of a node share: counts, and whether it is about to stop.
pub struct Status {
    /// Connections that the node may hold.
    pub connections_max: usize,
    /// What the times of its loops count from.
    pub started: Instant,
    /// Looks at the memory of the process, if that is limited.
    pub memory_watch: Option<MemoryWatch>,
    /// Whether the node is about to stop.
    pub is_draining: AtomicBool,
    /// How the process was before it had connections.
    pub birth: Birth,
    /// Connections closed without a word, because too many others above a limit were being told so.
    pub dropped: AtomicU64,
    accept_failures: AtomicU64,
    drained: AtomicUsize,
    /// How often the loops have been asked for their numbers.
    asked: AtomicU64,
    loops: Vec<LoopStatus>,
}

struct LoopStatus {
    /// The last question that the numbers answer.
    answered: AtomicU64,
    cells: [AtomicU64; Numbers::CELLS],
}

/// What a loop tells about itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Numbers {
    /// Connections, of every state.
    pub connections: u64,
    /// Clients with a session.
    pub clients: u64,
    /// Connections whose sockets do not take what they are owed.
    pub slow_readers: u64,
    /// Bytes that these are owed.
    pub waiting_bytes: u64,
    /// How long ticks took.
    pub ticks: Histogram,
    /// How much later than due the loop came to its deadlines.
    pub lags: Histogram,
    /// What its hub has counted.
    pub tally: Tally,
}

impl Numbers {
    const GAUGES: usize = 4;
    const CELLS: usize = Numbers::GAUGES + 2 * Histogram::CELLS + Tally::CELLS;

    /// Every number, in a fixed order.
    fn cells(&self) -> impl Iterator<Item = u64> {
        let gauges = [self.connections, self.clients, self.slow_readers, self.waiting_bytes];
        gauges.into_iter().chain(*self.ticks.cells()).chain(*self.lags.cells()).chain(self.tally.cells())
    }

    fn from_cells(mut cells: impl Iterator<Item = u64>) -> Numbers {
        let mut next = || cells.next().unwrap_or_default();
        Numbers {
            connections: next(),
            clients: next(),
            slow_readers: next(),
            waiting_bytes: next(),
            ticks: Histogram::from_cells(std::array::from_fn(|_| next())),
            lags: Histogram::from_cells(std::array::from_fn(|_| next())),
            tally: Tally::from_cells(&std::array::from_fn(|_| next())),
        }
    }

    /// Number by number, the sums over all loops.
    pub fn sum(loops: &[Numbers]) -> Numbers {
        let mut sums = [0; Numbers::CELLS];
        for numbers in loops {
            sums.iter_mut().zip(numbers.cells()).for_each(|(sum, cell)| *sum += cell);
        }
        Numbers::from_cells(sums.into_iter())
    }
}

impl Status {
    /// The status of a node with as many `loops`.
    pub fn new(loops: usize, connections_max: usize) -> Status {
        let loop_status = || LoopStatus { answered: AtomicU64::new(0), cells: std::array::from_fn(|_| AtomicU64::new(0)) };
        Status {
            connections_max,
            started: Instant::now(),
            memory_watch: None,
            is_draining: AtomicBool::new(false),
            birth: Birth::now(),
            dropped: AtomicU64::new(0),
            accept_failures: AtomicU64::new(0),
            drained: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            loops: (0..loops).map(|_| loop_status()).collect(),
        }
    }

    /// The same for a node whose memory is limited, unless `bytes_max` is none.
    #[must_use]
    pub fn with_memory_max(mut self, bytes_max: Option<NonZeroUsize>) -> Status {
        self.memory_watch = bytes_max.map(|most| MemoryWatch::new(most.get() as u64));
        self
    }

    /// For loop `number` alone: makes its numbers known.
    pub fn publish(&self, number: u8, numbers: &Numbers) {
        let Some(status) = self.loops.get(usize::from(number)) else { return };
        let question = self.asked();
        for (cell, value) in status.cells.iter().zip(numbers.cells()) {
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

    /// For each loop, whether it has answered `question`.
    pub fn answers(&self, question: u64) -> impl Iterator<Item = bool> {
        self.loops.iter().map(move |status| status.answered.load(Ordering::Acquire) >= question)
    }

    /// What each loop has told last.
    pub fn loops(&self) -> Vec<Numbers> {
        self.loops.iter().map(|status| Numbers::from_cells(status.cells.iter().map(|cell| cell.load(Ordering::Relaxed)))).collect()
    }

    /// Notes that a connection could not be accepted.
    pub fn note_accept_failure(&self, error: &io::Error) {
        self.accept_failures.fetch_add(1, Ordering::Relaxed);
        log::warn!("connections wait, because they cannot be accepted: {error}");
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
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hub::CloseReason;

    #[test]
    fn the_numbers_of_the_loops_are_kept_apart_and_summed() {
        let status = Status::new(2, 10);
        let mut tally = Tally { accepted: 3, bytes_sent: 5, ..Tally::default() };
        tally.rejects[5] = 7;
        tally.count_close(CloseReason::SlowHead);
        let [mut ticks, mut lags] = [Histogram::default(); 2];
        ticks.count(Duration::from_micros(90));
        lags.count(Duration::from_secs(1));
        let numbers = Numbers { connections: 2, clients: 1, slow_readers: 3, waiting_bytes: 9, ticks, lags, tally };
        status.publish(0, &numbers);
        status.publish(1, &Numbers { connections: 4, ..numbers });
        status.publish(2, &Numbers { connections: 100, ..numbers });
        let loops = status.loops();
        assert_eq!(loops, [numbers, Numbers { connections: 4, ..numbers }]);
        let all = Numbers::sum(&loops);
        assert_eq!((all.connections, all.clients, all.slow_readers, all.waiting_bytes), (6, 2, 6, 18));
        assert_eq!((all.tally.accepted, all.tally.rejects[5], all.tally.closed[CloseReason::SlowHead as usize]), (6, 14, 2));
        assert_eq!((all.ticks.len(), all.ticks.sum()), (2, Duration::from_micros(180)));
        assert_eq!((all.lags.len(), all.lags.sum()), (2, Duration::from_secs(2)));
    }

    #[test]
    fn a_loop_has_answered_when_it_has_told_its_numbers_since() {
        let status = Status::new(2, 10);
        let question = status.ask();
        assert!(status.answers(question).eq([false, false]));
        status.publish(1, &Numbers::default());
        assert!(status.answers(question).eq([false, true]));
        assert!(status.answers(status.ask()).eq([false, false]));
    }
}
