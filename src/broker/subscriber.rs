//! The way from Redis to the event loops: one connection that listens to the channels of this node's clients.
//!
//! The thread never waits for a loop: what a loop does not take is dropped there. Redis ends the connection of a subscriber that reads
//! too slowly, with the messages of all clients; that must not happen because of one.
//!
//! What is published while there is no subscription is lost; Pub/Sub keeps nothing.

use std::io::ErrorKind::{ConnectionReset, Interrupted, TimedOut, UnexpectedEof, WouldBlock};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use log::warn;
use redis::{Connection, PubSub, RedisError, Value};

use super::Loops;
use super::link::{Failure, Session, io_kind};
use super::orders::Orders;
use super::probe::Probe;
use super::publisher::Publisher;
use super::status::Status;
use crate::wire::delivery::{Delivery, Garbage, channel_pattern};
use crate::wire::id::NodeTag;

/// Time that the thread waits for a message before it looks whether it has to move or to end. The client cannot be woken otherwise.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// The thread's side.
pub(super) struct SubscribeSession<L> {
    tag: NodeTag,
    loops: L,
    status: Arc<Status>,
    orders: Arc<Orders>,
    probe: Arc<Probe>,
    /// Wakes a publisher that sleeps, so that it sends a probe.
    publisher: Publisher,
    /// Redis has ended the subscription; which connection the publisher had then, and how long it had held.
    ended: Option<(u64, u64)>,
}

impl<L: Loops> Session for SubscribeSession<L> {
    type Link = Connection;

    fn prepare(&mut self, mut connection: Connection) -> Result<Connection, Failure> {
        subscribe(&mut connection, &channel_pattern(self.tag))?;
        connection.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(connection)
    }

    fn serve(&mut self, mut connection: Connection, moves: u64) -> Result<(), Failure> {
        self.status.subscribed.rise();
        self.probe.begin(Instant::now());
        self.publisher.wake();
        let mut messages = connection.as_pubsub();
        let end = self.listen(&mut messages, moves);
        self.status.subscribed.fall();
        // Dropping it would unsubscribe and wait for the confirmation; closing the connection does the same without a wait. It owns
        // nothing but an empty list.
        mem::forget(messages);
        end
    }
}

/// Subscribes to `pattern` and waits for the confirmation. The client's own way to subscribe overlooks a refusal (`NOPERM`).
fn subscribe(connection: &mut Connection, pattern: &str) -> Result<(), Failure> {
    connection.send_packed_command(&redis::cmd("PSUBSCRIBE").arg(pattern).get_packed_command())?;
    match connection.recv_response()? {
        Value::Array(_) => Ok(()),
        Value::ServerError(error) => Err(RedisError::from(error).into()),
        other => Err(Failure::new(format!("it answered PSUBSCRIBE with {other:?}"))),
    }
}

impl<L: Loops> SubscribeSession<L> {
    pub(super) fn new(
        tag: NodeTag,
        loops: L,
        status: Arc<Status>,
        orders: Arc<Orders>,
        probe: Arc<Probe>,
        publisher: Publisher,
    ) -> SubscribeSession<L> {
        SubscribeSession { tag, loops, status, orders, probe, publisher, ended: None }
    }

    /// Hands on message after message until the connection breaks, or it is time to move or to end.
    fn listen(&mut self, messages: &mut PubSub<'_>, moves: u64) -> Result<(), Failure> {
        while !self.orders.is_stopping() {
            self.orders.follow(moves)?;
            self.look_back();
            match messages.get_message() {
                Ok(message) => self.receive(message.get_payload_bytes()),
                // The client keeps the part of a message that it has, and goes on with the rest.
                Err(error) if matches!(io_kind(&error), Some(WouldBlock | TimedOut | Interrupted)) => {}
                Err(error) => {
                    let is_ended = matches!(io_kind(&error), Some(UnexpectedEof | ConnectionReset));
                    self.ended = is_ended.then(|| self.status.publishing.age());
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Tells what ended the subscription before this one: if the publisher's connection to Redis has outlived it, then it was Redis, and
    /// this node had been too slow.
    fn look_back(&mut self) {
        let Some((connects, checks)) = self.ended else { return };
        let (connects_now, checks_now) = self.status.publishing.age();
        let has_outlived = connects_now == connects && checks_now > checks + 1;
        if has_outlived {
            self.status.cuts.fetch_add(1, Relaxed);
            warn!(
                "Redis had ended the subscription of this node and nothing else, as it does with a node that reads too slowly \
                 (client-output-buffer-limit pubsub): messages for its clients are lost"
            );
        }
        if has_outlived || connects_now != connects {
            self.ended = None;
        }
    }

    fn receive(&mut self, payload: &[u8]) {
        match Delivery::parse(payload) {
            Ok(delivery) if delivery.to == self.probe.id() => self.probe.come(&delivery, Instant::now()),
            Ok(delivery) if delivery.to.tag() == self.tag => {
                self.status.received.fetch_add(1, Relaxed);
                self.loops.deliver(delivery);
                // At once: the next read may block, and whether it will is hidden in the client's buffer.
                self.loops.ring();
            }
            Ok(_) => drop(self.status.strays.fetch_add(1, Relaxed)),
            Err(garbage) => self.complain(garbage, payload.len()),
        }
    }

    /// Neither the channel nor the payload goes into the log: the one is somebody's address, the other what somebody said.
    fn complain(&mut self, garbage: Garbage, bytes: usize) {
        self.status.garbage.fetch_add(1, Relaxed);
        warn!("dropped {bytes} bytes from Redis that are no message: {garbage}");
    }
}
