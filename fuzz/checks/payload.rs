//! Payloads from Redis: what a plain reading of the JSON finds is what Texto finds, and what Texto has read it writes so that it reads
//! the same again.

use serde::de::IgnoredAny;
use serde_json::Value;
use texto::wire::delivery::Delivery;
use texto::wire::id::ClientId;

pub(crate) fn check(payload: &[u8]) {
    let read = Delivery::parse(payload);
    if let Some((to, from, text)) = plainly(payload) {
        let delivery = read.as_ref().expect("a plain reader takes it");
        assert_eq!((delivery.to, delivery.from), (to, from));
        assert_eq!(characters(delivery), text);
    }
    let Ok(delivery) = read else { return };
    serde_json::from_slice::<IgnoredAny>(payload).expect("what is not JSON is not taken");
    let mut written = Vec::new();
    delivery.write_payload(&mut written);
    assert_eq!(written.len(), delivery.payload_len());
    assert_eq!(Delivery::parse(&written), Ok(delivery.clone()));
    let (to, from, text) = plainly(&written).expect("what Texto writes, any reader takes");
    assert_eq!((to, from, text), (delivery.to, delivery.from, characters(&delivery)));
}

fn characters(delivery: &Delivery) -> String {
    serde_json::from_str(delivery.text.borrow().as_json()).expect("a text is a string of characters")
}

/// The payload as a general reader of JSON finds it. It refuses some that Texto takes, for what stands in fields that mean nothing here.
fn plainly(payload: &[u8]) -> Option<(ClientId, ClientId, String)> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(payload).ok()?;
    let id = |name| ClientId::parse(object.get(name)?.as_str()?.as_bytes());
    Some((id("RecipientID")?, id("SenderID")?, object.get("Text")?.as_str()?.to_owned()))
}
