//! The command line, read once into types that cannot be wrong.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::load::ledger::TEXT_BYTES_MIN;
use crate::target::Target;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
texto-perf: load for a Texto server, and what it costs

  texto-perf MODE --url ws://127.0.0.1:8398/v1/texto [options]
  texto-perf report FILE... > report.html      plots from files of runs
  texto-perf compare [--base LABEL] FILE...    medians and ratios from files of runs

Modes
  idle      opens and holds connections: memory of server and kernel per connection (slope over several numbers)
  route     pairs exchange messages both ways, so many in flight: messages per second, CPU per message
  rate      messages at a fixed rate: latency from the moment when each was due
  mixed     route beside a mass of idle connections
  storm     all connections drop and return at once, beside pairs that stay and talk
  flood     pairs that talk at a fixed rate, alone and beside clients who say as much as their sockets take
  fan-in    many senders, one receiver
  cluster   route with the two ends of each pair on different nodes (several --url)

Options
  --url URL           the server; several times for several nodes (default ws://127.0.0.1:8398/v1/texto)
  --allow-remote      a target outside this machine is meant
  --pid PID           the server's process; several times (default: whoever listens on the port)
  --connections N,N   idle connections; for idle several, rising (default 2000,18000)
  --connect-rate N    connections opened per second (default 10000)
  --targets N         spreads connections over N addresses from the target's on, for more than 64 k (default 1)
  --sources N         spreads connections over N source addresses from 127.0.0.1 on (default 1)
  --touch             every idle connection sends and gets one message before it is measured
  --hold SECONDS      holds the idle connections and measures their CPU (default 0)
  --active FRACTION   so much of the held connections send one message a second, for --seconds (default 0)
  --pairs N           pairs that talk (default 50; fan-in: senders)
  --inflight N        messages in flight per sender (default 4)
  --size BYTES        of each text (default 32, at least 20)
  --messages N        stops after N messages, all of them measured
  --seconds S         measures so long (default 5)
  --warm-up S         and this long before (default 0.5; 0 with --messages)
  --rate N            messages per second, for rate, storm and flood (default 2000)
  --cycles N          storms (default 3)
  --flooders N        for flood (default 1)
  --limit SECONDS     ends a run that takes longer, as failed (default 600, at most 36000)
  --label NAME        the server's name in the results
  --json FILE         appends the result, as one line of JSON
";

/// What is asked of the tool.
pub(crate) enum Command {
    Help,
    Run(Box<Options>),
    Report(Vec<PathBuf>),
    Compare { base: Option<String>, files: Vec<PathBuf> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Idle,
    Route,
    Rate,
    Mixed,
    Storm,
    Flood,
    FanIn,
    Cluster,
}

impl Mode {
    const ALL: [(&'static str, Mode); 8] = [
        ("idle", Mode::Idle),
        ("route", Mode::Route),
        ("rate", Mode::Rate),
        ("mixed", Mode::Mixed),
        ("storm", Mode::Storm),
        ("flood", Mode::Flood),
        ("fan-in", Mode::FanIn),
        ("cluster", Mode::Cluster),
    ];

    pub(crate) fn name(self) -> &'static str {
        Mode::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

/// One run, in full.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) targets: Vec<Target>,
    pub(crate) spread: u32,
    pub(crate) sources: u32,
    pub(crate) pids: Vec<u32>,
    pub(crate) connections: Vec<usize>,
    pub(crate) connect_rate: f64,
    pub(crate) touch: bool,
    pub(crate) hold: Duration,
    pub(crate) active: f64,
    pub(crate) pairs: usize,
    pub(crate) in_flight: usize,
    pub(crate) size: usize,
    pub(crate) messages: Option<u64>,
    pub(crate) measured: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) rate: f64,
    pub(crate) cycles: usize,
    pub(crate) flooders: usize,
    pub(crate) limit: Duration,
    pub(crate) label: String,
    pub(crate) json: Option<PathBuf>,
    allow_remote: bool,
}

impl Options {
    fn of(mode: Mode) -> Options {
        Options {
            mode,
            targets: Vec::new(),
            spread: 1,
            sources: 1,
            pids: Vec::new(),
            connections: if mode == Mode::Idle { vec![2_000, 18_000] } else { vec![10_000] },
            connect_rate: 10_000.0,
            touch: false,
            hold: Duration::ZERO,
            active: 0.0,
            pairs: 50,
            in_flight: 4,
            size: 32,
            messages: None,
            measured: Duration::from_secs(5),
            warm_up: Duration::from_millis(500),
            rate: 2_000.0,
            cycles: 3,
            flooders: 1,
            limit: Duration::from_secs(600),
            label: "server".to_owned(),
            json: None,
            allow_remote: false,
        }
    }
}

/// Reads the command line; the error is one sentence.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command, String> {
    let first = match parser.next().map_err(|error| error.to_string())? {
        Some(Value(first)) => first.string().map_err(|error| error.to_string())?,
        _ => return Ok(Command::Help),
    };
    match first.as_str() {
        "report" => files(&mut parser).map(|(_, files)| Command::Report(files)),
        "compare" => files(&mut parser).map(|(base, files)| Command::Compare { base, files }),
        name => {
            let known = Mode::ALL.iter().find(|(known, _)| *known == name);
            let (_, mode) = known.ok_or_else(|| format!("{name}: no such mode; see --help"))?;
            run(&mut parser, *mode).map(|options| options.map_or(Command::Help, |options| Command::Run(Box::new(options))))
        }
    }
}

fn files(parser: &mut lexopt::Parser) -> Result<(Option<String>, Vec<PathBuf>), String> {
    let (mut base, mut files) = (None, Vec::new());
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(file) => files.push(PathBuf::from(file)),
            Long("base") => base = Some(text(parser)?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if files.is_empty() { Err("no file of runs was given".to_owned()) } else { Ok((base, files)) }
}

/// `None`: help is wanted.
fn run(parser: &mut lexopt::Parser, mode: Mode) -> Result<Option<Options>, String> {
    let mut options = Options::of(mode);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("help") | Short('h') => return Ok(None),
            Long("touch") => options.touch = true,
            Long("allow-remote") => options.allow_remote = true,
            Long(name) => {
                let name = name.to_owned();
                let value = text(parser)?;
                set(&mut options, &name, &value).map_err(|why| format!("--{name} {value}: {why}"))?;
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    finish(options).map(Some)
}

fn set(options: &mut Options, name: &str, value: &str) -> Result<(), String> {
    match name {
        "url" => options.targets.push(Target::parse(value)?),
        "pid" => options.pids.push(number(value, 1.0, 4e9)? as u32),
        "connections" => options.connections = list(value)?,
        "connect-rate" => options.connect_rate = number(value, 1.0, 1e6)?,
        "targets" => options.spread = number(value, 1.0, 250.0)? as u32,
        "sources" => options.sources = number(value, 1.0, 250.0)? as u32,
        "hold" => options.hold = seconds(value)?,
        "active" => options.active = number(value, 0.0, 1.0)?,
        "pairs" => options.pairs = number(value, 0.0, 1e6)? as usize,
        "inflight" => options.in_flight = number(value, 1.0, 1e4)? as usize,
        "size" => options.size = number(value, TEXT_BYTES_MIN as f64, 400_000.0)? as usize,
        "messages" => options.messages = Some(number(value, 1.0, 1e9)? as u64),
        "seconds" => options.measured = seconds(value)?,
        "warm-up" => options.warm_up = seconds(value)?,
        "rate" => options.rate = number(value, 1.0, 1e7)?,
        "flooders" => options.flooders = number(value, 1.0, 1e3)? as usize,
        "cycles" => options.cycles = number(value, 1.0, 1e3)? as usize,
        "limit" => options.limit = seconds(value)?,
        "label" => value.clone_into(&mut options.label),
        "json" => options.json = Some(PathBuf::from(value)),
        _ => return Err("no such option; see --help".to_owned()),
    }
    Ok(())
}

fn finish(mut options: Options) -> Result<Options, String> {
    if options.targets.is_empty() {
        options.targets.push(Target::parse("ws://127.0.0.1:8398/v1/texto")?);
    }
    if let Some(remote) = options.targets.iter().find(|target| !target.is_loopback() && !options.allow_remote) {
        return Err(format!("{}: not on this machine; --allow-remote if the load is meant for it", remote.address));
    }
    if options.mode == Mode::Cluster && options.targets.len() < 2 {
        return Err("cluster needs two --url".to_owned());
    }
    if options.pairs == 0 && options.mode != Mode::Storm {
        return Err("--pairs 0 makes sense for storm only".to_owned());
    }
    Ok(options)
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(ValueExt::string).map_err(|error| error.to_string())
}

fn number(value: &str, min: f64, max: f64) -> Result<f64, String> {
    let number: f64 = value.parse().map_err(|_| "not a number".to_owned())?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(format!("not between {min} and {max}")) }
}

fn seconds(value: &str) -> Result<Duration, String> {
    number(value, 0.0, 36_000.0).map(Duration::from_secs_f64)
}

fn list(value: &str) -> Result<Vec<usize>, String> {
    let numbers: Result<Vec<usize>, String> = value.split(',').map(|one| number(one, 1.0, 4e6).map(|one| one as usize)).collect();
    let numbers = numbers?;
    if numbers.is_sorted_by(|before, after| before < after) { Ok(numbers) } else { Err("not rising".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Options, String> {
        match parse(lexopt::Parser::from_args(line.split_whitespace()))? {
            Command::Run(options) => Ok(*options),
            _ => Err("not a run".to_owned()),
        }
    }

    #[test]
    fn options_are_read_into_their_types() {
        let options = check("idle --connections 100,200 --touch --seconds 0.5 --url ws://127.0.0.1:9/v1/texto").expect("valid");
        assert_eq!((options.mode, options.connections, options.touch), (Mode::Idle, vec![100, 200], true));
        assert_eq!(options.measured, Duration::from_millis(500));
    }

    #[test]
    fn a_remote_target_has_to_be_meant() {
        assert!(check("route --url ws://192.0.2.1:80/").is_err());
        assert!(check("route --url ws://192.0.2.1:80/ --allow-remote").is_ok());
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for line in
            ["route --pairs x", "route --size 5", "idle --connections 5,4", "cluster", "nothing", "route --pairs 0", "route --what 1"]
        {
            assert!(check(line).is_err(), "{line}");
        }
    }
}
