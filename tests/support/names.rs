//! The names in a transcript: `$A` for a session, `#1` for the id of a message, and what a template of them matches.

use std::collections::{HashMap, HashSet};

/// What the names of one transcript stand for.
#[derive(Default)]
pub(crate) struct Names {
    sessions: HashMap<char, String>,
    fresh: HashSet<String>,
}

/// One part of a template.
enum Piece {
    Literal(String),
    /// `$A`: the session of client A.
    Session(char, Form),
    /// `#1`: the id that a client gave to a message.
    Request(u32, Form),
    /// `*`: an id that has not been seen before.
    Fresh,
    /// `"..."`: any string with something in it.
    AnyString,
}

/// How an id is written.
#[derive(Clone, Copy)]
enum Form {
    Quoted,
    /// `.upper`: quoted, in capitals.
    Upper,
    /// `.bare`: without quotes.
    Bare,
}

impl Form {
    fn write(self, id: &str) -> String {
        match self {
            Form::Quoted => format!("\"{id}\""),
            Form::Upper => format!("\"{}\"", id.to_uppercase()),
            Form::Bare => id.to_owned(),
        }
    }
}

impl Names {
    /// The text that `template` stands for.
    pub(crate) fn fill(&self, template: &str) -> Result<String, String> {
        parse(template).iter().map(|piece| self.text_of(piece)).collect()
    }

    /// Checks that `text` is what `template` stands for, and learns the sessions that it did not know.
    pub(crate) fn check(&mut self, template: &str, text: &str) -> Result<(), String> {
        let mut rest = text;
        for piece in parse(template) {
            rest = self
                .check_piece(&piece, rest)
                .map_err(|why| format!("{why}\n    expected {}\n    got      {}", short(template), short(text)))?;
        }
        if rest.is_empty() { Ok(()) } else { Err(format!("{} is too much\n    expected {}", short(rest), short(template))) }
    }

    fn check_piece<'t>(&mut self, piece: &Piece, text: &'t str) -> Result<&'t str, String> {
        match piece {
            Piece::AnyString => {
                let (words, rest) = take_string(text)?;
                if words.is_empty() { Err("an empty string".into()) } else { Ok(rest) }
            }
            Piece::Fresh => {
                let (id, rest) = take_string(text)?;
                let is_new = self.fresh.insert(id.to_owned());
                if is_fresh_id(id) && is_new { Ok(rest) } else { Err(format!("{id} is no fresh id")) }
            }
            Piece::Session(name, Form::Quoted) if !self.sessions.contains_key(name) => {
                let (id, rest) = take_string(text)?;
                if !is_fresh_id(id) || self.sessions.values().any(|known| known == id) {
                    return Err(format!("{id} is no fresh session"));
                }
                self.sessions.insert(*name, id.to_owned());
                Ok(rest)
            }
            Piece::Literal(_) | Piece::Session(..) | Piece::Request(..) => {
                let expected = self.text_of(piece)?;
                text.strip_prefix(&expected).ok_or_else(|| format!("{} is not at {}", short(&expected), short(text)))
            }
        }
    }

    fn text_of(&self, piece: &Piece) -> Result<String, String> {
        match piece {
            Piece::Literal(text) => Ok(text.clone()),
            Piece::Session(name, form) => {
                self.sessions.get(name).map(|id| form.write(id)).ok_or_else(|| format!("the session of {name} is not known yet"))
            }
            Piece::Request(number, form) => Ok(form.write(&format!("00000000-0000-4000-8000-abcdef{number:06}"))),
            Piece::Fresh | Piece::AnyString => Err("`*` and `\"...\"` stand for what the server says".into()),
        }
    }
}

/// A UUID of version 4 as the server writes it: in lower case, with hyphens.
fn is_fresh_id(id: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let bytes = id.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, &byte)| if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { is_digit(byte) })
        && bytes[14] == b'4'
        && matches!(bytes[19], b'8' | b'9' | b'a' | b'b')
}

/// The inside of the JSON string at the beginning of `text`, and what follows it.
fn take_string(text: &str) -> Result<(&str, &str), String> {
    let inside = text.strip_prefix('"').ok_or_else(|| format!("no string at {}", short(text)))?;
    let mut is_escaped = false;
    let end = inside.find(|letter| {
        let is_end = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        is_end
    });
    end.map(|end| (&inside[..end], &inside[end + 1..])).ok_or_else(|| "a string without an end".into())
}

fn parse(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = template;
    while let Some(letter) = rest.chars().next() {
        if let Some((piece, after)) = piece(rest, literal.ends_with(':')) {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            pieces.push(piece);
            rest = after;
        } else if let Some((repeated, after)) = repetition(rest) {
            literal.push_str(&repeated);
            rest = after;
        } else {
            literal.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    pieces.push(Piece::Literal(literal));
    pieces
}

/// The name at the beginning of `rest`, if one stands there.
fn piece(rest: &str, is_value: bool) -> Option<(Piece, &str)> {
    if let Some(after) = rest.strip_prefix("\"...\"") {
        return Some((Piece::AnyString, after));
    }
    if let Some(after) = rest.strip_prefix('*').filter(|_| is_value) {
        return Some((Piece::Fresh, after));
    }
    if let Some(after) = rest.strip_prefix('$') {
        let name = after.chars().next().filter(char::is_ascii_uppercase)?;
        let (form, after) = form(&after[1..]);
        return Some((Piece::Session(name, form), after));
    }
    let after = rest.strip_prefix('#')?;
    let digits = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let number = after[..digits].parse().ok()?;
    let (form, after) = form(&after[digits..]);
    Some((Piece::Request(number, form), after))
}

fn form(rest: &str) -> (Form, &str) {
    if let Some(after) = rest.strip_prefix(".upper") {
        (Form::Upper, after)
    } else if let Some(after) = rest.strip_prefix(".bare") {
        (Form::Bare, after)
    } else {
        (Form::Quoted, rest)
    }
}

/// `(ab*3)` is `ababab`.
fn repetition(rest: &str) -> Option<(String, &str)> {
    let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
    let (unit, times) = inside.split_once('*')?;
    Some((unit.repeat(times.parse().ok()?), after))
}

/// A long text as a message to a person shows it.
pub(crate) fn short(text: &str) -> String {
    let shown: String = text.chars().take(300).collect();
    if shown.len() < text.len() { format!("{shown}… ({} bytes)", text.len()) } else { shown }
}
