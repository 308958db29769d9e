//! The program: flags and environment → settings → server, or a view of running ones → exit code.
//!
//! Exit codes: 0 after a drain and for `--help` and the like, 2 for settings that are wrong, 128 plus its number for a second
//! signal, 1 for everything else that ends a node.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use texto::config::{self, Command, Config, TopSettings};
use texto::runtime::log_lines;

/// How long the end of the program waits for its last log lines to be taken.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match config::read(std::env::args_os().skip(1), std::env::vars_os()) {
        Ok(Command::Serve(config)) => serve(&config),
        Ok(Command::Top(settings)) => top(&settings),
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Report { settings, warnings }) => {
            warnings.iter().for_each(|warning| complain(warning));
            print(&settings)
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(2)
        }
    }
}

fn serve(config: &Config) -> ExitCode {
    let lines = match log_lines::start(config.log_level, config.log_format) {
        Ok(lines) => lines,
        Err(error) => {
            complain(&format!("the log cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let ended = texto::server::run(config);
    if let Err(error) = &ended {
        log::error!("{error}");
    }
    lines.flush(LAST_LINES_PATIENCE);
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn top(settings: &TopSettings) -> ExitCode {
    match texto::top::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that has seen enough, such as `head`, is no reason to panic as `println!` would.
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// One line on standard error. If that is closed, the exit code has to say it all.
fn complain(what: &str) {
    let _unheard = writeln!(io::stderr(), "texto: {what}");
}
