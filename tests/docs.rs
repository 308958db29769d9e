//! The documents tell the truth: what they list is what there is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

mod exposition;
mod node;

use std::process::Command;

const README: &str = include_str!("../README.md");

/// The flag, variable and default of each setting, as `--help` lists them.
fn settings() -> Vec<[String; 3]> {
    let output = Command::new(env!("CARGO_BIN_EXE_texto")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let lines = help.lines().filter(|line| line.trim_start().starts_with("--") && line.contains("[default: "));
    lines
        .map(|line| {
            let (names, default) = line.split_once(" [default: ").unwrap();
            let mut names = names.split_whitespace();
            let flag = names.next().unwrap().to_owned();
            [flag, names.last().unwrap().to_owned(), default.trim_end_matches(']').to_owned()]
        })
        .collect()
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let settings = settings();
    assert!(settings.len() >= 19, "{settings:?}");
    for [flag, variable, default] in settings {
        // The number of cores of this machine is no default to print.
        let default = if flag == "--loops" { "one per core".to_owned() } else { format!("`{default}`") };
        let row = format!("| `{flag}` | `{variable}` | {default} |");
        assert!(README.contains(&row), "README.md has no row {row}");
    }
}

#[test]
fn every_file_the_documents_name_exists() {
    for document in [README, include_str!("../ARCHITECTURE.md")] {
        let names = document.split('`').skip(1).step_by(2).filter(|name| {
            let is_path = name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            is_path
                && (name.ends_with('/')
                    || name
                        .rsplit_once('.')
                        .is_some_and(|(stem, end)| !stem.is_empty() && ["rs", "md", "sh", "conf", "yml", "html"].contains(&end)))
        });
        for name in names.filter(|name| !name.starts_with('/')) {
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
            let found = [root.join(name), root.join("src").join(name), root.join("tests").join(name)].iter().any(|path| path.exists());
            assert!(found, "{name} is named, but does not exist");
        }
    }
}

#[test]
fn every_metric_of_a_node_is_documented() {
    let node = node::Node::start(&[("loops", "1")]);
    let told = exposition::families(&node::Http::connect(node.admin()).get("/metrics").text());
    // This node is alone; tests/metrics.rs asks one with Redis.
    let is_of_redis = |name: &str| name.starts_with("texto_redis_");
    let complaints = exposition::check_document(include_str!("../docs/metrics.md"), &told, is_of_redis);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
