//! `texto-perf`, the load tool of Texto.

fn main() {}
