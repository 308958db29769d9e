//! Clients that break rules, lie about lengths, never finish, never read, or vanish, and a world that fails: a node survives it all, gives
//! back what it cost, and nobody else notices. `hostile/arena.rs` says what that means, for every test here.
//!
//! | what is done to a node | where |
//! |---|---|
//! | handshakes: wrong, foreign, endless, slow, cut off, ten thousand that never end | `hostile/heads.rs` |
//! | frames: every broken rule, every length that lies, close codes, UTF-8, a million empty continuations, noise | `hostile/frames.rs` |
//! | messages: JSON of any kind, fragments that never end on all connections | `hostile/messages.rs` |
//! | readers that stop, floods of pings, of messages, of nonsense | `hostile/readers.rs` |
//! | descriptors used up | `hostile/descriptors.rs` |
//! | resets and half-closes anywhere, peers that vanish, all gone and back, comings and goings in one batch | `hostile/network.rs` |
//! | stray signals, stops | `hostile/signals.rs` |
//! | all of it at once, for a while | `hostile/soak.rs` |
//!
//! What stands elsewhere, because it belongs there:
//!
//! | what is done to a node | where |
//! |---|---|
//! | one byte of a head every now and then, for as long as it takes | `http.rs`, `a_head_that_is_not_whole_in_time_gets_408_however_it_comes` |
//! | more connections than allowed, in crowds | `http.rs`, `a_crowd_in_front_of_a_full_node_is_bounded_and_leaves_no_trace` |
//! | version 777 through nginx | `deploy/checks.py`, `a_wrong_version_is_answered_and_leaves_nothing_open` |
//! | SIGTERM while messages are under way | `lifecycle.rs`, `whatever_was_acknowledged_during_a_drain_was_handed_on` |
//! | every signal there is | `lifecycle.rs`, `no_other_signal_disturbs_a_node` |
//! | a log that is blocked, broken, closed, or on a full disk | `lifecycle.rs`, `a_log_that_nobody_reads_stops_nothing` and those after it |
//! | the clock set back | `tidy.rs`: only the log and the time of the start read the clock that can be set |
//! | Redis killed, stalled, flooded | `cluster/outage.rs`, `faults.rs` |

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

mod hostile {
    mod arena;
    mod descriptors;
    mod frames;
    mod heads;
    mod messages;
    mod network;
    mod others;
    mod readers;
    mod signals;
    mod soak;
}
