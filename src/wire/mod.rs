//! Words: bytes to values and back, with no state beyond one message.

pub mod delivery;
pub mod id;
pub mod text;
