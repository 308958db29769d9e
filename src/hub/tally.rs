//! What a hub counts. Plain numbers that only grow; the runtime copies them to where they can be read.

use super::close_reason::CloseReason;
use super::limit::{Introduction, Limit};
use crate::wire::answer::Body;
use crate::wire::reject::{CODES, Reject};
use crate::wire::upgrade::Refusal;

/// The HTTP statuses that a hub answers with, in the order in which they are counted.
pub const STATUSES: [u16; 12] = [101, 200, 304, 400, 403, 404, 405, 408, 426, 429, 431, 503];

/// What clients say, in the order in which it is counted: the kinds that they may send, and what was refused whatever its kind.
pub const HEARD: [&str; 5] = ["registration", "send", "ack", "error", "refused"];

/// Where a message of a client is counted; see [`HEARD`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    Registration,
    Send,
    Ack,
    Error,
    Refused,
}

/// Counters of one hub, since its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Connections accepted.
    pub accepted: u64,
    /// HTTP responses, by [`STATUSES`].
    pub responses: [u64; STATUSES.len()],
    /// Connections ended, by [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Bytes read from clients.
    pub bytes_received: u64,
    /// Bytes written to clients.
    pub bytes_sent: u64,
    /// Pings from clients.
    pub pings_received: u64,
    /// Pings sent to silent clients.
    pub pings_sent: u64,
    /// `send`s whose recipient was on the same loop.
    pub sends_to_loop: u64,
    /// `send`s handed to another loop of the node.
    pub sends_to_sibling: u64,
    /// `send`s handed to Redis.
    pub sends_to_broker: u64,
    /// `send`s to ids that nobody on this node holds, with no other node to ask.
    pub sends_to_nobody: u64,
    /// Messages that came from another loop or node and were put into a client's queue.
    pub deliveries: u64,
    /// Messages that came from another loop or node for a client that is not here, or that would never fit into its queue.
    pub deliveries_dropped: u64,
    /// Requests refused, by [`CODES`].
    pub rejects: [u64; CODES.len()],
    /// Opening handshakes and other requests refused, by [`Refusal::LABELS`].
    pub refused: [u64; Refusal::LABELS.len()],
    /// Messages from clients, by [`HEARD`].
    pub heard: [u64; HEARD.len()],
    /// Messages put into the queues of clients, by [`Body::KINDS`].
    pub said: [u64; Body::KINDS.len()],
    /// Limits run into, by [`Limit::ALL`].
    pub limit_hits: [u64; Limit::ALL.len()],
    /// Limits that would have been run into, in a dry run.
    pub limit_hits_dry: [u64; Limit::ALL.len()],
    /// What came of PROXY headers, by [`Introduction::ALL`].
    pub introductions: [u64; Introduction::ALL.len()],
}

impl Tally {
    /// How many numbers there are in all.
    pub const CELLS: usize = size_of::<Tally>() / size_of::<u64>();

    /// Every number, in a fixed order.
    pub fn cells(&self) -> [u64; Tally::CELLS] {
        let single = [
            self.accepted,
            self.bytes_received,
            self.bytes_sent,
            self.pings_received,
            self.pings_sent,
            self.sends_to_loop,
            self.sends_to_sibling,
            self.sends_to_broker,
            self.sends_to_nobody,
            self.deliveries,
            self.deliveries_dropped,
        ];
        let rest: [&[u64]; 9] = [
            &self.responses,
            &self.closed,
            &self.rejects,
            &self.refused,
            &self.heard,
            &self.said,
            &self.limit_hits,
            &self.limit_hits_dry,
            &self.introductions,
        ];
        let mut cells = [0; Tally::CELLS];
        let values = single.iter().chain(rest.into_iter().flatten());
        cells.iter_mut().zip(values).for_each(|(cell, value)| *cell = *value);
        cells
    }

    /// The tally of which `cells` are the numbers, in the order of [`Tally::cells`].
    pub fn from_cells(cells: &[u64; Tally::CELLS]) -> Tally {
        let mut cells = cells.iter().copied();
        let mut next = || cells.next().unwrap_or_default();
        Tally {
            accepted: next(),
            bytes_received: next(),
            bytes_sent: next(),
            pings_received: next(),
            pings_sent: next(),
            sends_to_loop: next(),
            sends_to_sibling: next(),
            sends_to_broker: next(),
            sends_to_nobody: next(),
            deliveries: next(),
            deliveries_dropped: next(),
            responses: std::array::from_fn(|_| next()),
            closed: std::array::from_fn(|_| next()),
            rejects: std::array::from_fn(|_| next()),
            refused: std::array::from_fn(|_| next()),
            heard: std::array::from_fn(|_| next()),
            said: std::array::from_fn(|_| next()),
            limit_hits: std::array::from_fn(|_| next()),
            limit_hits_dry: std::array::from_fn(|_| next()),
            introductions: std::array::from_fn(|_| next()),
        }
    }

    /// Counts an HTTP response.
    pub fn count_response(&mut self, status: u16) {
        let index = STATUSES.iter().position(|&known| known == status);
        debug_assert!(index.is_some(), "{status} is not in STATUSES");
        if let Some(index) = index {
            self.responses[index] += 1;
        }
    }

    /// Counts a message of a client.
    pub(super) fn count_message(&mut self, heard: Heard) {
        self.heard[heard as usize] += 1;
    }

    /// Counts the end of a connection.
    pub fn count_close(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    /// Counts that a limit was run into. In a dry run that is all.
    pub(super) fn count_hit(&mut self, limit: Limit, is_dry: bool) -> Result<(), Limit> {
        match is_dry {
            true => self.limit_hits_dry[limit as usize] += 1,
            false => self.limit_hits[limit as usize] += 1,
        }
        if is_dry { Ok(()) } else { Err(limit) }
    }

    /// Counts what came of a PROXY header.
    pub(super) fn count_introduction(&mut self, introduction: Introduction) {
        self.introductions[introduction as usize] += 1;
    }

    /// Counts a refused request.
    pub fn count_reject(&mut self, reject: Reject) {
        self.rejects[reject.code_index()] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_among_the_cells() {
        let cells = std::array::from_fn(|index| index as u64 + 1);
        let tally = Tally::from_cells(&cells);
        assert_eq!(tally.cells(), cells);
        assert_eq!((tally.accepted, tally.introductions[Introduction::ALL.len() - 1]), (1, Tally::CELLS as u64));
    }
}
