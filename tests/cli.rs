//! The program from outside: what it prints, where, and how it ends. The settings themselves are tested where they are read.

use std::process::{Command, Output};

/// Runs texto with `arguments` and, of the environment, `variables` alone.
fn texto(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_texto"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).output().expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("texto prints UTF-8")
}

/// It ends well, says nothing on standard error, and prints lines of which one begins with each of `expected`.
fn check_print(arguments: &[&str], variables: &[(&str, &str)], expected: &[&str]) {
    let output = texto(arguments, variables);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{arguments:?}");
    for begin in expected {
        assert!(text(&output.stdout).lines().any(|line| line.starts_with(begin)), "{begin} in {}", text(&output.stdout));
    }
}

/// It ends with exit code 2 and this one line on standard error.
fn check_refusal(arguments: &[&str], variables: &[(&str, &str)], line: &str) {
    let output = texto(arguments, variables);
    assert_eq!(text(&output.stderr), format!("{line}\n"), "{arguments:?} {variables:?}");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{arguments:?} {variables:?}");
}

#[test]
fn version_is_one_line() {
    let output = texto(&["--version"], &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "texto 0.1.0\n"));
}

#[test]
fn help_fits_into_100_columns_and_lists_every_group() {
    let expected = ["Usage: texto", "Addresses:", "  --port PORT", "Capacity:", "Messages:", "Times:", "Log:", "  --check-config"];
    check_print(&["--help"], &[], &expected);
    assert!(text(&texto(&["--help"], &[]).stdout).lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn a_check_prints_the_effective_settings_without_passwords() {
    let variables = [("PORT", "9000"), ("TEXTO_DRAIN_TIME", ""), ("REDIS_URL", "redis://:hunter2@127.0.0.1:6379")];
    let expected = ["HOST=* (default)", "PORT=9000 (PORT)", "TEXTO_LOOPS=3 (--loops)", "TEXTO_DRAIN_TIME=10s (default)", "REDIS_URL="];
    check_print(&["--check-config", "--loops=3"], &variables, &expected);
    assert!(!text(&texto(&["--check-config"], &variables).stdout).contains("hunter2"));
}

#[test]
fn a_check_warns_of_variables_that_are_not_settings() {
    let output =
        texto(&["--check-config"], &[("TEXTO_PROT", "1"), ("TEXTO_PORT", "tcp://10.0.0.1:8398"), ("TEXTO_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "texto: TEXTO_PROT is not a setting and is ignored; texto --help lists them\n");
}

#[test]
fn a_wrong_setting_ends_the_start_with_one_line() {
    check_refusal(&[], &[("PORT", "70000")], "texto: PORT is \"70000\": a port from 0 to 65535 is allowed");
    check_refusal(&["--port", "x"], &[("PORT", "1")], "texto: --port is \"x\": a port from 0 to 65535 is allowed");
    check_refusal(&["--port"], &[], "texto: --port has no value: a port from 0 to 65535 is allowed");
    check_refusal(&["--port=1", "--port=1"], &[], "texto: --port is given twice: once is allowed");
    check_refusal(&["--colour"], &[], "texto: \"--colour\" is not a flag: those that texto --help lists are allowed");
    check_refusal(&["--check-config"], &[("TEXTO_LOOPS", "0")], "texto: TEXTO_LOOPS is \"0\": a number from 1 to 256 is allowed");
    let outbox = "texto: TEXTO_OUTBOX_SIZE is \"1KiB\": at least 257KiB is allowed, 1KiB more than --message-size, which is \"256KiB\"";
    check_refusal(&[], &[("TEXTO_OUTBOX_SIZE", "1024")], outbox);
}
