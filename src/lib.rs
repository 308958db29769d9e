//! Texto.
pub mod limits;
pub mod wire;
