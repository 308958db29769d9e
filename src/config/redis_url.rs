//! The address of Redis as the operator wrote it, kept until the broker reads it.

use std::fmt;

/// Text that stands for a Redis; it may hold a password and never shows it.
#[derive(Clone)]
pub struct Address(String);

impl Address {
    /// Takes what has a form that an address can have, or says what is allowed.
    pub fn parse(text: &str) -> Result<Address, String> {
        let schemes = ["redis://", "rediss://", "unix://", "redis+sentinel://"];
        let is_url = schemes.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.ends_with('@')));
        let is_bare = !text.contains("://") && text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if is_url || is_bare {
            return Ok(Address(text.to_owned()));
        }
        Err("redis://, rediss://, unix://, redis+sentinel:// or host:port is allowed".to_owned())
    }
}

/// The scheme alone, because what else is not a password is not known here.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.split_once("://").map_or("redis", |(scheme, _)| scheme);
        write!(f, "{scheme}://***")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
