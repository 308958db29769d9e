//! The checks of `fuzz/`, as a plain test: on every seed that is kept there, and on bytes made from the seeds by dice.
//!
//! libFuzzer finds more, because it sees which code its bytes reach (`fuzz/README.md`); this needs no flags of its own and takes seconds,
//! so it runs with every change. `TEXTO_SEED=7 cargo test --test fuzz` plays one round of each again.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "../fuzz/checks/mod.rs"]
#[allow(dead_code, reason = "the checks share modules with other tests")]
mod checks;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "not every test throws every die")]
mod random;

use std::fs;
use std::path::Path;

use random::{Epitaph, Random};

const ROUNDS: u64 = 100_000;

/// Bytes of the longest input: long enough for all three forms of a frame's length.
const BYTES_MAX: usize = 4096;

/// Words that dice alone would never spell.
const WORDS: [&[u8]; 28] = [
    b"\r\n",
    b"\r\n\r\n",
    b"Connection: Upgrade\r\n",
    b"Content-Length: 1\r\n",
    b"HTTP/1.0",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"/v1/texto?nogreet=1",
    b"\"client_id\":",
    b"\"data\":{",
    b"\"kind\":\"send\"",
    b"\"receiver_id\":",
    b"\"text\":\"",
    b"\"Text\":\"",
    b"\\ud800",
    b"\\udc00",
    b"\\u0000",
    b"[[[[[[[[",
    b"null",
    b"1e9999",
    b"\x81\xfe\xff\xff",
    b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x88\x82\x00\x00\x00\x00",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b" 65535",
];

/// The seeds of a target, which are some.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // In one order on every machine, so that a round is the same everywhere.
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seeds");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Something like one of the seeds, or like two.
fn like(seeds: &[Vec<u8>], dice: &mut Random) -> Vec<u8> {
    let mut bytes = dice.pick(seeds).clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let to = at + dice.below(bytes.len() - at + 1).min(16);
        match dice.below(7) {
            0 => drop(bytes.splice(at..at, dice.pick(&WORDS).iter().copied())),
            1 => drop(bytes.drain(at..to)),
            2 => drop(bytes.splice(at..at, bytes[at..to].to_vec())),
            3 => {
                let other = dice.pick(seeds);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
            4 => bytes.insert(at, dice.bits() as u8),
            5 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            _ if at < bytes.len() => bytes[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'}', b':']),
            _ => {}
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn check(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| check(seed));
    for round in random::seeds(ROUNDS) {
        let epitaph = Epitaph(round);
        check(&like(&seeds, &mut Random::new(round)));
        drop(epitaph);
    }
}

#[test]
fn frames_mean_the_same_however_they_are_cut_and_whoever_reads_them() {
    check("frame", checks::frame::check);
}

#[test]
fn heads_are_understood_whole_or_not_at_all() {
    check("upgrade", checks::upgrade::check);
}

#[test]
fn envelopes_mean_what_a_plain_reader_finds() {
    check("envelope", checks::envelope::check);
}

#[test]
fn payloads_mean_what_a_plain_reader_finds() {
    check("payload", checks::payload::check);
}

#[test]
fn proxy_headers_are_understood_whole_or_not_at_all() {
    check("proxy", checks::proxy::check);
}

#[test]
fn a_hub_keeps_its_invariants_whatever_its_clients_do() {
    check("hub", checks::hub::check);
}
