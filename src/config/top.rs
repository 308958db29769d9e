//! The command line of `texto top`.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::time::Duration;

use lexopt::{Arg, Parser};

use super::pages::VERSION;
use super::reader::{Command, quote, unexpected};
use super::{AdminAddress, Config, ConfigError, values};

const HELP: &str = "\
Usage: texto top [HOST:PORT]... [--interval TIME] [--once]

Shows nodes while they run: connections, rates, event loops, Redis, refusals. It asks for /metrics on their operators'
addresses; one node is shown in full, several as a table. q or Ctrl-C ends it.

  HOST:PORT                    the operator's address of a node, any number of times; without one, the address in
                               TEXTO_ADMIN_ADDRESS, or 127.0.0.1:9398
  --admin-address HOST:PORT    the same
  --interval TIME              time between two looks, and over which rates are taken [default: 1s]
  --once                       print one look as plain text and end
  --help, -h                   print this and end
";

/// What `texto top` is to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopSettings {
    /// The operators' addresses of the nodes, as they were given.
    pub addresses: Vec<String>,
    /// Time between two looks.
    pub interval: Duration,
    /// Whether to look once only, and print that.
    pub is_once: bool,
}

/// Reads what comes after `top`. `admin_address` is the value of the variable of that name.
pub(super) fn read(mut parser: Parser, admin_address: Option<OsString>) -> Result<Command, ConfigError> {
    let mut settings = TopSettings { addresses: Vec::new(), interval: Duration::from_secs(1), is_once: false };
    while let Some(argument) = parser.next().map_err(|error| unexpected(&error))? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Print(format!("{VERSION} top\n\n{HELP}"))),
            Arg::Long("once") => settings.is_once = true,
            Arg::Long("interval") => {
                let allowed = Duration::from_millis(100)..=Duration::from_secs(3_600);
                settings.interval = value(&mut parser, "--interval", |text| values::duration(text, allowed.clone()))?;
            }
            Arg::Long("admin-address") => settings.addresses.push(value(&mut parser, "--admin-address", address)?),
            Arg::Value(text) => settings.addresses.push(parse("the address", &text, address)?),
            Arg::Long(_) | Arg::Short(_) => {
                return Err(ConfigError("texto top has no such flag: those that texto top --help lists are allowed".to_owned()));
            }
        }
    }
    if settings.addresses.is_empty() {
        settings.addresses.push(match admin_address.filter(|value| !value.is_empty()) {
            Some(value) => parse("TEXTO_ADMIN_ADDRESS", &value, own_address)?,
            None => default_address(),
        });
    }
    Ok(Command::Top(settings))
}

/// The value of the flag `name`.
fn value<T>(parser: &mut Parser, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
    parse(name, &parser.value().unwrap_or_default(), read)
}

fn parse<T>(name: &str, text: &OsStr, read: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
    read(&text.to_string_lossy()).map_err(|allowed| ConfigError(format!("{name} is {}: {allowed}", quote(text))))
}

/// `HOST:PORT`. Whether there is such a host is found out when it is asked.
fn address(text: &str) -> Result<String, String> {
    let is_address = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_address { Ok(text.to_owned()) } else { Err("HOST:PORT is allowed".to_owned()) }
}

/// Where a node that was told to listen at `text` can be reached from the same machine.
fn own_address(text: &str) -> Result<String, String> {
    match values::admin_address(text)? {
        AdminAddress::Off => Err("top needs the operator's address of a node, as in texto top 127.0.0.1:9398".to_owned()),
        AdminAddress::IfFree(address) | AdminAddress::Given(address) => Ok(reachable(address).to_string()),
    }
}

fn default_address() -> String {
    match Config::default().admin_address {
        AdminAddress::Off => String::new(),
        AdminAddress::IfFree(address) | AdminAddress::Given(address) => address.to_string(),
    }
}

/// An address that stands for all of this machine is one to listen at; from there, loopback is one of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str, variable: Option<&str>) -> Result<Command, ConfigError> {
        read(Parser::from_args(line.split_whitespace()), variable.map(OsString::from))
    }

    #[test]
    fn addresses_come_from_the_line_else_from_the_variable_else_from_the_default() {
        for (line, variable, expected) in [
            ("", None, vec!["127.0.0.1:9398"]),
            ("", Some(""), vec!["127.0.0.1:9398"]),
            ("", Some("0.0.0.0:9000"), vec!["127.0.0.1:9000"]),
            ("", Some("[::]:9000"), vec!["[::1]:9000"]),
            ("", Some("10.0.0.1:9000"), vec!["10.0.0.1:9000"]),
            ("node-1:9398", Some("10.0.0.1:9000"), vec!["node-1:9398"]),
            ("--admin-address 10.0.0.2:1 10.0.0.3:1", None, vec!["10.0.0.2:1", "10.0.0.3:1"]),
        ] {
            match read_line(line, variable) {
                Ok(Command::Top(settings)) => {
                    assert_eq!((settings.addresses, settings.is_once), (expected.iter().map(ToString::to_string).collect(), false));
                }
                other => panic!("{line:?} {variable:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_interval_and_a_single_look_are_asked_for_by_flag() {
        let Ok(Command::Top(settings)) = read_line("--once --interval=250ms", None) else { panic!("these are its flags") };
        assert_eq!((settings.interval, settings.is_once), (Duration::from_millis(250), true));
        assert!(matches!(read_line("--help", None), Ok(Command::Print(help)) if help.contains("--once")));
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        for (line, variable, expected) in [
            ("9398", None, "the address is \"9398\": HOST:PORT is allowed"),
            ("--admin-address :1", None, "--admin-address is \":1\": HOST:PORT is allowed"),
            ("--interval 1ms", None, "--interval is \"1ms\": a time from 100ms to 1h, in ms, s, m or h, is allowed"),
            ("--interval", None, "--interval is \"\": a time from 100ms to 1h, in ms, s, m or h, is allowed"),
            ("--port 1", None, "texto top has no such flag: those that texto top --help lists are allowed"),
            ("", Some("off"), "TEXTO_ADMIN_ADDRESS is \"off\": top needs the operator's address of a node, as in texto top 127.0.0.1:9398"),
        ] {
            assert_eq!(read_line(line, variable).unwrap_err().to_string(), expected);
        }
    }
}
