//! The settings of a node: [`Config`], where its values come from, and what may stand in it.
//!
//! ```text
//!  command line ──┐
//!  environment  ──┼─▶ reader ──▶ settings (the table) ──▶ values (the parsers) ──▶ Config
//!  Default      ──┘   who wins   flag, variable, help      text to type, ranges
//! ```
//!
//! Flags win over variables, variables over [`Config::default`]. Every setting stands once in `settings.rs`, its default once in
//! `Default` below; `--help` and `--check-config` are made from these two, so they cannot disagree with what the node does.
//!
//! A program that uses Texto as a library fills the fields it cares about and takes the rest from the default:
//!
//! ```
//! use texto::config::Config;
//! let config = Config { port: 0, message_size: 16 * 1024 * 1024, outbox_size: 64 * 1024 * 1024, ..Config::default() };
//! config.check().expect("an outbox of 64 MiB holds a message of 16 MiB");
//! ```

mod edge;
mod pages;
mod reader;
mod settings;
mod top;
mod values;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use log::LevelFilter;

use crate::broker::address::Address;
use crate::hub::ProxyProtocol;
use crate::limits::{ENVELOPE_BYTES_MAX, LOOPS_MAX};
use crate::runtime::log_lines::LogFormat;
use crate::wire::address::Networks;
use crate::wire::origin::Origins;

pub use reader::{Command, read};
use settings::Setting;
pub use top::TopSettings;

/// Everything that an operator can set. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect to.
    pub host: Host,
    /// The port there; 0 is any free one.
    pub port: u16,
    /// The permissions of the file, where clients connect to a unix socket.
    pub socket_mode: u32,
    /// The Redis that connects the nodes; none: this node runs alone.
    pub redis: Option<Address>,
    /// Event loops, each a thread; at most [`LOOPS_MAX`].
    pub loops: NonZeroUsize,
    /// Where the operator's side (`/ready`, `/metrics`) listens.
    pub admin_address: AdminAddress,
    /// Open connections above which new ones are told 503; none: as many as the open-file limit allows.
    pub max_connections: Option<NonZeroUsize>,
    /// The largest message that a client may send.
    pub message_size: usize,
    /// Frames that one message may have.
    pub message_fragments: u32,
    /// Time from the first byte of a message to its last.
    pub message_timeout: Duration,
    /// Messages per second that one connection may send; none: any number.
    pub message_rate: Option<NonZeroU32>,
    /// Bytes that may wait for one connection; see [`Config::check`].
    pub outbox_size: usize,
    /// Time from a connection's beginning to the end of its opening handshake.
    pub handshake_timeout: Duration,
    /// Time from a close frame to the end of the connection.
    pub close_timeout: Duration,
    /// Silence after which a connection is pinged.
    pub ping_after: Duration,
    /// Silence after that ping which ends it.
    pub pong_timeout: Duration,
    /// Time over which the closing of all connections is spread when the node stops.
    pub drain_time: Duration,
    /// Time that Redis has to take a message.
    pub publish_timeout: Duration,
    /// Bytes of messages that may wait for Redis.
    pub publish_queue: usize,
    /// Whether a node through whose Redis no messages go is not ready.
    pub ready_requires_redis: bool,
    /// Time between two messages that the node sends to itself through Redis.
    pub redis_probe_interval: Duration,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Proxies that are believed when they say for whom they speak.
    pub trusted_proxies: Networks,
    /// Connections from one address; none: any number.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Opening handshakes under way; none: any number.
    pub max_handshakes: Option<NonZeroUsize>,
    /// Connections taken per second; none: any number.
    pub accept_rate: Option<NonZeroU32>,
    /// Memory of the process above which new connections are refused; none: no limit.
    pub max_memory: Option<NonZeroUsize>,
    /// Origins whose pages may open WebSockets.
    pub allowed_origins: Origins,
    /// Whether limits are only counted.
    pub limits_dry_run: bool,
    /// The least important lines that are logged.
    pub log_level: LevelFilter,
    /// How they are written.
    pub log_format: LogFormat,
    /// Oddities in the environment that stop nothing, to be logged once the node has a log.
    pub warnings: Vec<String>,
}

/// The built-in defaults.
impl Default for Config {
    fn default() -> Config {
        Config {
            host: Host::All,
            port: 8398,
            socket_mode: 0o660,
            redis: None,
            loops: cores(),
            admin_address: AdminAddress::IfFree(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9398)),
            max_connections: None,
            message_size: 256 * 1024,
            message_fragments: 16_384,
            message_timeout: Duration::from_secs(60),
            message_rate: None,
            outbox_size: 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            ping_after: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(20),
            drain_time: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(2),
            publish_queue: 64 * 1024 * 1024,
            ready_requires_redis: false,
            redis_probe_interval: Duration::from_secs(2),
            proxy_protocol: ProxyProtocol::Off,
            trusted_proxies: Networks::default(),
            max_connections_per_address: None,
            max_handshakes: None,
            accept_rate: None,
            max_memory: None,
            allowed_origins: Origins::default(),
            limits_dry_run: false,
            log_level: LevelFilter::Info,
            log_format: LogFormat::Text,
            warnings: Vec::new(),
        }
    }
}

/// One event loop per core that this process may use.
fn cores() -> NonZeroUsize {
    let most = NonZeroUsize::new(LOOPS_MAX).unwrap_or(NonZeroUsize::MIN);
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(most)
}

impl Config {
    /// The relations between settings, beyond the range of each: an outbox holds a message of the largest size and what is around it, a
    /// part of the connections is no more than all of them, and PROXY headers have somebody to come from.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_as(|setting| setting.flag)
    }

    /// [`Config::check`], with each setting called by its `name`: the flag or the variable, whichever set it.
    fn check_as(&self, name: impl Fn(&Setting) -> &'static str) -> Result<(), ConfigError> {
        self.check_outbox(&name)?;
        if let Some(most) = self.max_connections {
            let whole = format!("{}, which is \"{most}\"", name(&settings::MAX_CONNECTIONS));
            for part in [&edge::CONNECTIONS_PER_ADDRESS, &edge::HANDSHAKES] {
                let shown = (part.show)(self);
                if shown.parse::<usize>().is_ok_and(|part| part > most.get()) {
                    return Err(ConfigError(format!("{} is \"{shown}\": no more is allowed than {whole}", name(part))));
                }
            }
        }
        if self.proxy_protocol != ProxyProtocol::Off && self.trusted_proxies.is_empty() {
            let (mode, shown) = (name(&edge::PROXY_PROTOCOL), (edge::PROXY_PROTOCOL.show)(self));
            let needed = name(&edge::TRUSTED_PROXIES);
            return Err(ConfigError(format!("{mode} is \"{shown}\": only off is allowed while {needed} names nobody who is believed")));
        }
        Ok(())
    }

    fn check_outbox(&self, name: impl Fn(&Setting) -> &'static str) -> Result<(), ConfigError> {
        let needed = self.message_size.saturating_add(ENVELOPE_BYTES_MAX);
        if self.outbox_size >= needed {
            return Ok(());
        }
        Err(ConfigError(format!(
            "{} is \"{}\": at least {} is allowed, {} more than {}, which is \"{}\"",
            name(&settings::OUTBOX_SIZE),
            values::show_size(self.outbox_size),
            values::show_size(needed),
            values::show_size(ENVELOPE_BYTES_MAX),
            name(&settings::MESSAGE_SIZE),
            values::show_size(self.message_size),
        )))
    }
}

/// Where on this machine clients can connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// All addresses, of both families where the system has both.
    All,
    /// One address.
    Address(IpAddr),
    /// The first address that this name stands for when the node starts.
    Name(String),
    /// A unix socket, which has no port.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::All => f.write_str("all addresses"),
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
            Host::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where the operator's side listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// Here unless someone else does: the default. A second node on the same machine starts without its operator's side.
    IfFree(SocketAddr),
    /// Here, because the operator said so: the node does not start without it.
    Given(SocketAddr),
}

/// Why a node cannot start with its settings: one line that names the setting, its value, and what is allowed. It holds no passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_config_that_works() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn an_outbox_holds_the_largest_message_and_its_envelope() {
        let config = Config { message_size: 4096, outbox_size: 5119, ..Config::default() };
        let told = "--outbox-size is \"5119\": at least 5KiB is allowed, 1KiB more than --message-size, which is \"4KiB\"";
        assert_eq!(config.check().unwrap_err().to_string(), told);
        assert_eq!(Config { outbox_size: 5120, ..config }.check(), Ok(()));
    }

    #[test]
    fn a_part_of_the_connections_is_no_more_than_all() {
        let (nine, ten) = (NonZeroUsize::new(9), NonZeroUsize::new(10));
        let check = |config: Config, told: &str| assert_eq!(config.check().unwrap_err().to_string(), told);
        let told = "--max-connections-per-address is \"10\": no more is allowed than --max-connections, which is \"9\"";
        check(Config { max_connections: nine, max_connections_per_address: ten, ..Config::default() }, told);
        let told = "--max-handshakes is \"10\": no more is allowed than --max-connections, which is \"9\"";
        check(Config { max_connections: nine, max_handshakes: ten, ..Config::default() }, told);
        let fits = Config { max_connections: ten, max_connections_per_address: ten, max_handshakes: ten, ..Config::default() };
        assert_eq!(fits.check(), Ok(()));
    }

    #[test]
    fn proxy_headers_need_somebody_who_is_believed() {
        let config = Config { proxy_protocol: ProxyProtocol::Require, ..Config::default() };
        let told = "--proxy-protocol is \"require\": only off is allowed while --trusted-proxies names nobody who is believed";
        assert_eq!(config.check().unwrap_err().to_string(), told);
        assert_eq!(Config { trusted_proxies: Networks::parse("unix").unwrap(), ..config }.check(), Ok(()));
    }
}
