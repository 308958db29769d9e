//! A new connection within a time limit, whatever hangs.
//!
//! The redis crate limits what it can: the connection to each address of a host, and the answers on it. The resolver of the system and
//! a Unix socket whose server stands still wait as long as they like. So the whole of it is done in a thread of its own, which is left
//! behind when the time is over; it ends by itself, and what it still gets it drops. That costs a thread per attempt, some ten
//! microseconds beside the round trips of a connection.
//!
//! Invariant: a dialer has no more than [`DIALS_MAX`] such threads, and the one that it waits for.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use redis::{Client, Connection, ConnectionInfo, RedisResult};

use super::link::Failure;
use crate::limits::DIALS_MAX;

/// Makes connections, one at a time.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    /// A clone of this lives in each thread.
    under_way: Arc<()>,
}

impl Dialer {
    /// A connection whose password was accepted, if there is one; each read and write on it ends within `step`, and so does each of the
    /// steps until it is there. All of them together end within twice that time.
    pub(super) fn dial(&self, info: ConnectionInfo, step: Duration) -> Result<Connection, Failure> {
        self.within(2 * step, move || {
            let connection = Client::open(info)?.get_connection_with_timeout(step)?;
            // The client has taken back the timeouts that it used while connecting.
            connection.set_read_timeout(Some(step))?;
            connection.set_write_timeout(Some(step))?;
            Ok(connection)
        })
    }

    fn within<T: Send + 'static>(&self, limit: Duration, connect: impl FnOnce() -> RedisResult<T> + Send + 'static) -> Result<T, Failure> {
        let token = Arc::clone(&self.under_way);
        if Arc::strong_count(&token) > DIALS_MAX + 1 {
            return Err(Failure::new(format!("{DIALS_MAX} earlier attempts still hang in the resolver or in a socket")));
        }
        let (hand, taken) = sync_channel(1);
        let body = move || {
            // Nobody takes what comes too late.
            let _ = hand.send(connect());
            drop(token);
        };
        thread::Builder::new().name("texto-dial".into()).spawn(body).map_err(|error| Failure::new(format!("no thread: {error}")))?;
        match taken.recv_timeout(limit) {
            Ok(connected) => Ok(connected?),
            Err(RecvTimeoutError::Timeout) => Err(Failure::new(format!("no connection within {limit:?}"))),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::new("the attempt to connect has panicked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn attempts_that_hang_are_left_behind_and_bounded() {
        let dialer = Dialer::default();
        let limit = Duration::from_millis(10);
        let (release, hold) = channel::<()>();
        let hold = Arc::new(std::sync::Mutex::new(hold));
        for _ in 0..DIALS_MAX {
            let hold = Arc::clone(&hold);
            let hangs = dialer.within(limit, move || Ok(hold.lock().unwrap().recv().is_err()));
            assert_eq!(hangs.unwrap_err().to_string(), "no connection within 10ms");
        }
        let refused = dialer.within(limit, || Ok(()));
        assert_eq!(refused.unwrap_err().to_string(), "4 earlier attempts still hang in the resolver or in a socket");
        drop(release);
        while Arc::strong_count(&dialer.under_way) > 1 {
            thread::yield_now();
        }
        assert!(dialer.within(Duration::from_secs(60), || Ok(7)).is_ok_and(|seven| seven == 7));
    }
}
