//! Effects: sockets, threads and the clock; what the floors below only decide happens here.

pub mod log_lines;
