//! The settings of the edge: which proxies are believed, and what is too much from outside.

use super::settings::{Setting, put};
use super::values::{self, Parsed};
use crate::hub::ProxyProtocol;
use crate::limits::{ACCEPT_RATE_MAX, CONNECTIONS_MAX, MEMORY_BYTES};
use crate::wire::address::Networks;
use crate::wire::origin::Origins;

pub(super) const PROXIES: [Setting; 2] = [PROXY_PROTOCOL, TRUSTED_PROXIES];

pub(super) const LIMITS: [Setting; 6] = [
    CONNECTIONS_PER_ADDRESS,
    HANDSHAKES,
    Setting {
        flag: "--accept-rate",
        variable: "TEXTO_ACCEPT_RATE",
        metavar: "NUMBER",
        help: "Connections per second that the node takes, a second's worth of them at once; 0: any number. More are refused with 503.",
        is_secret: false,
        set: |config, text| put(&mut config.accept_rate, values::rate(text, ACCEPT_RATE_MAX)),
        show: |config| values::show_rate(config.accept_rate),
    },
    Setting {
        flag: "--max-memory",
        variable: "TEXTO_MAX_MEMORY",
        metavar: "SIZE",
        help: "Memory of the process above which new connections are refused with 503; off: no limit. The kernel's own memory for sockets is \
               not in it.",
        is_secret: false,
        set: |config, text| put(&mut config.max_memory, values::size_or_off(text, MEMORY_BYTES)),
        show: |config| values::show_size_or_off(config.max_memory),
    },
    Setting {
        flag: "--allowed-origins",
        variable: "TEXTO_ALLOWED_ORIGINS",
        metavar: "LIST",
        help: "Origins whose pages may open WebSockets, separated by commas: https://chat.example, https://*.example, null, or * for all. \
               Others get 403. What says no Origin is no browser and is not asked.",
        is_secret: false,
        set: |config, text| put(&mut config.allowed_origins, Origins::parse(text)),
        show: |config| config.allowed_origins.to_string(),
    },
    Setting {
        flag: "--limits-dry-run",
        variable: "TEXTO_LIMITS_DRY_RUN",
        metavar: "true|false",
        help: "Whether to count in the metrics what limits would refuse, and to refuse nothing. Only --message-size and --outbox-size hold \
               even so, at their defaults where they are set lower.",
        is_secret: false,
        set: |config, text| put(&mut config.limits_dry_run, values::truth(text)),
        show: |config| config.limits_dry_run.to_string(),
    },
];

pub(super) const PROXY_PROTOCOL: Setting = Setting {
    flag: "--proxy-protocol",
    variable: "TEXTO_PROXY_PROTOCOL",
    metavar: "MODE",
    help: "Whether connections begin with a PROXY header, version 1 or 2. off: none does; accept: those of trusted proxies may; require: all \
           come from trusted proxies and do. What is otherwise is refused with 400.",
    is_secret: false,
    set: |config, text| put(&mut config.proxy_protocol, proxy_protocol(text)),
    show: |config| show_proxy_protocol(config.proxy_protocol).to_owned(),
};

pub(super) const TRUSTED_PROXIES: Setting = Setting {
    flag: "--trusted-proxies",
    variable: "TEXTO_TRUSTED_PROXIES",
    metavar: "LIST",
    help: "Addresses and networks of proxies, separated by commas, or unix for all that comes over a unix socket. Their PROXY headers, \
           X-Forwarded-For and X-Real-IP are believed, and nobody else's.",
    is_secret: false,
    set: |config, text| put(&mut config.trusted_proxies, trusted_proxies(text)),
    show: |config| show_trusted_proxies(&config.trusted_proxies),
};

pub(super) const CONNECTIONS_PER_ADDRESS: Setting = Setting {
    flag: "--max-connections-per-address",
    variable: "TEXTO_MAX_CONNECTIONS_PER_ADDRESS",
    metavar: "NUMBER",
    help: "Connections from one IPv4 address, or one IPv6 network of 64 bits; 0: any number. More are refused with 429. Behind a proxy, name \
           it in --trusted-proxies.",
    is_secret: false,
    set: |config, text| put(&mut config.max_connections_per_address, values::count_or_any(text, CONNECTIONS_MAX)),
    show: |config| values::show_count_or_any(config.max_connections_per_address),
};

pub(super) const HANDSHAKES: Setting = Setting {
    flag: "--max-handshakes",
    variable: "TEXTO_MAX_HANDSHAKES",
    metavar: "NUMBER",
    help: "Opening handshakes under way at once; 0: any number. More are refused with 503.",
    is_secret: false,
    set: |config, text| put(&mut config.max_handshakes, values::count_or_any(text, CONNECTIONS_MAX)),
    show: |config| values::show_count_or_any(config.max_handshakes),
};

fn proxy_protocol(text: &str) -> Parsed<ProxyProtocol> {
    let modes = [ProxyProtocol::Off, ProxyProtocol::Accept, ProxyProtocol::Require];
    let found = modes.into_iter().find(|mode| show_proxy_protocol(*mode) == text);
    found.ok_or_else(|| "off, accept or require is allowed".to_owned())
}

fn show_proxy_protocol(mode: ProxyProtocol) -> &'static str {
    match mode {
        ProxyProtocol::Off => "off",
        ProxyProtocol::Accept => "accept",
        ProxyProtocol::Require => "require",
    }
}

fn trusted_proxies(text: &str) -> Parsed<Networks> {
    Networks::parse(if text == "none" { "" } else { text })
}

fn show_trusted_proxies(networks: &Networks) -> String {
    if networks.is_empty() { "none".to_owned() } else { networks.to_string() }
}
