//! What a Sentinel says: where the master is, asked or unasked.
//!
//! ```text
//!  SENTINEL GET-MASTER-ADDR-BY-NAME main      →  ["10.0.0.1", "6379"], or nothing when it knows no such master
//!  SUBSCRIBE +switch-master                   →  "main 10.0.0.1 6379 10.0.0.2 6379": from here to there
//! ```

use redis::{Connection, FromRedisValue, RedisError, Value};

use super::group::Spot;
use super::link::Failure;

/// The channel on which a Sentinel tells that a master has changed.
pub(super) const SWITCH_CHANNEL: &str = "+switch-master";

/// Asks where the master of this name is.
pub(super) fn ask(connection: &mut Connection, master_name: &str) -> Result<Spot, Failure> {
    let question = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master_name).get_packed_command();
    connection.send_packed_command(&question)?;
    read_answer(connection.recv_response()?, master_name)
}

fn read_answer(answer: Value, master_name: &str) -> Result<Spot, Failure> {
    match answer {
        Value::Nil => Err(Failure::new(format!("it knows no master of the name {master_name}"))),
        Value::ServerError(error) => Err(RedisError::from(error).into()),
        answer => {
            let words: Option<(String, String)> = FromRedisValue::from_redis_value(answer).ok();
            let spot = words.and_then(|(host, port)| spot(&host, &port));
            spot.ok_or_else(|| Failure::new("it names no address that can be read"))
        }
    }
}

/// Where the master of this name is now, if this news is about it.
pub(super) fn read_news(payload: &[u8], master_name: &str) -> Option<Spot> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    if words.next()? != master_name {
        return None;
    }
    let [_old_host, _old_port, host, port] = [words.next()?, words.next()?, words.next()?, words.next()?];
    spot(host, port)
}

fn spot(host: &str, port: &str) -> Option<Spot> {
    let port = port.parse().ok().filter(|&port| port != 0)?;
    // It goes into the log, and to the resolver.
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic());
    is_host.then(|| Spot { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_address_or_a_reason() {
        let check = |resp: &str, expected: Result<&str, &str>| {
            let answer = read_answer(redis::parse_redis_value(resp.as_bytes()).unwrap(), "main");
            match (answer, expected) {
                (Ok(spot), Ok(shown)) => assert_eq!(spot.to_string(), shown),
                (Err(failure), Err(words)) => assert!(failure.to_string().contains(words), "{resp}: {failure}"),
                (answer, expected) => panic!("{resp}: {answer:?} instead of {expected:?}"),
            }
        };
        check("*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n", Ok("10.0.0.1:6379"));
        check("*2\r\n$3\r\n::1\r\n$4\r\n6379\r\n", Ok("[::1]:6379"));
        check("*2\r\n$5\r\nredis\r\n$4\r\n6379\r\n", Ok("redis:6379"));
        check("*-1\r\n", Err("no master of the name main"));
        check("-NOAUTH Authentication required.\r\n", Err("Authentication required"));
        for odd in [
            "*2\r\n$5\r\nredis\r\n$1\r\n0\r\n",
            "*2\r\n$0\r\n\r\n$1\r\n7\r\n",
            "*2\r\n$3\r\na\nb\r\n$1\r\n7\r\n",
            "*1\r\n$1\r\na\r\n",
            "+OK\r\n",
        ] {
            check(odd, Err("no address that can be read"));
        }
    }

    #[test]
    fn news_are_about_one_master() {
        let check = |payload: &str, shown: Option<&str>| {
            assert_eq!(read_news(payload.as_bytes(), "main").map(|spot| spot.to_string()).as_deref(), shown, "{payload}");
        };
        check("main 10.0.0.1 6379 10.0.0.2 6380", Some("10.0.0.2:6380"));
        check("main2 10.0.0.1 6379 10.0.0.2 6380", None);
        check("main 10.0.0.1 6379 10.0.0.2", None);
        check("main 10.0.0.1 6379 10.0.0.2 x", None);
        check("", None);
    }
}
