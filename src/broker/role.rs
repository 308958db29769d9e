//! What a Redis is in its group. Only a master passes on what is published to everybody: publishing at a replica succeeds, and reaches
//! those alone who listen there.

use redis::{Connection, ErrorKind, RedisError, ServerErrorKind, Value};

use super::link::Failure;

/// The question, as RESP.
pub(super) const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

/// Asks for the role; fails unless it is that of a master.
pub(super) fn check_master(connection: &mut Connection) -> Result<(), Failure> {
    connection.send_packed_command(ROLE)?;
    check_role(connection.recv_response()?)
}

/// Whether what is published at a Redis that says this of its role reaches anybody.
pub(super) fn check_role(answer: Value) -> Result<(), Failure> {
    let role = match answer {
        Value::Array(role) => role,
        // Not allowed to ask, or a proxy that does not know the question: the operator's decision, and no sign of a replica.
        Value::ServerError(error) => match RedisError::from(error) {
            error if matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError)) => return Ok(()),
            error => return Err(error.into()),
        },
        other => return Err(Failure::new(format!("it answered ROLE with {other:?}"))),
    };
    let Some(Value::BulkString(name)) = role.first() else { return Ok(()) };
    match name.as_slice() {
        b"slave" | b"replica" => {
            Err(Failure::elsewhere("it is a replica, and what is published at a replica reaches nobody; only a master serves"))
        }
        b"sentinel" => Err(Failure::elsewhere("it is a Sentinel; such an address begins with redis+sentinel://")),
        // "master", or what a relative of Redis calls one.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_replica_and_a_sentinel_are_no_place_to_publish() {
        let check = |resp: &str, reason: &str| match check_role(redis::parse_redis_value(resp.as_bytes()).unwrap()) {
            Ok(()) => assert_eq!(reason, "", "{resp}"),
            Err(failure) => assert!(!reason.is_empty() && failure.to_string().contains(reason), "{resp}: {failure}"),
        };
        check("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", "");
        check("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:1\r\n", "replica");
        check("*2\r\n$8\r\nsentinel\r\n*0\r\n", "Sentinel");
        check("-NOPERM this user has no permissions to run the 'role' command\r\n", "");
        check("-ERR unknown command 'ROLE'\r\n", "");
        check("-NOAUTH Authentication required.\r\n", "Authentication required");
        check("-LOADING Redis is loading the dataset in memory\r\n", "loading");
        check("+OK\r\n", "answered ROLE");
    }

    #[test]
    fn the_question_is_a_resp_command() {
        assert_eq!(redis::cmd("ROLE").get_packed_command(), ROLE);
    }
}
