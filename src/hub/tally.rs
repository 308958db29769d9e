//! What a hub counts. Plain numbers that only grow; the runtime copies them to where they can be read.

use super::close_reason::CloseReason;
use crate::wire::reject::{CODES, Reject};

/// The HTTP statuses that a hub answers with, in the order in which they are counted.
pub const STATUSES: [u16; 9] = [101, 200, 400, 404, 405, 408, 426, 431, 503];

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
    /// WebSocket messages from clients.
    pub messages_received: u64,
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
}

impl Tally {
    /// How many numbers there are in all.
    pub const CELLS: usize = size_of::<Tally>() / size_of::<u64>();

    /// Every number, in a fixed order.
    pub fn cells(&mut self) -> impl Iterator<Item = &mut u64> {
        let Tally {
            accepted,
            responses,
            closed,
            bytes_received,
            bytes_sent,
            messages_received,
            pings_sent,
            sends_to_loop,
            sends_to_sibling,
            sends_to_broker,
            sends_to_nobody,
            deliveries,
            deliveries_dropped,
            rejects,
        } = self;
        let received = [accepted, bytes_received, bytes_sent, messages_received, pings_sent];
        let routed = [sends_to_loop, sends_to_sibling, sends_to_broker, sends_to_nobody, deliveries, deliveries_dropped];
        received.into_iter().chain(routed).chain(responses).chain(closed).chain(rejects)
    }

    /// Counts an HTTP response.
    pub fn count_response(&mut self, status: u16) {
        let index = STATUSES.iter().position(|&known| known == status);
        debug_assert!(index.is_some(), "{status} is not in STATUSES");
        if let Some(index) = index {
            self.responses[index] += 1;
        }
    }

    /// Counts the end of a connection.
    pub fn count_close(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
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
        let mut tally = Tally::default();
        assert_eq!(tally.cells().count(), Tally::CELLS);
        tally.cells().for_each(|cell| *cell += 1);
        assert_eq!(tally.rejects, [1; CODES.len()]);
        assert_eq!((tally.pings_sent, tally.sends_to_nobody), (1, 1));
    }
}
