//! The life of a node: bind, start the broker and the loops, wait for a signal, drain, join.
//!
//! ```text
//!   main ── bind ── broker ── loops ── wait for SIGTERM or SIGINT ── drain ── loops end ── broker stops ── return
//!                                          a second one: exit at once ──▲
//! ```

mod pages;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use signal_hook::consts::signal::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGSYS, SIGTERM, SIGTRAP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::{Handle, Signals};

use crate::broker::{self, Broker};
use crate::config::{AdminAddress, Config, Host};
use crate::hub::{Gate, GateSettings, Hub, HubSettings, MessageHandler, Router};
use crate::limits::{CONNECTIONS_PER_LOOP_MAX, DESCRIPTORS_PER_LOOP, REFUSED_CONNECTIONS_MAX, RESERVED_DESCRIPTORS, RESERVED_TABLE_MAX};
use crate::runtime::admin::Admin;
use crate::runtime::event_loop::{EventLoop, Prepared};
use crate::runtime::exchange::Exchange;
use crate::runtime::listener::{self, Listener, ListeningSocket};
use crate::runtime::mailbox::{Mailbox, Mailboxes, Post};
use crate::runtime::metrics::Status;
use crate::runtime::process;
use crate::runtime::supervisor;
use crate::runtime::sys::{self, FileLimit};
use crate::runtime::unix_socket::{self, SocketFile};
use crate::wire::id::{IdSource, NodeTag};
use crate::wire::message::Limits;

/// How long after Redis should have taken a message its sender may have to wait for the answer, on a busy machine.
const ANSWER_SLACK: Duration = Duration::from_secs(1);

/// Where clients connect to.
const ENDPOINT: &str = "/v1/texto";

/// Serves Texto until a signal ends it.
pub fn run(config: &Config) -> io::Result<()> {
    let (loops, has_broker) = (config.loops.get(), config.redis.is_some());
    serve(config, ENDPOINT, || Router::new(loops, has_broker, &*pages::PAGES))
}

/// Serves WebSockets under the path `endpoint` until a signal ends it; each loop says what its own `handler` says.
///
/// Takes over the handling of signals for the whole process.
pub fn serve<M: MessageHandler + Send + 'static>(config: &Config, endpoint: &'static str, handler: impl Fn() -> M) -> io::Result<()> {
    config.check().map_err(io::Error::other)?;
    // First of all: a signal that comes while the node starts must not kill it half-way.
    let signals = catch_signals()?;
    let inherited = supervisor::inherited_socket()?;
    sys::map_large_blocks();
    let mut ids = IdSource::from_system()?;
    let tag = ids.node_tag();
    // The file of a unix socket stays until the node has ended: who comes during a drain is answered.
    let (sockets, _file) = match inherited {
        Some(socket) => {
            log::info!("a listening socket was handed over, so --host and --port mean nothing");
            (listener::duplicate(socket, config.loops.get())?, None)
        }
        None => listen(config)?,
    };
    let address = sockets.first().map(ListeningSocket::address).transpose()?.unwrap_or_default();
    let prepared = (0..config.loops.get()).map(|_| Prepared::new()).collect::<io::Result<Vec<_>>>()?;
    let mailboxes: Arc<[Mailbox]> = prepared.iter().map(Prepared::mailbox).collect();
    let files = sys::raise_file_limit();
    let status = Arc::new(Status::new(config.loops.get(), connections_max(config, files)).with_memory_max(config.max_memory));
    let gate = Arc::new(Gate::new(gate_settings(config, files, &status)));
    let broker = start_broker(config, tag, &mailboxes)?;
    // A client of a node that has not subscribed yet would have an id to give away and miss what is sent to it, though Redis takes it.
    broker.iter().for_each(Broker::wait_for_first_attempts);

    let (end, ended) = channel();
    for (number, (prepared, socket)) in (0..=u8::MAX).zip(prepared.into_iter().zip(sockets)) {
        let hub =
            Hub::new(hub_settings(config, Some(endpoint)), tag, number, IdSource::from_system()?, handler()).behind(Arc::clone(&gate));
        let exchange = Exchange::new(Mailboxes::new(Arc::clone(&mailboxes)), broker.as_ref().map(Broker::publisher));
        let event_loop = EventLoop::new(number, prepared, Listener::new(socket), hub, Some(exchange), Arc::clone(&status))?;
        let end = end.clone();
        // The receiver outlives the loops, unless the process is about to end.
        thread::Builder::new().name(format!("texto-loop-{number}")).spawn(move || drop(end.send(event_loop.run())))?;
    }
    start_admin(config, &status, &mailboxes, broker.as_ref())?;
    announce(config, &address, tag, files, &status);
    supervisor::tell_ready(&address);
    supervisor::start_watchdog(&status, &mailboxes)?;

    drop(end);
    let joiner = join_all(config.loops.get(), ended, signals.handle())?;
    wait_for_end(signals, config, &status, &gate, &mailboxes);
    let ended = joiner.join().unwrap_or_else(|_| Err(io::Error::other("the thread that waits for the event loops has panicked")));
    if let Some(broker) = broker {
        broker.stop();
    }
    log::info!("texto has stopped");
    ended
}

/// Catches the two signals that stop a node, and every other one that would end the process and is no sign of a fault in it. SIGPIPE is
/// ignored by every Rust program.
fn catch_signals() -> io::Result<Signals> {
    const LINUX_ONLY: [i32; 2] = [libc::SIGSTKFLT, libc::SIGPWR];
    let named = [SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGXFSZ, SIGSYS, SIGTRAP];
    let signals = Signals::new([SIGTERM, SIGINT])?;
    for signal in named.into_iter().chain(LINUX_ONLY).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        if let Err(error) = signals.add_signal(signal) {
            // Tools that watch a process keep a signal for themselves.
            log::debug!("signal {signal} cannot be caught: {error}");
        }
    }
    Ok(signals)
}

/// A listening socket for each loop, and the file by which they are found if they are unix sockets.
fn listen(config: &Config) -> io::Result<(Vec<ListeningSocket>, Option<SocketFile>)> {
    let count = config.loops.get();
    let bind = |ip: IpAddr| listener::bind(SocketAddr::new(ip, config.port), count);
    let bound = match &config.host {
        Host::Unix(path) => return listen_on_file(path, config),
        Host::Address(ip) => bind(*ip),
        Host::All => match bind(Ipv6Addr::UNSPECIFIED.into()) {
            // A system without IPv6.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
                bind(Ipv4Addr::UNSPECIFIED.into())
            }
            bound => bound,
        },
        Host::Name(name) => (name.as_str(), config.port)
            .to_socket_addrs()
            .and_then(|mut found| found.next().ok_or_else(|| io::Error::other("the name has no address")))
            .and_then(|address| listener::bind(address, count)),
    };
    let told = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {}, port {}: {error}", config.host, config.port));
    Ok((bound.map_err(told)?.into_iter().map(ListeningSocket::from).collect(), None))
}

fn listen_on_file(path: &Path, config: &Config) -> io::Result<(Vec<ListeningSocket>, Option<SocketFile>)> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {}: {error}", config.host));
    let (socket, file) = unix_socket::bind(path, config.socket_mode).map_err(told)?;
    Ok((listener::duplicate(socket.into(), config.loops.get())?, Some(file)))
}

fn start_broker(config: &Config, tag: NodeTag, mailboxes: &Arc<[Mailbox]>) -> io::Result<Option<Broker>> {
    let Some(address) = config.redis.clone() else { return Ok(None) };
    let settings = broker::Settings {
        address,
        tag,
        answer_timeout: config.publish_timeout,
        queue_bytes_max: config.publish_queue,
        probe_interval: config.redis_probe_interval,
    };
    broker::start(settings, Mailboxes::new(Arc::clone(mailboxes)), IdSource::from_system()?).map(Some)
}

/// The operator's side, on a loop of its own that ends with the process.
fn start_admin(config: &Config, status: &Arc<Status>, mailboxes: &Arc<[Mailbox]>, broker: Option<&Broker>) -> io::Result<()> {
    let (address, is_given) = match config.admin_address {
        AdminAddress::Off => return Ok(()),
        AdminAddress::IfFree(address) => (address, false),
        AdminAddress::Given(address) => (address, true),
    };
    let socket = match listener::bind(address, 1) {
        Ok(mut sockets) => sockets.remove(0),
        Err(error) if is_given => {
            return Err(io::Error::new(error.kind(), format!("cannot listen on the operator's address {address}: {error}")));
        }
        Err(error) => {
            log::warn!("/ready and /metrics are off: {address} cannot be had ({error}); --admin-address names another");
            return Ok(());
        }
    };
    log::info!("/ready and /metrics are on {}", socket.local_addr()?);
    let admin = Admin::new(Arc::clone(status), Arc::clone(mailboxes), broker.map(Broker::status), config.ready_requires_redis);
    let hub = Hub::new(hub_settings(config, None), NodeTag::from_bits(0), 0, IdSource::from_system()?, admin);
    let hub = hub.behind(Arc::new(Gate::new(GateSettings { connections_max: REFUSED_CONNECTIONS_MAX, ..GateSettings::default() })));
    let own_status = Arc::new(Status::new(1, REFUSED_CONNECTIONS_MAX));
    let event_loop = EventLoop::new(0, Prepared::new()?, Listener::new(socket), hub, None, own_status)?;
    thread::Builder::new().name("texto-admin".into()).spawn(move || event_loop.run())?;
    Ok(())
}

fn hub_settings(config: &Config, endpoint: Option<&'static str>) -> HubSettings {
    // A dry run lets through what is above the limits that it tries, but not more than the defaults would: memory has to be bounded.
    let defaults = Config::default();
    let (message_size, outbox_size) = match config.limits_dry_run {
        true => (config.message_size.max(defaults.message_size), config.outbox_size.max(defaults.outbox_size)),
        false => (config.message_size, config.outbox_size),
    };
    HubSettings {
        endpoint,
        message: Limits { message_bytes_max: message_size, message_frames_max: config.message_fragments },
        message_timeout: config.message_timeout,
        message_rate_max: config.message_rate,
        outbox_bytes_max: outbox_size,
        handshake_timeout: config.handshake_timeout,
        close_timeout: close_timeout(config),
        ping_after: config.ping_after,
        pong_timeout: config.pong_timeout,
    }
}

fn gate_settings(config: &Config, files: FileLimit, status: &Status) -> GateSettings {
    let connections_max = status.connections_max;
    GateSettings {
        connections_max,
        connections_possible: connections_max.max(connections_allowed(config, files)),
        connections_per_address_max: config.max_connections_per_address,
        handshakes_max: config.max_handshakes,
        accept_rate_max: config.accept_rate,
        allowed_origins: config.allowed_origins.clone(),
        proxy_protocol: config.proxy_protocol,
        trusted_proxies: config.trusted_proxies.clone(),
        is_dry_run: config.limits_dry_run,
        message_bytes_tried: if config.limits_dry_run { config.message_size } else { usize::MAX },
        outbox_bytes_tried: if config.limits_dry_run { config.outbox_size } else { usize::MAX },
    }
}

/// Time for the closing handshake. A client that leaves is owed its answers first, and Redis may take its time for them.
fn close_timeout(config: &Config) -> Duration {
    match config.redis {
        Some(_) => config.close_timeout.max(config.publish_timeout + ANSWER_SLACK),
        None => config.close_timeout,
    }
}

/// Descriptors that are not for clients: those of the process and of its loops, and of clients that are told to come back later.
fn reserved_descriptors(config: &Config) -> u64 {
    RESERVED_DESCRIPTORS + DESCRIPTORS_PER_LOOP * config.loops.get() as u64 + REFUSED_CONNECTIONS_MAX as u64
}

/// The connections that the open-file limit allows.
fn connections_allowed(config: &Config, files: FileLimit) -> usize {
    let allowed = usize::try_from(files.hard.saturating_sub(reserved_descriptors(config))).unwrap_or(usize::MAX);
    allowed.min(CONNECTIONS_PER_LOOP_MAX - REFUSED_CONNECTIONS_MAX)
}

/// The operator's limit of connections, or what the open-file limit allows.
fn connections_max(config: &Config, files: FileLimit) -> usize {
    let allowed = connections_allowed(config, files);
    let chosen = config.max_connections.map_or(allowed, NonZeroUsize::get);
    if chosen > allowed {
        log::warn!("--max-connections is {chosen}, but the open-file limit of {} allows {allowed}", files.hard);
    }
    let expected = (chosen as u64 + reserved_descriptors(config)).min(files.hard).min(RESERVED_TABLE_MAX);
    if let Err(error) = sys::reserve_descriptors(expected) {
        log::warn!("the table of file descriptors could not be made for {expected}: {error}");
    }
    chosen
}

/// The first log lines.
fn announce(config: &Config, address: &str, tag: NodeTag, files: FileLimit, status: &Status) {
    let version = env!("CARGO_PKG_VERSION");
    let loops = config.loops;
    match &config.redis {
        None => log::info!("no REDIS_URL: this node runs alone, with everything in memory"),
        Some(redis) => log::info!("messages for other nodes go through Redis at {redis}; ids of this node begin with {tag}"),
    }
    let (connections, allowed) = (status.connections_max, connections_allowed(config, files));
    log::info!(open_files_max = files.hard, connections_max = connections; "open files: limit {} (was {}), which allows {allowed} connections; this node takes {connections}", files.hard, files.soft);
    if config.max_memory.is_some() && process::memory().is_none() {
        log::warn!("--max-memory has no effect: this system does not tell the memory of a process");
    }
    if config.limits_dry_run {
        log::warn!("--limits-dry-run is true: limits are counted in the metrics, and nothing is refused for them");
    }
    log::info!(version, address:%, loops = loops.get(); "texto {version} listens on {address} with {loops} event loops");
}

/// Waits in a thread of its own until all loops have ended well, or the first has not, and then ends the waiting for signals.
fn join_all(loops: usize, ended: Receiver<io::Result<()>>, signals: Handle) -> io::Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new().name("texto-join".into()).spawn(move || {
        // A panic ends the whole process, so a loop that ends says so.
        let outcome = (0..loops).try_for_each(|_| ended.recv().unwrap_or_else(|_| Err(io::Error::other("an event loop has panicked"))));
        signals.close();
        outcome
    })
}

/// Returns when the loops have ended, mostly because a signal said so.
fn wait_for_end(mut signals: Signals, config: &Config, status: &Status, gate: &Gate, mailboxes: &[Mailbox]) {
    for signal in signals.forever() {
        match signal {
            SIGTERM | SIGINT if status.is_draining.swap(true, Ordering::AcqRel) => {
                log::warn!("a second signal: texto ends at once");
                log::logger().flush();
                std::process::exit(128 + signal);
            }
            SIGTERM | SIGINT => {
                supervisor::tell_stopping();
                let (connections, drain_time) = (gate.connections(), config.drain_time);
                log::info!(signal, connections; "texto stops: {connections} connections are closed over {drain_time:?}");
                for mailbox in mailboxes {
                    mailbox.post(Post::Drain(config.drain_time));
                    mailbox.ring();
                }
            }
            _ => log::info!("signal {signal} means nothing here"),
        }
    }
}
