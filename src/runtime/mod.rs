//! Effects: sockets, threads and the clock; what the floors below only decide happens here.

pub mod admin;
mod backlog;
pub mod event_loop;
pub mod exchange;
pub mod exposition;
pub mod health;
pub mod listener;
pub mod log_lines;
pub mod mailbox;
pub mod memory;
pub mod metrics;
pub mod movements;
pub mod process;
pub mod reader;
pub mod supervisor;
pub mod sys;
pub mod unix_socket;
