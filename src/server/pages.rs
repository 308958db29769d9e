//! The pages of the clients' port, and what a browser is told about them: what may run, and whether the copy that it has is still good.
//!
//! Policy and entity tags are made from the pages themselves when the node starts, so they cannot say anything else than what is served.

use std::borrow::Cow;
use std::sync::LazyLock;

use ring::digest::{SHA256, digest};

use crate::runtime::health;
use crate::wire::upgrade::Page;

const CLIENT: &str = include_str!("../../client/index.html");
const LIBRARY: &str = include_str!("../../client/texto.js");

/// The pages that clients can ask for.
pub(super) static PAGES: LazyLock<[(&str, Page); 3]> = LazyLock::new(|| {
    [
        ("/", validated("text/html; charset=utf-8", client_policy(CLIENT), CLIENT)),
        ("/texto.js", validated("text/javascript; charset=utf-8", "", LIBRARY)),
        ("/health", health::ALIVE),
    ]
});

/// A page that a browser may keep, and asks about before it uses it again: page and library have to be of one version.
fn validated(content_type: &'static str, extra_fields: &'static str, text: &'static str) -> Page {
    Page {
        status: "200 OK",
        content_type,
        extra_fields,
        entity_tag: leak(format!("\"{}\"", sha256(text))),
        body: Cow::Borrowed(text.as_bytes()),
    }
}

/// What may run of the browser client: its own style and script, by their hashes, and the library. What it may reach: the node that it
/// came from. Where a browser knows Trusted Types, no text can become markup or script at all.
fn client_policy(page: &str) -> &'static str {
    let (style, script) = (sha256(between(page, "<style>", "</style>")), sha256(between(page, "<script type=\"module\">", "</script>")));
    leak(format!(
        "Content-Security-Policy: default-src 'none'; script-src 'self' 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'\r\n\
         Referrer-Policy: no-referrer\r\n"
    ))
}

/// Made once, and used until the process ends.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// What stands between the first `open` and the `close` behind it.
fn between<'a>(page: &'a str, open: &str, close: &str) -> &'a str {
    let inner = page.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    inner.map_or("", |(inner, _)| inner)
}

/// In Base64, as policies want it.
fn sha256(text: &str) -> String {
    data_encoding::BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_hashes_of_the_page_that_it_is_for() {
        // The hash of nothing, and that of "abc" from FIPS 180-2.
        let (nothing, abc) = ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        let check = |page: &str, style: &str, script: &str| {
            let policy = client_policy(page);
            assert!(policy.contains(&format!("style-src 'sha256-{style}';")), "{policy}");
            assert!(policy.contains(&format!("script-src 'self' 'sha256-{script}';")), "{policy}");
        };
        check("<style>abc</style><script type=\"module\"></script>", abc, nothing);
        check("<style></style><script type=\"module\">abc</script><script>no</script>", nothing, abc);
    }

    #[test]
    fn the_browser_client_and_its_library_are_light() {
        let weight = CLIENT.len() + LIBRARY.len();
        assert!(weight < 60_000, "{weight} bytes");
    }

    #[test]
    fn the_browser_client_has_one_style_and_one_script_and_loads_nothing_but_the_library() {
        for once in ["<style", "</style>", "<script", "</script>", "texto.js'"] {
            assert_eq!(CLIENT.matches(once).count(), 1, "{once}");
        }
        for never in [" style=", " src=", "@import", "url(", "innerHTML", "eval("] {
            assert!(!CLIENT.contains(never), "{never}");
        }
    }
}
