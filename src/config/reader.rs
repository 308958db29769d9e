//! From the command line and the environment to a [`Command`]: which value wins, and what is wrong with one that does not fit.
//!
//! Both come in as arguments, so nothing here depends on the process it runs in.

use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

use super::pages::{self, VERSION};
use super::settings::{self, Setting};
use super::top::{self, TopSettings};
use super::{Config, ConfigError};

/// Characters of a wrong value that an error repeats.
const TOLD_CHARS_MAX: usize = 100;

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// To serve with these settings.
    Serve(Box<Config>),
    /// To show running nodes.
    Top(TopSettings),
    /// To print this text and end well: the help, the version.
    Print(String),
    /// To print the settings that a start would have, and these warnings apart from them.
    Report {
        /// The settings, one per line.
        settings: String,
        /// What is odd in the environment.
        warnings: Vec<String>,
    },
}

/// Reads `arguments` (without the name of the program) and `environment`. Flags win over variables, variables over the defaults.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ConfigError> {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.next_if(|first| first == "top").is_some() {
        let admin_address = environment.into_iter().find(|(name, _)| name == "TEXTO_ADMIN_ADDRESS").map(|(_, value)| value);
        return top::read(Parser::from_args(arguments), admin_address);
    }
    let (flags, request) = read_flags(arguments)?;
    let is_check = match request {
        Request::Help => return Ok(Command::Print(pages::help())),
        Request::Version => return Ok(Command::Print(format!("{VERSION}\n"))),
        Request::Check => true,
        Request::Serve => false,
    };
    let (variables, warnings) = read_variables(environment);
    let mut config = Config::default();
    for given in &variables {
        // A start ignores a variable that a flag replaces, whatever it says; a check looks at everything.
        if is_check || !flags.iter().any(|flag| flag.is_of(given.setting)) {
            given.apply(&mut config)?;
        }
    }
    flags.iter().try_for_each(|given| given.apply(&mut config))?;
    let given: Vec<Given> = flags.into_iter().chain(variables).collect();
    config.check_as(|setting| origin(&given, setting).unwrap_or(setting.flag))?;
    if is_check {
        return Ok(Command::Report { settings: pages::report(&config, |setting| origin(&given, setting)), warnings });
    }
    Ok(Command::Serve(Box::new(Config { warnings, ..config })))
}

/// A value that somebody gave a setting.
struct Given {
    setting: &'static Setting,
    /// The flag or the variable: where an operator finds the value.
    name: &'static str,
    value: OsString,
}

impl Given {
    fn is_of(&self, setting: &Setting) -> bool {
        self.setting.flag == setting.flag
    }

    fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        let set = self.value.to_str().map_or_else(|| Err("UTF-8 is allowed".to_owned()), |text| (self.setting.set)(config, text));
        set.map_err(|allowed| ConfigError(format!("{} is {}: {allowed}", self.name, self.told())))
    }

    /// The value for an error line.
    fn told(&self) -> String {
        // What is wrong with an address may be where its password stands, so no part of a wrong one is safe to repeat.
        if self.setting.is_secret { "not usable (its value is not shown, it may hold a password)".to_owned() } else { quote(&self.value) }
    }
}

/// `text` in quotes, on one line and of bounded length, whatever it holds.
pub(super) fn quote(text: &OsStr) -> String {
    let text = mask(&text.to_string_lossy());
    let told: String = text.chars().take(TOLD_CHARS_MAX).collect();
    let ellipsis = if told.len() < text.len() { "…" } else { "" };
    format!("{told:?}{ellipsis}")
}

/// `text` without the parts of a URL that may hold a password: the address of Redis may have come to a wrong place.
fn mask(text: &str) -> String {
    let start = text.find("://").map_or(0, |colon| colon + 3);
    let (end, query) = text[start..].find('?').map_or((text.len(), ""), |mark| (start + mark, "?***"));
    match text.rfind('@') {
        Some(at) if at >= start => format!("{}***{}{query}", &text[..start], &text[at.min(end)..end]),
        _ => format!("{}{query}", &text[..end]),
    }
}

enum Request {
    Serve,
    Check,
    Help,
    Version,
}

fn read_flags(arguments: impl IntoIterator<Item = OsString>) -> Result<(Vec<Given>, Request), ConfigError> {
    let mut parser = Parser::from_args(arguments);
    let mut flags: Vec<Given> = Vec::new();
    let mut request = Request::Serve;
    while let Some(argument) = parser.next().map_err(|error| unexpected(&error))? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok((flags, Request::Help)),
            Arg::Long("version") | Arg::Short('V') => return Ok((flags, Request::Version)),
            Arg::Long("check-config") => request = Request::Check,
            Arg::Long(name) => {
                let setting = find_setting(name).ok_or_else(|| unknown(OsStr::new(&format!("--{name}"))))?;
                // No value begins with two dashes: that is the next flag, and the value was forgotten.
                let value = parser.value().ok().filter(|value| !value.to_string_lossy().starts_with("--"));
                let value = value.ok_or_else(|| valueless(setting))?;
                if flags.iter().any(|flag| flag.is_of(setting)) {
                    return Err(ConfigError(format!("{} is given twice: once is allowed", setting.flag)));
                }
                flags.push(Given { setting, name: setting.flag, value });
            }
            Arg::Short(letter) => return Err(unknown(OsStr::new(&format!("-{letter}")))),
            Arg::Value(value) => return Err(unknown(&value)),
        }
    }
    Ok((flags, request))
}

fn find_setting(name: &str) -> Option<&'static Setting> {
    settings::all().find(|setting| setting.flag.strip_prefix("--") == Some(name))
}

fn unknown(argument: &OsStr) -> ConfigError {
    ConfigError(format!("{} is not a flag: those that texto --help lists are allowed", quote(argument)))
}

/// A setting that ends the command line; an empty value brings out what is allowed.
fn valueless(setting: &Setting) -> ConfigError {
    let allowed =
        (setting.set)(&mut Config::default(), "").err().unwrap_or_else(|| format!("{} {} is allowed", setting.flag, setting.metavar));
    ConfigError(format!("{} has no value: {allowed}", setting.flag))
}

/// The one thing that lexopt itself refuses: a value where none belongs, as in `--help=yes`.
pub(super) fn unexpected(error: &lexopt::Error) -> ConfigError {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => ConfigError(format!("{option} is {}: no value is allowed", quote(value))),
        other => ConfigError(other.to_string()),
    }
}

/// The values of our variables, and a warning for each variable that looks like one of ours and is none.
fn read_variables(environment: impl IntoIterator<Item = (OsString, OsString)>) -> (Vec<Given>, Vec<String>) {
    let mut given = Vec::new();
    let mut warnings = Vec::new();
    for (variable, value) in environment {
        let Some(name) = variable.to_str() else { continue };
        if let Some(setting) = settings::all().find(|setting| setting.variable == name) {
            // An empty variable is how compose files and unit files unset one.
            if !value.is_empty() {
                given.push(Given { setting, name: setting.variable, value });
            }
        } else if let Some(rest) = name.strip_prefix("TEXTO_")
            && !is_injected(rest, &value)
        {
            warnings.push(warning(name, rest));
        }
    }
    warnings.sort();
    (given, warnings)
}

/// Whether `TEXTO_{rest}` is one of the variables that Kubernetes and Docker put into a container's environment to tell it where a service
/// called `texto` is: `TEXTO_SERVICE_HOST`, `TEXTO_PORT=tcp://10.0.0.1:8398`, `TEXTO_PORT_8398_TCP_ADDR`, `TEXTO_ENV_…`.
fn is_injected(rest: &str, value: &OsStr) -> bool {
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    let is_numbered = |after: &str| after.starts_with(|c: char| c.is_ascii_digit());
    rest.contains("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.starts_with("ENV_")
        || rest.split("PORT_").skip(1).any(is_numbered)
        || (rest.ends_with("PORT") && is_url)
}

fn warning(name: &str, rest: &str) -> String {
    let name = name.escape_debug();
    match settings::all().find(|setting| setting.variable == rest) {
        Some(setting) => format!("{name} is not a setting and is ignored; {} is one", setting.variable),
        None => format!("{name} is not a setting and is ignored; texto --help lists them"),
    }
}

/// The flag or the variable that `setting` has its value from; flags come first in `given`.
fn origin(given: &[Given], setting: &Setting) -> Option<&'static str> {
    given.iter().find(|given| given.is_of(setting)).map(|given| given.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads arguments and `NAME=value` variables that are each separated by blanks.
    fn read_line(arguments: &str, environment: &str) -> Result<Command, ConfigError> {
        let variables = environment.split(' ').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.into(), value.into()));
        read(arguments.split(' ').filter(|argument| !argument.is_empty()).map(OsString::from), variables)
    }

    fn config(arguments: &str, environment: &str) -> Config {
        match read_line(arguments, environment) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{arguments:?} {environment:?}: {other:?}"),
        }
    }

    fn check_error(arguments: &str, environment: &str, expected: &str) {
        let told = read_line(arguments, environment).unwrap_err().to_string();
        assert_eq!(told, expected, "{arguments:?} {environment:?}");
        assert!(!told.contains('\n'));
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_defaults() {
        for (arguments, environment, expected) in [
            ("", "", 8398),
            ("", "PORT=1", 1),
            ("", "PORT=", 8398),
            ("--port 2", "", 2),
            ("--port=2", "PORT=1", 2),
            ("--port 2", "PORT=nonsense", 2),
        ] {
            assert_eq!(config(arguments, environment).port, expected, "{arguments:?} {environment:?}");
        }
    }

    #[test]
    fn every_setting_is_read_from_its_flag_and_from_its_variable() {
        for setting in settings::all() {
            let default = (setting.show)(&Config::default());
            // PROXY headers need somebody to come from.
            let besides = if setting.flag == "--proxy-protocol" { "TEXTO_TRUSTED_PROXIES=unix " } else { "" };
            let values = ["7", "off", "none", "accept", "unix", "null", "600", "100000", "2097152", "1GiB", "error", "json", "true"];
            let other = values.into_iter().find(|text| {
                let mut config = config("", besides);
                (setting.set)(&mut config, text).is_ok() && config.check().is_ok() && (setting.show)(&config) != default
            });
            let other = if setting.is_secret { "127.0.0.1:6379" } else { other.expect(setting.flag) };
            let mut expected = Config::default();
            (setting.set)(&mut expected, other).unwrap();
            let expected = (setting.show)(&expected);
            assert_ne!(expected, default, "{}", setting.flag);
            assert_eq!((setting.show)(&config(&format!("{} {other}", setting.flag), besides)), expected);
            assert_eq!((setting.show)(&config("", &format!("{besides}{}={other}", setting.variable))), expected);
        }
    }

    #[test]
    fn errors_name_the_setting_its_value_and_what_is_allowed() {
        let port = "a port from 0 to 65535 is allowed";
        let outbox = "is \"64KiB\": at least 257KiB is allowed, 1KiB more than";
        for (arguments, environment, expected) in [
            ("", "PORT=70000", format!("PORT is \"70000\": {port}")),
            ("--port 70000", "PORT=1", format!("--port is \"70000\": {port}")),
            ("--port=", "", format!("--port is \"\": {port}")),
            ("--port --host x", "", format!("--port has no value: {port}")),
            ("--check-config --port 1", "PORT=x", format!("PORT is \"x\": {port}")),
            ("--port", "", format!("--port has no value: {port}")),
            ("--host", "", "--host has no value: --host ADDRESS is allowed".to_owned()),
            ("--port 1 --port=2", "", "--port is given twice: once is allowed".to_owned()),
            ("--prot 1", "", "\"--prot\" is not a flag: those that texto --help lists are allowed".to_owned()),
            ("-p 1", "", "\"-p\" is not a flag: those that texto --help lists are allowed".to_owned()),
            ("8398", "", "\"8398\" is not a flag: those that texto --help lists are allowed".to_owned()),
            ("--check-config=yes", "", "--check-config is \"yes\": no value is allowed".to_owned()),
            ("--outbox-size 64k", "", format!("--outbox-size {outbox} --message-size, which is \"256KiB\"")),
            ("", "TEXTO_OUTBOX_SIZE=64k", format!("TEXTO_OUTBOX_SIZE {outbox} --message-size, which is \"256KiB\"")),
            (
                "--message-size=1m",
                "",
                "--outbox-size is \"1MiB\": at least 1025KiB is allowed, 1KiB more than --message-size, which is \"1MiB\"".to_owned(),
            ),
        ] {
            check_error(arguments, environment, &expected);
        }
    }

    #[test]
    fn a_wrong_value_is_told_on_one_line_of_bounded_length() {
        check_error("--port=1\n2", "", "--port is \"1\\n2\": a port from 0 to 65535 is allowed");
        let long = "9".repeat(100_000);
        check_error(&format!("--port={long}"), "", &format!("--port is \"{}\"…: a port from 0 to 65535 is allowed", "9".repeat(100)));
    }

    #[cfg(unix)]
    #[test]
    fn text_that_is_not_utf_8_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"\xff".to_vec());
        let told = read([], [("PORT".into(), odd.clone())]).unwrap_err().to_string();
        assert_eq!(told, "PORT is \"\u{fffd}\": UTF-8 is allowed");
        assert!(read([], [(odd.clone(), odd)]).is_ok(), "a variable that is none of ours may be anything");
    }

    #[test]
    fn passwords_are_never_told() {
        for url in ["redis://:hunter2@", "redis://user:hunter2", "hunter2://x", "redis://h/?pass=hunter2", "rediss://u:hunter2@h:port/x"] {
            for (arguments, environment) in [(format!("--redis-url={url}"), String::new()), (String::new(), format!("REDIS_URL={url}"))] {
                let told = match read_line(&format!("--check-config {arguments}"), &environment) {
                    Ok(Command::Report { settings, .. }) => settings,
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => error.to_string(),
                };
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
        for astray in ["redis://:hunter2@h", ":hunter2@h:6379", "unix:///s?pass=hunter2", "redis://:hunter2?@h", "redis://:a@hunter2@h?a@b"]
        {
            for arguments in [astray.to_owned(), format!("--port {astray}"), format!("--help={astray}")] {
                let told = read_line(&arguments, "").map(|_| ()).map_err(|error| error.to_string());
                assert!(!format!("{told:?}").contains("hunter2"), "{arguments}: {told:?}");
            }
        }
        let told = format!("{:?}", read_line("--redis-url redis://user:hunter2@127.0.0.1:6379/0", "").unwrap());
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn an_empty_redis_url_takes_back_the_variable() {
        assert!(config("", "REDIS_URL=127.0.0.1:6379").redis.is_some());
        assert!(config("--redis-url=", "REDIS_URL=127.0.0.1:6379").redis.is_none());
        assert!(config("--redis-url none", "REDIS_URL=127.0.0.1:6379").redis.is_none());
    }

    #[test]
    fn unknown_variables_of_ours_are_warned_of_and_those_of_the_platform_are_not() {
        let unknown = |name: &str| vec![format!("{name} is not a setting and is ignored; texto --help lists them")];
        for (environment, expected) in [
            ("TEXTO_OUTBOX=1", unknown("TEXTO_OUTBOX")),
            ("TEXTO_PORT=8398", vec!["TEXTO_PORT is not a setting and is ignored; PORT is one".to_owned()]),
            ("TEXTO_PORT=tcp://10.0.0.1:8398", vec![]),
            ("TEXTO_PORT_8398_TCP=tcp://10.0.0.1:8398", vec![]),
            ("TEXTO_PORT_8398_TCP_PORT=8398", vec![]),
            ("TEXTO_SERVICE_HOST=10.0.0.1", vec![]),
            ("TEXTO_SERVICE_PORT_WS=8398", vec![]),
            ("TEXTO_ADMIN_SERVICE_HOST=10.0.0.1", vec![]),
            ("TEXTO_ADMIN_PORT=tcp://10.0.0.1:9398", vec![]),
            ("TEXTO_ENV_PATH=/bin", vec![]),
            ("TEXT=1 texto_loops=1 MYTEXTO_X=1", vec![]),
        ] {
            assert_eq!(config("", environment).warnings, expected, "{environment}");
        }
    }

    #[test]
    fn help_and_version_need_nothing_to_be_right() {
        for (arguments, expected) in [("--version", "texto "), ("-V", "texto "), ("--help", "Usage: "), ("-h --bogus", "Usage: ")] {
            match read_line(arguments, "PORT=x") {
                Ok(Command::Print(text)) => assert!(text.contains(expected), "{text}"),
                other => panic!("{arguments}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_check_tells_every_value_and_where_it_comes_from() {
        let Ok(Command::Report { settings, warnings }) = read_line("--check-config --port=0", "PORT=1 TEXTO_LOOPS=3 TEXTO_X=") else {
            panic!("a report is expected");
        };
        for line in ["HOST=* (default)", "PORT=0 (--port)", "TEXTO_LOOPS=3 (TEXTO_LOOPS)", "TEXTO_OUTBOX_SIZE=1MiB (default)"] {
            assert!(settings.lines().any(|told| told == line), "{line} in {settings}");
        }
        assert_eq!((settings.lines().count(), warnings.len()), (settings::all().count(), 1));
    }
}
