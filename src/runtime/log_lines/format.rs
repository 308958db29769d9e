//! What a log line looks like: for people, or for programs.
//!
//! ```text
//!   2026-11-27T18:02:16.384Z [INFO ] texto 0.1.0 listens on 127.0.0.1:8398 with 2 event loops
//!   {"time":"2026-11-27T18:02:16.384Z","level":"info","target":"texto::server","message":"texto 0.1.0 listens on …","loops":2}
//! ```
//!
//! Whatever a message holds, it is one line of bounded length: control characters are escaped, so nothing that a peer sent can forge a
//! line or speak to a terminal.

use std::fmt::{Display, Write as _};
use std::time::SystemTime;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::limits::LOG_MESSAGE_CHARS_MAX;

/// RFC 3339, to the millisecond.
const TIME: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people: time, level, message; with details also thread and module.
    Text,
    /// For programs: one JSON object per line, with the fields `time`, `level`, `target`, `message`, and those of the event.
    Json,
}

/// When and where something was logged.
#[derive(Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub(super) time: SystemTime,
    pub(super) thread: Option<&'a str>,
    /// Lines like this one that were left out before it.
    pub(super) left_out: u64,
}

impl LogFormat {
    /// The line for `record`, with its line feed.
    pub(super) fn line(self, record: &Record<'_>, occasion: Occasion<'_>) -> String {
        let time = OffsetDateTime::from(occasion.time).format(TIME).unwrap_or_default();
        let message = cut(record.args().to_string());
        match self {
            LogFormat::Text => text_line(record, occasion, &time, &message),
            LogFormat::Json => json_line(record, occasion, &time, &message),
        }
    }
}

/// At most as many characters of a message as a line has room for.
fn cut(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LOG_MESSAGE_CHARS_MAX) {
        message.truncate(end);
        message.push('…');
    }
    message
}

fn text_line(record: &Record<'_>, occasion: Occasion<'_>, time: &str, message: &str) -> String {
    let mut line = format!("{time} [{:<5}] ", record.level());
    if record.level() >= Level::Debug {
        let thread = occasion.thread.unwrap_or("?");
        put(&mut line, format_args!("({thread}) {}: ", record.target()));
    }
    for c in message.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    if occasion.left_out > 0 {
        put(&mut line, format_args!(" ({} more like this were left out)", occasion.left_out));
    }
    line.push('\n');
    line
}

fn json_line(record: &Record<'_>, occasion: Occasion<'_>, time: &str, message: &str) -> String {
    let mut fields = Fields(String::from("{"));
    fields.text("time", time);
    fields.text("level", &record.level().as_str().to_ascii_lowercase());
    fields.text("target", record.target());
    if let Some(thread) = occasion.thread.filter(|_| record.level() >= Level::Debug) {
        fields.text("thread", thread);
    }
    fields.text("message", message);
    if occasion.left_out > 0 {
        fields.bare("left_out", occasion.left_out);
    }
    // Writing to a String does not fail.
    let _written = record.key_values().visit(&mut fields);
    fields.0 + "}\n"
}

/// A JSON object that is being written.
struct Fields(String);

impl Fields {
    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.string(name);
        self.0.push(':');
    }

    fn bare(&mut self, name: &str, value: impl Display) {
        self.name(name);
        put(&mut self.0, value);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    /// A string with all control characters escaped: JSON demands it of those below the blank, a terminal has more.
    fn string(&mut self, value: &str) {
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                '\n' => self.0.push_str("\\n"),
                c if c.is_control() => put(&mut self.0, format_args!("\\u{:04x}", u32::from(c))),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

/// The fields of an event: numbers and truth values as such, all else as text.
impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if let Some(number) = value.to_u64() {
            self.bare(key.as_str(), number);
        } else if let Some(is_so) = value.to_bool() {
            self.bare(key.as_str(), is_so);
        } else {
            self.text(key.as_str(), &cut(value.to_string()));
        }
        Ok(())
    }
}

fn put(line: &mut String, what: impl Display) {
    write!(line, "{what}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value as Json, json};

    use super::*;

    fn line(format: LogFormat, level: Level, left_out: u64, message: &str, fields: &[(&str, Value<'_>)]) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_802_536_384);
        let occasion = Occasion { time, thread: Some("texto-loop-0"), left_out };
        let mut record = Record::builder();
        record.level(level).target("texto::somewhere").key_values(&fields);
        format.line(&record.args(format_args!("{message}")).build(), occasion)
    }

    #[test]
    fn a_text_line_has_the_time_the_level_and_the_message_and_one_of_details_also_where_it_is_from() {
        for (level, left_out, expected) in [
            (Level::Info, 0, "2026-11-27T18:02:16.384Z [INFO ] texto listens\n"),
            (Level::Error, 0, "2026-11-27T18:02:16.384Z [ERROR] texto listens\n"),
            (Level::Warn, 7, "2026-11-27T18:02:16.384Z [WARN ] texto listens (7 more like this were left out)\n"),
            (Level::Debug, 0, "2026-11-27T18:02:16.384Z [DEBUG] (texto-loop-0) texto::somewhere: texto listens\n"),
        ] {
            assert_eq!(line(LogFormat::Text, level, left_out, "texto listens", &[]), expected);
        }
    }

    #[test]
    fn a_json_line_is_an_object_with_the_fields_of_the_event() {
        let (time, target) = ("2026-11-27T18:02:16.384Z", "texto::somewhere");
        let fields = [("loops", Value::from(2)), ("address", Value::from("127.0.0.1:8398")), ("alone", Value::from(true))];
        for (level, left_out, fields, expected) in [
            (Level::Info, 0, &[][..], json!({"time": time, "level": "info", "target": target, "message": "m"})),
            (Level::Warn, 3, &[], json!({"time": time, "level": "warn", "target": target, "message": "m", "left_out": 3})),
            (
                Level::Debug,
                0,
                &fields,
                json!({"time": time, "level": "debug", "target": target, "thread": "texto-loop-0", "message": "m",
                    "loops": 2, "address": "127.0.0.1:8398", "alone": true}),
            ),
        ] {
            let line = line(LogFormat::Json, level, left_out, "m", fields);
            assert!(line.ends_with("}\n"));
            assert_eq!(serde_json::from_str::<Json>(&line).unwrap(), expected);
        }
    }

    #[test]
    fn a_message_is_one_line_in_which_nothing_speaks_to_a_terminal() {
        for (message, escaped) in [
            ("plain, ümlaut", "plain, ümlaut"),
            ("two\nlines\r\n", "two\\nlines\\r\\n"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("nul\0", "nul\\u{0}"),
            ("\u{9b}31m \u{7f}", "\\u{9b}31m \\u{7f}"),
            ("\"quotes\" and \\", "\"quotes\" and \\"),
        ] {
            assert_eq!(line(LogFormat::Text, Level::Info, 0, message, &[]), format!("2026-11-27T18:02:16.384Z [INFO ] {escaped}\n"));
            let json = line(LogFormat::Json, Level::Info, 0, message, &[("also", Value::from(message))]);
            assert!(json.trim_end().chars().all(|c| !c.is_control()), "{json:?}");
            let read: Json = serde_json::from_str(&json).unwrap();
            assert_eq!((&read["message"], &read["also"]), (&json!(message), &json!(message)));
        }
    }

    #[test]
    fn a_message_is_of_bounded_length() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let long = "ü".repeat(100_000);
            let line = line(format, Level::Info, 0, &long, &[("also", Value::from(long.as_str()))]);
            assert!(line.contains('…') && line.chars().count() < 2 * LOG_MESSAGE_CHARS_MAX + 200);
        }
    }
}
