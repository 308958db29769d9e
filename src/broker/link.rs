//! One connection to Redis: made, used until it breaks, made again, for ever.
//!
//! ```text
//!  ┌─▶ connect ──ok──▶ serve (until it breaks) ──▶ pause (backoff) ─┐
//!  │      └───failed───────────────────────────────────▲            │
//!  └────────────────────────────────────────────────────────────────┘   ends when the flag to stop is set
//! ```
//!
//! Both threads of the broker are a [`Keeper`] with a [`Session`] of their own.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisError};

use super::address::Address;
use super::backoff::Backoff;
use super::journal::Journal;
use crate::wire::id::IdSource;

/// Time for each step of a new connection: to each address of the host, and for each answer until it is in use. A Redis in the same
/// building answers within a millisecond, one on another continent within half a second; who needs longer is not there.
///
/// Two waits have no limit of ours: the resolver of the system has its own, and a Unix socket connects at once or not at all, unless
/// the backlog of a stopped Redis is full.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no connection, or no longer one. Whatever it is, the next thing is to try again, so it is a reason for the log and no more.
#[derive(Debug)]
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Failure {
        Failure(reason.into())
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Failure {
        match io_kind(&error) {
            Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Failure::new("it did not answer in time"),
            Some(io::ErrorKind::UnexpectedEof) => Failure::new("it closed the connection"),
            _ => Failure(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kind of the I/O error inside a [`RedisError`], which hides it in an `Arc`.
pub(super) fn io_kind(error: &RedisError) -> Option<io::ErrorKind> {
    let source = std::error::Error::source(error)?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    source.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// A connection whose password was accepted, if there is one; each read and write on it ends within [`CONNECT_TIMEOUT`].
pub(super) fn connect(address: &Address) -> Result<Connection, Failure> {
    let connection = Client::open(address.connection_info())?.get_connection_with_timeout(CONNECT_TIMEOUT)?;
    // The client has taken back the timeouts that it used while connecting.
    connection.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    connection.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    Ok(connection)
}

/// What a thread does with its connection.
pub(super) trait Session {
    /// The connection, ready for use.
    type Link;
    /// Makes a connection and prepares it.
    fn connect(&mut self, address: &Address) -> Result<Self::Link, Failure>;
    /// Uses the connection until it breaks; `Ok` when asked to stop.
    fn serve(&mut self, link: Self::Link) -> Result<(), Failure>;
}

/// Tells both threads to end.
#[derive(Debug, Default)]
pub(super) struct StopFlag(AtomicBool);

impl StopFlag {
    /// Asks; a thread that sleeps in [`Keeper::pause`] has to be unparked, too.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Keeps a session connected.
#[derive(Debug)]
pub(super) struct Keeper {
    address: Address,
    journal: Journal,
    backoff: Backoff,
    stop: Arc<StopFlag>,
}

impl Keeper {
    pub(super) fn new(address: Address, purpose: &'static str, random: IdSource, stop: Arc<StopFlag>) -> Keeper {
        Keeper { address, journal: Journal::new(purpose), backoff: Backoff::new(random), stop }
    }

    /// Connects, serves and connects again until told to stop.
    pub(super) fn run<S: Session>(mut self, mut session: S) {
        while !self.stop.is_set() {
            let Err(failure) = self.attempt(&mut session) else { return };
            self.journal.down(&self.address, &failure, Instant::now());
            let pause = self.backoff.pause();
            self.pause(pause);
        }
    }

    fn attempt<S: Session>(&mut self, session: &mut S) -> Result<(), Failure> {
        let link = session.connect(&self.address)?;
        self.journal.up(&self.address);
        let since = Instant::now();
        let end = session.serve(link);
        self.backoff.held(since.elapsed());
        end
    }

    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        // Parking may end early without a reason.
        while !self.stop.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
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
