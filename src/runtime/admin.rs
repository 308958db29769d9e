//! The operator's side: `/ready` and `/metrics`, on an address of its own.
//!
//! It is an event loop like the others, with pages and without WebSockets; so what clients cannot do to the node, neither can whoever
//! reaches this address.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::mailbox::Mailbox;
use super::metrics::{Exposition, Status};
use crate::broker;
use crate::hub::{Key, Message, MessageHandler, Peers};
use crate::wire::delivery::Refusal;
use crate::wire::upgrade::Page;

/// How long the loops may take to tell their numbers.
const NUMBERS_PATIENCE: Duration = Duration::from_millis(100);

/// How long to wait before looking again whether they have.
const NUMBERS_PAUSE: Duration = Duration::from_micros(200);

/// The handler of the operator's loop.
pub struct Admin {
    status: Arc<Status>,
    mailboxes: Arc<[Mailbox]>,
    broker: Option<Arc<broker::Status>>,
}

impl Admin {
    /// Pages about a node, about the `mailboxes` of its loops, and about its way to Redis if it has one.
    pub fn new(status: Arc<Status>, mailboxes: Arc<[Mailbox]>, broker: Option<Arc<broker::Status>>) -> Admin {
        Admin { status, mailboxes, broker }
    }

    fn ready(&self) -> Page {
        match self.status.is_draining.load(Ordering::Acquire) {
            false => Page::plain(b"ready\n"),
            true => Page { status: "503 Service Unavailable", ..Page::plain(b"draining\n") },
        }
    }

    /// Has the loops tell their numbers, and waits for those that do within a moment. From one that stands still, the old ones have to do.
    fn refresh(&self) {
        let question = self.status.ask();
        self.mailboxes.iter().for_each(Mailbox::ring);
        let since = Instant::now();
        while !self.status.is_answered(question) && since.elapsed() < NUMBERS_PATIENCE {
            thread::sleep(NUMBERS_PAUSE);
        }
    }

    fn metrics(&self) -> Page {
        self.refresh();
        let mut exposition = Exposition::default();
        exposition.gauge("connections", "Connections there are, of every state.", self.status.connections());
        exposition.gauge("connections_max", "Connections there may be.", self.status.connections_max as u64);
        let failures = "Times that a connection could not be accepted, mostly for want of a file descriptor.";
        exposition.counter("accept_failures_total", failures, self.status.accept_failures());
        exposition.tally(&self.status.tally());
        exposition.ticks(&self.status.ticks());
        let refused = "Messages from other loops and nodes that a loop did not take, because too much was waiting for it.";
        exposition.counter("mailbox_refused_total", refused, self.mailboxes.iter().map(Mailbox::refused).sum());
        if let Some(broker) = &self.broker {
            describe_broker(&mut exposition, broker);
        }
        let body = Cow::Owned(exposition.into_text().into_bytes());
        Page { content_type: "text/plain; version=0.0.4; charset=utf-8", body, ..Page::plain(b"") }
    }
}

fn describe_broker(exposition: &mut Exposition, broker: &broker::Status) {
    exposition.gauge("redis_publisher_up", "Whether messages can be published to Redis.", broker.is_publisher_up().into());
    exposition.gauge("redis_subscriber_up", "Whether messages of other nodes arrive from Redis.", broker.is_subscriber_up().into());
    exposition.gauge("redis_queue_messages", "Messages that Redis has not answered yet.", broker.queue_entries() as u64);
    exposition.gauge("redis_queue_bytes", "Bytes that those occupy.", broker.queue_bytes() as u64);
    exposition.counter("redis_reconnects_total", "Connections to Redis made after the first ones.", broker.reconnects());
    exposition.counter("redis_published_total", "Messages that Redis has taken.", broker.published());
    exposition.counter("redis_received_total", "Messages of other nodes that were handed to the loops.", broker.received());
    exposition.counter("redis_garbage_total", "Payloads from Redis that are not messages.", broker.garbage());
    exposition.counter("redis_strays_total", "Messages from Redis for a client that is not of this node.", broker.strays());
    let refusals = [Refusal::Down, Refusal::QueueFull, Refusal::Rejected, Refusal::Unanswered];
    let refusals = refusals.map(|refusal| (format!("{refusal:?}").to_lowercase(), broker.refused(refusal)));
    exposition.counters("redis_refused_total", "Messages that could not be handed to Redis.", "reason", refusals);
}

impl MessageHandler for Admin {
    fn message<S>(&mut self, _: &mut Peers<S>, _: Key, _: Message<'_>) {
        // Nobody can speak here: this hub has no endpoint.
    }

    fn page(&mut self, path: &str) -> Option<Page> {
        match path {
            "/ready" => Some(self.ready()),
            "/metrics" => Some(self.metrics()),
            "/health" => Some(Page::plain(b"ok\n")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::super::mailbox::Post;
    use super::*;
    use crate::limits::MAILBOX_BYTES_MAX;
    use crate::wire::delivery::Delivery;

    #[test]
    fn what_a_full_mailbox_refuses_is_among_the_numbers() {
        let (poll, uuid) = (Poll::new().unwrap(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        let mailbox = Mailbox::new(poll.registry(), Token(7)).unwrap();
        let text = "x".repeat(MAILBOX_BYTES_MAX);
        let payload = format!(r#"{{"SenderID":"{uuid}","RecipientID":"{uuid}","Text":"{text}"}}"#);
        let delivery = Delivery::parse(payload.as_bytes()).unwrap();
        assert!(!mailbox.post_message(Post::FromBroker(delivery)));
        let page = Admin::new(Arc::new(Status::new(1, 1)), Arc::new([mailbox]), None).metrics();
        assert!(String::from_utf8_lossy(&page.body).contains("\ntexto_mailbox_refused_total 1\n"));
    }
}
