//! What the log says about Redis: each change once, not each attempt.

use std::fmt::Display;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

/// Time after which a new reason for the same outage is worth another line: an operator who repairs one thing wants to learn of the
/// next, and reasons that take turns with each attempt must not fill the log.
const NEW_REASON_AFTER: Duration = Duration::from_secs(30);

/// Says what becomes of one connection.
#[derive(Debug)]
pub(super) struct Journal {
    peer: &'static str,
    purpose: &'static str,
    state: State,
}

#[derive(Debug)]
enum State {
    NeverUp,
    Up,
    Down { reason: String, told: Instant },
}

impl Journal {
    /// Of a connection to a `peer` that serves to `purpose`.
    pub(super) fn new(peer: &'static str, purpose: &'static str) -> Journal {
        Journal { peer, purpose, state: State::NeverUp }
    }

    /// The connection stands.
    pub(super) fn up(&mut self, address: &impl Display) {
        info!("connected to {} at {address} to {}", self.peer, self.purpose);
        self.state = State::Up;
    }

    /// The connection broke, or an attempt failed. Whether that went into the log.
    pub(super) fn down(&mut self, address: &impl Display, why: &impl Display, now: Instant) -> bool {
        let reason = why.to_string();
        let Journal { peer, purpose, .. } = self;
        match &self.state {
            State::Up => warn!("lost {peer} at {address} to {purpose}: {reason}; retrying"),
            State::NeverUp => warn!("no connection to {peer} at {address} to {purpose}: {reason}; retrying"),
            State::Down { reason: old, told } if *old == reason || now - *told < NEW_REASON_AFTER => {
                debug!("still no {peer} at {address} to {purpose}: {reason}");
                return false;
            }
            State::Down { .. } => warn!("still no {peer} at {address} to {purpose}: {reason}; retrying"),
        }
        self.state = State::Down { reason, told: now };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_a_new_reason_after_a_while() {
        let start = Instant::now();
        let mut journal = Journal::new("Redis", "test");
        let mut check = |second, reason: &str, told| {
            assert_eq!(journal.down(&"here", &reason, start + Duration::from_secs(second)), told, "{second} {reason}");
        };
        check(0, "refused", true);
        check(1, "refused", false);
        check(2, "wrong password", false);
        check(60, "refused", false);
        check(61, "wrong password", true);
        check(62, "refused", false);
        journal.up(&"here");
        assert!(journal.down(&"here", &"refused", start + Duration::from_secs(63)));
    }
}
