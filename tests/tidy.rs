//! Reads `src/` and says what is not as this project wants it: floors, homes of effects, sizes, maps, blanks.
//!
//! A rule here is one that a person would otherwise have to look after in every review. It reads lines, not syntax, which is enough for code
//! that `cargo fmt` has laid out; what it cannot see (macros that make names, strings that look like code) this project does not do.
//! If a rule is in the way of good code, change the rule here and say why; do not write around it.

use std::fs;
use std::path::{Path, PathBuf};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 400;

/// The floors of the house, as the table in `lib.rs` has them. A file uses only floors below its own, and its own module.
const FLOORS: [(&str, u32); 10] = [
    ("limits", 0),
    ("histogram", 0),
    ("wire", 1),
    ("hub", 2),
    ("runtime", 3),
    ("broker", 3),
    ("config", 4),
    ("server", 4),
    ("top", 4),
    ("main", 5),
];

/// Files that may use a neighbour on their own floor, and the neighbour: here the loops and the broker meet, and the life of a node begins.
const NEIGHBOURS: [(&str, &str); 4] =
    [("runtime/exchange.rs", "broker"), ("runtime/admin.rs", "broker"), ("server.rs", "config"), ("top.rs", "config")];

/// Words that belong to certain modules or files alone.
///
/// Sockets and the names of hosts have homes; an address by itself is a value like others, which `wire` reads and `hub` counts.
const HOMES: [(&str, &[&str]); 11] = [
    ("std::time::Instant", &["runtime/", "broker/", "server.rs", "top/"]),
    // A clock that can be set back. Deadlines, rates and pauses go by the other one; this one only tells when the process began,
    // when a line was logged, and, to who watches a node, how old the node is.
    ("SystemTime", &["runtime/process.rs", "runtime/log_lines.rs", "runtime/log_lines/", "top/scrape.rs"]),
    ("Instant::now", &["runtime/", "broker/", "server.rs", "top/"]),
    ("mio::", &["runtime/", "server.rs"]),
    ("std::net::Tcp", &["runtime/", "broker/", "server.rs", "top/"]),
    ("std::net::Udp", &["runtime/", "broker/", "server.rs"]),
    ("std::net::Shutdown", &["runtime/", "broker/", "server.rs"]),
    ("std::net::ToSocketAddrs", &["runtime/", "broker/", "server.rs", "top/"]),
    ("socket2::", &["runtime/", "broker/", "server.rs"]),
    ("std::thread", &["runtime/", "broker/", "server.rs", "config.rs", "top.rs"]),
    ("unsafe ", &["runtime/sys.rs"]),
];

/// What stands in no code but tests. What the program prints, it writes to a stream that it can fail to write to.
const BANNED: [&str; 7] = [".unwrap()", "todo!", "unimplemented!", "dbg!", "println!", "eprintln!", "print!("];

/// A file of `src/`.
struct Source {
    /// Below `src/`, with `/` between its parts.
    path: String,
    lines: Vec<String>,
    /// How many of the lines come before the unit tests.
    code_len: usize,
}

impl Source {
    /// The lines that are not for tests, with comments and strings blanked out, and their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.lines[..self.code_len].iter().enumerate().map(|(index, line)| (index + 1, without_comment_and_strings(line)))
    }

    /// `runtime` for `runtime/socket.rs`, `config` for `config.rs`.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn complaint(&self, line: usize, rule: impl std::fmt::Display) -> String {
        format!("src/{}:{line}: {rule}", self.path)
    }
}

/// What is left of a line when words that are not code are taken out of it. A string that goes over lines is not seen through.
fn without_comment_and_strings(line: &str) -> String {
    let mut kept = String::new();
    let mut letters = line.chars().peekable();
    let mut is_string = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if is_string => drop(letters.next()),
            '\'' if !is_string && letters.peek() == Some(&'"') => drop(letters.next()),
            '"' => {
                is_string = !is_string;
                kept.push('"');
            }
            '/' if !is_string && letters.peek() == Some(&'/') => break,
            _ if is_string => {}
            _ => kept.push(letter),
        }
    }
    kept
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    find_files(&root().join("src"), &mut paths);
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn find_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is part of the project").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source is UTF-8");
    let lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let tests = lines.iter().zip(lines.iter().skip(1)).position(|(line, next)| line == "#[cfg(test)]" && next.starts_with("mod "));
    let code_len = tests.unwrap_or(lines.len());
    let below = path.strip_prefix(root().join("src")).expect("it was found there");
    Source { path: below.to_string_lossy().replace('\\', "/"), lines, code_len }
}

/// Fails with all complaints, one per line.
fn check(complaints: impl Iterator<Item = String>) {
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "{} complaints\n{}\n", complaints.len(), complaints.join("\n"));
}

fn floor_of(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The modules of this crate that a line names: behind `crate::`, or behind `texto::` in the program.
fn modules_named(line: &str) -> Vec<String> {
    let behind = |root: &'static str| {
        line.match_indices(root).filter(|(at, _)| !line[..*at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before)))
    };
    let mut named = Vec::new();
    for root in ["crate::", "texto::"] {
        for (at, _) in behind(root) {
            let rest = &line[at + root.len()..];
            let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or(rest);
            let names = if group.len() < rest.len() { group.split(',').collect() } else { vec![rest] };
            named.extend(
                names.into_iter().map(|name| name.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()),
            );
        }
    }
    named
}

fn floor_complaints(source: &Source) -> Vec<String> {
    let Some(own) = floor_of(source.module()).or((source.path == "lib.rs").then_some(9)) else {
        return vec![source.complaint(1, "its module stands on no floor")];
    };
    let mut complaints = Vec::new();
    for (number, line) in source.code() {
        for module in modules_named(&line) {
            let is_neighbour = NEIGHBOURS.contains(&(source.path.as_str(), module.as_str()));
            match floor_of(&module) {
                _ if module == source.module() || is_neighbour => {}
                Some(floor) if floor < own => {}
                Some(floor) => complaints.push(source.complaint(number, format!("on floor {own} it uses {module} of floor {floor}"))),
                // A name at the root of the crate that is no module, such as a macro.
                None => complaints.push(source.complaint(number, format!("{module} stands on no floor"))),
            }
        }
    }
    complaints
}

#[test]
fn a_file_uses_only_the_floors_below_its_own() {
    check(sources().iter().flat_map(floor_complaints));
}

#[test]
fn the_floors_are_those_of_the_map() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows: Vec<&str> = map.lines().filter(|line| line.starts_with("//! | ") && line.contains("[`")).collect();
    let missing = FLOORS.iter().filter(|(module, floor)| {
        *module != "main" && !rows.iter().any(|row| row.starts_with(&format!("//! | {floor} |")) && row.contains(&format!("[`{module}`]")))
    });
    check(missing.map(|(module, floor)| format!("src/lib.rs: the table does not show {module} on floor {floor}")));
}

fn home_complaints(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in source.code() {
        let spelled = spell_out(&line);
        for (word, homes) in HOMES {
            let is_home = homes.iter().any(|home| source.path.starts_with(home));
            if spelled.iter().any(|path| contains_word(path, word)) && !is_home {
                complaints.push(source.complaint(number, format!("{} does not live here", word.trim())));
            }
        }
    }
    complaints
}

/// Whether `word` stands in `line` and is not the end of a longer one.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
}

/// The line, and each path of a `use` with braces: `use std::time::{Duration, Instant}` names `std::time::Instant`.
fn spell_out(line: &str) -> Vec<String> {
    let mut paths = vec![line.to_owned()];
    if let Some((prefix, group)) = line.trim().strip_prefix("use ").and_then(|path| path.split_once('{')) {
        let names = group.split(['{', '}', ',', ';']).map(str::trim).filter(|name| !name.is_empty());
        paths.extend(names.map(|name| format!("{prefix}{name}")));
    }
    paths
}

#[test]
fn effects_stay_in_their_homes() {
    check(sources().iter().flat_map(home_complaints));
}

#[test]
fn code_has_no_shortcuts() {
    check(sources().iter().flat_map(|source| {
        let complaints = source.code().flat_map(|(number, line)| {
            let found: Vec<&str> = BANNED.into_iter().filter(|word| contains_word(&line, word)).collect();
            found.into_iter().map(|word| source.complaint(number, format!("{word} is for tests"))).collect::<Vec<_>>()
        });
        complaints.collect::<Vec<_>>()
    }));
}

#[test]
fn functions_fit_on_a_screen() {
    check(sources().iter().flat_map(|source| {
        let mut complaints = Vec::new();
        let mut open: Vec<(usize, String)> = Vec::new();
        for (index, line) in source.lines.iter().enumerate() {
            let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
            let words: Vec<&str> = line.split_whitespace().collect();
            let signature = words.iter().take_while(|word| !word.contains('"') && !word.starts_with("//"));
            if signature.clone().any(|word| *word == "fn") && !line.ends_with(';') && !line.ends_with('}') {
                open.push((index, indent));
            } else if let Some((start, at)) = open.last()
                && *line == format!("{at}}}")
            {
                let len = index - start + 1;
                if len > FUNCTION_LINES_MAX {
                    complaints.push(source.complaint(start + 1, format!("a function of {len} lines; at most {FUNCTION_LINES_MAX}")));
                }
                open.pop();
            }
        }
        complaints.extend(open.iter().map(|(start, _)| source.complaint(start + 1, "the end of this function was not found")));
        complaints
    }));
}

#[test]
fn files_can_be_read_in_one_sitting() {
    check(
        sources().iter().filter(|source| source.code_len > FILE_LINES_MAX).map(|source| {
            source.complaint(source.code_len, format!("{} lines before its tests; at most {FILE_LINES_MAX}", source.code_len))
        }),
    );
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    check(
        sources()
            .iter()
            .filter(|source| !source.lines[0].starts_with("//! "))
            .map(|source| source.complaint(1, "it does not say what it is")),
    );
}

#[test]
fn every_file_is_a_module_that_its_parent_names() {
    let sources = sources();
    check(sources.iter().filter(|source| !["lib.rs", "main.rs"].contains(&source.path.as_str())).filter_map(|source| {
        let path = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (parent, name) = path.rsplit_once('/').unwrap_or(("lib", path));
        let declares = |line: &String| {
            let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
            line == format!("mod {name};")
        };
        let parents = [format!("{parent}.rs"), format!("{parent}/mod.rs")];
        let is_named = sources.iter().any(|other| parents.contains(&other.path) && other.lines.iter().any(declares));
        (!is_named).then(|| source.complaint(1, format!("{parent} has no `mod {name};`")))
    }));
}

#[test]
fn the_map_of_the_house_shows_every_module() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap_or_default();
    let is_shown = |module: &str, floor: u32| {
        let rows = map.lines().filter(|line| floor > 4 || line.starts_with(&format!("| {floor} |")));
        rows.into_iter().any(|row| contains_word(row, &format!("{module}.rs")) || contains_word(row, &format!("{module}/")))
    };
    let missing = FLOORS.iter().filter(|(module, floor)| !is_shown(module, *floor));
    check(missing.map(|(module, floor)| format!("ARCHITECTURE.md does not show {module} on floor {floor}")));
}

#[test]
fn every_bound_says_why_and_is_used() {
    let sources = sources();
    let limits = sources.iter().find(|source| source.path == "limits.rs").expect("every bound is in limits.rs");
    let others: Vec<&String> = sources.iter().filter(|source| source.path != "limits.rs").flat_map(|source| &source.lines).collect();
    let constants = limits.lines.iter().enumerate().filter_map(|(index, line)| {
        let (name, _) = line.strip_prefix("pub const ")?.split_once(':')?;
        Some((index, name))
    });
    check(constants.flat_map(|(index, name)| {
        let is_said = index > 0 && limits.lines[index - 1].starts_with("/// ");
        let is_used = others.iter().any(|line| contains_word(line, name));
        let no_reason = (!is_said).then(|| limits.complaint(index + 1, format!("{name} does not say why")));
        let no_use = (!is_used).then(|| limits.complaint(index + 1, format!("nothing in src/ uses {name}")));
        no_reason.into_iter().chain(no_use)
    }));
}

#[test]
fn lines_hold_nothing_that_one_cannot_see() {
    check(sources().iter().flat_map(|source| {
        let mut complaints = Vec::new();
        for (index, line) in source.lines.iter().enumerate() {
            if line.ends_with(' ') {
                complaints.push(source.complaint(index + 1, "it ends with a blank"));
            }
            if line.chars().any(|letter| letter.is_control() || ('\u{200b}'..='\u{200f}').contains(&letter) || letter == '\u{feff}') {
                complaints.push(source.complaint(index + 1, "it has a tab or another control character"));
            }
        }
        if source.lines.last().is_none_or(|last| !last.is_empty()) {
            complaints.push(source.complaint(source.lines.len(), "it does not end with the end of a line"));
        }
        complaints
    }));
}
