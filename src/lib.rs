//! Texto.
pub mod wire;
