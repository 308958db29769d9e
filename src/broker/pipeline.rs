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

use redis::{Connection, RedisError, Value};

use super::link::Failure;
use super::role::{self, ROLE};
use crate::limits::{PIPELINE_BYTES_KEPT, PIPELINE_PIECE_BYTES};
use crate::wire::delivery::{CHANNEL_LEN, Delivery};

/// Time after which Redis is asked for its role again, with the next batch or alone: so a dead, stalled or demoted Redis is found when
/// nothing is sent. A request per second costs it nothing.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Read timeouts are set in steps of this part of the answer timeout, so a batch that Redis answers promptly costs no call to set one.
const TIMEOUT_STEPS: u32 = 16;

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
    /// Makes sure that a new connection leads to no replica: publishing there succeeds and reaches nobody.
    pub(super) fn new(mut connection: Connection, answer_timeout: Duration) -> Result<Pipeline, Failure> {
        role::check_master(&mut connection)?;
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
        role::check_role(self.receive(due)?)
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
