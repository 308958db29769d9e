//! The publisher's connection: commands go out together, answers come back one by one.
//!
//! The redis crate would read a pipeline's answers in one call, but waits its timeout once per command when Redis stalls. So the commands
//! are written here as RESP (an array of bulk strings each) into one buffer and sent with one write, and each answer is waited for until
//! the deadline of its own message.
//!
//! Invariant: after any [`Failure`] the connection is dropped: the client counts each read that failed, and would throw as many answers
//! away. That includes a read that a signal interrupted, so signals are the main thread's business (the kernel prefers it as well).

use std::io::Write;
use std::time::{Duration, Instant};

use redis::{Connection, ErrorKind, RedisError, ServerErrorKind, Value};

use super::address::Address;
use super::link::{self, Failure};
use crate::limits::{PIPELINE_BYTES_KEPT, PIPELINE_PIECE_BYTES};
use crate::wire::delivery::{CHANNEL_LEN, Delivery};

/// Time after which Redis is asked for its role again, with the next batch or alone: so a dead, stalled or demoted Redis is found when
/// nothing is sent. A request per second costs it nothing.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Read timeouts are set in steps of this part of the answer timeout, so a batch that Redis answers promptly costs no call to set one.
const TIMEOUT_STEPS: u32 = 16;

const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

/// A connection to a Redis that passes on what is published.
pub(super) struct Pipeline {
    connection: Connection,
    buffer: Vec<u8>,
    answer_timeout: Duration,
    read_timeout: Duration,
    check_due: Instant,
}

/// What Redis said to one message.
pub(super) type Answer = Result<(), RedisError>;

impl Pipeline {
    /// Connects, and makes sure that this is no replica: publishing there succeeds and reaches nobody.
    pub(super) fn connect(address: &Address, answer_timeout: Duration) -> Result<Pipeline, Failure> {
        let mut connection = link::connect(address)?;
        connection.send_packed_command(ROLE)?;
        check_role(connection.recv_response()?)?;
        // Half of the time, because a write takes up to two of these: what fits into the socket, and the rest that does not.
        connection.set_write_timeout(Some(answer_timeout / 2))?;
        connection.set_read_timeout(Some(answer_timeout))?;
        let check_due = Instant::now() + CHECK_INTERVAL;
        Ok(Pipeline { connection, buffer: Vec::new(), answer_timeout, read_timeout: answer_timeout, check_due })
    }

    /// When Redis should be asked for its role again.
    pub(super) fn check_due(&self) -> Instant {
        self.check_due
    }

    /// Adds the command that publishes `delivery`.
    pub(super) fn add(&mut self, delivery: &Delivery) {
        write_publish(&mut self.buffer, delivery);
    }

    /// Sends what was added, and the question for the role if it is due; whether it was. A Redis that takes it too slowly is given up.
    pub(super) fn send(&mut self, now: Instant) -> Result<bool, Failure> {
        let is_check = now >= self.check_due;
        if is_check {
            self.check_due = now + CHECK_INTERVAL;
            self.buffer.extend_from_slice(ROLE);
        }
        let due = now + self.answer_timeout;
        // In pieces, because the time limit of the socket begins anew whenever it takes a byte.
        for (index, piece) in self.buffer.chunks(PIPELINE_PIECE_BYTES).enumerate() {
            if index > 0 && Instant::now() >= due {
                return Err(Failure::new("it does not take what is sent in time".to_owned()));
            }
            self.connection.send_packed_command(piece)?;
        }
        self.buffer.clear();
        self.buffer.shrink_to(PIPELINE_BYTES_KEPT);
        Ok(is_check)
    }

    /// The answer to the next message, in the order in which they were added.
    pub(super) fn answer(&mut self, due: Instant) -> Result<Answer, Failure> {
        match self.receive(due)? {
            Value::Int(_) => Ok(Ok(())),
            Value::ServerError(error) => Ok(Err(error.into())),
            other => Err(Failure::new(format!("it answered PUBLISH with {other:?}"))),
        }
    }

    /// The answer to the question for the role, which comes after all others.
    pub(super) fn check(&mut self, due: Instant) -> Result<(), Failure> {
        check_role(self.receive(due)?)
    }

    fn receive(&mut self, due: Instant) -> Result<Value, Failure> {
        let left = due.saturating_duration_since(Instant::now());
        let timeout = round_up(left, self.answer_timeout / TIMEOUT_STEPS);
        if timeout.is_zero() {
            return Err(Failure::new("it did not answer in time"));
        }
        if timeout != self.read_timeout {
            self.connection.set_read_timeout(Some(timeout))?;
            self.read_timeout = timeout;
        }
        Ok(self.connection.recv_response()?)
    }
}

fn round_up(time: Duration, step: Duration) -> Duration {
    step * u32::try_from(time.as_nanos().div_ceil(step.as_nanos().max(1))).unwrap_or(u32::MAX)
}

/// Whether what is published at a Redis that says this of its role reaches anybody.
fn check_role(answer: Value) -> Result<(), Failure> {
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
            Err(Failure::new("it is a replica, and what is published at a replica reaches nobody; give the address of the master"))
        }
        b"sentinel" => Err(Failure::new("it is a Sentinel; give the address of the master")),
        // "master", or what a relative of Redis calls one.
        _ => Ok(()),
    }
}

/// Appends `PUBLISH channel payload`.
fn write_publish(out: &mut Vec<u8>, delivery: &Delivery) {
    const _: () = assert!(CHANNEL_LEN == 42);
    out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$42\r\n");
    delivery.write_channel(out);
    write!(out, "\r\n${}\r\n", delivery.payload_len()).expect("writing into memory succeeds");
    delivery.write_payload(out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_a_resp_command() {
        let to = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let payload = format!(r#"{{"SenderID":"{to}","RecipientID":"{to}","Text":"a\r\n\u00e9"}}"#);
        let mut command = vec![];
        write_publish(&mut command, &Delivery::parse(payload.as_bytes()).unwrap());
        let expected = redis::cmd("PUBLISH").arg(format!("texto:{to}")).arg(payload).get_packed_command();
        assert_eq!(command.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(redis::cmd("ROLE").get_packed_command(), ROLE);
    }

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
    fn timeouts_are_rounded_up_so_that_they_seldom_change() {
        let check =
            |left, expected| assert_eq!(round_up(Duration::from_millis(left), Duration::from_millis(100)), Duration::from_millis(expected));
        check(0, 0);
        check(1, 100);
        check(100, 100);
        check(101, 200);
        check(1999, 2000);
    }
}
