//! The operator's side: `/ready` and `/metrics`, on an address of its own.
//!
//! It is an event loop like the others, with pages and without WebSockets; so what clients cannot do to the node, neither can whoever
//! reaches this address.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::exposition::Exposition;
use super::health;
use super::mailbox::Mailbox;
use super::metrics::{Numbers, Status};
use super::process::{self, Birth};
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
    requires_redis: bool,
}

impl Admin {
    /// Pages about a node, about the `mailboxes` of its loops, and about its way to Redis if it has one; whether it `requires_redis` to
    /// be ready.
    pub fn new(status: Arc<Status>, mailboxes: Arc<[Mailbox]>, broker: Option<Arc<broker::Status>>, requires_redis: bool) -> Admin {
        Admin { status, mailboxes, broker, requires_redis }
    }

    fn ready(&self) -> Page {
        let troubles = self.broker.as_ref().map(|broker| broker.troubles()).unwrap_or_default();
        health::ready(self.status.is_draining.load(Ordering::Acquire), &troubles, self.requires_redis)
    }

    /// Has the loops tell their numbers. For each loop, how long that took; from one that stands still, the old numbers have to do.
    fn refresh(&self) -> Vec<Option<Duration>> {
        let question = self.status.ask();
        self.mailboxes.iter().for_each(Mailbox::ring);
        let since = Instant::now();
        let mut answers = vec![None; self.status.answers(question).count()];
        loop {
            let elapsed = since.elapsed();
            for (answer, is_there) in answers.iter_mut().zip(self.status.answers(question)) {
                *answer = answer.or(is_there.then_some(elapsed));
            }
            if answers.iter().all(Option::is_some) || elapsed >= NUMBERS_PATIENCE {
                return answers;
            }
            thread::sleep(NUMBERS_PAUSE);
        }
    }

    fn metrics(&self) -> Page {
        let answers = self.refresh();
        let loops = self.status.loops();
        let all = Numbers::sum(&loops);
        let mut exposition = Exposition::default();
        self.describe_node(&mut exposition, &all);
        describe_loops(&mut exposition, &loops, &answers);
        exposition.tally(&all.tally);
        let refused = "Messages from other loops and nodes that a loop did not take, because too much was waiting for it.";
        exposition.counter("mailbox_refused_total", refused, self.mailboxes.iter().map(Mailbox::refused).sum::<u64>());
        if let Some(broker) = &self.broker {
            describe_broker(&mut exposition, broker);
        }
        describe_process(&mut exposition, &self.status.birth, all.connections);
        let body = Cow::Owned(exposition.into_text().into_bytes());
        Page { content_type: "text/plain; version=0.0.4; charset=utf-8", body, ..Page::plain(b"") }
    }

    fn describe_node(&self, exposition: &mut Exposition, all: &Numbers) {
        let version = [(env!("CARGO_PKG_VERSION"), 1)];
        exposition.gauges("build_info", "Always 1; the label says which Texto this is.", "version", version);
        let is_draining = u8::from(self.status.is_draining.load(Ordering::Acquire));
        exposition.gauge("draining", "Whether the node is about to stop, and closes its clients.", is_draining);
        exposition.gauge("connections", "Connections there are, of every state.", all.connections);
        exposition.gauge("connections_max", "Connections there may be.", self.status.connections_max);
        exposition.gauge("clients", "Clients with a session.", all.clients);
        exposition.gauge("slow_readers", "Connections whose sockets do not take all that they are owed.", all.slow_readers);
        exposition.gauge("waiting_bytes", "Bytes that wait for slow readers.", all.waiting_bytes);
        let failures = "Times that a connection could not be accepted, mostly for want of a file descriptor.";
        exposition.counter("accept_failures_total", failures, self.status.accept_failures());
        let dropped = "Connections closed without a word, because too many others above a limit were being told so.";
        exposition.counter("connections_dropped_total", dropped, self.status.dropped.load(Ordering::Relaxed));
    }
}

fn describe_loops(exposition: &mut Exposition, loops: &[Numbers], answers: &[Option<Duration>]) {
    let connections = loops.iter().map(|numbers| numbers.connections).enumerate();
    exposition.gauges("loop_connections", "Connections of an event loop.", "loop", connections);
    let ticks = loops.iter().map(|numbers| numbers.ticks).enumerate();
    exposition.histograms("loop_tick_seconds", "Time that an event loop takes for what one wait brings.", "loop", ticks);
    let lags = loops.iter().map(|numbers| numbers.lags).enumerate();
    exposition.histograms("loop_lag_seconds", "How much later than due an event loop comes to its deadlines.", "loop", lags);
    let up = answers.iter().map(|answer| u8::from(answer.is_some())).enumerate();
    let help = "Whether an event loop has told its numbers for this page. If not, it stands still, and its numbers are old.";
    exposition.gauges("loop_up", help, "loop", up);
    let times = answers.iter().map(|answer| answer.unwrap_or(NUMBERS_PATIENCE).as_secs_f64()).enumerate();
    let help = "Time from the call to an event loop to tell its numbers for this page until it had, or was given up.";
    exposition.gauges("loop_answer_seconds", help, "loop", times);
}

/// What the kernel knows about the process. What it does not tell is left out.
fn describe_process(exposition: &mut Exposition, birth: &Birth, connections: u64) {
    let start = birth.since_epoch.as_secs_f64();
    exposition.gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", format_args!("{start:.3}"));
    let busy = process::processor_time().as_secs_f64();
    exposition.counter("process_cpu_seconds_total", "Time on processors, of all threads together.", busy);
    if let Some(count) = process::open_files() {
        exposition.gauge("process_open_fds", "Open file descriptors.", count);
    }
    if let Some(count) = process::open_files_max() {
        exposition.gauge("process_max_fds", "File descriptors that the process may have open.", count);
    }
    let Some(memory) = process::memory() else { return };
    exposition.gauge("process_resident_memory_bytes", "Memory of the process.", memory.resident);
    exposition.gauge("process_anonymous_memory_bytes", "Memory of the process that belongs to no file.", memory.anonymous);
    let help = "Anonymous memory that has come since the start, per connection. Not a number while there are fewer than 1,000.";
    let each = birth.bytes_per_connection(memory, connections).map_or("NaN".to_owned(), |bytes| bytes.to_string());
    exposition.gauge("connection_memory_bytes", help, each);
}

fn describe_broker(exposition: &mut Exposition, broker: &broker::Status) {
    exposition.gauge("redis_publisher_up", "Whether messages can be published to Redis.", u8::from(broker.is_publisher_up()));
    exposition.gauge("redis_subscriber_up", "Whether messages of other nodes arrive from Redis.", u8::from(broker.is_subscriber_up()));
    exposition.gauge("redis_queue_messages", "Messages that Redis has not answered yet.", broker.queue_entries());
    exposition.gauge("redis_queue_bytes", "Bytes that those occupy.", broker.queue_bytes());
    exposition.counter("redis_reconnects_total", "Connections to Redis made after the first ones.", broker.reconnects());
    exposition.gauge("redis_sentinels_up", "Sentinels that would tell this node of a new master.", broker.sentinels() as u64);
    let moves = "Times that both connections to Redis were left, for another master or because they did not serve.";
    exposition.counter("redis_moves_total", moves, broker.moves());
    exposition.gauge(
        "redis_round_trips_up",
        "Whether what this node sends to itself through Redis arrives.",
        u8::from(broker.do_messages_come_round()),
    );
    let help = "Time that messages of this node to itself took through Redis.";
    exposition.histogram("redis_round_trip_seconds", help, &broker.round_trips());
    let missed = "Messages of this node to itself that had not arrived when the next was due, or that Redis refused.";
    exposition.counter("redis_round_trips_missed_total", missed, broker.probes_missed());
    let cuts = "Subscriptions that Redis ended although it was well otherwise: this node read too slowly.";
    exposition.counter("redis_subscriptions_cut_total", cuts, broker.cuts());
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
            "/health" => Some(health::ALIVE),
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
        let page = Admin::new(Arc::new(Status::new(1, 1)), Arc::new([mailbox]), None, false).metrics();
        assert!(String::from_utf8_lossy(&page.body).contains("\ntexto_mailbox_refused_total 1\n"));
    }
}
