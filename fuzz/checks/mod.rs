//! What must hold at each boundary, whatever bytes come: one `check` per boundary, which panics if something does not.
//!
//! The targets of libFuzzer call these, and so does `tests/fuzz.rs`, which needs neither libFuzzer nor its flags.

pub(crate) mod envelope;
pub(crate) mod frame;
#[path = "../../tests/support/frames.rs"]
pub(crate) mod frames;
pub(crate) mod hub;
pub(crate) mod payload;
pub(crate) mod proxy;
#[path = "../../tests/support/readers.rs"]
pub(crate) mod readers;
pub(crate) mod upgrade;
