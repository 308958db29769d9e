//! Text to value and back, for the values that settings have.
//!
//! A parser takes nothing but what it knows: no blanks, no signs, no separators. Its error is what is allowed, ready for the end of
//! an error line: "a port from 0 to 65535". What `show_…` writes, its parser reads as the same value.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::runtime::log_lines::LogFormat;

use super::{AdminAddress, Host};

/// A value, or what is allowed instead.
pub(super) type Parsed<T> = Result<T, String>;

const KIB: u64 = 1024;
const SIZE_UNITS: [(&str, u64); 3] = [("GiB", KIB * KIB * KIB), ("MiB", KIB * KIB), ("KiB", KIB)];

/// The longest a DNS name may be (RFC 1035 section 2.3.4).
const NAME_LENGTH_MAX: usize = 253;

/// The longest path that fits into the address of a unix socket (unix(7)).
const UNIX_PATH_LENGTH_MAX: usize = 107;

pub(super) fn host(text: &str) -> Parsed<Host> {
    if text.is_empty() || text == "*" {
        return Ok(Host::All);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Host::Address(address));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(Host::Unix);
    }
    if is_name(text) {
        return Ok(Host::Name(text.to_owned()));
    }
    Err("an IP address, a host name, unix:PATH, or * for all addresses is allowed".to_owned())
}

/// The path of a unix socket. It does not depend on where a node happens to be started.
fn unix_path(path: &str) -> Parsed<PathBuf> {
    let is_path = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0') && path.len() <= UNIX_PATH_LENGTH_MAX;
    is_path.then(|| PathBuf::from(path)).ok_or_else(|| format!("unix:/PATH of at most {UNIX_PATH_LENGTH_MAX} bytes is allowed"))
}

/// The permissions of a file: three octal digits.
pub(super) fn mode(text: &str) -> Parsed<u32> {
    let is_mode = text.len() == 3 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    is_mode.then(|| u32::from_str_radix(text, 8).ok()).flatten().ok_or_else(|| "three octal digits, such as 660, are allowed".to_owned())
}

pub(super) fn show_mode(mode: u32) -> String {
    format!("{mode:03o}")
}

/// Whether `text` can be a name. One that ends in a number would be a mistyped IPv4 address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    text.len() <= NAME_LENGTH_MAX && text.split('.').all(is_label) && !text.rsplit('.').next().is_some_and(is_number)
}

pub(super) fn show_host(host: &Host) -> String {
    match host {
        Host::All => "*".to_owned(),
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
        Host::Unix(path) => format!("unix:{}", path.display()),
    }
}

pub(super) fn port(text: &str) -> Parsed<u16> {
    digits(text).and_then(|port| u16::try_from(port).ok()).ok_or_else(|| "a port from 0 to 65535 is allowed".to_owned())
}

pub(super) fn admin_address(text: &str) -> Parsed<AdminAddress> {
    if text == "off" {
        return Ok(AdminAddress::Off);
    }
    let address = text.parse::<SocketAddr>().map_err(|_| "IP:PORT, such as 127.0.0.1:9398 or [::]:9398, or off is allowed".to_owned())?;
    Ok(AdminAddress::Given(address))
}

pub(super) fn show_admin_address(address: AdminAddress) -> String {
    match address {
        AdminAddress::Off => "off".to_owned(),
        AdminAddress::IfFree(address) | AdminAddress::Given(address) => address.to_string(),
    }
}

/// A whole number from 1 to `most`.
pub(super) fn count(text: &str, most: usize) -> Parsed<NonZeroUsize> {
    let number = digits(text).and_then(|number| usize::try_from(number).ok()).filter(|number| *number <= most);
    number.and_then(NonZeroUsize::new).ok_or_else(|| format!("a number from 1 to {most} is allowed"))
}

/// A whole number from 1 to `most`, or `auto`.
pub(super) fn count_or_auto(text: &str, most: usize) -> Parsed<Option<NonZeroUsize>> {
    if text == "auto" {
        return Ok(None);
    }
    count(text, most).map(Some).map_err(|_| format!("auto or a number from 1 to {most} is allowed"))
}

pub(super) fn show_count_or_auto(count: Option<NonZeroUsize>) -> String {
    count.map_or_else(|| "auto".to_owned(), |count| count.to_string())
}

/// A whole number up to `most`, where 0 is no limit.
pub(super) fn count_or_any(text: &str, most: usize) -> Parsed<Option<NonZeroUsize>> {
    let number = digits(text).and_then(|number| usize::try_from(number).ok()).filter(|number| *number <= most);
    number.map(NonZeroUsize::new).ok_or_else(|| format!("a number from 1 to {most}, or 0 for no limit, is allowed"))
}

pub(super) fn show_count_or_any(count: Option<NonZeroUsize>) -> String {
    count.map_or(0, NonZeroUsize::get).to_string()
}

/// A size in `range`, or `off`.
pub(super) fn size_or_off(text: &str, range: RangeInclusive<usize>) -> Parsed<Option<NonZeroUsize>> {
    if text == "off" {
        return Ok(None);
    }
    size(text, range).map(NonZeroUsize::new).map_err(|allowed| format!("off or {allowed}"))
}

pub(super) fn show_size_or_off(size: Option<NonZeroUsize>) -> String {
    size.map_or_else(|| "off".to_owned(), |size| show_size(size.get()))
}

/// A whole number from 1 to `most`, for what is counted in 32 bits.
pub(super) fn small_count(text: &str, most: u32) -> Parsed<u32> {
    let number = digits(text).and_then(|number| u32::try_from(number).ok()).filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("a number from 1 to {most} is allowed"))
}

/// A number per second up to `most`, where 0 is no limit.
pub(super) fn rate(text: &str, most: u32) -> Parsed<Option<NonZeroU32>> {
    let number = digits(text).and_then(|number| u32::try_from(number).ok()).filter(|number| *number <= most);
    number.map(NonZeroU32::new).ok_or_else(|| format!("a number from 1 to {most}, or 0 for no limit, is allowed"))
}

pub(super) fn show_rate(rate: Option<NonZeroU32>) -> String {
    rate.map_or(0, NonZeroU32::get).to_string()
}

/// A number of bytes in `range`: `1048576`, `1024KiB`, `1024k`, `1MiB`, `1m`.
pub(super) fn size(text: &str, range: RangeInclusive<usize>) -> Parsed<usize> {
    let bytes = parse_size(text).and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| {
        format!("a size from {} to {}, in bytes, KiB, MiB or GiB, is allowed", show_size(*range.start()), show_size(*range.end()))
    })
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => KIB * KIB,
        "g" | "gib" => KIB * KIB * KIB,
        _ => return None,
    };
    digits(number)?.checked_mul(factor)
}

/// The size in the largest unit that leaves it whole.
pub(super) fn show_size(bytes: usize) -> String {
    let bytes = bytes as u64;
    let unit = SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// A time in `range`, to the millisecond: `250ms`, `10s`, `0.5s`, `2m`, `1h`; a number alone is seconds.
pub(super) fn duration(text: &str, range: RangeInclusive<Duration>) -> Parsed<Duration> {
    parse_duration(text).filter(|time| range.contains(time)).ok_or_else(|| {
        format!("a time from {} to {}, in ms, s, m or h, is allowed", show_duration(*range.start()), show_duration(*range.end()))
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Six digits are more than a millisecond needs, and few enough for the product below.
    let divisor = 10_u64.checked_pow(u32::try_from(fraction.len()).ok().filter(|length| *length <= 6)?)?;
    let fraction_ms = digits(fraction)?.checked_mul(unit_ms)? / divisor;
    Some(Duration::from_millis(digits(whole)?.checked_mul(unit_ms)?.checked_add(fraction_ms)?))
}

/// The time in seconds, or where that does not leave it whole, in milliseconds; whole minutes and hours as such from 5 minutes on.
pub(super) fn show_duration(time: Duration) -> String {
    let ms = time.as_millis();
    if !ms.is_multiple_of(1_000) {
        return format!("{ms}ms");
    }
    match ms / 1_000 {
        seconds if seconds >= 3_600 && seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        seconds if seconds >= 300 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

pub(super) fn truth(text: &str) -> Parsed<bool> {
    text.parse().map_err(|_| "true or false is allowed".to_owned())
}

pub(super) fn log_level(text: &str) -> Parsed<LevelFilter> {
    let level = text.parse().ok().filter(|level| *level != LevelFilter::Off);
    level.ok_or_else(|| "error, warn, info, debug or trace is allowed".to_owned())
}

pub(super) fn show_log_level(level: LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json is allowed".to_owned()),
    }
}

pub(super) fn show_log_format(format: LogFormat) -> String {
    match format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    }
}

/// `10ms` as `10` and `ms`.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()))
}

/// A number of decimal digits alone: `parse` by itself would take a plus sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `parse` makes of each text: the value as `show` writes it, or none when the text is refused.
    fn check<T>(parse: impl Fn(&str) -> Parsed<T>, show: impl Fn(T) -> String, cases: &[(&str, Option<&str>)]) {
        for (text, expected) in cases {
            let shown = parse(text).ok().map(&show);
            assert_eq!(shown.as_deref(), *expected, "{text:?}");
            if let Some(shown) = shown {
                assert_eq!(parse(&shown).ok().map(&show), Some(shown), "what is shown for {text:?} is read as the same value");
            }
        }
    }

    #[test]
    fn a_mode_is_three_octal_digits() {
        check(
            mode,
            show_mode,
            &[("660", Some("660")), ("007", Some("007")), ("0660", None), ("66", None), ("668", None), ("", None), ("rwx", None)],
        );
    }

    #[test]
    fn a_count_of_0_is_any_number_and_off_is_no_size() {
        let count = |text: &str| count_or_any(text, 100);
        check(
            count,
            show_count_or_any,
            &[("0", Some("0")), ("7", Some("7")), ("100", Some("100")), ("101", None), ("-1", None), ("off", None)],
        );
        let size = |text: &str| size_or_off(text, 64 * 1024..=128 * 1024);
        let cases = [
            ("off", Some("off")),
            ("64k", Some("64KiB")),
            ("131072", Some("128KiB")),
            ("0", None),
            ("1", None),
            ("129k", None),
            ("", None),
        ];
        check(size, show_size_or_off, &cases);
    }

    #[test]
    fn a_host_is_all_addresses_one_or_a_name() {
        let cases = [
            ("", Some("*")),
            ("*", Some("*")),
            ("0.0.0.0", Some("0.0.0.0")),
            ("::", Some("::")),
            ("[::1]", Some("::1")),
            ("localhost", Some("localhost")),
            ("unix:/run/texto/texto.sock", Some("unix:/run/texto/texto.sock")),
            ("unix:texto.sock", None),
            ("unix:/run/texto/", None),
            ("unix:", None),
            ("node-1.texto.example", Some("node-1.texto.example")),
            ("256.1.1.1", None),
            ("1.2.3", None),
            ("8398", None),
            ("host:8398", None),
            ("[localhost]", None),
            ("a b", None),
            ("a..b", None),
            ("http://host", None),
        ];
        check(host, |value| show_host(&value), &cases);
        assert_eq!(host("0.0.0.0"), Ok(Host::Address(IpAddr::from([0, 0, 0, 0]))));
        assert!(host(&format!("unix:/{}", "p".repeat(UNIX_PATH_LENGTH_MAX - 1))).is_ok());
        assert!(host(&format!("unix:/{}", "p".repeat(UNIX_PATH_LENGTH_MAX))).is_err());
        assert_eq!(host("localhost"), Ok(Host::Name("localhost".to_owned())));
        assert!(host(&"a".repeat(NAME_LENGTH_MAX)).is_ok() && host(&"a".repeat(NAME_LENGTH_MAX + 1)).is_err());
    }

    #[test]
    fn a_port_has_sixteen_bits() {
        let cases =
            [("0", Some("0")), ("8398", Some("8398")), ("65535", Some("65535")), ("65536", None), ("-1", None), ("+1", None), ("", None)];
        check(port, |value| value.to_string(), &cases);
    }

    #[test]
    fn the_operators_address_is_a_literal_or_off() {
        let cases = [
            ("off", Some("off")),
            ("127.0.0.1:9398", Some("127.0.0.1:9398")),
            ("[::]:0", Some("[::]:0")),
            ("9398", None),
            ("127.0.0.1", None),
            ("localhost:9398", None),
            ("OFF", None),
        ];
        check(admin_address, show_admin_address, &cases);
    }

    #[test]
    fn counts_end_at_their_bounds() {
        let cases = [("1", Some("1")), ("256", Some("256")), ("0", None), ("257", None), ("1e2", None), (" 1", None), ("1_0", None)];
        check(|text| count(text, 256), |value| value.to_string(), &cases);
        check(|text| small_count(text, 256), |value| value.to_string(), &cases);
        let cases = [("auto", Some("auto")), ("16", Some("16")), ("17", None), ("0", None), ("", None)];
        check(|text| count_or_auto(text, 16), show_count_or_auto, &cases);
        let cases = [("0", Some("0")), ("16", Some("16")), ("17", None), ("99999999999999999999999", None)];
        check(|text| rate(text, 16), show_rate, &cases);
    }

    #[test]
    fn sizes_are_bytes_in_units_of_1024() {
        let cases = [
            ("1", Some("1")),
            ("1b", Some("1")),
            ("64KiB", Some("64KiB")),
            ("64k", Some("64KiB")),
            ("64kib", Some("64KiB")),
            ("65536", Some("64KiB")),
            ("1500", Some("1500")),
            ("1024KiB", Some("1MiB")),
            ("16M", Some("16MiB")),
            ("16777217", None),
            ("0", None),
            ("1.5MiB", None),
            ("64KB", None),
            ("k", None),
            ("", None),
            ("99999999999999999999g", None),
            ("18446744073709551615g", None),
        ];
        check(|text| size(text, 1..=16 * 1024 * 1024), show_size, &cases);
    }

    #[test]
    fn times_are_seconds_unless_a_unit_says_otherwise() {
        let cases = [
            ("10", Some("10s")),
            ("10s", Some("10s")),
            ("250ms", Some("250ms")),
            ("0.5s", Some("500ms")),
            ("0.0625", Some("62ms")),
            ("2m", Some("120s")),
            ("5m", Some("5m")),
            ("90s", Some("90s")),
            ("1h", Some("1h")),
            ("60m", Some("1h")),
            ("0", Some("0s")),
            ("3601", None),
            ("1d", None),
            ("1S", None),
            (".5s", None),
            ("1.s", None),
            ("-1s", None),
            ("1 s", None),
            ("s", None),
            ("", None),
            ("1m30s", None),
            ("1.2.3", None),
            ("18446744073709551615h", None),
            ("0.00000000000000000000001", None),
        ];
        check(|text| duration(text, Duration::ZERO..=Duration::from_secs(3_600)), show_duration, &cases);
    }

    #[test]
    fn truth_has_two_words() {
        check(
            truth,
            |value| value.to_string(),
            &[("true", Some("true")), ("false", Some("false")), ("yes", None), ("1", None), ("", None)],
        );
    }

    #[test]
    fn log_levels_have_five_names() {
        let cases = [("error", Some("error")), ("WARN", Some("warn")), ("trace", Some("trace")), ("off", None), ("verbose", None)];
        check(log_level, show_log_level, &cases);
    }

    #[test]
    fn log_formats_have_two_names() {
        let cases = [("text", Some("text")), ("JSON", Some("json")), ("", None), ("xml", None)];
        check(log_format, show_log_format, &cases);
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        let refusals = [
            (host("a b").err(), "an IP address, a host name, unix:PATH, or * for all addresses is allowed"),
            (port("x").err(), "a port from 0 to 65535 is allowed"),
            (admin_address("x").err(), "IP:PORT, such as 127.0.0.1:9398 or [::]:9398, or off is allowed"),
            (count("0", 256).err(), "a number from 1 to 256 is allowed"),
            (count_or_auto("0", 256).err(), "auto or a number from 1 to 256 is allowed"),
            (rate("x", 256).err(), "a number from 1 to 256, or 0 for no limit, is allowed"),
            (size("0", 1..=4096).err(), "a size from 1 to 4KiB, in bytes, KiB, MiB or GiB, is allowed"),
            (
                duration("x", Duration::from_millis(100)..=Duration::from_secs(60)).err(),
                "a time from 100ms to 60s, in ms, s, m or h, is allowed",
            ),
            (log_level("x").err(), "error, warn, info, debug or trace is allowed"),
        ];
        for (told, expected) in refusals {
            assert_eq!(told.as_deref(), Some(expected));
        }
    }
}
