//! How a node is, in one line of JSON: `/health` for whoever would restart it, `/ready` for whoever would send it clients.
//!
//! ```text
//!  /health   200 {"status":"alive"}                                   as long as there is somebody to say it
//!  /ready    200 {"status":"ready"}
//!            200 {"status":"ready","degraded":["redis: …"]}           new clients are welcome, but are cut off from other nodes
//!            503 {"status":"unready","reasons":["draining","redis: …"]}
//! ```
//!
//! Whether Redis is a reason or only told is the operator's decision. Neither page ever closes a connection: a client that is here is better
//! off here than among those that look for a new place.

use std::borrow::Cow;

use crate::wire::upgrade::Page;

/// The node serves.
pub const ALIVE: Page = page("200 OK", Cow::Borrowed(b"{\"status\":\"alive\"}\n"));

/// Whether new clients should be sent here, when these are the `troubles` with Redis.
pub fn ready(is_draining: bool, troubles: &[&'static str], requires_redis: bool) -> Page {
    let told = if requires_redis { troubles } else { &[] };
    let reasons: Vec<&str> = is_draining.then_some("draining").into_iter().chain(told.iter().copied()).collect();
    if !reasons.is_empty() {
        let body = format!("{{\"status\":\"unready\",\"reasons\":{}}}\n", list(&reasons));
        return page("503 Service Unavailable", Cow::Owned(body.into_bytes()));
    }
    let degraded = if troubles.is_empty() { String::new() } else { format!(",\"degraded\":{}", list(troubles)) };
    page("200 OK", Cow::Owned(format!("{{\"status\":\"ready\"{degraded}}}\n").into_bytes()))
}

const fn page(status: &'static str, body: Cow<'static, [u8]>) -> Page {
    Page { status, content_type: "application/json", extra_fields: "", entity_tag: "", body }
}

fn list(words: &[&str]) -> String {
    serde_json::to_string(words).expect("words are a list of strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_ready_says_every_reason() {
        let check = |is_draining, troubles: &[&'static str], requires_redis, status: &str, body: &str| {
            let page = ready(is_draining, troubles, requires_redis);
            assert_eq!((&page.status[..3], String::from_utf8_lossy(&page.body).trim_end()), (status, body));
        };
        let troubles = ["redis: one", "redis: two"];
        for requires_redis in [false, true] {
            check(false, &[], requires_redis, "200", r#"{"status":"ready"}"#);
            check(true, &[], requires_redis, "503", r#"{"status":"unready","reasons":["draining"]}"#);
        }
        check(false, &troubles, false, "200", r#"{"status":"ready","degraded":["redis: one","redis: two"]}"#);
        check(false, &troubles, true, "503", r#"{"status":"unready","reasons":["redis: one","redis: two"]}"#);
        check(true, &troubles, true, "503", r#"{"status":"unready","reasons":["draining","redis: one","redis: two"]}"#);
        check(true, &troubles, false, "503", r#"{"status":"unready","reasons":["draining"]}"#);
    }
}
