//! Plays a transcript in a world: does what the clients do, and compares what they get.

use std::collections::HashMap;
use std::time::Duration;

use super::frames::{self, CLOSE, PING, PONG, TEXT};
use super::names::{Names, short};
use super::transcript::{Action, Expected, Payload, Transcript};
use super::world::{Came, World};

/// Plays all of `transcript`. The error names the line that did not hold.
pub(crate) fn play(transcript: &Transcript, world: &mut dyn World) -> Result<(), String> {
    let mut talk = Talk { world, clients: HashMap::new(), names: Names::default() };
    for step in &transcript.steps {
        talk.act(&step.action).map_err(|why| format!("{}: {}\n    {why}", step.place, short(&step.line)))?;
    }
    talk.world.check_end();
    Ok(())
}

/// What is sent to see whether anything comes before its answer.
const PROBE: &[u8] = b"is anything there?";

struct Talk<'w> {
    world: &'w mut dyn World,
    clients: HashMap<char, Client>,
    names: Names,
}

struct Client {
    number: usize,
    /// Come, not yet looked at.
    inbox: Vec<u8>,
    has_ended: bool,
    /// It asked for a head without a body.
    asked_head: bool,
}

impl Talk<'_> {
    fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Connect(name, query) => self.connect(*name, query),
            Action::Join(name) => {
                self.connect(*name, "")?;
                let greeting = format!(r#"{{"client_id":${name},"id":*,"kind":"connection","data":{{"client_id":${name}}}}}"#);
                self.expect_message(*name, &greeting, Duration::ZERO)
            }
            Action::Request(name, head) => self.request(*name, head),
            Action::Frame(name, first, payload) => {
                let payload = match payload {
                    Payload::Template(template) => self.names.fill(template)?.into_bytes(),
                    Payload::Bytes(bytes) => bytes.clone(),
                };
                self.send(*name, &frames::frame(*first, &payload))
            }
            Action::Bytes(name, bytes) => {
                if !self.clients.contains_key(name) {
                    self.open(*name)?;
                }
                self.send(*name, bytes)
            }
            Action::Expect(name, expected, within) => self.expect(*name, expected, *within),
            Action::StopReading(name) => self.set_reading(*name, false),
            Action::ReadAgain(name) => self.set_reading(*name, true),
            Action::HalfClose(name) => {
                let number = self.client(*name)?.number;
                self.world.half_close(number)
            }
            Action::HangUp(name) => {
                let number = self.client(*name)?.number;
                self.world.hang_up(number);
                self.clients.remove(name);
                Ok(())
            }
            Action::After(time) => {
                self.world.wait(*time);
                Ok(())
            }
            Action::Drain(span) => {
                self.world.drain(*span);
                Ok(())
            }
            Action::Redis(act, template) => self.redis(*act, template),
            Action::Repeat(times, action) => (0..*times).try_for_each(|_| self.act(action)),
        }
    }

    fn client(&mut self, name: char) -> Result<&mut Client, String> {
        self.clients.get_mut(&name).ok_or_else(|| format!("{name} is not connected"))
    }

    fn open(&mut self, name: char) -> Result<(), String> {
        let number = self.world.connect()?;
        self.clients.insert(name, Client { number, inbox: Vec::new(), has_ended: false, asked_head: false });
        Ok(())
    }

    fn connect(&mut self, name: char, query: &str) -> Result<(), String> {
        self.open(name)?;
        self.send(name, &frames::request(&format!("/v1/texto{query}")))?;
        self.expect_response(name, 101, &[], Duration::ZERO)
    }

    /// Opens a connection for `name` if it has none, and sends the lines of `head`.
    fn request(&mut self, name: char, head: &str) -> Result<(), String> {
        if !self.clients.contains_key(&name) {
            self.open(name)?;
        }
        self.client(name)?.asked_head = head.starts_with("HEAD");
        let is_whole = !head.ends_with(" ...");
        let head = self.names.fill(head.trim_end_matches(" ..."))?;
        let end = if is_whole { "\r\n\r\n" } else { "" };
        self.send(name, (head.replace(" | ", "\r\n") + end).as_bytes())
    }

    fn send(&mut self, name: char, bytes: &[u8]) -> Result<(), String> {
        let number = self.client(name)?.number;
        self.world.send(number, bytes)
    }

    fn set_reading(&mut self, name: char, is_reading: bool) -> Result<(), String> {
        let number = self.client(name)?.number;
        self.world.set_reading(number, is_reading);
        Ok(())
    }

    fn redis(&mut self, act: super::transcript::RedisAct, template: &str) -> Result<(), String> {
        if let super::transcript::RedisAct::Brings = act {
            let payload = self.names.fill(template)?;
            return self.world.redis(act, &payload).map(|_| ());
        }
        let given = self.world.redis(act, "")?;
        if template.is_empty() { Ok(()) } else { self.names.check(template, &given) }
    }

    fn expect(&mut self, name: char, expected: &Expected, within: Duration) -> Result<(), String> {
        match expected {
            Expected::Message(template) => self.expect_message(name, template, within),
            Expected::Ping => self.expect_control(name, PING, b"", within),
            Expected::Pong(payload) => {
                let payload = self.names.fill(payload)?;
                self.expect_control(name, PONG, payload.as_bytes(), within)
            }
            Expected::Close(None) => self.expect_control(name, CLOSE, b"", within),
            Expected::Close(Some(code)) => self.expect_close(name, *code, within),
            Expected::CloseAtLast(code) => loop {
                if self.peek_kind(name, within)? == CLOSE {
                    return self.expect_close(name, *code, within);
                }
                self.next_frame(name, within)?;
            },
            Expected::Response(status, fields) => self.expect_response(name, *status, fields, within),
            Expected::End => self.expect_end(name, within),
            Expected::Nothing => self.expect_nothing(name),
        }
    }

    /// Reads more of what the server sent to `name`.
    fn fill(&mut self, name: char, within: Duration) -> Result<(), String> {
        let Client { number, has_ended, .. } = *self.client(name)?;
        if has_ended {
            return Err("the server has ended the connection".into());
        }
        match self.world.read(number, within)? {
            Came::Bytes(bytes) => self.client(name)?.inbox.extend(bytes),
            Came::End => self.client(name)?.has_ended = true,
            Came::Nothing => return Err("nothing came".into()),
        }
        Ok(())
    }

    fn peek_kind(&mut self, name: char, within: Duration) -> Result<u8, String> {
        loop {
            if let Some(&first) = self.client(name)?.inbox.first() {
                return Ok(first);
            }
            self.fill(name, within)?;
        }
    }

    fn next_frame(&mut self, name: char, within: Duration) -> Result<(u8, Vec<u8>), String> {
        loop {
            if let Some(frame) = frames::take_frame(&mut self.client(name)?.inbox)? {
                return Ok(frame);
            }
            self.fill(name, within)?;
        }
    }

    fn expect_message(&mut self, name: char, template: &str, within: Duration) -> Result<(), String> {
        let (first, payload) = self.next_frame(name, within)?;
        if first != TEXT {
            return Err(format!("a frame {first:#04x} came: {}", payload.escape_ascii()));
        }
        let text = String::from_utf8(payload).map_err(|_| "the server sent text that is not UTF-8")?;
        self.names.check(template, &text)
    }

    fn expect_control(&mut self, name: char, first: u8, payload: &[u8], within: Duration) -> Result<(), String> {
        let came = self.next_frame(name, within)?;
        if came == (first, payload.to_vec()) {
            return Ok(());
        }
        Err(format!("a frame {:#04x} came with {}", came.0, short(&came.1.escape_ascii().to_string())))
    }

    /// A Close with `code`, and any reason that is text.
    fn expect_close(&mut self, name: char, code: u16, within: Duration) -> Result<(), String> {
        let (first, payload) = self.next_frame(name, within)?;
        let is_text = payload.get(2..).is_some_and(|reason| std::str::from_utf8(reason).is_ok());
        if first == CLOSE && payload.starts_with(&code.to_be_bytes()) && is_text {
            return Ok(());
        }
        Err(format!("a frame {first:#04x} came with {}", short(&payload.escape_ascii().to_string())))
    }

    fn expect_response(&mut self, name: char, status: u16, fields: &[(String, String)], within: Duration) -> Result<(), String> {
        let head = loop {
            if let Some(head) = frames::take_head(&mut self.client(name)?.inbox) {
                break head;
            }
            self.fill(name, within)?;
        };
        if !head.starts_with(&format!("HTTP/1.1 {status} ")) {
            return Err(format!("the response is {}", short(&head)));
        }
        let value_of = |wanted: &str| {
            let mut found = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            found.find(|(field, _)| field.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
        };
        let body_len = value_of("content-length").map_or(Ok(0), |length| length.parse::<usize>());
        let body_len = if self.client(name)?.asked_head { 0 } else { body_len.map_err(|_| "Content-Length is no number")? };
        while self.client(name)?.inbox.len() < body_len {
            self.fill(name, within)?;
        }
        let body: Vec<u8> = self.client(name)?.inbox.drain(..body_len).collect();
        for (field, pattern) in fields {
            let value = if field == "body" { Some(String::from_utf8_lossy(&body).into_owned()) } else { value_of(field) };
            // The names of what a connection can be (RFC 9110 section 7.6.1) are the same in any case; proxies say them in their own.
            let as_said = |text: &str| if field == "connection" { text.to_lowercase() } else { text.to_owned() };
            if !value.as_ref().is_some_and(|value| is_like(&as_said(value.trim_end()), &as_said(pattern))) {
                return Err(format!("{field} is {value:?} in {}", short(&head)));
            }
        }
        Ok(())
    }

    fn expect_end(&mut self, name: char, within: Duration) -> Result<(), String> {
        while !self.client(name)?.has_ended && self.client(name)?.inbox.is_empty() {
            self.fill(name, within)?;
        }
        let inbox = &self.client(name)?.inbox;
        if inbox.is_empty() { Ok(()) } else { Err(format!("there is more: {}", short(&inbox.escape_ascii().to_string()))) }
    }

    fn expect_nothing(&mut self, name: char) -> Result<(), String> {
        let Client { number, inbox, .. } = self.client(name)?;
        if !inbox.is_empty() {
            return Err(format!("something came: {}", short(&inbox.escape_ascii().to_string())));
        }
        let number = *number;
        match self.world.has_come(number) {
            Some(false) => Ok(()),
            Some(true) => Err("something came".into()),
            // Frames come in order: what is not there before the pong was not sent before the ping came.
            None => {
                self.send(name, &frames::frame(PING, PROBE))?;
                self.expect_control(name, PONG, PROBE, Duration::ZERO)
            }
        }
    }
}

/// Whether `value` is `pattern`, in which a `*` stands for anything.
fn is_like(value: &str, pattern: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return value == pattern };
    let Some(after) = value.strip_prefix(begin) else { return false };
    (0..=after.len()).filter_map(|at| after.get(at..)).any(|end| is_like(end, rest))
}
