//! A group of Sentinels: what `redis+sentinel://…` says.
//!
//! ```text
//!  redis+sentinel://[user:password@]host[:port],host[:port],…[/db]?master=NAME[&sentinel_user=…][&sentinel_password=…]
//!                    for Redis       Sentinels, by default at 26379     for the Sentinels, if they ask for it
//! ```
//!
//! `rediss+sentinel://` is the same with TLS, to the Sentinels and to Redis alike.

use std::borrow::Cow;
use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, RedisConnectionInfo};

use super::address::{self, Host};
use crate::limits::SENTINELS_MAX;

/// Where Sentinels listen unless they are told otherwise.
const SENTINEL_PORT: u16 = 26379;

const ALLOWED: &str = "expected redis+sentinel://[user:password@]host[:port],host[:port]/?master=NAME, and after it, where the Sentinels ask \
    for them, &sentinel_user=USER&sentinel_password=PASSWORD; rediss+sentinel:// for TLS";

/// The Sentinels, the name of the master that they watch, and how to get in.
#[derive(Clone)]
pub(super) struct Group {
    sentinels: Vec<ConnectionInfo>,
    master_name: String,
    /// How to reach the master, but for where it is.
    master: ConnectionInfo,
}

/// Where a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Host(&self.host), self.port)
    }
}

impl Group {
    /// Reads what stands before and behind `://`.
    pub(super) fn parse(scheme: &str, rest: &str) -> Result<Group, String> {
        let scheme = match scheme {
            "redis+sentinel" => "redis",
            "rediss+sentinel" => "rediss",
            _ => return Err(ALLOWED.to_owned()),
        };
        let (place, query) = rest.split_once('?').ok_or(ALLOWED)?;
        let (authority, db) = place.split_once('/').unwrap_or((place, ""));
        if !db.bytes().all(|b| b.is_ascii_digit()) || query.contains('#') {
            return Err(ALLOWED.to_owned());
        }
        let (userinfo, hosts) =
            authority.rsplit_once('@').map_or(("", authority), |(_, hosts)| authority.split_at(authority.len() - hosts.len()));
        let servers = hosts.split(',').map(|host| server(scheme, userinfo, host)).collect::<Result<Vec<_>, _>>()?;
        if servers.len() > SENTINELS_MAX {
            return Err(format!("at most {SENTINELS_MAX} Sentinels are allowed"));
        }
        let master = servers[0].clone();
        let Parameters { master_name, user, password } = Parameters::parse(query)?;
        let own = credentials(master.redis_settings(), user.as_deref(), password.as_deref());
        let sentinels = servers.into_iter().map(|info| info.set_redis_settings(own.clone())).collect();
        Ok(Group { sentinels, master_name, master })
    }

    /// How to reach each of the Sentinels; there is at least one.
    pub(super) fn sentinels(&self) -> &[ConnectionInfo] {
        &self.sentinels
    }

    /// What the Sentinels call the master.
    pub(super) fn master_name(&self) -> &str {
        &self.master_name
    }

    /// How to reach the master when it is there.
    pub(super) fn master_at(&self, spot: &Spot) -> ConnectionInfo {
        let host = spot.host.clone();
        let addr = match self.master.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port: spot.port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, spot.port),
        };
        self.master.clone().set_addr(addr)
    }
}

/// One of the Sentinels, with the credentials for Redis.
fn server(scheme: &str, userinfo: &str, host: &str) -> Result<ConnectionInfo, String> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let port = if has_port { String::new() } else { format!(":{SENTINEL_PORT}") };
    // The URL parser would take away what stands where nothing belongs.
    let is_plain = !host.is_empty() && !host.contains(['\\', '\t', '\n', '\r']);
    let info = is_plain.then(|| address::server(&format!("{scheme}://{userinfo}{host}{port}")).ok()).flatten();
    info.ok_or_else(|| ALLOWED.to_owned())
}

/// The settings of a connection to a Sentinel: those to Redis, but for who asks.
fn credentials(settings: &RedisConnectionInfo, user: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    let bare = RedisConnectionInfo::default().set_protocol(settings.protocol()).set_skip_set_lib_name();
    let named = user.into_iter().fold(bare, RedisConnectionInfo::set_username);
    password.into_iter().fold(named, RedisConnectionInfo::set_password)
}

/// What stands behind the question mark.
struct Parameters {
    master_name: String,
    user: Option<String>,
    password: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Parameters, String> {
        let (mut name, mut user, mut password) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*key {
                "master" => &mut name,
                "sentinel_user" => &mut user,
                "sentinel_password" => &mut password,
                _ => return Err("after the question mark, only master, sentinel_user and sentinel_password are allowed".to_owned()),
            };
            *place = Some(value).filter(|value| !value.is_empty()).map(Cow::into_owned);
        }
        let master_name = name.filter(|name| name.bytes().all(|b| b.is_ascii_graphic()));
        let master_name = master_name.ok_or("master=NAME is missing: what the Sentinels call the master")?;
        if user.is_some() && password.is_none() {
            return Err("sentinel_user needs a sentinel_password".to_owned());
        }
        Ok(Parameters { master_name, user, password })
    }
}

/// The URL without users and passwords.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(self.master.addr(), ConnectionAddr::TcpTls { .. }) { "rediss" } else { "redis" };
        write!(f, "{scheme}+sentinel://")?;
        for (index, info) in self.sentinels.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", spot(info))?;
        }
        write!(f, "/?master={}", self.master_name)
    }
}

/// Where the server of a group is.
pub(super) fn spot(info: &ConnectionInfo) -> Spot {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Spot { host: host.clone(), port: *port },
        other => Spot { host: other.to_string(), port: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::{Address, Place};
    use super::*;

    #[test]
    fn every_form_of_a_group_is_read_and_shown_without_secrets() {
        let check = |text: &str, shown: &str| assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(shown.to_owned()));
        let shown = "redis+sentinel://one:26379,two:7000/?master=main";
        check("redis+sentinel://one,two:7000?master=main", shown);
        check("redis+sentinel://one,two:7000/0?master=main", shown);
        check("redis+sentinel://user:secret@one:26379,two:7000/?master=main&sentinel_user=me&sentinel_password=secret", shown);
        check("redis+sentinel://[::1],[::1]:7000/?master=main", "redis+sentinel://[::1]:26379,[::1]:7000/?master=main");
        check("rediss+sentinel://one/?master=my.main-1", "rediss+sentinel://one:26379/?master=my.main-1");
        check(shown, shown);
    }

    #[test]
    fn what_is_no_group_is_refused_in_one_line_without_the_secret() {
        let check = |text: &str, begin: &str| {
            let error = Address::parse(text).expect_err(text);
            assert!(error.starts_with(begin) && !error.contains("secret") && !error.contains('\n'), "{text}: {error}");
        };
        for text in ["", "one", "one,two/", "one,,two/?master=main", ",/?master=main", "one:secret/?master=main", "one/secret?master=main"]
        {
            check(&format!("redis+sentinel://{text}"), "expected redis+sentinel://");
        }
        for text in ["one:0/?master=main", "::1/?master=main", "one/?master=main#insecure", "one:/?master=main", "a b/?master=main"] {
            check(&format!("redis+sentinel://{text}"), "expected redis+sentinel://");
        }
        check("sentinel://one/?master=main", "expected redis+sentinel://");
        check("redis+sentinel://one/?", "master=NAME is missing");
        check("redis+sentinel://one/?master=", "master=NAME is missing");
        check("redis+sentinel://one/?master=a%20b", "master=NAME is missing");
        check("redis+sentinel://one/?master=main&secret=1", "after the question mark, only");
        check("redis+sentinel://one/?master=main&sentinel_user=secret", "sentinel_user needs");
        let many = vec!["one"; SENTINELS_MAX + 1].join(",");
        check(&format!("redis+sentinel://{many}/?master=main"), "at most 16 Sentinels");
    }

    #[test]
    fn redis_and_the_sentinels_have_credentials_of_their_own() {
        let check = |text: &str, redis: (Option<&str>, Option<&str>), sentinel: (Option<&str>, Option<&str>)| {
            let Place::Group(group) = Address::parse(text).unwrap().place().clone() else { panic!("{text} is a group") };
            let of = |info: &ConnectionInfo| {
                (info.redis_settings().username().map(str::to_owned), info.redis_settings().password().map(str::to_owned))
            };
            let owned = |pair: (Option<&str>, Option<&str>)| (pair.0.map(str::to_owned), pair.1.map(str::to_owned));
            let master = group.master_at(&Spot { host: "::1".into(), port: 7 });
            assert_eq!((of(&master), spot(&master).to_string().as_str()), (owned(redis), "[::1]:7"), "{text}");
            assert!(group.sentinels().iter().all(|info| of(info) == owned(sentinel)), "{text}");
        };
        check("redis+sentinel://one,two/?master=m", (None, None), (None, None));
        check("redis+sentinel://:p%40ss@one,two/?master=m", (None, Some("p@ss")), (None, None));
        let both = "redis+sentinel://me:p%2C1@one,two/?sentinel_password=p%402&sentinel_user=you&master=m";
        check(both, (Some("me"), Some("p,1")), (Some("you"), Some("p@2")));
        check("rediss+sentinel://one/?master=m&sentinel_password=p", (None, None), (None, Some("p")));
    }
}
