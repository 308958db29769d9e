//! The limits that an operator sets, as a table: what each is called in the metrics, and what a client that runs into it is told.

use crate::wire::upgrade::Refusal;

/// A limit that was run into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Limit {
    /// Connections of the node.
    Connections,
    /// Connections from one address.
    ConnectionsPerAddress,
    /// Opening handshakes under way.
    Handshakes,
    /// Connections accepted per second.
    AcceptRate,
    /// Memory of the process.
    Memory,
    /// Origins that may open WebSockets.
    Origin,
    /// Messages per second of one connection.
    MessageRate,
    /// Bytes of one message.
    MessageSize,
    /// Bytes that wait for one connection.
    Outbox,
}

impl Limit {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Limit; 9] = [
        Limit::Connections,
        Limit::ConnectionsPerAddress,
        Limit::Handshakes,
        Limit::AcceptRate,
        Limit::Memory,
        Limit::Origin,
        Limit::MessageRate,
        Limit::MessageSize,
        Limit::Outbox,
    ];

    /// The value of the label `limit` in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::ConnectionsPerAddress => "connections_per_address",
            Limit::Handshakes => "handshakes",
            Limit::AcceptRate => "accept_rate",
            Limit::Memory => "memory",
            Limit::Origin => "origin",
            Limit::MessageRate => "message_rate",
            Limit::MessageSize => "message_size",
            Limit::Outbox => "outbox",
        }
    }
}

/// What came of the PROXY header of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Introduction {
    /// It names a client.
    Client,
    /// It names nobody: the connection is the proxy's own.
    Proxy,
    /// There is none, and none is required.
    Absent,
    /// There is none, though it is required.
    Missing,
    /// It is not as the protocol has it.
    Malformed,
    /// The connection comes from an address that is not trusted to have one.
    Untrusted,
}

impl Introduction {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Introduction; 6] = [
        Introduction::Client,
        Introduction::Proxy,
        Introduction::Absent,
        Introduction::Missing,
        Introduction::Malformed,
        Introduction::Untrusted,
    ];

    /// The value of the label `result` in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Introduction::Client => "client",
            Introduction::Proxy => "proxy",
            Introduction::Absent => "absent",
            Introduction::Missing => "missing",
            Introduction::Malformed => "malformed",
            Introduction::Untrusted => "untrusted",
        }
    }
}

/// What the client is told whose connection or handshake a limit stops. Those on what is said on a connection stop none of these.
impl From<Limit> for Refusal {
    fn from(limit: Limit) -> Refusal {
        match limit {
            Limit::Connections => Refusal::Full,
            Limit::ConnectionsPerAddress => Refusal::TooManyFromAddress,
            Limit::Handshakes | Limit::AcceptRate | Limit::MessageRate | Limit::MessageSize | Limit::Outbox => Refusal::Busy,
            Limit::Memory => Refusal::ShortOfMemory,
            Limit::Origin => Refusal::ForbiddenOrigin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_introductions_are_counted_in_the_order_of_their_numbers() {
        assert!(Limit::ALL.into_iter().enumerate().all(|(index, limit)| limit as usize == index));
        assert!(Introduction::ALL.into_iter().enumerate().all(|(index, introduction)| introduction as usize == index));
    }
}
