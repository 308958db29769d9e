//! One connection to Redis: made, used until it breaks, made again, for ever.
//!
//! ```text
//!  ┌─▶ connect ──ok──▶ serve (until it breaks, or a move is ordered) ──▶ pause (backoff, cut short by a move) ─┐
//!  │      └───failed───────────────────────────────────────────────────────▲                                  │
//!  └──────────────────────────────────────────────────────────────────────────────────────────────────────────┘   ends when told to
//! ```
//!
//! Both threads of the broker are a [`Keeper`] with a [`Session`] of their own.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use redis::{Connection, RedisError};

use super::backoff::Backoff;
use super::dial::Dialer;
use super::journal::Journal;
use super::locator::Locator;
use crate::wire::id::IdSource;

/// Why there is no connection, or no longer one. Whatever it is, the next thing is to try again, so it is a reason for the log and no more.
#[derive(Debug)]
pub(super) struct Failure {
    reason: String,
    /// Whether the place itself is wrong, so that the other link has to leave it as well.
    is_elsewhere: bool,
}

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), is_elsewhere: false }
    }

    /// Whatever is there, it is not what this node looks for.
    pub(super) fn elsewhere(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), is_elsewhere: true }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Failure {
        match io_kind(&error) {
            Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Failure::new("it did not answer in time"),
            Some(io::ErrorKind::UnexpectedEof) => Failure::new("it closed the connection"),
            _ => Failure::new(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The kind of the I/O error inside a [`RedisError`], which hides it in an `Arc`.
pub(super) fn io_kind(error: &RedisError) -> Option<io::ErrorKind> {
    let source = std::error::Error::source(error)?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    source.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// What a thread does with its connection.
pub(super) trait Session {
    /// The connection, ready for use.
    type Link;
    /// Prepares a new connection.
    fn prepare(&mut self, connection: Connection) -> Result<Self::Link, Failure>;
    /// Uses it until it breaks, or there has been another move than this one; `Ok` when asked to stop, or
    /// when what made it leave has passed.
    fn serve(&mut self, link: Self::Link, moves: u64) -> Result<(), Failure>;
}

/// Keeps a session connected.
pub(super) struct Keeper {
    locator: Arc<Locator>,
    dialer: Dialer,
    journal: Journal,
    backoff: Backoff,
    /// Dropped when the first attempt has ended, in a connection or not: somebody may wait for that.
    first_attempt: Option<Sender<()>>,
}

impl Keeper {
    pub(super) fn new(locator: Arc<Locator>, purpose: &'static str, random: IdSource, first_attempt: Sender<()>) -> Keeper {
        let (journal, backoff) = (Journal::new("Redis", purpose), Backoff::new(random));
        Keeper { locator, dialer: Dialer::default(), journal, backoff, first_attempt: Some(first_attempt) }
    }

    /// Connects, serves and connects again until told to stop.
    pub(super) fn run<S: Session>(mut self, mut session: S) {
        let locator = Arc::clone(&self.locator);
        let orders = locator.orders();
        while !orders.is_stopping() {
            let moves = orders.moves();
            let Err(failure) = self.attempt(&mut session) else {
                // Mostly it was told to stop. If what made it leave has passed in the same moment, it goes on at once.
                continue;
            };
            self.first_attempt = None;
            self.journal.down(locator.address(), &failure, Instant::now());
            orders.wait(self.backoff.pause(), moves);
        }
    }

    fn attempt<S: Session>(&mut self, session: &mut S) -> Result<(), Failure> {
        let found = self.locator.connect(&self.dialer)?;
        let link = session.prepare(found.connection)?;
        self.first_attempt = None;
        self.journal.up(&found.whereto);
        let since = Instant::now();
        let end = session.serve(link, found.moves);
        self.backoff.held(since.elapsed());
        if let Err(failure) = &end
            && failure.is_elsewhere
        {
            self.locator.move_on(failure.to_string());
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_io_error_is_found_inside_a_redis_error() {
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::UnexpectedEof] {
            assert_eq!(io_kind(&RedisError::from(io::Error::from(kind))), Some(kind));
        }
        assert_eq!(io_kind(&RedisError::from((redis::ErrorKind::Client, "no I/O"))), None);
        assert_eq!(Failure::from(RedisError::from(io::Error::from(io::ErrorKind::WouldBlock))).to_string(), "it did not answer in time");
    }
}
