//! The fleet: all connections of a run, on one thread and one epoll.
//!
//! ```text
//!            connect()        101           greeting
//!  Closed ─────────▶ Opening ─────▶ Greeting ───────▶ Open ──leave()──▶ Leaving ──▶ Closed
//! ```
//!
//! A connection is 28 bytes: what is rare (a cut frame, a full socket) lives in a map beside the table. What is written during a turn
//! goes out at its end, one write per connection. Connections open and leave at a bounded pace and never more at once than a window,
//! so that neither side's queues are what gets measured.
//!
//! The first thing that goes wrong is kept as a sentence and ends the run: see [`Fleet::fault`].

mod alarm;
mod incoming;
mod outgoing;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::target::{Target, neighbour};
use crate::words::{Id, Message};
use alarm::Alarm;
use outgoing::Outgoing;

/// Bytes read at once; a frame above it ends the run.
const SCRATCH_BYTES: usize = 512 * 1024;
/// Connections on their way in at once: well below the 4,096 that a listener's queue holds by default.
const OPENING_MAX: usize = 1_000;
/// Closing handshakes at once. A server that gets all of them together queues unread ends, and runs a small machine out of memory.
const LEAVING_MAX: usize = 500;
/// Connections begun or dropped in one turn: whoever talks meanwhile must not wait for a thousand `connect()` of our own.
const MOVED_PER_TURN: usize = 4;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 128;
/// A pace that holds nothing back.
const AT_ONCE: f64 = 1e9;
/// The shortest wait while there is a pace to keep.
const PACE: Duration = Duration::from_millis(1);

/// Who hears what the server says.
pub(crate) trait Conversation {
    /// A message came on a connection that is open; `now` is when it was read.
    fn message(&mut self, fleet: &mut Fleet, link: usize, message: &Message<'_>, now: Instant);
}

/// Hears nothing: while connections only open, idle and leave.
pub(crate) struct Silence;

impl Conversation for Silence {
    fn message(&mut self, fleet: &mut Fleet, link: usize, message: &Message<'_>, _now: Instant) {
        fleet.fail(format!("connection {link} got a message that nobody sent: {message:?}"));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Opening,
    Greeting,
    Open,
    Leaving,
}

/// One connection.
struct Link {
    stream: Option<TcpStream>,
    /// Where its bytes of this turn wait; see [`Outgoing`].
    owed: u32,
    state: State,
    /// The session's id, as bytes: a u128 would align the table to 16.
    client: [u8; 16],
}

/// All connections of a run.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    targets: Vec<Target>,
    sources: u32,
    links: Vec<Link>,
    outgoing: Outgoing,
    partial: HashMap<usize, Vec<u8>>,
    scratch: Vec<u8>,
    to_drop: Range<usize>,
    to_open: Range<usize>,
    to_leave: Range<usize>,
    pace: Pace,
    opening: usize,
    leaving: usize,
    open: usize,
    fault: Option<String>,
    /// When the run has taken too long, whatever it is doing.
    deadline: Instant,
}

/// So many a second since a moment.
struct Pace {
    per_second: f64,
    since: Instant,
    begun: f64,
}

impl Pace {
    fn due(&self) -> f64 {
        self.since.elapsed().as_secs_f64() * self.per_second
    }
}

impl Fleet {
    /// A fleet without connections. `sources` is the number of loopback addresses it connects from; at the `deadline` the run has failed.
    pub(crate) fn new(targets: Vec<Target>, sources: u32, deadline: Instant) -> io::Result<Fleet> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry())?;
        Ok(Fleet {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            alarm,
            targets,
            sources,
            links: Vec::new(),
            outgoing: Outgoing::default(),
            partial: HashMap::new(),
            scratch: vec![0; SCRATCH_BYTES],
            to_drop: 0..0,
            to_open: 0..0,
            to_leave: 0..0,
            pace: Pace { per_second: 0.0, since: Instant::now(), begun: 0.0 },
            opening: 0,
            leaving: 0,
            open: 0,
            fault: None,
            deadline,
        })
    }

    /// Connections that have been greeted and have not left.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Whether nothing is on its way in or out.
    pub(crate) fn is_settled(&self) -> bool {
        self.to_drop.is_empty() && self.to_open.is_empty() && self.to_leave.is_empty() && self.opening == 0 && self.leaving == 0
    }

    /// What went wrong first; a run with a fault is no result.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Notes what went wrong, if nothing has before.
    pub(crate) fn fail(&mut self, sentence: String) {
        self.fault.get_or_insert(sentence);
    }

    /// The session's id on a connection.
    pub(crate) fn client(&self, link: usize) -> Id {
        Id::from_be_bytes(self.links[link].client)
    }

    /// Opens the connections of `range`, `per_second` of them a second; turns do the work.
    pub(crate) fn open(&mut self, range: Range<usize>, per_second: f64) {
        debug_assert!(self.is_settled(), "one movement at a time");
        if self.links.len() < range.end {
            self.links.resize_with(range.end, || Link { stream: None, owed: 0, state: State::Closed, client: [0; 16] });
        }
        self.to_open = range;
        self.pace = Pace { per_second, since: Instant::now(), begun: 0.0 };
    }

    /// Says goodbye on the connections of `range`, no faster than the server answers; turns do the work.
    pub(crate) fn leave(&mut self, range: Range<usize>) {
        debug_assert!(self.is_settled(), "one movement at a time");
        self.to_leave = range;
    }

    /// Drops the connections of `range` without a word and opens them again, all as fast as both sides go.
    pub(crate) fn storm(&mut self, range: Range<usize>) {
        self.open(range.clone(), AT_ONCE);
        self.to_drop = range;
    }

    /// Has the next turn end at `at`, to the microsecond: epoll alone counts in milliseconds.
    pub(crate) fn wake_at(&mut self, at: Instant) -> io::Result<()> {
        self.alarm.set(at)
    }

    /// Waits once for the kernel, at most `timeout`, reads what came and writes what is owed.
    pub(crate) fn turn(&mut self, timeout: Duration, talk: &mut impl Conversation) -> io::Result<()> {
        self.drop_some();
        self.begin_opening();
        self.begin_leaving();
        self.flush();
        let timeout = self.patience(timeout);
        // Taken out for the turn: handling an event needs the whole fleet.
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let outcome = self.poll.poll(&mut events, Some(timeout));
        for event in &events {
            let Token(link) = event.token();
            if link >= self.links.len() {
                continue;
            }
            if event.is_writable() {
                self.writable(link);
            }
            if event.is_readable() {
                self.receive(link, talk);
            }
        }
        self.events = events;
        self.flush();
        if Instant::now() > self.deadline {
            self.fail(format!("the time limit has passed, with {} connections open", self.open));
        }
        match outcome {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// How long the kernel may be waited for while there is something to move: nobody else wakes us for that.
    fn patience(&self, timeout: Duration) -> Duration {
        match (self.to_drop.is_empty(), self.to_open.is_empty()) {
            (true, true) => timeout,
            (true, false) if self.opening >= OPENING_MAX => timeout,
            (true, false) if self.pace.begun >= self.pace.due() => timeout.min(PACE),
            _ => Duration::ZERO,
        }
    }

    fn drop_some(&mut self) {
        for _ in 0..MOVED_PER_TURN {
            let Some(link) = self.to_drop.next() else { return };
            self.close(link);
        }
    }

    fn begin_opening(&mut self) {
        if self.to_open.is_empty() || !self.to_drop.is_empty() {
            return;
        }
        let due = self.pace.due();
        for _ in 0..MOVED_PER_TURN {
            if self.opening >= OPENING_MAX || self.pace.begun >= due {
                return;
            }
            let Some(link) = self.to_open.next() else { return };
            self.pace.begun += 1.0;
            if let Err(error) = self.connect(link) {
                self.fail(format!("connection {link} could not be opened: {error}"));
            }
        }
    }

    fn connect(&mut self, link: usize) -> io::Result<()> {
        let target = &self.targets[link % self.targets.len()].address;
        let socket = Socket::new(Domain::for_address(*target), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if self.sources > 1 {
            let step = u32::try_from(link / self.targets.len() % self.sources as usize).unwrap_or(0);
            let source = SocketAddr::new(IpAddr::V4(neighbour(Ipv4Addr::LOCALHOST, step)), 0);
            socket.bind(&source.into())?;
        }
        match socket.connect(&(*target).into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(link), Interest::READABLE | Interest::WRITABLE)?;
        let slot = &mut self.links[link];
        slot.stream = Some(stream);
        slot.state = State::Opening;
        self.opening += 1;
        let request = self.targets[link % self.targets.len()].request();
        self.outgoing.hold(link, request.into_bytes());
        Ok(())
    }

    fn begin_leaving(&mut self) {
        while self.leaving < LEAVING_MAX {
            let Some(link) = self.to_leave.next() else { return };
            if self.links[link].state == State::Open {
                self.leaving += 1;
                self.open -= 1;
                self.links[link].state = State::Leaving;
                self.say_goodbye(link);
            }
        }
    }

    /// Ends a connection from this side. Whatever was under way on it is over.
    fn close(&mut self, link: usize) {
        let slot = &mut self.links[link];
        match std::mem::replace(&mut slot.state, State::Closed) {
            State::Closed => return,
            State::Opening | State::Greeting => self.opening -= 1,
            State::Open => self.open -= 1,
            State::Leaving => self.leaving -= 1,
        }
        slot.stream = None;
        let owed = slot.owed;
        self.partial.remove(&link);
        self.outgoing.forget(link, owed);
    }

    /// The server, or the network, has ended a connection.
    fn ended(&mut self, link: usize, how: &str) {
        if self.links[link].state != State::Leaving {
            self.fail(format!("connection {link} was ended by the server while {:?}: {how}", self.links[link].state));
        }
        self.close(link);
    }
}
