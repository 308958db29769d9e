//! Every way in which a connection ends, as a table: what the peer is told, what an operator counts.

use crate::wire::frame::Violation;

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CloseReason {
    /// The client began the closing handshake.
    ClosedByPeer,
    /// The client closed its side without a Close frame.
    HungUp,
    /// The socket failed: mostly a reset.
    SocketError,
    /// The client broke a rule of RFC 6455.
    Protocol,
    /// Text that was not UTF-8.
    NotUtf8,
    /// A message above the size limit.
    TooBig,
    /// A message in more frames than allowed.
    TooManyFragments,
    /// A message that did not end in time.
    SlowMessage,
    /// More was waiting for the client than allowed.
    SlowReader,
    /// The client went on sending faster than allowed.
    Flooding,
    /// The client was silent and did not answer a ping.
    Unresponsive,
    /// The node is about to stop.
    Draining,
    /// The connection asked for a page, or got an error status.
    Answered,
    /// The request head did not come in time.
    SlowHead,
}

impl CloseReason {
    /// All of them, in the order in which they are counted.
    pub const ALL: [CloseReason; 14] = [
        CloseReason::ClosedByPeer,
        CloseReason::HungUp,
        CloseReason::SocketError,
        CloseReason::Protocol,
        CloseReason::NotUtf8,
        CloseReason::TooBig,
        CloseReason::TooManyFragments,
        CloseReason::SlowMessage,
        CloseReason::SlowReader,
        CloseReason::Flooding,
        CloseReason::Unresponsive,
        CloseReason::Draining,
        CloseReason::Answered,
        CloseReason::SlowHead,
    ];

    /// What the Close frame says (RFC 6455 section 7.4.1), if the server is the one to send it first.
    pub fn close_frame(self) -> Option<(u16, &'static str)> {
        match self {
            CloseReason::SlowMessage => Some((1008, "the message took too long")),
            CloseReason::SlowReader => Some((1008, "too much is waiting to be read")),
            CloseReason::Flooding => Some((1008, "too many messages in a short time")),
            CloseReason::Draining => Some((1012, "this node is about to stop")),
            CloseReason::Protocol
            | CloseReason::NotUtf8
            | CloseReason::TooBig
            | CloseReason::TooManyFragments
            | CloseReason::ClosedByPeer
            | CloseReason::HungUp
            | CloseReason::SocketError
            | CloseReason::Unresponsive
            | CloseReason::Answered
            | CloseReason::SlowHead => None,
        }
    }

    /// The value of the label `reason` in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            CloseReason::ClosedByPeer => "closed_by_peer",
            CloseReason::HungUp => "hung_up",
            CloseReason::SocketError => "socket_error",
            CloseReason::Protocol => "protocol_error",
            CloseReason::NotUtf8 => "not_utf8",
            CloseReason::TooBig => "message_too_big",
            CloseReason::TooManyFragments => "too_many_fragments",
            CloseReason::SlowMessage => "slow_message",
            CloseReason::SlowReader => "slow_reader",
            CloseReason::Flooding => "flooding",
            CloseReason::Unresponsive => "unresponsive",
            CloseReason::Draining => "draining",
            CloseReason::Answered => "http_answered",
            CloseReason::SlowHead => "slow_head",
        }
    }
}

impl From<Violation> for CloseReason {
    fn from(violation: Violation) -> CloseReason {
        match violation {
            Violation::Protocol(_) => CloseReason::Protocol,
            Violation::NotUtf8 => CloseReason::NotUtf8,
            Violation::TooBig => CloseReason::TooBig,
            Violation::TooManyFragments => CloseReason::TooManyFragments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_in_the_order_of_their_numbers() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
