//! Conversations as text, which double as documentation of the protocol: `tests/transcripts/*.txt`.
//!
//! Each is played over a [`texto::hub::Hub`] without sockets under a clock that is moved by hand, three times: the clients' bytes come as
//! they were sent, one by one, and joined. Then it is played over the program itself on a free port, unless it lets time pass or needs
//! a Redis, because no test may sleep. In `tests/proxied.rs` the same is played through an nginx before two nodes. `TEXTO_TRANSCRIPT=words` plays only those whose claim holds these words.
//!
//! # Grammar
//!
//! ```text
//! # …                        a comment
//! == CLAIM                   a transcript begins, which shows that this sentence is true
//! with NAME VALUE            a setting other than its default, by the name of its flag;
//! with redis down            there should be other nodes, but Redis cannot be reached
//! with redis toy             there are other nodes; the lines `redis …` say what Redis does (only for the hub)
//! only the hub: REASON       not for a real server
//! not through nginx: REASON  not for a real server behind nginx, see `tests/proxied.rs`
//!
//! A connects ?nogreet=1      opens a WebSocket and is answered 101; the query may be missing
//! A joins                    connects, and is told its session, which is `$A` from then on
//! A requests LINE | LINE     sends the head of an HTTP request; with ` ...` at its end, the head is not whole
//! A half-closes              closes its sending side
//! A hangs up                 closes its socket
//! A stops reading            leaves what comes where it is, until
//! A reads again
//!
//! A> {…}                     sends one text message
//! A> text …                  the same for a text that is no object
//! A> binary 00 ff            a binary message
//! A> ping … / A> pong …      with this payload
//! A> close 1000 …            with this code and reason, both of which may be missing
//! A> begin … more … last …   fragments of a text, each a line of its own
//! A> frame 81 00 ff          a masked frame by its first byte and its payload
//! A> bytes 00 ff             bytes; from a client that is not there they are the first on a new connection
//!
//! A< {…}                     gets this text message next
//! A< ping / A< pong … / A< close 1000
//! A< ... close 1008          gets messages, however many, and then this
//! A< HTTP 404 | Name: value  gets a response with this status and these fields; `*` in a value stands for anything; `Body` is its body
//! A< end                     the server has closed its side
//! A< nothing                 nothing is there to be read
//! A< … within 3s             waits as long for it
//!
//! after 30s                  time passes
//! drain 10s                  the node closes its connections, spread over this time
//! redis takes CHANNEL {…}    takes the oldest message that waits; it has to be on this channel and this payload, if they are given
//! redis refuses / stalls     answers it with an error / does not answer it
//! redis brings {…}           brings a message of another node
//! 60 times LINE
//! ```
//!
//! In texts, `$A` stands for the session of A as a JSON string, `#1` for an id that a client chose, `*` for one that has not been seen
//! before, `"..."` for any string with something in it, and `(ab*3)` for `ababab`. `$A.upper` and `#1.upper` are in capitals,
//! `$A.bare` and `#1.bare` without quotes. Everything else is compared byte by byte.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/names.rs"]
mod names;
#[path = "support/server.rs"]
#[allow(dead_code, reason = "no proxy here")]
mod server;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/transcript.rs"]
mod transcript;
#[path = "support/world.rs"]
mod world;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use server::{Server, ServerWorld};
use transcript::Transcript;
use world::{Cut, HubWorld};

/// The transcripts of all files, without those that were not asked for.
fn transcripts() -> Vec<Transcript> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let entries = fs::read_dir(folder).expect("the transcripts are part of the project");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let wanted = std::env::var("TEXTO_TRANSCRIPT").unwrap_or_default();
    let all: Vec<Transcript> = paths.iter().flat_map(|path| read(path)).filter(|transcript| transcript.claim.contains(&wanted)).collect();
    assert!(!all.is_empty(), "no claim holds the words {wanted:?}");
    all
}

fn read(path: &Path) -> Vec<Transcript> {
    let text = fs::read_to_string(path).expect("a transcript is UTF-8");
    transcript::parse_file(&path.file_name().unwrap_or_default().to_string_lossy(), &text)
}

/// Plays every transcript and reports all that failed, not just the first.
fn check(transcripts: &[Transcript], mut play: impl FnMut(&Transcript) -> Result<(), String>) {
    let failed: Vec<String> = transcripts
        .iter()
        .filter_map(|transcript| play(transcript).err().map(|why| format!("not true: {}\n  {why}\n", transcript.claim)))
        .collect();
    assert!(failed.is_empty(), "{} of {} transcripts failed\n\n{}", failed.len(), transcripts.len(), failed.join("\n"));
}

#[test]
fn transcripts_hold_over_a_hub_without_sockets() {
    check(&transcripts(), |transcript| {
        for cut in [Cut::Whole, Cut::Single, Cut::Joined] {
            let mut world = HubWorld::new(&transcript.settings, cut);
            talk::play(transcript, &mut world).map_err(|why| format!("{why}\n    (bytes come {cut:?})"))?;
        }
        Ok(())
    });
}

#[test]
fn transcripts_hold_over_a_real_server() {
    let (hub_only, for_both): (Vec<_>, Vec<_>) = transcripts().into_iter().partition(|transcript| transcript.hub_only.is_some());
    for transcript in &hub_only {
        println!("only over the hub, because it {}: {}", transcript.hub_only.as_deref().unwrap_or_default(), transcript.claim);
    }
    // One server for each set of settings.
    let mut servers: HashMap<Vec<(String, String)>, Server> = HashMap::new();
    check(&for_both, |transcript| {
        if !servers.contains_key(&transcript.settings) {
            servers.insert(transcript.settings.clone(), Server::start(&transcript.settings)?);
        }
        talk::play(transcript, &mut ServerWorld::new(servers[&transcript.settings].address()))
    });
}
