//! Load on a fleet: who writes to whom, how it is checked, and the two ways to press.

pub(crate) mod closed;
pub(crate) mod flooder;
pub(crate) mod ledger;
pub(crate) mod open;

use std::time::Duration;

use crate::record::Latencies;

/// For how long nothing may come while something is owed; after it, what is owed counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a load came to.
pub(crate) struct Outcome {
    /// Messages that were sent, acknowledged and delivered within the time that was measured.
    pub(crate) messages: u64,
    /// The time that was measured.
    pub(crate) elapsed: Duration,
    /// From the send to the delivery; under open load from the moment when the send was due.
    pub(crate) delivery: Latencies,
    /// The same to the acknowledgement.
    pub(crate) ack: Latencies,
}
