//! Two nodes behind a real nginx, with a real Redis between them: who comes through its port finds the same server.
//!
//! The conversations of `tests/transcripts/*.txt` are played once more, through nginx; their clients are shared out between both nodes, so
//! what they say to each other goes through Redis. Left out are those that are not for a real server, and those that say
//! `not through nginx: REASON`: there nginx answers in a node's stead, or has a second node to ask.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod nginx;
mod node;
mod redis;

#[path = "support/frames.rs"]
mod frames;
#[path = "support/names.rs"]
mod names;
#[path = "support/server.rs"]
#[allow(dead_code, reason = "the nodes of this test are started by others")]
mod server;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/transcript.rs"]
mod transcript;
#[path = "support/world.rs"]
#[allow(dead_code, reason = "this test has no hub of its own")]
mod world;

use std::collections::{BTreeSet, HashMap};
use std::fs;

use nginx::Nginx;
use node::{Client, Node, eventually};
use redis::Redis;
use server::ServerWorld;
use transcript::Transcript;

/// An nginx, and the nodes behind it.
struct Deployment {
    nginx: Nginx,
    nodes: [Node; 2],
}

impl Deployment {
    fn start(redis_url: &str, settings: &[(&str, &str)]) -> Deployment {
        let nodes = [(); 2].map(|()| Node::start(&[&[("REDIS_URL", redis_url), ("TEXTO_LOOPS", "2")], settings].concat()));
        let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
        Deployment { nginx: Nginx::start(&addresses), nodes }
    }

    /// The same, with both nodes connected to Redis.
    fn joined(redis: &Redis, settings: &[(&str, &str)]) -> Deployment {
        let deployment = Deployment::start(&redis.url(), settings);
        for node in &deployment.nodes {
            eventually("the node is connected to Redis", || {
                (node.metric("redis_publisher_up"), node.metric("redis_subscriber_up")) == (1, 1)
            });
        }
        deployment
    }

    fn client(&self) -> Client {
        Client::connect(self.nginx.address())
    }
}

/// The transcripts for a real server.
fn transcripts() -> Vec<Transcript> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()));
    let all = files.flat_map(|(name, text)| transcript::parse_file(&name, &text));
    all.filter(|transcript| transcript.hub_only.is_none()).collect()
}

#[test]
fn transcripts_hold_through_nginx_before_two_nodes() {
    let redis = Redis::start(&[]);
    let mut deployments: HashMap<Vec<(String, String)>, Deployment> = HashMap::new();
    let mut failed = Vec::new();
    for transcript in transcripts() {
        if let Some(why) = &transcript.not_proxied {
            println!("not through nginx: {}: {why}", transcript.claim);
            continue;
        }
        let deployment = deployments.entry(transcript.settings.clone()).or_insert_with(|| {
            let (redis_settings, others): (Vec<_>, Vec<_>) = transcript.settings.iter().partition(|(name, _)| name == "redis");
            let others: Vec<_> = others.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            // The port of discard on loopback: nothing listens there.
            if redis_settings.is_empty() { Deployment::joined(&redis, &others) } else { Deployment::start("redis://127.0.0.1:9", &others) }
        });
        let address = deployment.nginx.address().to_string();
        if let Err(why) = talk::play(&transcript, &mut ServerWorld::proxied(&address)) {
            failed.push(format!("not true through nginx: {}\n  {why}\n", transcript.claim));
        }
    }
    let crossed = |node: &Node| node.metric("redis_received_total") > 0;
    assert!(deployments[&Vec::new()].nodes.iter().all(crossed), "the clients of a transcript are on both nodes");
    assert!(failed.is_empty(), "{} transcripts failed\n\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_stopping_node_moves_its_clients_to_the_other_and_those_of_the_other_notice_nothing() {
    let redis = Redis::start(&[]);
    let mut deployment = Deployment::joined(&redis, &[("drain-time", "1s")]);
    let tag = |client: &Client| client.id()[..6].to_owned();
    let mut clients: Vec<Client> = (0..20).map(|_| deployment.client()).collect();
    assert_eq!(clients.iter().map(tag).collect::<BTreeSet<_>>().len(), 2, "nginx shares its clients out");
    let stopping = tag(&deployment.nodes[0].client());
    let (leaving, mut staying): (Vec<Client>, Vec<Client>) = clients.drain(..).partition(|client| tag(client) == stopping);
    deployment.nodes[0].terminate();
    let mut moved: Vec<Client> = leaving
        .into_iter()
        .map(|mut client| {
            assert_eq!(client.expect_close(), Some(1012));
            client.expect_end();
            deployment.client()
        })
        .collect();
    assert!(deployment.nodes[0].wait().success());
    for client in &mut moved {
        assert_ne!(tag(client), stopping, "nobody is sent to a node that stops");
        client.deliver(staying[0].id(), "I have moved");
        assert_eq!(staying[0].receive(), "I have moved");
    }
    staying.iter_mut().for_each(Client::check);
}
