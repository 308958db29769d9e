//! Texto: a WebSocket messaging server that holds very many idle connections per node.
//!
//! # Threads
//!
//! ```text
//!            accept, read, write                         pipelines of PUBLISH
//!   clients ◀──────────────────▶ loop 0 ─┐             ┌─▶ publisher ──▶ Redis
//!   clients ◀──────────────────▶ loop 1 ─┼─ Exchange ──┤
//!   clients ◀──────────────────▶ loop n ─┘      ▲      └─  subscriber ◀── Redis
//!                                  ▲            │                │
//!                                  └─ mailboxes ┴────────────────┘
//!   operator ◀─▶ admin loop: the same machine with another handler      main: waits for a signal
//! ```
//!
//! Each loop owns its connections alone; threads talk through bounded queues.
//!
//! # Floors
//!
//! A file uses only the floors below its own; `tests/tidy.rs` sees to it.
//!
//! | floor | modules | what lives there |
//! |---|---|---|
//! | 4 | [`server`], [`config`], [`top`] | life cycle and settings; a view of running nodes |
//! | 3 | [`runtime`], [`broker`] | effects: sockets and the clock, Redis. They meet where messages pass (`runtime::exchange`) and where the operator looks (`runtime::admin`) |
//! | 2 | [`hub`] | decisions for the clients of one loop: pure, time is an argument |
//! | 1 | [`wire`] | words: bytes to values and back |
//! | 0 | [`limits`], [`histogram`] | every bound; how long things took |
//!
//! # Invariants
//!
//! - Nothing is held for an idle connection but its slot of 32 bytes and its entry in the directory, and its address where
//!   addresses are counted.
//! - Whatever a peer sends, nothing panics: it is refused, counted, and answered or closed with a reason.
//! - Every queue and buffer has its bound in [`limits`] or in a setting.
//! - No loop ever waits: not for Redis, not for the log, not for another loop.
//! - An `ack` is said only when the message has been handed on.

pub mod histogram;
pub mod limits;

pub mod wire;

pub mod hub;

pub mod broker;
pub mod runtime;

pub mod config;
pub mod server;
pub mod top;
