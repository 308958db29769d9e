//! Why a request is refused, as a table: the code that a program branches on, and the sentence that a person may be shown.
//!
//! Invariant: codes and descriptions hold nothing that JSON would have to escape.

use super::delivery::Refusal;

/// A refusal. The connection goes on after every one of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reject {
    /// Not JSON, or more than one document.
    NotJson,
    /// JSON, but not an object.
    NotAnObject,
    /// Objects or arrays nested too deep.
    TooDeep,
    /// A binary message.
    Binary,
    /// One of the four fields is there twice.
    DoubledField,
    /// No `id`.
    MissingId,
    /// An `id` that is not a UUID.
    MalformedId,
    /// A `client_id` that is neither a UUID nor null.
    MalformedClientId,
    /// No `kind`.
    MissingKind,
    /// A `kind` that is not a string.
    MalformedKind,
    /// A kind that does not exist.
    UnknownKind,
    /// A kind that only the server sends.
    ServerKind,
    /// A `send` under another session than the connection's.
    ForeignClientId,
    /// A `send` without `data`.
    MissingData,
    /// A `send` whose `data` is not an object.
    MalformedData,
    /// A field of `data` is there twice.
    DoubledDataField,
    /// No `data.receiver_id`.
    MissingReceiver,
    /// A `data.receiver_id` that is not a UUID.
    MalformedReceiver,
    /// No `data.text`.
    MissingText,
    /// A `data.text` that is not a string of characters.
    MalformedText,
    /// More messages than the operator allows.
    TooManyMessages,
    /// The message could not be handed on.
    NotHandedOn(Refusal),
}

/// The codes, in the order in which a node counts them.
pub const CODES: [&str; 6] = ["ESYNTAX", "EKIND", "ECID", "EINVAL", "EBROKER", "ERATE"];

impl Reject {
    /// Where the code stands in [`CODES`].
    pub fn code_index(self) -> usize {
        match self {
            Reject::NotJson
            | Reject::NotAnObject
            | Reject::TooDeep
            | Reject::Binary
            | Reject::DoubledField
            | Reject::MissingId
            | Reject::MalformedId
            | Reject::MalformedClientId
            | Reject::MissingKind
            | Reject::MalformedKind => 0,
            Reject::UnknownKind | Reject::ServerKind => 1,
            Reject::ForeignClientId => 2,
            Reject::MissingData
            | Reject::MalformedData
            | Reject::DoubledDataField
            | Reject::MissingReceiver
            | Reject::MalformedReceiver
            | Reject::MissingText
            | Reject::MalformedText => 3,
            Reject::NotHandedOn(_) => 4,
            Reject::TooManyMessages => 5,
        }
    }

    /// The code for programs.
    pub fn code(self) -> &'static str {
        CODES[self.code_index()]
    }

    /// One plain English sentence for people.
    pub fn description(self) -> &'static str {
        match self {
            Reject::NotJson => "the message is not one JSON document",
            Reject::NotAnObject => "the message is not a JSON object",
            Reject::TooDeep => "the message is nested too deep",
            Reject::Binary => "the message is binary, but only text is understood",
            Reject::DoubledField => "a field of the message is there twice",
            Reject::MissingId => "id is missing",
            Reject::MalformedId => "id is not a UUID",
            Reject::MalformedClientId => "client_id is not a UUID",
            Reject::MissingKind => "kind is missing",
            Reject::MalformedKind => "kind is not a string",
            Reject::UnknownKind => "kind is none that exists",
            Reject::ServerKind => "kind is one that only the server sends",
            Reject::ForeignClientId => "client_id is not the session of this connection",
            Reject::MissingData => "data is missing",
            Reject::MalformedData => "data is not an object",
            Reject::DoubledDataField => "a field of data is there twice",
            Reject::MissingReceiver => "data.receiver_id is missing",
            Reject::MalformedReceiver => "data.receiver_id is not a UUID",
            Reject::MissingText => "data.text is missing",
            Reject::MalformedText => "data.text is not a string of characters",
            Reject::TooManyMessages => "too many messages in a short time",
            Reject::NotHandedOn(refusal) => refusal.description(),
        }
    }
}
