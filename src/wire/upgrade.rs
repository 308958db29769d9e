//! The opening handshake (RFC 6455 section 4.2) and the few other things one can ask for over HTTP.
//!
//! A connection brings one request; httparse reads it, tungstenite derives the accept key, and everything between is decided here, because
//! what has to be told apart (405, 426, 431, an upgrade asked over HTTP/1.0, lists of tokens over several fields) lies
//! outside of what tungstenite's own request parser tells.

use std::fmt::Write as _;

use httparse::{EMPTY_HEADER, Header, Status};
use tungstenite::handshake::derive_accept_key;

use super::forwarded::Forwarded;
use crate::limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX, RETRY_AFTER_SECONDS};

/// What the first bytes of a connection ask for.
#[derive(PartialEq, Eq, Debug)]
pub enum Asked<'a> {
    /// The head is not whole yet.
    Incomplete,
    /// A WebSocket, and all is well with the request.
    WebSocket(Opening<'a>),
    /// A page. Whether there is one under this path is not known here.
    Page {
        /// The path, without the query.
        path: &'a str,
        /// What to do with it.
        method: Method,
        /// The entity tags of the copies that the client has: the value of `If-None-Match`.
        known: Option<&'a [u8]>,
    },
    /// Something that gets no more than a status, and how it was asked for.
    Refused(Refusal, Method),
}

/// What may be done with a page, as far as Texto tells methods apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Send it.
    Get,
    /// Send it without its body.
    Head,
    /// Anything else: 405 if there is such a page.
    Other,
}

impl Method {
    fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        }
    }
}

/// A good request for a WebSocket.
#[derive(PartialEq, Eq, Debug)]
pub struct Opening<'a> {
    /// Bytes of the head; what follows are frames already.
    pub head_len: usize,
    /// What follows the `?` in the target, or nothing.
    pub query: &'a str,
    /// Which page's script asks, if a browser does.
    pub origin: Option<&'a [u8]>,
    /// For whom it is asked, if a proxy asks.
    pub forwarded: Forwarded<'a>,
    /// The value of `Sec-WebSocket-Accept`.
    accept: String,
}

impl Opening<'_> {
    /// Appends the 101.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
        out.extend_from_slice(self.accept.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Whether the query has the parameter `name` with a value that is not empty; the first of several counts.
    pub fn has_parameter(&self, name: &str) -> bool {
        form_urlencoded::parse(self.query.as_bytes()).find(|(key, _)| key == name).is_some_and(|(_, value)| !value.is_empty())
    }
}

/// Why a request gets an error status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// 400: what is wrong.
    Malformed(&'static str),
    /// 403: a page that is not allowed to.
    ForbiddenOrigin,
    /// 404.
    NotFound,
    /// 405, with the methods that are allowed.
    MethodNotAllowed(&'static str),
    /// 408: the head did not come in time.
    TooSlow,
    /// 426: the WebSocket's path, but no upgrade asked for.
    NotAnUpgrade,
    /// 426: a version of the protocol other than 13.
    WrongVersion,
    /// 429: there are too many connections from this address.
    TooManyFromAddress,
    /// 431: the head is too large.
    TooLarge,
    /// 503: the node holds as many connections as it may.
    Full,
    /// 503: connections come faster than the node may take them.
    Busy,
    /// 503: the node has no memory to spare.
    ShortOfMemory,
    /// 503: the node is about to stop.
    Draining,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "400 Bad Request",
            Refusal::ForbiddenOrigin => "403 Forbidden",
            Refusal::NotFound => "404 Not Found",
            Refusal::MethodNotAllowed(_) => "405 Method Not Allowed",
            Refusal::TooSlow => "408 Request Timeout",
            Refusal::NotAnUpgrade | Refusal::WrongVersion => "426 Upgrade Required",
            Refusal::TooManyFromAddress => "429 Too Many Requests",
            Refusal::TooLarge => "431 Request Header Fields Too Large",
            Refusal::Full | Refusal::Busy | Refusal::ShortOfMemory | Refusal::Draining => "503 Service Unavailable",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Refusal::Malformed(what) => what,
            Refusal::ForbiddenOrigin => "pages from this origin may not connect here",
            Refusal::NotFound => "there is nothing under this path",
            Refusal::MethodNotAllowed(_) => "this method is not allowed here",
            Refusal::TooSlow => "the request took too long",
            Refusal::NotAnUpgrade => "this path speaks WebSocket only",
            Refusal::WrongVersion => "Sec-WebSocket-Version must be 13",
            Refusal::TooLarge => "the request has too many header fields or too long ones",
            Refusal::TooManyFromAddress => "too many connections from your address",
            Refusal::Full => "too many connections at the moment",
            Refusal::Busy => "too many new connections at the moment",
            Refusal::ShortOfMemory => "no memory for more connections at the moment",
            Refusal::Draining => "this node is about to stop",
        }
    }

    /// The value of the label `reason` in the metrics of each kind, in the order in which they are counted.
    pub const LABELS: [&str; 13] = [
        "malformed",
        "not_found",
        "method_not_allowed",
        "too_slow",
        "not_an_upgrade",
        "wrong_version",
        "too_large",
        "full",
        "draining",
        "forbidden_origin",
        "too_many_from_address",
        "busy",
        "short_of_memory",
    ];

    /// Where the label stands in [`Refusal::LABELS`].
    pub fn label_index(self) -> usize {
        match self {
            Refusal::Malformed(_) => 0,
            Refusal::NotFound => 1,
            Refusal::MethodNotAllowed(_) => 2,
            Refusal::TooSlow => 3,
            Refusal::NotAnUpgrade => 4,
            Refusal::WrongVersion => 5,
            Refusal::TooLarge => 6,
            Refusal::Full => 7,
            Refusal::Draining => 8,
            Refusal::ForbiddenOrigin => 9,
            Refusal::TooManyFromAddress => 10,
            Refusal::Busy => 11,
            Refusal::ShortOfMemory => 12,
        }
    }

    /// The status code, for counting.
    pub fn code(self) -> u16 {
        status_code(self.status())
    }

    /// Appends the whole response, after which the connection ends.
    pub fn write(self, out: &mut Vec<u8>, method: Method) {
        let mut extra = String::new();
        match self {
            Refusal::MethodNotAllowed(allowed) => write!(extra, "Allow: {allowed}\r\n"),
            Refusal::NotAnUpgrade => write!(extra, "Upgrade: websocket\r\n"),
            Refusal::WrongVersion => write!(extra, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            Refusal::TooManyFromAddress | Refusal::Full | Refusal::Busy | Refusal::ShortOfMemory | Refusal::Draining => {
                write!(extra, "Retry-After: {RETRY_AFTER_SECONDS}\r\n")
            }
            Refusal::Malformed(_) | Refusal::ForbiddenOrigin | Refusal::NotFound | Refusal::TooSlow | Refusal::TooLarge => Ok(()),
        }
        .expect("a String takes everything");
        let body = format!("{}\n", self.explanation());
        write_response(out, self.status(), "text/plain; charset=utf-8", &extra, body.as_bytes(), method == Method::Head);
    }
}

const NOT_MODIFIED: &str = "304 Not Modified";

/// Something to look at under a path of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// `200 OK`, or another status with its words.
    pub status: &'static str,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// Further header fields, each with its line end.
    pub extra_fields: &'static str,
    /// The value of `ETag`, with its quotes, or nothing: a page that changes from one request to the next has none.
    pub entity_tag: &'static str,
    /// The content.
    pub body: std::borrow::Cow<'static, [u8]>,
}

impl Page {
    /// A page of plain text with status 200.
    pub const fn plain(body: &'static [u8]) -> Page {
        let body = std::borrow::Cow::Borrowed(body);
        Page { status: "200 OK", content_type: "text/plain; charset=utf-8", extra_fields: "", entity_tag: "", body }
    }

    /// The status code that the answer has to `method` from a client with the copies `known`.
    pub fn status_code(&self, method: Method, known: Option<&[u8]>) -> u16 {
        match method {
            Method::Get | Method::Head => status_code(self.status_for(known)),
            Method::Other => 405,
        }
    }

    /// Appends the whole response, after which the connection ends.
    pub fn write(&self, out: &mut Vec<u8>, method: Method, known: Option<&[u8]>) {
        if method == Method::Other {
            return Refusal::MethodNotAllowed("GET, HEAD").write(out, method);
        }
        let tag = if self.entity_tag.is_empty() { String::new() } else { format!("ETag: {}\r\n", self.entity_tag) };
        let extra = tag + self.extra_fields;
        match self.status_for(known) {
            NOT_MODIFIED => write_head(out, NOT_MODIFIED, &extra),
            status => write_response(out, status, self.content_type, &extra, &self.body, method == Method::Head),
        }
    }

    fn status_for(&self, known: Option<&[u8]>) -> &'static str {
        let is_known = !self.entity_tag.is_empty() && known.is_some_and(|known| is_listed(known, self.entity_tag));
        if is_known { NOT_MODIFIED } else { self.status }
    }
}

/// Whether the value of an `If-None-Match` names a tag, or any: RFC 9110 section 13.1.2. A proxy that compresses makes tags weak, and the
/// comparison does not mind.
fn is_listed(known: &[u8], tag: &str) -> bool {
    let tags = known.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    tags.into_iter().any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes())
}

fn status_code(status: &'static str) -> u16 {
    status[..3].parse().expect("every status begins with three digits")
}

fn write_response(out: &mut Vec<u8>, status: &str, content_type: &str, extra: &str, body: &[u8], is_head: bool) {
    let length = body.len();
    write_head(out, status, &format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n{extra}"));
    if !is_head {
        out.extend_from_slice(body);
    }
}

fn write_head(out: &mut Vec<u8>, status: &str, fields: &str) {
    let head =
        format!("HTTP/1.1 {status}\r\n{fields}Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
}

/// Reads the request at the start of `bytes`; WebSockets live under `endpoint`.
pub fn read<'a>(bytes: &'a [u8], endpoint: Option<&str>) -> Asked<'a> {
    let mut fields = [EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(Status::Complete(head_len)) if head_len > HEAD_BYTES_MAX => Asked::Refused(Refusal::TooLarge, Method::Get),
        Ok(Status::Complete(head_len)) => {
            let method = request.method.map_or(Method::Other, Method::of);
            decide(&request, head_len, endpoint).unwrap_or_else(|refusal| Asked::Refused(refusal, method))
        }
        Ok(Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => Asked::Refused(Refusal::TooLarge, Method::Get),
        Ok(Status::Partial) => Asked::Incomplete,
        Err(httparse::Error::TooManyHeaders) => Asked::Refused(Refusal::TooLarge, Method::Get),
        Err(_) => Asked::Refused(Refusal::Malformed("this is not an HTTP/1.1 request"), Method::Get),
    }
}

fn decide<'a>(request: &httparse::Request<'_, 'a>, head_len: usize, endpoint: Option<&str>) -> Result<Asked<'a>, Refusal> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::Malformed("this is not an HTTP/1.1 request"));
    };
    let fields = Fields(request.headers);
    fields.check_host(version)?;
    let (path, query) = split_target(target)?;
    if endpoint != Some(path) {
        return Ok(Asked::Page { path, method: Method::of(method), known: fields.all("if-none-match").next() });
    }
    if method != "GET" {
        return Err(Refusal::MethodNotAllowed("GET"));
    }
    let accept = fields.check_upgrade()?;
    let origin = fields.only("origin", "Origin is there twice")?;
    Ok(Asked::WebSocket(Opening { head_len, query, origin, forwarded: fields.forwarded(), accept }))
}

/// The path and the query of a request target in origin form or absolute form (RFC 9112 section 3.2).
fn split_target(target: &str) -> Result<(&str, &str), Refusal> {
    let origin = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        None => target,
        Some(rest) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    match path {
        "" if origin.len() < target.len() => Ok(("/", query)),
        _ if path.starts_with('/') => Ok((path, query)),
        // The target of a CONNECT or of `OPTIONS *`.
        _ => Err(Refusal::MethodNotAllowed("GET, HEAD")),
    }
}

/// The header fields of a request, asked by name.
struct Fields<'h, 'b>(&'h [Header<'b>]);

impl<'b> Fields<'_, 'b> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'b [u8]> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
    }

    /// The value of a field that may stand there once.
    fn only(&self, name: &'static str, doubled: &'static str) -> Result<Option<&'b [u8]>, Refusal> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Refusal::Malformed(doubled)),
        }
    }

    /// Whether a field that holds a list of tokens, perhaps over several lines, names `token`.
    fn lists(&self, name: &'static str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    fn forwarded(&self) -> Forwarded<'b> {
        Forwarded { chain: self.all("x-forwarded-for").collect(), real_ip: self.all("x-real-ip").last() }
    }

    /// RFC 9112 section 3.2: one `Host`, which HTTP/1.0 did not know.
    fn check_host(&self, version: u8) -> Result<(), Refusal> {
        match self.only("host", "Host is there twice")? {
            None if version > 0 => Err(Refusal::Malformed("Host is missing")),
            None | Some(_) => Ok(()),
        }
    }

    /// RFC 6455 section 4.2.1. Returns the value of `Sec-WebSocket-Accept`.
    fn check_upgrade(&self) -> Result<String, Refusal> {
        if !self.lists("upgrade", "websocket") || !self.lists("connection", "upgrade") {
            return Err(Refusal::NotAnUpgrade);
        }
        if self.all("transfer-encoding").next().is_some() || self.all("content-length").any(|length| length != b"0") {
            return Err(Refusal::Malformed("a request for an upgrade has no body"));
        }
        if self.only("sec-websocket-version", "Sec-WebSocket-Version is there twice")? != Some(b"13") {
            return Err(Refusal::WrongVersion);
        }
        let key = self
            .only("sec-websocket-key", "Sec-WebSocket-Key is there twice")?
            .ok_or(Refusal::Malformed("Sec-WebSocket-Key is missing"))?;
        if !is_key(key) {
            return Err(Refusal::Malformed("Sec-WebSocket-Key is not the Base64 of 16 bytes"));
        }
        Ok(derive_accept_key(key))
    }
}

/// Whether `key` is 16 bytes in Base64: 22 digits and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key.split_at_checked(22), Some((digits, b"==")) if digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: Option<&str> = Some("/v1/texto");
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    /// A good request with the lines that begin with `without` left out and `with` added.
    fn request(target: &str, without: &str, with: &[&str]) -> String {
        let lines = ["Host: localhost", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", KEY];
        let kept = lines.into_iter().filter(|line| without.is_empty() || !line.starts_with(without));
        let fields: Vec<&str> = kept.chain(with.iter().copied()).collect();
        format!("GET {target} HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"))
    }

    fn accepted(request: &str) {
        let Asked::WebSocket(opening) = read(request.as_bytes(), ENDPOINT) else { panic!("refused: {request}") };
        assert_eq!(opening.head_len, request.len());
        let mut response = Vec::new();
        opening.write(&mut response);
        // The accept key of the example in RFC 6455 section 1.3.
        assert!(String::from_utf8(response).unwrap().contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }

    fn refused(request: &str, status: u16) {
        let Asked::Refused(refusal, _) = read(request.as_bytes(), ENDPOINT) else { panic!("not refused: {request}") };
        assert_eq!(refusal.code(), status, "{request}");
    }

    #[test]
    fn good_handshakes_come_in_many_forms() {
        accepted(&request("/v1/texto", "", &[]));
        accepted(&request("/v1/texto?nogreet=1", "", &["Cookie: a=b", "Content-Length: 0"]));
        accepted(&request("http://texto.example/v1/texto", "", &[]));
        accepted(&request("/v1/texto", "Upgrade", &["UPGRADE: WebSocket"]));
        accepted(&request("/v1/texto", "Upgrade", &["Upgrade: h2c , websocket"]));
        accepted(&request("/v1/texto", "Connection", &["connection: keep-alive,upgrade"]));
        accepted(&request("/v1/texto", "Connection", &["Connection: keep-alive", "Connection: UPGRADE"]));
        accepted(&request("/v1/texto", "Host", &["host:localhost:8398"]));
        accepted(&request("/v1/texto", "", &[]).replace("HTTP/1.1", "HTTP/1.0"));
        accepted(&request("/v1/texto", "Host", &[]).replace("HTTP/1.1", "HTTP/1.0"));
        accepted(&request("/v1/texto", "", &["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat"]));
    }

    #[test]
    fn bad_handshakes_get_their_status() {
        let doubled_key = [KEY];
        for (without, with, status) in [
            ("Upgrade", &[][..], 426),
            ("Upgrade", &["Upgrade: websockets"], 426),
            ("Connection", &[], 426),
            ("Connection", &["Connection: close"], 426),
            ("Sec-WebSocket-Version", &[], 426),
            ("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 777"], 426),
            ("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8, 13"], 426),
            ("", &["Sec-WebSocket-Version: 13"], 400),
            ("Sec-WebSocket-Key", &[], 400),
            ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: "], 400),
            ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: c2hvcnQ="], 400),
            ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!=="], 400),
            ("", &doubled_key, 400),
            ("Host", &[], 400),
            ("", &["Host: other"], 400),
            ("", &["Origin: https://a.example", "Origin: https://b.example"], 400),
            ("", &["Content-Length: 5"], 400),
            ("", &["Transfer-Encoding: chunked"], 400),
        ] {
            refused(&request("/v1/texto", without, with), status);
        }
        refused(&request("/v1/texto", "", &[]).replace("GET", "POST"), 405);
        refused("no http\r\n\r\n", 400);
        refused("GET / HTTP/3.0\r\n\r\n", 400);
        refused("\u{16}\u{3}\u{1}\u{2}\u{0}", 400);
        refused("CONNECT example:80 HTTP/1.1\r\nHost: example\r\n\r\n", 405);
    }

    #[test]
    fn heads_are_bounded_in_bytes_and_in_fields() {
        refused(&request("/v1/texto", "", &vec!["A: b"; HEADER_FIELDS_MAX + 1]), 431);
        let long = format!("A: {}", "b".repeat(HEAD_BYTES_MAX));
        let whole = request("/v1/texto", "", &[&long]);
        refused(&whole, 431);
        refused(&whole[..HEAD_BYTES_MAX], 431);
        assert_eq!(read(&whole.as_bytes()[..HEAD_BYTES_MAX - 1], ENDPOINT), Asked::Incomplete);
    }

    #[test]
    fn a_head_is_incomplete_until_its_last_byte() {
        let whole = request("/v1/texto", "", &[]);
        for len in 0..whole.len() {
            assert_eq!(read(&whole.as_bytes()[..len], ENDPOINT), Asked::Incomplete, "{len}");
        }
    }

    #[test]
    fn pages_are_asked_by_path() {
        let check = |line: &str, path: &str, method| {
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(read(request.as_bytes(), ENDPOINT), Asked::Page { path, method, known: None }, "{line}");
        };
        check("GET /", "/", Method::Get);
        check("HEAD /health?x=1", "/health", Method::Head);
        check("POST /", "/", Method::Other);
        check("GET http://host", "/", Method::Get);
        check("GET http://host?x", "/", Method::Get);
        check("GET /v1/texto/", "/v1/texto/", Method::Get);
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let check = |query: &str, expected: bool| {
            let opening = Opening { head_len: 0, query, origin: None, forwarded: Forwarded::default(), accept: String::new() };
            assert_eq!(opening.has_parameter("nogreet"), expected, "{query}");
        };
        for query in ["nogreet=1", "a=b&nogreet=0", "nogreet=false", "nogreet=1&nogreet=", "nogree%74=1", "nogreet=%20"] {
            check(query, true);
        }
        for query in ["", "nogreet", "nogreet=", "nogreet=&nogreet=1", "Nogreet=1", "xnogreet=1", "a=nogreet=1"] {
            check(query, false);
        }
    }

    #[test]
    fn responses_say_what_the_status_asks_for() {
        let check = |refusal: Refusal, status: &str, field: &str| {
            let mut out = Vec::new();
            refusal.write(&mut out, Method::Get);
            let response = String::from_utf8(out).unwrap();
            assert!(response.starts_with(&format!("HTTP/1.1 {status}")) && response.contains(field), "{response}");
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{response}");
        };
        check(Refusal::Malformed("x"), "400", "Connection: close");
        check(Refusal::NotFound, "404", "");
        check(Refusal::MethodNotAllowed("GET"), "405", "\r\nAllow: GET\r\n");
        check(Refusal::TooSlow, "408", "");
        check(Refusal::NotAnUpgrade, "426", "\r\nUpgrade: websocket\r\n");
        check(Refusal::WrongVersion, "426", "\r\nSec-WebSocket-Version: 13\r\n");
        check(Refusal::TooLarge, "431", "");
        check(Refusal::Full, "503", "\r\nRetry-After: 5\r\n");
        check(Refusal::Busy, "503", "\r\nRetry-After: 5\r\n");
        check(Refusal::ShortOfMemory, "503", "\r\nRetry-After: 5\r\n");
        check(Refusal::Draining, "503", "\r\nRetry-After: 5\r\n");
        check(Refusal::TooManyFromAddress, "429", "\r\nRetry-After: 5\r\n");
        check(Refusal::ForbiddenOrigin, "403", "");
    }

    #[test]
    fn a_copy_that_is_still_good_is_not_sent_again() {
        let page = Page { entity_tag: "\"ab\"", ..Page::plain(b"hello") };
        let check = |known: &str, status: u16, method: Method| {
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{known}\r\n");
            let Asked::Page { known, .. } = read(request.as_bytes(), ENDPOINT) else { panic!("no page: {request}") };
            let mut out = Vec::new();
            page.write(&mut out, method, known);
            let response = String::from_utf8(out).unwrap();
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{response}");
            assert_eq!(page.status_code(method, known), status);
            assert_eq!(response.ends_with("\r\n\r\nhello"), status == 200 && method == Method::Get, "{response}");
            assert_eq!(response.contains("\r\nETag: \"ab\"\r\n"), status != 405, "{response}");
            // What describes a body comes with a body: RFC 9110 section 15.4.5.
            assert_eq!(response.contains("\r\nContent-Length: "), status != 304, "{response}");
        };
        for known in ["\"ab\"", "W/\"ab\"", "\"x\", W/\"y\" ,\"ab\"", "*"] {
            check(&format!("If-None-Match: {known}\r\n"), 304, Method::Get);
            check(&format!("if-none-match:{known}\r\n"), 304, Method::Head);
            check(&format!("If-None-Match: {known}\r\n"), 405, Method::Other);
        }
        for known in ["\"AB\"", "ab", "", "\"a\", \"b\""] {
            check(&format!("If-None-Match: {known}\r\n"), 200, Method::Get);
        }
        check("", 200, Method::Get);
        // What has no tag may be another thing each time.
        assert_eq!(Page::plain(b"ok").status_code(Method::Get, Some(b"*")), 200);
    }

    #[test]
    fn head_gets_the_head_and_other_methods_405() {
        let page = Page::plain(b"hello");
        let written = |method| {
            let mut out = Vec::new();
            page.write(&mut out, method, None);
            String::from_utf8(out).unwrap()
        };
        assert!(written(Method::Get).ends_with("\r\n\r\nhello"));
        assert!(written(Method::Head).ends_with("\r\n\r\n") && written(Method::Head).contains("Content-Length: 5"));
        assert!(written(Method::Other).starts_with("HTTP/1.1 405"));
        let mut out = Vec::new();
        Refusal::NotFound.write(&mut out, Method::Head);
        assert!(out.ends_with(b"\r\n\r\n"), "a refusal of a HEAD has no body either");
    }
}
