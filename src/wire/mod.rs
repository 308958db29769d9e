//! Words: bytes to values and back, with no state beyond one message.

pub mod address;
pub mod answer;
pub mod delivery;
pub mod envelope;
mod fields;
pub mod forwarded;
pub mod frame;
pub mod id;
pub mod message;
pub mod origin;
mod plain;
pub mod proxy;
pub mod reject;
pub mod text;
pub mod upgrade;
