//! One connection: where it stands (RFC 6455 names), and what it holds while something is under way.
//!
//! ```text
//!              head read, 101                 Close from either side, or a rule broken
//!   Opening ──────────────────▶ Open ──────────────────────────────────────────────────▶ Closing ──▶ Closed ──▶ reaped
//!      └── page, error status, deadline ─────────────────────────────────────────────────▲  │
//!                                                                                           │ phases
//!     AwaitingAnswers  the client is leaving or to be sent away, but messages of it are on their way and owe it an answer
//!     Flushing         all is said; the rest of the outbox goes out, then it ends
//!     AwaitingClose    we sent Close first; the client's Close is to come
//!     Lingering        the stream has no meaning any more, or it was HTTP: flush, shut down our side, discard until it hangs up,
//!                      because closing a socket with unread bytes would tear down what is still on its way to the client
//! ```
//!
//! An idle connection is one slot of 32 bytes. What it needs only while it is busy lives in a [`Work`] box that goes away afterwards.

use super::close_reason::CloseReason;
use super::deadlines::Stamp;
use super::outbox::Outbox;
use crate::wire::frame::Violation;
use crate::wire::id::Serial;
use crate::wire::message::Partial;

/// A slot. `S` is the socket, of which nothing is known here.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) serial: Serial,
    pub(super) socket: S,
    pub(super) connection: Connection,
}

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Connection {
    /// The request head is being read, or what comes before it.
    Opening { first: First, since: Stamp, work: Option<Box<Work>> },
    /// The client has its session. `debt` is the message rate's; `heard` is when the last byte came.
    Open { is_pinged: bool, debt: u16, heard: Stamp, work: Option<Box<Work>> },
    /// It is coming to its end.
    Closing { phase: Phase, reason: CloseReason, since: Stamp, work: Option<Box<Work>> },
    /// It waits to be reaped.
    Closed { reason: CloseReason },
}

/// What a new connection has to say first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum First {
    /// A request.
    RequestHead,
    /// A request, though its address has too many connections: so the answer comes to one that waits for an answer.
    ExcessHead,
    /// For whom it speaks; it is a trusted proxy's.
    ProxyHeader,
    /// Nothing: it has come past the proxies.
    Nothing,
}

/// What a closing connection waits for; see the picture above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    AwaitingAnswers,
    Flushing,
    AwaitingClose,
    Lingering,
}

/// What a connection holds while it is busy.
#[derive(Default, Debug)]
pub(super) struct Work {
    pub(super) outbox: Outbox,
    pub(super) input: Input,
    /// When the input began to be incomplete.
    pub(super) input_since: Stamp,
    /// Messages of this client that are on their way and will be answered.
    pub(super) unanswered: u32,
    /// What to say when all is answered.
    pub(super) farewell: Farewell,
    /// Whether the connection stands in the hub's list of those to write to.
    pub(super) is_unsettled: bool,
    /// If the socket refused bytes, the connection's place in the hub's list of such; it will say when it takes more.
    pub(super) blocked: Option<u32>,
}

impl Work {
    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.outbox.is_empty() && self.unanswered == 0 && !self.is_unsettled && matches!(self.input, Input::None)
    }
}

/// The last word to a client that is leaving.
#[derive(Clone, Copy, Default, Debug)]
pub(super) enum Farewell {
    /// None of its own: the client hung up, or the reason for sending it away has one.
    #[default]
    Nothing,
    /// The answer to its Close, with the same code or without one.
    Close(Option<u16>),
    /// It broke a rule.
    Fail(Violation),
    /// It did what no rule forbids, but the node: the reason has the words.
    Dismiss,
}

/// What has come in and is not whole.
#[derive(Default, Debug)]
pub(super) enum Input {
    /// Nothing.
    #[default]
    None,
    /// The beginning of a request head.
    Head(Vec<u8>),
    /// The beginning of a message.
    Message(Box<Partial>),
}

impl Connection {
    /// The box, where the state has a place for one.
    pub(super) fn work_place(&mut self) -> Option<&mut Option<Box<Work>>> {
        match self {
            Connection::Opening { work, .. } | Connection::Open { work, .. } | Connection::Closing { work, .. } => Some(work),
            Connection::Closed { .. } => None,
        }
    }

    /// The box, if there is one.
    pub(super) fn work(&mut self) -> Option<&mut Work> {
        self.work_place()?.as_deref_mut()
    }

    /// The box, if there is one, only to look at.
    pub(super) fn work_ref(&self) -> Option<&Work> {
        match self {
            Connection::Opening { work, .. } | Connection::Open { work, .. } | Connection::Closing { work, .. } => work.as_deref(),
            Connection::Closed { .. } => None,
        }
    }

    /// Whether the client is listed in the directory: it has a session, and may still be owed answers.
    pub(super) fn is_listed(&self) -> bool {
        matches!(self, Connection::Open { .. } | Connection::Closing { phase: Phase::AwaitingAnswers, .. })
    }

    /// Whether what the client says is heard: it is open, or is to be sent away once it has been answered.
    pub(super) fn is_heard(&self) -> bool {
        match self {
            Connection::Open { .. } => true,
            Connection::Closing { phase: Phase::AwaitingAnswers, reason, .. } => *reason == CloseReason::Draining,
            Connection::Opening { .. } | Connection::Closing { .. } | Connection::Closed { .. } => false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Connection::Open { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_32_bytes_and_so_is_its_place_in_the_slab() {
        assert_eq!(size_of::<Connection>(), 16);
        assert_eq!(size_of::<Peer<std::os::fd::OwnedFd>>(), 32);
        // A slab's entry is an enum of a free one and a used one; the used one must have a niche to tell them apart.
        assert_eq!(size_of::<Result<Peer<std::os::fd::OwnedFd>, usize>>(), 32);
    }
}
