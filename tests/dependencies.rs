//! What Texto is made of may be shipped: every crate comes from crates.io, under a licence that `deny.toml` allows.
//!
//! `cargo deny check` reads the same file and knows more, advisories above all; this needs nothing but cargo, so it runs everywhere.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

const DENY: &str = include_str!("../deny.toml");

/// The lock files of all workspaces here.
const LOCKS: [&str; 3] = [include_str!("../Cargo.lock"), include_str!("../fuzz/Cargo.lock"), include_str!("../perf/peers/Cargo.lock")];

/// The licences that `deny.toml` allows.
fn allowed() -> Vec<LicenseReq> {
    let (_, list) = DENY.split_once("\nallow = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let names = list.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty());
    // One licence is the shortest expression.
    names.map(|name| Expression::parse(name).unwrap().requirements().next().unwrap().req.clone()).collect()
}

/// The crates that Texto is built of on this platform.
fn crates() -> Vec<Value> {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let platform = String::from_utf8(rustc).unwrap().lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned)).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform", &platform])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let allowed = allowed();
    assert!(allowed.len() > 3, "{allowed:?}");
    let crates = crates();
    assert!(crates.len() > 50, "only {} crates", crates.len());
    for package in crates {
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{} names no licence", package["name"]));
        // Some still write `MIT/Apache-2.0`.
        let expression = Expression::parse_mode(licence, ParseMode::LAX).unwrap();
        assert!(expression.evaluate(|asked| allowed.contains(asked)), "{}: {licence} is not allowed", package["name"]);
    }
}

#[test]
fn every_crate_comes_from_one_registry_with_its_checksum() {
    for lock in LOCKS {
        let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
        assert!(packages.len() > 20);
        for package in packages {
            let has = |start: &str| package.lines().any(|line| line.starts_with(start));
            let is_ours = ["name = \"texto\"", "name = \"texto-perf\"", "name = \"texto-peers\"", "name = \"texto-fuzz\""]
                .iter()
                .any(|name| has(name));
            let is_public = has("source = \"registry+") && package.contains("crates.io-index\"") && has("checksum = \"");
            assert!(is_ours != is_public, "{package}");
        }
    }
}
