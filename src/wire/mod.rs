//! Words: bytes to values and back, with no state beyond one message.

pub mod answer;
pub mod delivery;
pub mod envelope;
mod fields;
pub mod frame;
pub mod id;
pub mod message;
mod plain;
pub mod reject;
pub mod text;
pub mod upgrade;
