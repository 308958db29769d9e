//! `texto-perf`, the load tool of Texto: one thread, one epoll, a few bytes per connection, every answer checked.
//!
//! ```text
//! args ─▶ mode ─▶ load (ledger: who owes what) ─▶ fleet (connections) ─▶ frame, words (bytes)
//!           └──▶ measure (/proc: memory, CPU)   └▶ record ─▶ table, JSON line ─▶ report, compare
//! ```
//!
//! Exit code 0: the run holds. 1: it failed, and the record says why. 2: the command line was wrong.

mod args;
mod fleet;
mod frame;
mod load;
mod measure;
mod mode;
mod progress;
mod record;
mod report;
mod target;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Command, Options};
use rustix::process::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    match args::parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => {
            print(args::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::Run(options)) => run(&options),
        Ok(Command::Report(files)) => print_or_fail(report::page(&files)),
        Ok(Command::Compare { base, files }) => print_or_fail(report::comparison(base.as_deref(), &files)),
        Err(sentence) => complain(&sentence),
    }
}

fn run(options: &Options) -> ExitCode {
    raise_file_limit();
    let record = match mode::run(options) {
        Ok(record) => record,
        Err(sentence) => return complain(&sentence),
    };
    if let Some(file) = &options.json
        && let Err(error) = record.append(file)
    {
        return complain(&format!("{}: {error}", file.display()));
    }
    if record.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Each connection is an open file: take all that this process may have.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused: then the limit is met when connections are opened, and the run says so.
    let _refused = setrlimit(Resource::Nofile, limit);
}

fn print_or_fail(text: Result<String, String>) -> ExitCode {
    match text {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(sentence) => complain(&sentence),
    }
}

fn print(text: &str) {
    // Whoever wanted it may have read enough (`| head`).
    let _gone = io::stdout().write_all(text.as_bytes());
}

fn complain(sentence: &str) -> ExitCode {
    eprintln!("texto-perf: {sentence}");
    ExitCode::from(2)
}
