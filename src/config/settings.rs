//! The table of settings: what each is called, what it says, and how it gets into a [`Config`] and out again.
//!
//! Adding one takes a field and its default in `config.rs`, and an entry here.

use std::time::Duration;

use super::values::{self, Parsed};
use super::{Address, Config, edge};
use crate::limits::{
    CONNECTIONS_MAX, LOOPS_MAX, MESSAGE_BYTES_MAX, MESSAGE_FRAGMENTS_MAX, MESSAGE_RATE_MAX, OUTBOX_BYTES_MAX, PUBLISH_QUEUE_BYTES,
};

/// One setting.
pub(super) struct Setting {
    /// Its name on the command line, with the dashes.
    pub(super) flag: &'static str,
    /// Its name in the environment.
    pub(super) variable: &'static str,
    /// What stands for its value in `--help`.
    pub(super) metavar: &'static str,
    /// What it means, as whole sentences.
    pub(super) help: &'static str,
    /// Whether its value may hold a password, so that it is never repeated.
    pub(super) is_secret: bool,
    /// Puts the value of a text into a config, or says what is allowed.
    pub(super) set: fn(&mut Config, &str) -> Parsed<()>,
    /// The value in a config, as `set` takes it; passwords are masked.
    pub(super) show: fn(&Config) -> String,
}

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// All settings, in groups as `--help` shows them.
pub(super) const GROUPS: [(&str, &[Setting]); 8] = [
    ("Addresses", &ADDRESSES),
    ("Proxies", &edge::PROXIES),
    ("Capacity", &CAPACITY),
    ("Limits", &edge::LIMITS),
    ("Messages", &MESSAGES),
    ("Times", &TIMES),
    ("Readiness", &READINESS),
    ("Log", &LOG),
];

/// All settings.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|(_, settings)| settings.iter())
}

const ADDRESSES: [Setting; 5] = [
    Setting {
        flag: "--host",
        variable: "HOST",
        metavar: "ADDRESS",
        help: "Where clients connect to: an IP address, a name that stands for some, or * for all addresses of this machine, IPv4 and IPv6; \
               or unix:PATH for a unix socket.",
        is_secret: false,
        set: |config, text| put(&mut config.host, values::host(text)),
        show: |config| values::show_host(&config.host),
    },
    Setting {
        flag: "--port",
        variable: "PORT",
        metavar: "PORT",
        help: "The port there. 0 is any free one; the log says which.",
        is_secret: false,
        set: |config, text| put(&mut config.port, values::port(text)),
        show: |config| config.port.to_string(),
    },
    Setting {
        flag: "--socket-mode",
        variable: "TEXTO_SOCKET_MODE",
        metavar: "MODE",
        help: "Who may connect to a unix socket, as the permissions of a file: 660 lets the user and the group of the node.",
        is_secret: false,
        set: |config, text| put(&mut config.socket_mode, values::mode(text)),
        show: |config| values::show_mode(config.socket_mode),
    },
    Setting {
        flag: "--redis-url",
        variable: "REDIS_URL",
        metavar: "URL",
        help: "The Redis that connects the nodes: redis://, rediss:// (TLS), unix://, redis+sentinel://host,host/?master=NAME, or \
               host:port. Without one the node runs alone.",
        is_secret: true,
        set: |config, text| put(&mut config.redis, redis(text)),
        show: |config| config.redis.as_ref().map_or_else(|| "none".to_owned(), Address::to_string),
    },
    Setting {
        flag: "--admin-address",
        variable: "TEXTO_ADMIN_ADDRESS",
        metavar: "IP:PORT",
        help: "Where /ready and /metrics are, for the operator alone, or off. When the address is in use, a node that was given it ends, \
               and one that has it by default starts without.",
        is_secret: false,
        set: |config, text| put(&mut config.admin_address, values::admin_address(text)),
        show: |config| values::show_admin_address(config.admin_address),
    },
];

const CAPACITY: [Setting; 4] = [
    Setting {
        flag: "--loops",
        variable: "TEXTO_LOOPS",
        metavar: "NUMBER",
        help: "Event loops, each a thread that serves its share of the connections. The default is one per core.",
        is_secret: false,
        set: |config, text| put(&mut config.loops, values::count(text, LOOPS_MAX)),
        show: |config| config.loops.to_string(),
    },
    MAX_CONNECTIONS,
    OUTBOX_SIZE,
    Setting {
        flag: "--publish-queue",
        variable: "TEXTO_PUBLISH_QUEUE",
        metavar: "SIZE",
        help: "Bytes of messages that may wait for Redis. Beyond, a message is answered with EBROKER.",
        is_secret: false,
        set: |config, text| put(&mut config.publish_queue, values::size(text, PUBLISH_QUEUE_BYTES)),
        show: |config| values::show_size(config.publish_queue),
    },
];

const MESSAGES: [Setting; 4] = [
    MESSAGE_SIZE,
    Setting {
        flag: "--message-fragments",
        variable: "TEXTO_MESSAGE_FRAGMENTS",
        metavar: "NUMBER",
        help: "Frames that one message may be split into.",
        is_secret: false,
        set: |config, text| put(&mut config.message_fragments, values::small_count(text, MESSAGE_FRAGMENTS_MAX)),
        show: |config| config.message_fragments.to_string(),
    },
    Setting {
        flag: "--message-timeout",
        variable: "TEXTO_MESSAGE_TIMEOUT",
        metavar: "TIME",
        help: "Time from the first byte of a message to its last.",
        is_secret: false,
        set: |config, text| put(&mut config.message_timeout, values::duration(text, SECOND..=HOUR)),
        show: |config| values::show_duration(config.message_timeout),
    },
    Setting {
        flag: "--message-rate",
        variable: "TEXTO_MESSAGE_RATE",
        metavar: "NUMBER",
        help: "Messages per second that one connection may send; 0: any number. One above it is answered with ERATE, and who sends about \
               four seconds' worth above it is disconnected.",
        is_secret: false,
        set: |config, text| put(&mut config.message_rate, values::rate(text, MESSAGE_RATE_MAX)),
        show: |config| values::show_rate(config.message_rate),
    },
];

const TIMES: [Setting; 6] = [
    Setting {
        flag: "--handshake-timeout",
        variable: "TEXTO_HANDSHAKE_TIMEOUT",
        metavar: "TIME",
        help: "Time for the opening handshake, from the beginning of the connection.",
        is_secret: false,
        set: |config, text| put(&mut config.handshake_timeout, values::duration(text, SECOND..=5 * MINUTE)),
        show: |config| values::show_duration(config.handshake_timeout),
    },
    Setting {
        flag: "--close-timeout",
        variable: "TEXTO_CLOSE_TIMEOUT",
        metavar: "TIME",
        help: "Time for the closing handshake. With Redis at least a second more than --publish-timeout: a client that leaves gets its \
               last answers first.",
        is_secret: false,
        set: |config, text| put(&mut config.close_timeout, values::duration(text, SECOND..=5 * MINUTE)),
        show: |config| values::show_duration(config.close_timeout),
    },
    Setting {
        flag: "--ping-after",
        variable: "TEXTO_PING_AFTER",
        metavar: "TIME",
        help: "Silence after which a client is pinged. Keep it below the idle time of proxies on the way.",
        is_secret: false,
        set: |config, text| put(&mut config.ping_after, values::duration(text, SECOND..=HOUR)),
        show: |config| values::show_duration(config.ping_after),
    },
    Setting {
        flag: "--pong-timeout",
        variable: "TEXTO_PONG_TIMEOUT",
        metavar: "TIME",
        help: "Further silence after which the connection is given up.",
        is_secret: false,
        set: |config, text| put(&mut config.pong_timeout, values::duration(text, SECOND..=HOUR)),
        show: |config| values::show_duration(config.pong_timeout),
    },
    Setting {
        flag: "--drain-time",
        variable: "TEXTO_DRAIN_TIME",
        metavar: "TIME",
        help: "Time over which a node that was told to stop (SIGTERM) closes its connections, so that the clients do not all turn to the \
               next node at once.",
        is_secret: false,
        set: |config, text| put(&mut config.drain_time, values::duration(text, Duration::ZERO..=HOUR)),
        show: |config| values::show_duration(config.drain_time),
    },
    Setting {
        flag: "--publish-timeout",
        variable: "TEXTO_PUBLISH_TIMEOUT",
        metavar: "TIME",
        help: "Time that Redis has to take a message. Beyond, the message is answered with EBROKER.",
        is_secret: false,
        set: |config, text| put(&mut config.publish_timeout, values::duration(text, Duration::from_millis(100)..=MINUTE)),
        show: |config| values::show_duration(config.publish_timeout),
    },
];

const READINESS: [Setting; 2] = [
    Setting {
        flag: "--ready-requires-redis",
        variable: "TEXTO_READY_REQUIRES_REDIS",
        metavar: "true|false",
        help: "Whether /ready is 503 while messages do not go through Redis. With false it only says so: else, when Redis is gone, no node is \
               ready, and new clients are not even let in to write to those of the same node.",
        is_secret: false,
        set: |config, text| put(&mut config.ready_requires_redis, values::truth(text)),
        show: |config| config.ready_requires_redis.to_string(),
    },
    Setting {
        flag: "--redis-probe-interval",
        variable: "TEXTO_REDIS_PROBE_INTERVAL",
        metavar: "TIME",
        help: "Time between two messages that the node sends to itself through Redis. When three in a row do not arrive, it is not well \
               connected, and connects anew.",
        is_secret: false,
        set: |config, text| put(&mut config.redis_probe_interval, values::duration(text, Duration::from_millis(100)..=MINUTE)),
        show: |config| values::show_duration(config.redis_probe_interval),
    },
];

const LOG: [Setting; 2] = [
    Setting {
        flag: "--log-level",
        variable: "TEXTO_LOG_LEVEL",
        metavar: "LEVEL",
        help: "The least important lines to log: error, warn, info, debug or trace. They go to standard error.",
        is_secret: false,
        set: |config, text| put(&mut config.log_level, values::log_level(text)),
        show: |config| values::show_log_level(config.log_level),
    },
    Setting {
        flag: "--log-format",
        variable: "TEXTO_LOG_FORMAT",
        metavar: "FORMAT",
        help: "How they are written: text for people, or json, one object per line, for programs.",
        is_secret: false,
        set: |config, text| put(&mut config.log_format, values::log_format(text)),
        show: |config| values::show_log_format(config.log_format),
    },
];

pub(super) const MAX_CONNECTIONS: Setting = Setting {
    flag: "--max-connections",
    variable: "TEXTO_MAX_CONNECTIONS",
    metavar: "NUMBER",
    help: "Connections above which new ones are refused with 503; auto: as many as the limit on open files allows.",
    is_secret: false,
    set: |config, text| put(&mut config.max_connections, values::count_or_auto(text, CONNECTIONS_MAX)),
    show: |config| values::show_count_or_auto(config.max_connections),
};

pub(super) const OUTBOX_SIZE: Setting = Setting {
    flag: "--outbox-size",
    variable: "TEXTO_OUTBOX_SIZE",
    metavar: "SIZE",
    help: "Bytes that may wait for one connection. A client that reads too slowly to keep below is disconnected. \
           At least 1KiB more than a message.",
    is_secret: false,
    set: |config, text| put(&mut config.outbox_size, values::size(text, 1..=OUTBOX_BYTES_MAX)),
    show: |config| values::show_size(config.outbox_size),
};

pub(super) const MESSAGE_SIZE: Setting = Setting {
    flag: "--message-size",
    variable: "TEXTO_MESSAGE_SIZE",
    metavar: "SIZE",
    help: "The largest message that a client may send. A larger one ends its connection with 1009.",
    is_secret: false,
    set: |config, text| put(&mut config.message_size, values::size(text, 1..=MESSAGE_BYTES_MAX)),
    show: |config| values::show_size(config.message_size),
};

/// Fills a field with what its parser made of a text.
pub(super) fn put<T>(field: &mut T, parsed: Parsed<T>) -> Parsed<()> {
    *field = parsed?;
    Ok(())
}

/// The address of Redis, where an empty text or `none` is none: so a flag can take back what a variable says.
fn redis(text: &str) -> Parsed<Option<Address>> {
    if text.is_empty() || text == "none" {
        return Ok(None);
    }
    Address::parse(text).map(Some)
}

const _: () = assert!(OUTBOX_BYTES_MAX >= MESSAGE_BYTES_MAX + crate::limits::ENVELOPE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::AdminAddress;
    use super::*;

    #[test]
    fn every_setting_has_names_of_its_own() {
        let flags: HashSet<_> = all().map(|setting| setting.flag).collect();
        let variables: HashSet<_> = all().map(|setting| setting.variable).collect();
        assert_eq!((flags.len(), variables.len()), (all().count(), all().count()));
    }

    #[test]
    fn variables_follow_from_flags() {
        for setting in all() {
            let plain = setting.flag.strip_prefix("--").unwrap().replace('-', "_").to_uppercase();
            let expected = match plain.as_str() {
                "HOST" | "PORT" | "REDIS_URL" => plain,
                _ => format!("TEXTO_{plain}"),
            };
            assert_eq!(setting.variable, expected);
        }
    }

    #[test]
    fn every_default_is_within_its_own_range() {
        for setting in all() {
            let shown = (setting.show)(&Config::default());
            let mut config = Config::default();
            assert_eq!((setting.set)(&mut config, &shown), Ok(()), "{}", setting.flag);
            assert_eq!((setting.show)(&config), shown, "{}", setting.flag);
        }
    }

    #[test]
    fn an_admin_address_that_was_given_is_told_from_the_default() {
        let mut config = Config::default();
        assert!(matches!(config.admin_address, AdminAddress::IfFree(_)));
        let setting = all().find(|setting| setting.flag == "--admin-address").unwrap();
        (setting.set)(&mut config, "127.0.0.1:9398").unwrap();
        assert!(matches!(config.admin_address, AdminAddress::Given(_)));
    }
}
