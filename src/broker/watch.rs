//! The ear at one Sentinel: a thread that hears at once when the master changes.
//!
//! Without it a node learns of a failover from what breaks. After a crash something breaks at once; in a planned failover the old master
//! goes on for seconds as if nothing had happened, and the nodes that are still there cannot reach those that are gone.
//!
//! There is one for each Sentinel of the address, so that nothing depends on a single one of them, and the first to know is heard. The
//! news are never trusted alone: a link asks, connects, and looks at the role, see `locator.rs`.

use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Connection, PubSub, RedisError, Value};

use super::address::Place;
use super::backoff::Backoff;
use super::dial::Dialer;
use super::group::{self, Group, Spot};
use super::journal::Journal;
use super::link::{Failure, io_kind};
use super::locator::{Locator, SENTINEL_TIMEOUT};
use super::sentinel::{self, SWITCH_CHANNEL};
use super::status::Status;
use crate::wire::id::IdSource;

/// Time that the thread waits for news before it looks whether it has to end.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// One ear.
pub(super) struct Watch {
    number: usize,
    locator: Arc<Locator>,
    status: Arc<Status>,
    dialer: Dialer,
    journal: Journal,
    backoff: Backoff,
}

impl Watch {
    /// At the Sentinel of this number.
    pub(super) fn new(number: usize, locator: Arc<Locator>, status: Arc<Status>, random: IdSource) -> Watch {
        let journal = Journal::new("Sentinel", "hear of a new master");
        Watch { number, locator, status, dialer: Dialer::default(), journal, backoff: Backoff::new(random) }
    }

    /// Listens until told to end.
    pub(super) fn run(mut self) {
        let locator = Arc::clone(&self.locator);
        let Place::Group(group) = locator.address().place() else { return };
        let orders = locator.orders();
        let at = group::spot(&group.sentinels()[self.number]);
        while !orders.is_stopping() {
            let Err(failure) = self.attempt(group, &at) else { return };
            self.journal.down(&at, &failure, Instant::now());
            let pause = self.backoff.pause();
            // Moves of the links are nothing to this thread.
            let until = Instant::now() + pause;
            while !orders.is_stopping() && Instant::now() < until {
                orders.wait(until - Instant::now(), orders.moves());
            }
        }
    }

    fn attempt(&mut self, group: &Group, at: &Spot) -> Result<(), Failure> {
        let mut connection = self.dial(group)?;
        subscribe(&mut connection)?;
        connection.set_read_timeout(Some(READ_TIMEOUT))?;
        // What was told before there was a subscription has to be asked for; a connection that listens cannot.
        let master = sentinel::ask(&mut self.dial(group)?, group.master_name())?;
        self.locator.hear(self.number, &master, false);
        self.journal.up(at);
        let since = Instant::now();
        let mut news = connection.as_pubsub();
        self.status.note_sentinel(true);
        let end = self.listen(group, &mut news);
        self.status.note_sentinel(false);
        self.locator.forget(self.number);
        // As in the subscriber: closing the connection ends the subscription without a wait.
        mem::forget(news);
        self.backoff.held(since.elapsed());
        end
    }

    fn dial(&self, group: &Group) -> Result<Connection, Failure> {
        self.dialer.dial(group.sentinels()[self.number].clone(), SENTINEL_TIMEOUT)
    }

    fn listen(&self, group: &Group, news: &mut PubSub<'_>) -> Result<(), Failure> {
        while !self.locator.orders().is_stopping() {
            match news.get_message() {
                Ok(message) => {
                    if let Some(master) = sentinel::read_news(message.get_payload_bytes(), group.master_name()) {
                        self.locator.hear(self.number, &master, true);
                    }
                }
                Err(error) if matches!(io_kind(&error), Some(WouldBlock | TimedOut | Interrupted)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn subscribe(connection: &mut Connection) -> Result<(), Failure> {
    connection.send_packed_command(&redis::cmd("SUBSCRIBE").arg(SWITCH_CHANNEL).get_packed_command())?;
    match connection.recv_response()? {
        Value::Array(_) => Ok(()),
        Value::ServerError(error) => Err(RedisError::from(error).into()),
        other => Err(Failure::new(format!("it answered SUBSCRIBE with {other:?}"))),
    }
}
