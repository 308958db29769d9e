//! What the program prints about its settings: the help, and the report of `--check-config`. Both are made from the table.

use super::Config;
use super::settings::{self, GROUPS, Setting};

/// The program and its version.
pub(super) const VERSION: &str = concat!("texto ", env!("CARGO_PKG_VERSION"));

/// Columns of the help text.
const HELP_WIDTH: usize = 100;

/// The settings of `config`, one per line, with what `origin` says each comes from.
pub(super) fn report(config: &Config, origin: impl Fn(&Setting) -> Option<&'static str>) -> String {
    let line = |setting: &Setting| format!("{}={} ({})\n", setting.variable, (setting.show)(config), origin(setting).unwrap_or("default"));
    settings::all().map(line).collect()
}

/// The text of `--help`.
pub(super) fn help() -> String {
    let defaults = Config::default();
    let mut text = format!(
        "{VERSION}, a WebSocket messaging server that holds very many idle connections per node\n\n\
         Usage: texto [--FLAG VALUE | --FLAG=VALUE]...\n       texto top [HOST:PORT]...\n"
    );
    let intro = "A setting has a flag, an environment variable and a default, and they count in this order. \
                 Sizes are bytes or have a unit (64KiB, 1MiB), times are seconds or have one (250ms, 10s, 2m).";
    text.push('\n');
    wrap(&mut text, intro, 0);
    for (title, settings) in GROUPS {
        text.push_str(&format!("\n{title}:\n"));
        for setting in settings {
            let names = format!("{} {}", setting.flag, setting.metavar);
            text.push_str(&format!("  {names:<28} {} [default: {}]\n", setting.variable, (setting.show)(&defaults)));
            wrap(&mut text, setting.help, 6);
        }
    }
    text.push_str("\nInstead of serving:\n");
    for (flag, meaning) in [
        ("top [HOST:PORT]...", "show running nodes, see texto top --help"),
        ("--check-config", "check all settings, print them as a start would have them, and end"),
        ("--help, -h", "print this and end"),
        ("--version, -V", "print the version and end"),
    ] {
        text.push_str(&format!("  {flag:<28} {meaning}\n"));
    }
    text
}

/// Appends `words` in lines of at most [`HELP_WIDTH`] columns, each `indent` columns in.
fn wrap(text: &mut String, words: &str, indent: usize) {
    let mut column = 0;
    for word in words.split_whitespace() {
        if column > 0 && column + 1 + word.len() > HELP_WIDTH {
            text.push('\n');
            column = 0;
        }
        let gap = if column == 0 { indent } else { 1 };
        text.extend(std::iter::repeat_n(' ', gap));
        text.push_str(word);
        column += gap + word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_setting_within_its_width() {
        let text = help();
        for setting in settings::all() {
            assert!(text.contains(setting.flag) && text.contains(setting.variable), "{}", setting.flag);
        }
        assert!(text.lines().all(|line| line.len() <= HELP_WIDTH && line == line.trim_end()), "{text}");
    }
}
