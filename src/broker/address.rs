//! Where Redis is, and how to get in: what `REDIS_URL` says, as a type that cannot be wrong.
//!
//! ```text
//!  redis://[user:password@]host[:port][/db]     plain TCP            host:port, host     the same, as earlier versions took it
//!  rediss://…                                   TLS, checked against the roots of the system
//!  unix:///path[?user=…&pass=…]                 Unix socket, also as redis+unix:// and unix://path
//!  redis+sentinel://…, rediss+sentinel://…      the master that a group of Sentinels names, see `group.rs`
//! ```
//!
//! The number of a database is read and then ignored: Pub/Sub does not know databases, so selecting one could only fail. Neither the user
//! nor the password is ever shown.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::group::Group;

/// A silent connection is asked for a sign of life after this time, so a Redis whose host vanished is found even when nothing is sent.
const KEEPALIVE_TIME: Duration = Duration::from_secs(10);

/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// The kernel ends a connection on which something sent, a question included, stays without an acknowledgement for this time.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

const ALLOWED: &str =
    "expected redis://[user:password@]host[:port], rediss:// for TLS, unix:///path, redis+sentinel://host,host/?master=NAME, or host:port";

/// The address of a Redis, with the credentials for it.
#[derive(Clone)]
pub struct Address {
    place: Place,
}

/// What an address stands for. Host names are resolved at each connection, so a Redis that moved is found again.
#[derive(Clone)]
pub(super) enum Place {
    /// This server, whatever it is.
    Server(ConnectionInfo),
    /// The master that these Sentinels name.
    Group(Group),
}

impl Address {
    /// Reads an address; the error is one line without a secret in it.
    pub fn parse(text: &str) -> Result<Address, String> {
        let text = text.trim();
        let place = match text.split_once("://") {
            Some((scheme, rest)) if scheme.contains("sentinel") => Place::Group(Group::parse(scheme, rest)?),
            _ => Place::Server(server(text)?),
        };
        Ok(Address { place })
    }

    /// What it stands for.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The Sentinels to ask; none when it names a server.
    pub(super) fn sentinels(&self) -> &[ConnectionInfo] {
        match &self.place {
            Place::Server(_) => &[],
            Place::Group(group) => group.sentinels(),
        }
    }
}

/// How to reach the one server that `text` names.
pub(super) fn server(text: &str) -> Result<ConnectionInfo, String> {
    let info = url_of(text).and_then(|url| url.into_connection_info().ok()).ok_or(ALLOWED)?;
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            Err("#insecure is not allowed: the certificate of Redis is always checked".to_owned())
        }
        ConnectionAddr::Tcp(_, 0) | ConnectionAddr::TcpTls { port: 0, .. } => Err(ALLOWED.to_owned()),
        ConnectionAddr::Unix(path) if !path.is_absolute() => Err(ALLOWED.to_owned()),
        _ => Ok(with_options(info)),
    }
}

/// The URL that `text` is, or means.
fn url_of(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("redis+unix://")) {
        // In `unix://path` the URL parser would take the first part of the path for a host.
        return Some(format!("unix:///{}", path.trim_start_matches('/'))).filter(|_| !path.is_empty());
    }
    if text.contains("://") {
        return Some(text.to_owned());
    }
    let is_bare = !text.is_empty() && !text.contains(['@', '/', '?', '#', '\\']);
    is_bare.then(|| format!("redis://{text}"))
}

/// RESP2, because its Pub/Sub is what the subscriber reads; nothing sent on a new connection that is not needed; and the kernel told to
/// look after it.
fn with_options(info: ConnectionInfo) -> ConnectionInfo {
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name().set_db(0);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(USER_TIMEOUT);
    info.set_redis_settings(redis).set_tcp_settings(tcp)
}

/// The URL without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Server(info) => Server(info).fmt(f),
            Place::Group(group) => group.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A server as a URL, without user and password.
pub(super) struct Server<'a>(pub(super) &'a ConnectionInfo);

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.addr() {
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{}:{port}", Host(host)),
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{}:{port}", Host(host)),
            ConnectionAddr::Unix(path) => write!(f, "unix://{}", path.display()),
            // The enum may grow; a new kind of address cannot come out of `parse`.
            other => write!(f, "{other}"),
        }
    }
}

/// A host as it stands in a URL.
pub(super) struct Host<'a>(pub(super) &'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_read_and_shown_without_secrets() {
        let check = |text: &str, shown: &str| assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(shown.to_owned()));
        check("redis://localhost", "redis://localhost:6379");
        check("redis://localhost:7000/3", "redis://localhost:7000");
        check("redis://user:secret@10.0.0.1", "redis://10.0.0.1:6379");
        check("redis://:secret@[::1]:7000", "redis://[::1]:7000");
        check("rediss://:secret@redis.example", "rediss://redis.example:6379");
        check("localhost:7000", "redis://localhost:7000");
        check("redis:6379", "redis://redis:6379");
        check("redis", "redis://redis:6379");
        check("[::1]:7000", "redis://[::1]:7000");
        check(" localhost:7000\n", "redis://localhost:7000");
        check("unix:///run/redis.sock", "unix:///run/redis.sock");
        check("unix://run/redis.sock", "unix:///run/redis.sock");
        check("redis+unix:///run/redis.sock?db=1&pass=secret", "unix:///run/redis.sock");
        check("redis://localhost/?protocol=resp3", "redis://localhost:6379");
    }

    #[test]
    fn what_is_no_address_is_refused_in_one_line_without_the_secret() {
        let check = |text: &str, begin: &str| {
            let error = Address::parse(text).expect_err(text);
            assert!(error.starts_with(begin) && !error.contains("secret") && !error.contains('\n'), "{text}: {error}");
        };
        let odd = ["", "://", "redis://", "http://localhost", "redis://localhost:secret", "localhost:99999", "redis://localhost:0"];
        let odder = ["/run/secret.sock", ":secret@localhost", "redis://localhost/secret", "redis://0.0.0.0", "::1", "a b:1", "unix://"];
        for text in odd.into_iter().chain(odder) {
            check(text, "expected redis://");
        }
        check("rediss://:secret@localhost/#insecure", "#insecure is not allowed");
    }

    #[test]
    fn credentials_are_kept_and_the_rest_is_fixed() {
        let check = |text: &str, user, password| {
            let info = server(text).unwrap();
            let redis = info.redis_settings();
            assert_eq!((redis.username(), redis.password()), (user, password));
            assert_eq!((redis.protocol(), redis.db(), redis.skip_set_lib_name()), (ProtocolVersion::RESP2, 0, true));
        };
        check("redis://localhost/4", None, None);
        check("redis://:p%40ss@localhost?protocol=3", None, Some("p@ss"));
        check("rediss://me:pass@localhost", Some("me"), Some("pass"));
        check("unix:///run/redis.sock?db=2&user=me&pass=p%40ss", Some("me"), Some("p@ss"));
    }
}
