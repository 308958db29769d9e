//! One thread, one poll, one hub: the loop that everything of Texto runs in.
//!
//! A tick has named phases, each bounded, always in this order:
//!
//! ```text
//!   wait      for the kernel, the mailbox or a deadline
//!   accept    new connections, up to a batch
//!   receive   read each ready socket of those who talk once, into the one buffer of the loop, and go on with a few of those that had more to
//!             say and of those that come and go; what they say is decided in the hub
//!   collect   all that other threads have posted since the last tick
//!   expire    deadlines
//!   dispatch  what has to leave the loop
//!   flush     write each connection that something is owed to, once
//!   reap      free what has ended
//! ```

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::exchange::Exchange;
use super::listener::{Accepted, Listener};
use super::mailbox::{Mailbox, Post};
use super::metrics::{Numbers, Status};
use super::movements::Movements;
use super::reader::Reader;
use super::sys;
use crate::histogram::Histogram;
use crate::hub::{AfterWrite, Forward, Hub, Key, MessageHandler, Moment};
use crate::limits::{ACCEPT_BATCH_MAX, DRAIN_STEP_MS, EVENTS_PER_TICK, MOVED_TO_TRIM, POSTS_KEPT};
use crate::wire::delivery::Settlement;
use crate::wire::upgrade::Refusal;

// Keys have a slot number of 24 bits in their lower half, so these are none.
const LISTENER: Token = Token(usize::MAX);
const MAILBOX: Token = Token(usize::MAX - 1);

/// One loop, with its clients.
pub struct EventLoop<M> {
    number: u8,
    poll: Poll,
    events: Events,
    listener: Listener,
    mailbox: Mailbox,
    exchange: Option<Exchange>,
    status: Arc<Status>,
    hub: Hub<TcpStream, M>,
    started: Instant,
    /// When the tick began: since the start, and as the hub counts it.
    woken: Duration,
    now: Moment,
    ticks: Histogram,
    /// How much later than due this loop came to its deadlines: what kept it is its own work or the lack of a processor.
    lags: Histogram,
    /// The last question for the numbers that was answered.
    answered: u64,
    reader: Reader,
    posts: VecDeque<Post>,
    unsettled: Vec<Key>,
    forwards: Vec<Forward>,
    settled: Vec<Settlement>,
    movements: Movements,
    /// The handshakes refused that the log has told of.
    told_refused: [u64; Refusal::LABELS.len()],
    /// Whether this loop has no client left, on a node that is about to stop.
    is_drained: bool,
}

/// What an event loop consists of before it has a hub: its mailbox has to be known to the other threads first.
pub struct Prepared {
    poll: Poll,
    mailbox: Mailbox,
}

impl Prepared {
    /// A poll and the mailbox that wakes it.
    pub fn new() -> io::Result<Prepared> {
        let poll = Poll::new()?;
        let mailbox = Mailbox::new(poll.registry(), MAILBOX)?;
        Ok(Prepared { poll, mailbox })
    }

    /// The way into the loop to be.
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }
}

impl<M: MessageHandler> EventLoop<M> {
    /// The loop of `number`, which serves `listener` with `hub`. Without an `exchange` no message leaves it.
    pub fn new(
        number: u8,
        prepared: Prepared,
        mut listener: Listener,
        hub: Hub<TcpStream, M>,
        exchange: Option<Exchange>,
        status: Arc<Status>,
    ) -> io::Result<EventLoop<M>> {
        listener.register(prepared.poll.registry(), LISTENER)?;
        Ok(EventLoop {
            number,
            poll: prepared.poll,
            events: Events::with_capacity(EVENTS_PER_TICK),
            listener,
            mailbox: prepared.mailbox,
            exchange,
            started: status.started,
            status,
            hub,
            woken: Duration::ZERO,
            now: Moment::default(),
            ticks: Histogram::default(),
            lags: Histogram::default(),
            answered: 0,
            reader: Reader::new(),
            posts: VecDeque::new(),
            unsettled: Vec::new(),
            forwards: Vec::new(),
            settled: Vec::new(),
            movements: Movements::default(),
            told_refused: [0; Refusal::LABELS.len()],
            is_drained: false,
        })
    }

    /// Serves until the node has been told to stop and the last connection has ended: of all loops, because a loop that ends takes its
    /// listener along, and who comes meanwhile is to be told 503 and not to be cut off.
    pub fn run(mut self) -> io::Result<()> {
        while !(self.is_drained && self.status.are_all_drained()) {
            self.tick()?;
            if !self.is_drained && self.hub.is_drained(self.now) {
                self.is_drained = true;
                self.status.note_drained();
            }
        }
        self.publish();
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        self.wait()?;
        self.accept();
        self.receive();
        self.collect();
        self.hub.expire(self.now);
        self.dispatch();
        self.flush();
        self.reap();
        self.ticks.count(self.started.elapsed().saturating_sub(self.woken));
        if self.status.asked() != self.answered {
            self.publish();
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline = self.deadline();
        let timeout = if self.is_behind() { Some(Duration::ZERO) } else { deadline.map(|deadline| deadline.after(self.now)) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // All of a tick happens at one moment. A millisecond is fine enough for deadlines of seconds.
        self.woken = self.started.elapsed();
        self.now = Moment::from_millis(u64::try_from(self.woken.as_millis()).unwrap_or(u64::MAX));
        if let Some(due) = deadline.filter(|due| *due <= self.now) {
            self.lags.count(self.woken.saturating_sub(Duration::from_millis(due.as_millis())));
        }
        Ok(())
    }

    /// Whether something is left over from the last tick, so that there is nothing to wait for.
    fn is_behind(&self) -> bool {
        self.reader.is_behind() || self.listener.is_ready(self.now)
    }

    /// When something is to be done even if nothing comes in.
    fn deadline(&self) -> Option<Moment> {
        let others_drained = self.is_drained.then(|| self.now.plus(Duration::from_millis(DRAIN_STEP_MS)));
        let deadlines = [self.hub.next_deadline(), self.listener.pause_end(), self.movements.due(), others_drained];
        deadlines.into_iter().flatten().min()
    }

    fn accept(&mut self) {
        if self.events.iter().any(|event| event.token() == LISTENER) {
            self.listener.wake();
        }
        if let Some(watch) = self.status.memory_watch.as_ref().filter(|_| self.listener.is_ready(self.now)) {
            watch.look(self.now, self.hub.gate());
        }
        for _ in 0..ACCEPT_BATCH_MAX {
            // Who has come in comes first, and who is gone is buried before his place would have to be made twice.
            if self.reader.is_crowded() || !self.listener.is_ready(self.now) {
                return;
            }
            match self.listener.accept(self.now) {
                Accepted::Connection(stream, peer) => self.admit(stream, peer),
                Accepted::Nothing => return,
                Accepted::Failed(error) => return self.status.note_accept_failure(&error),
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: Option<IpAddr>) {
        self.movements.note(self.now);
        let Some(key) = self.hub.open(stream, peer, self.now) else {
            self.status.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let Some(stream) = self.hub.socket(key) else { return };
        // Once and for all: an idle connection costs no further call, and a busy one none but its reads and writes.
        if let Err(error) = self.poll.registry().register(stream, token(key), Interest::READABLE | Interest::WRITABLE) {
            log::warn!("a connection cannot be watched: {error}");
            self.hub.socket_failed(key);
        }
    }

    fn receive(&mut self) {
        let from_clients = self.events.iter().filter(|event| event.token() != LISTENER && event.token() != MAILBOX);
        self.reader.receive(from_clients, &mut self.hub, self.now);
    }

    /// Takes all that was posted, not a batch of it: what is left would have to be remembered, for its ring has been answered; and clients
    /// who send faster than a batch per tick is answered would make the mailbox grow without an end. So one tick answers for the one before.
    fn collect(&mut self) {
        self.mailbox.take(&mut self.posts);
        while let Some(post) = self.posts.pop_front() {
            match post {
                Post::FromBroker(delivery) => {
                    self.hub.deliver(&delivery, self.now);
                }
                Post::FromSibling(delivery) => self.deliver_from_sibling(delivery),
                Post::Settled(settlement) => self.hub.settle(settlement, self.now),
                Post::Drain(span) => self.hub.start_drain(span, self.now),
            }
        }
        self.posts.shrink_to(POSTS_KEPT);
    }

    fn deliver_from_sibling(&mut self, delivery: crate::wire::delivery::Delivery) {
        if !self.hub.deliver(&delivery, self.now)
            && let Some(exchange) = &mut self.exchange
        {
            exchange.pass_on(delivery);
        }
    }

    fn dispatch(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        if let Some(forwards) = self.hub.handler().forwards() {
            self.forwards.append(forwards);
        }
        exchange.dispatch(&mut self.forwards, &mut self.settled);
        for settlement in self.settled.drain(..) {
            self.hub.settle(settlement, self.now);
        }
    }

    fn flush(&mut self) {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        self.hub.take_unsettled(&mut unsettled);
        for key in unsettled.drain(..) {
            self.write(key);
        }
        self.unsettled = unsettled;
    }

    /// Writes what is owed to a connection, once.
    fn write(&mut self, key: Key) {
        let Some((socket, owed)) = self.hub.owed(key) else { return };
        let written = loop {
            match socket.write(owed) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(0),
                written => break written,
            }
        };
        match written.map(|len| self.hub.sent(key, len)) {
            Ok(AfterWrite::Nothing) => {}
            Ok(AfterWrite::ShutDown) => self.shut_down(key),
            Err(_) => {
                if self.hub.write_failed(key) {
                    self.reader.give_up(key);
                }
            }
        }
    }

    fn shut_down(&mut self, key: Key) {
        if let Some(socket) = self.hub.socket(key)
            && socket.shutdown(Shutdown::Write).is_err()
        {
            self.hub.socket_failed(key);
        }
    }

    fn reap(&mut self) {
        let before = self.hub.len();
        while let Some((socket, reason)) = self.hub.reap() {
            // Closing the descriptor also takes it out of the poll, without a call of its own.
            drop(socket);
            log::debug!(reason = reason.label(); "a connection has ended: {}", reason.label());
            self.movements.note(self.now);
        }
        if self.hub.len() < before {
            self.tell_refused();
        }
        if let Some(moved) = self.movements.take_due(self.now) {
            self.tidy_up(moved);
        }
    }

    /// Says in the log which handshakes were refused. Each is the end of a connection, so it is enough to look when some are reaped.
    fn tell_refused(&mut self) {
        let refused = self.hub.tally().refused;
        for (index, reason) in Refusal::LABELS.into_iter().enumerate() {
            let count = refused[index] - self.told_refused[index];
            if count > 0 {
                log::info!(reason, count; "handshakes refused: {count} ({reason})");
            }
        }
        self.told_refused = refused;
    }

    /// Gives back what connections needed to come and to go.
    fn tidy_up(&mut self, moved: usize) {
        if self.hub.shrink() || moved >= MOVED_TO_TRIM {
            sys::trim_heap();
        }
    }

    fn publish(&mut self) {
        self.answered = self.status.asked();
        let (slow_readers, waiting_bytes) = self.hub.blocked();
        let numbers = Numbers {
            connections: self.hub.len() as u64,
            clients: self.hub.clients() as u64,
            slow_readers: slow_readers as u64,
            waiting_bytes: waiting_bytes as u64,
            ticks: self.ticks,
            lags: self.lags,
            tally: *self.hub.tally(),
        };
        self.status.publish(self.number, &numbers);
    }
}

fn token(key: Key) -> Token {
    Token(key.to_bits() as usize)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::SocketAddr;
    use std::sync::mpsc::{Sender, channel};

    use super::super::listener;
    use super::*;
    use crate::hub::{HubSettings, Message, Peers};
    use crate::limits::{BACKLOG_READS_PER_TICK, FIRST_READ_BYTES, MOVES_PER_TICK, READ_BYTES_MIN, SCRATCH_BYTES};
    use crate::wire::delivery::Request;
    use crate::wire::id::{ClientId, IdSource, NodeTag};
    use crate::wire::message::Limits;

    /// Far above what waits for a loop in ordinary times.
    const MANY: usize = 100_000;

    /// Posts one more settlement while the first of many is looked at, and tells when it has seen as many as there are.
    struct Echo {
        mailbox: Mailbox,
        settlement: Settlement,
        seen: usize,
        all_seen: Sender<()>,
    }

    impl MessageHandler for Echo {
        fn message<S>(&mut self, _: &mut Peers<S>, _: Key, _: Message<'_>) {}

        fn settle<S>(&mut self, _: &mut Peers<S>, _: Settlement) {
            self.seen += 1;
            if self.seen == 1 {
                self.mailbox.post(Post::Settled(self.settlement));
                self.mailbox.ring();
            }
            if self.seen == MANY + 1 {
                self.all_seen.send(()).unwrap();
            }
        }
    }

    fn settings() -> HubSettings {
        let time = Duration::from_secs(20);
        HubSettings {
            endpoint: Some("/"),
            message: Limits { message_bytes_max: 1024, message_frames_max: 1 },
            message_timeout: time,
            message_rate_max: None,
            outbox_bytes_max: 2048,
            handshake_timeout: time,
            close_timeout: time,
            ping_after: time,
            pong_timeout: time,
        }
    }

    /// A loop that nothing drives yet, and where it listens.
    fn event_loop<M: MessageHandler>(prepared: Prepared, ids: IdSource, handler: M) -> (EventLoop<M>, SocketAddr) {
        let hub = Hub::new(settings(), NodeTag::from_bits(1), 0, ids, handler);
        let socket = listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let status = Arc::new(Status::new(1, 100));
        (EventLoop::new(0, prepared, Listener::new(socket), hub, None, status).unwrap(), address)
    }

    /// About the smallest message.
    const TEXT: [u8; 7] = [0x81, 0x81, 0, 0, 0, 0, b'x'];

    /// Counts messages and answers none.
    #[derive(Default)]
    struct Count(usize);

    impl MessageHandler for Count {
        fn message<S>(&mut self, _: &mut Peers<S>, _: Key, _: Message<'_>) {
            self.0 += 1;
        }
    }

    /// A client whose handshake is through.
    fn client(event_loop: &mut EventLoop<Count>, address: SocketAddr) -> std::net::TcpStream {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(SCRATCH_BYTES).unwrap();
        stream.write_all(REQUEST).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        while stream.read(&mut [0; 1024]).is_err() {
            event_loop.tick().unwrap();
        }
        stream
    }

    #[test]
    fn a_crowd_of_flooders_is_gone_on_with_in_turn_and_everybody_else_is_heard_in_each_tick() {
        const FLOODERS: usize = 3 * BACKLOG_READS_PER_TICK;
        const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
        let (mut event_loop, address) = event_loop(Prepared::new().unwrap(), IdSource::seeded(1), Count::default());
        let mut quiet = client(&mut event_loop, address);
        let mut flooders: Vec<_> = (0..FLOODERS).map(|_| (client(&mut event_loop, address), 0)).collect();
        let flood = TEXT.repeat(1000);
        for tick in 1..=100 {
            for (flooder, said) in &mut flooders {
                // Until the socket takes no more, and the next time from there.
                while let Ok(len) = flooder.write(&flood[*said % TEXT.len()..]) {
                    *said += len;
                }
            }
            quiet.write_all(&PING).unwrap();
            let before = event_loop.hub.handler().0;
            event_loop.tick().unwrap();
            let heard = event_loop.hub.handler().0 - before;
            assert_eq!(event_loop.hub.tally().pings_received, tick, "the quiet one waits");
            assert!(heard > 0, "the flooders are heard too");
            if tick > 20 {
                // By now, what is read of each of them at once has become as little as it gets.
                assert!(heard <= BACKLOG_READS_PER_TICK * (READ_BYTES_MIN / TEXT.len() + 1), "{heard} messages in one tick");
            }
        }
    }

    #[test]
    fn who_waits_for_a_turn_is_not_read_for_what_comes_meanwhile() {
        let (mut event_loop, address) = event_loop(Prepared::new().unwrap(), IdSource::seeded(1), Count::default());
        let mut flooder = client(&mut event_loop, address);
        flooder.write_all(&TEXT.repeat(6 * FIRST_READ_BYTES / TEXT.len())).unwrap();
        for tick in 1..=20 {
            // The kernel tells of it.
            flooder.write_all(&TEXT).unwrap();
            let before = event_loop.hub.handler().0;
            event_loop.tick().unwrap();
            let heard = event_loop.hub.handler().0 - before;
            assert!(heard <= FIRST_READ_BYTES / TEXT.len() + 1, "{heard} messages in one tick");
            assert!(tick <= 5 || heard <= READ_BYTES_MIN / TEXT.len() + 1, "{heard} messages in one tick");
        }
    }

    #[test]
    fn what_is_posted_while_a_loop_empties_a_long_mailbox_is_not_overlooked() {
        let mut ids = IdSource::seeded(1);
        let request = Request { client: ClientId::new(NodeTag::from_bits(1), 0, ids.serial()), id: ids.message_id() };
        let settlement = Settlement { request, outcome: Ok(()) };
        let prepared = Prepared::new().unwrap();
        let mailbox = prepared.mailbox();
        let (all_seen, seen) = channel();
        let handler = Echo { mailbox: mailbox.clone(), settlement, seen: 0, all_seen };
        let (event_loop, _) = event_loop(prepared, ids, handler);
        (0..MANY).for_each(|_| mailbox.post(Post::Settled(settlement)));
        mailbox.ring();
        let running = std::thread::spawn(move || event_loop.run());
        // A loop that overlooks it has no deadline that would make it look again.
        seen.recv_timeout(Duration::from_secs(20)).unwrap();
        mailbox.post(Post::Drain(Duration::ZERO));
        mailbox.ring();
        running.join().unwrap().unwrap();
    }

    #[test]
    fn who_talks_does_not_wait_for_all_who_hang_up() {
        const LEAVING: usize = 9 * MOVES_PER_TICK;
        let (mut event_loop, address) = event_loop(Prepared::new().unwrap(), IdSource::seeded(1), Count::default());
        let leaving: Vec<_> = (0..LEAVING).map(|_| client(&mut event_loop, address)).collect();
        let mut talking = client(&mut event_loop, address);
        drop(leaving);
        talking.write_all(&TEXT).unwrap();
        event_loop.tick().unwrap();
        assert_eq!(event_loop.hub.handler().0, 1, "the message is heard in the first tick");
        assert_eq!(event_loop.hub.len(), 1 + LEAVING - MOVES_PER_TICK, "so many have been buried meanwhile");
        (1..LEAVING / MOVES_PER_TICK).for_each(|_| event_loop.tick().unwrap());
        assert_eq!(event_loop.hub.len(), 1, "and all of them in the end");
    }

    #[test]
    fn what_a_client_said_before_it_broke_off_is_heard_though_nothing_can_be_written_to_it_any_more() {
        const MESSAGES: usize = 3 * FIRST_READ_BYTES / TEXT.len();
        const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
        let (mut event_loop, address) = event_loop(Prepared::new().unwrap(), IdSource::seeded(1), Count::default());
        let mut leaving = client(&mut event_loop, address);
        // The pong that it never reads makes its end a reset.
        leaving.write_all(&PING).unwrap();
        event_loop.tick().unwrap();
        leaving.write_all(&[&PING[..], &TEXT.repeat(MESSAGES)].concat()).unwrap();
        drop(leaving);
        for _ in 0..100 {
            event_loop.tick().unwrap();
            if event_loop.hub.is_empty() {
                break;
            }
        }
        assert_eq!((event_loop.hub.handler().0, event_loop.hub.len()), (MESSAGES, 0));
        event_loop.hub.check_invariants();
    }
}
