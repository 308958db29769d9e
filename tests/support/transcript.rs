//! Transcripts: what is written in `tests/transcripts/*.txt`, line by line. The grammar is at the top of `tests/transcripts.rs`.

use std::time::Duration;

/// One conversation and what it shows.
pub(crate) struct Transcript {
    /// The sentence behind `==`.
    pub(crate) claim: String,
    /// The settings other than the defaults, by the names that their flags have.
    pub(crate) settings: Vec<(String, String)>,
    /// Why it cannot be played over a real server.
    pub(crate) hub_only: Option<String>,
    /// Why it is not the same behind nginx.
    pub(crate) not_proxied: Option<String>,
    /// What happens.
    pub(crate) steps: Vec<Step>,
}

/// One line.
pub(crate) struct Step {
    /// Where it stands.
    pub(crate) place: String,
    /// The line itself.
    pub(crate) line: String,
    /// What it means.
    pub(crate) action: Action,
}

/// What a line means. Clients are called by one capital letter.
#[derive(Clone)]
pub(crate) enum Action {
    /// `A connects`, and with a query `A connects ?nogreet=1`.
    Connect(char, String),
    /// `A joins`: connects and is greeted.
    Join(char),
    /// `A requests GET / HTTP/1.1 | Host: x`.
    Request(char, String),
    /// `A> …` with the first byte of the frame.
    Frame(char, u8, Payload),
    /// `A> bytes …`.
    Bytes(char, Vec<u8>),
    /// `A< …`.
    Expect(char, Expected, Duration),
    /// `A stops reading`.
    StopReading(char),
    /// `A reads again`.
    ReadAgain(char),
    /// `A half-closes`.
    HalfClose(char),
    /// `A hangs up`.
    HangUp(char),
    /// `after 30s`.
    After(Duration),
    /// `drain 10s`.
    Drain(Duration),
    /// `redis takes CHANNEL PAYLOAD`, and the like.
    Redis(RedisAct, String),
    /// `60 times LINE`.
    Repeat(usize, Box<Action>),
}

/// What is in a frame.
#[derive(Clone)]
pub(crate) enum Payload {
    Template(String),
    Bytes(Vec<u8>),
}

/// What a client gets.
#[derive(Clone)]
pub(crate) enum Expected {
    /// A text message.
    Message(String),
    /// A ping.
    Ping,
    /// A pong with this payload.
    Pong(String),
    /// A Close frame with this code or none.
    Close(Option<u16>),
    /// `... close 1008`: this after any number of messages.
    CloseAtLast(u16),
    /// A response: the status, and fields with their values.
    Response(u16, Vec<(String, String)>),
    /// The end of what the server sends.
    End,
    /// Nothing, for now.
    Nothing,
}

/// What a toy Redis does.
#[derive(Clone, Copy)]
pub(crate) enum RedisAct {
    /// Takes the oldest message that waits.
    Takes,
    /// Answers it with an error.
    Refuses,
    /// Does not answer it.
    Stalls,
    /// Brings a message from another node.
    Brings,
}

/// How long a line may wait for the real server. More is for the hub alone, whose clock is not real.
const REAL_WAIT_MAX: Duration = Duration::from_secs(3);

/// All transcripts in the text of one file. Panics, naming the line, on what is none.
pub(crate) fn parse_file(name: &str, text: &str) -> Vec<Transcript> {
    let mut transcripts: Vec<Transcript> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("tests/transcripts/{name}:{}", index + 1);
        let line = line.trim_end();
        if let Some(claim) = line.strip_prefix("== ") {
            transcripts.push(Transcript {
                claim: claim.into(),
                settings: Vec::new(),
                hub_only: None,
                not_proxied: None,
                steps: Vec::new(),
            });
        } else if !line.is_empty() && !line.starts_with('#') {
            let transcript = transcripts.last_mut().unwrap_or_else(|| panic!("{place}: this line belongs to no `== claim`"));
            read_line(transcript, line, place);
        }
    }
    transcripts
}

fn read_line(transcript: &mut Transcript, line: &str, place: String) {
    if let Some(setting) = line.strip_prefix("with ") {
        let (name, value) = setting.split_once(' ').unwrap_or_else(|| panic!("{place}: `with NAME VALUE`"));
        transcript.settings.push((name.into(), value.into()));
        if (name, value) == ("redis", "toy") {
            transcript.hub_only = Some("has a toy Redis".into());
        }
    } else if let Some(why) = line.strip_prefix("only the hub: ") {
        transcript.hub_only = Some(why.into());
    } else if let Some(why) = line.strip_prefix("not through nginx: ") {
        transcript.not_proxied = Some(why.into());
    } else {
        let action = action(line).unwrap_or_else(|| panic!("{place}: not a line of a transcript: {line}"));
        if let Some(why) = virtual_time(&action) {
            transcript.hub_only = Some(why.into());
        }
        transcript.steps.push(Step { place, line: line.into(), action });
    }
}

/// Why `action` needs a clock that is not real.
fn virtual_time(action: &Action) -> Option<&'static str> {
    match action {
        Action::After(_) => Some("lets time pass"),
        Action::Expect(_, _, within) if *within > REAL_WAIT_MAX => Some("waits long"),
        Action::Drain(_) => Some("drains"),
        _ => None,
    }
}

fn action(line: &str) -> Option<Action> {
    if let Some((count, rest)) = line.split_once(" times ") {
        return Some(Action::Repeat(count.parse().ok()?, Box::new(action(rest)?)));
    }
    let (subject, rest) = line.split_once(' ')?;
    match subject {
        "after" => return duration(rest).map(Action::After),
        "drain" => return duration(rest).map(Action::Drain),
        "redis" => return redis_act(rest),
        _ => {}
    }
    let (client, verb) = (subject.chars().next().filter(char::is_ascii_uppercase)?, &subject[1..]);
    match verb {
        ">" => said(client, rest),
        "<" => expected(client, rest),
        "" => deed(client, rest),
        _ => None,
    }
}

fn redis_act(rest: &str) -> Option<Action> {
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let act = match verb {
        "takes" => RedisAct::Takes,
        "refuses" => RedisAct::Refuses,
        "stalls" => RedisAct::Stalls,
        "brings" => RedisAct::Brings,
        _ => return None,
    };
    Some(Action::Redis(act, rest.into()))
}

fn deed(client: char, rest: &str) -> Option<Action> {
    let (verb, object) = rest.split_once(' ').unwrap_or((rest, ""));
    match (verb, object) {
        ("connects", query) => Some(Action::Connect(client, query.into())),
        ("joins", "") => Some(Action::Join(client)),
        ("requests", head) => Some(Action::Request(client, head.into())),
        ("stops", "reading") => Some(Action::StopReading(client)),
        ("reads", "again") => Some(Action::ReadAgain(client)),
        ("half-closes", "") => Some(Action::HalfClose(client)),
        ("hangs", "up") => Some(Action::HangUp(client)),
        _ => None,
    }
}

fn said(client: char, rest: &str) -> Option<Action> {
    let (word, object) = rest.split_once(' ').unwrap_or((rest, ""));
    let template = |first| Some(Action::Frame(client, first, Payload::Template(object.into())));
    match word {
        "text" => template(0x81),
        "begin" => template(0x01),
        "more" => template(0x00),
        "last" => template(0x80),
        "ping" => template(0x89),
        "pong" => template(0x8a),
        "binary" => Some(Action::Frame(client, 0x82, Payload::Bytes(hex(object)?))),
        "bytes" => Some(Action::Bytes(client, hex(object)?)),
        "frame" => {
            let (first, payload) = object.split_once(' ').unwrap_or((object, ""));
            Some(Action::Frame(client, u8::from_str_radix(first, 16).ok()?, Payload::Bytes(hex(payload)?)))
        }
        "close" => Some(Action::Frame(client, 0x88, Payload::Bytes(close_payload(object)?))),
        _ if rest.trim_start().starts_with('{') => Some(Action::Frame(client, 0x81, Payload::Template(rest.into()))),
        _ => None,
    }
}

fn close_payload(object: &str) -> Option<Vec<u8>> {
    if object.is_empty() {
        return Some(Vec::new());
    }
    let (code, reason) = object.split_once(' ').unwrap_or((object, ""));
    Some([&code.parse::<u16>().ok()?.to_be_bytes(), reason.as_bytes()].concat())
}

fn expected(client: char, rest: &str) -> Option<Action> {
    let (rest, within) = match rest.rsplit_once(" within ") {
        Some((rest, time)) => (rest, duration(time)?),
        None => (rest, Duration::ZERO),
    };
    let (word, object) = rest.split_once(' ').unwrap_or((rest, ""));
    let expected = match word {
        "ping" => Expected::Ping,
        "pong" => Expected::Pong(object.into()),
        "close" if object.is_empty() => Expected::Close(None),
        "close" => Expected::Close(Some(object.parse().ok()?)),
        "..." => Expected::CloseAtLast(object.strip_prefix("close ")?.parse().ok()?),
        "HTTP" => response(object)?,
        "end" => Expected::End,
        "nothing" => Expected::Nothing,
        _ if rest.starts_with('{') => Expected::Message(rest.into()),
        _ => return None,
    };
    Some(Action::Expect(client, expected, within))
}

fn response(object: &str) -> Option<Expected> {
    let mut parts = object.split(" | ");
    let status = parts.next()?.parse().ok()?;
    let fields = parts.map(|field| field.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.into())));
    Some(Expected::Response(status, fields.collect::<Option<_>>()?))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    number.parse::<f64>().ok().map(|number| Duration::from_secs_f64(number * unit))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
