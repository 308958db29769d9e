//! The `Origin` of a request (RFC 6454): which page's script asks. Browsers always say it for a WebSocket, and no script can change it, so a
//! list of allowed origins keeps foreign pages from using their visitors' browsers against this node. It keeps nobody else out: what
//! is no browser says what it likes, or nothing.

use std::fmt;

use crate::limits::ALLOWED_ORIGINS_MAX;

/// The origins that may open WebSockets. By default all.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origins(Vec<Pattern>);

/// One origin, or all below a name: `https://chat.example`, `https://*.example:8443`, `null`.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Pattern {
    Exact(String),
    /// `https://` and `.example:8443`: at least one label stands between.
    Below(String, String),
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Some(Pattern::Exact(text));
        }
        let (scheme, place) = text.split_once("://")?;
        // Browsers leave out the port that goes without saying.
        let usual_port = if scheme == "https" { ":443" } else { ":80" };
        let place = place.strip_suffix(usual_port).unwrap_or(place);
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let name = place.strip_prefix("*.").unwrap_or(place);
        let is_place = match name.rsplit_once(':') {
            Some((host, port)) if !name.ends_with(']') => is_host(host) && port.parse::<u16>().is_ok() && !port.starts_with('+'),
            _ => is_host(name),
        };
        // `*.[::1]` is none: addresses have nothing below them.
        if !is_scheme || !is_place || name.len() < place.len() && name.starts_with('[') {
            return None;
        }
        Some(match name.len() < place.len() {
            true => Pattern::Below(format!("{scheme}://"), format!(".{name}")),
            false => Pattern::Exact(format!("{scheme}://{place}")),
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Pattern::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Pattern::Below(scheme, end) => {
                let origin = origin.to_ascii_lowercase();
                let labels = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(end.as_str()));
                labels.is_some_and(is_name)
            }
        }
    }
}

/// A name or an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(text),
    }
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    text.split('.').all(is_label)
}

impl Origins {
    /// Origins separated by commas; `*` alone is all. The error is what is allowed.
    pub fn parse(text: &str) -> Result<Origins, String> {
        if text == "*" {
            return Ok(Origins::default());
        }
        let patterns: Option<Vec<Pattern>> = text.split(',').map(|word| Pattern::parse(word.trim())).collect();
        patterns.filter(|patterns| patterns.len() <= ALLOWED_ORIGINS_MAX).map(Origins).ok_or_else(|| {
            format!(
                "* for all, or up to {ALLOWED_ORIGINS_MAX} origins separated by commas, such as https://chat.example, https://*.example:8443 \
                 or null, are allowed"
            )
        })
    }

    /// Whether a request with this `Origin` may go on. One without comes from no page.
    pub fn allow(&self, origin: Option<&[u8]>) -> bool {
        let Some(origin) = origin.filter(|_| !self.0.is_empty()) else { return true };
        std::str::from_utf8(origin).is_ok_and(|origin| self.0.iter().any(|pattern| pattern.matches(origin)))
    }
}

/// As [`Origins::parse`] takes them.
impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(if words.is_empty() { "*".into() } else { words.join(",") }.as_str())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exact(exact) => f.write_str(exact),
            Pattern::Below(scheme, end) => write!(f, "{scheme}*{end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &str, allowed: &[&str], forbidden: &[&str]) {
        let origins = Origins::parse(origins).unwrap();
        allowed.iter().for_each(|origin| assert!(origins.allow(Some(origin.as_bytes())), "{origin} is not in {origins}"));
        forbidden.iter().for_each(|origin| assert!(!origins.allow(Some(origin.as_bytes())), "{origin} is in {origins}"));
        assert!(origins.allow(None), "who is no browser says nothing");
        assert_eq!(Origins::parse(&origins.to_string()), Ok(origins));
    }

    #[test]
    fn an_origin_is_allowed_exactly() {
        check(
            "https://chat.example",
            &["https://chat.example", "HTTPS://Chat.Example"],
            &["http://chat.example", "https://chat.example:8443", "https://xchat.example", "https://chat.example.evil", "null", ""],
        );
        check("https://chat.example:8443,http://[::1]:3000", &["https://chat.example:8443", "http://[::1]:3000"], &["http://[::1]"]);
        check("https://chat.example:443,http://chat.example:80", &["https://chat.example", "http://chat.example"], &[]);
        check("null", &["null"], &["https://null"]);
        check("*", &["https://any.example", "null", "", "%"], &[]);
    }

    #[test]
    fn a_wildcard_allows_what_is_below_a_name() {
        check(
            "https://*.chat.example, http://localhost:3000",
            &["https://a.chat.example", "https://a.b.chat.example", "https://A.chat.example", "http://localhost:3000"],
            &[
                "https://chat.example",
                "https://.chat.example",
                "https://evilchat.example",
                "https://evil.example/.chat.example",
                "https://evil.example:1.chat.example",
                "https://evil.example#.chat.example",
                "https://a.chat.example:8443",
                "https://a.chat.example.evil",
                "http://a.chat.example",
                "https://a..chat.example",
            ],
        );
        check("https://*.example:8443", &["https://a.example:8443"], &["https://a.example", "https://a.example:443"]);
    }

    #[test]
    fn what_is_not_utf_8_is_no_origin() {
        assert!(!Origins::parse("https://chat.example").unwrap().allow(Some(b"\xff")));
        assert!(Origins::default().allow(Some(b"\xff")));
    }

    #[test]
    fn what_cannot_be_an_origin_is_refused() {
        let long = vec!["https://a.example"; ALLOWED_ORIGINS_MAX + 1].join(",");
        for text in [
            "",
            "chat.example",
            "https://",
            "https://chat.example/",
            "https://chat.example/path",
            "https://*",
            "https://*.",
            "https://a.*.example",
            "*.example",
            "https://chat.example:",
            "https://chat.example:65536",
            "https://chat.example:+1",
            "https://user@chat.example",
            "*,*",
            "https://chat.example,",
            "://x",
            "https://*.[::1]",
            "https://[::1",
            &long,
        ] {
            assert!(Origins::parse(text).is_err(), "{text}");
        }
    }
}
