//! The checker itself: an honest history passes, and each lie is found for what it is.
//!
//! A lie is a small change of the honest history: a line left out, doubled, or said otherwise.

use super::checker::{Rule, check};
use super::history::History;

/// Two nodes, a client on the one and two on the other; Redis dies once, and so does a node.
const HONEST: &str = "
    0.1 node 0 aaaaaa
    0.1 node 1 bbbbbb
    1.0 opened aaaaaa-1
    1.0 opened bbbbbb-1
    1.0 opened bbbbbb-2
    1.1 sent aaaaaa-1 bbbbbb-1 1
    1.1 sent aaaaaa-1 bbbbbb-1 2
    1.2 received bbbbbb-1 aaaaaa-1 bbbbbb-1 1
    1.2 acked aaaaaa-1 bbbbbb-1 1
    1.2 acked aaaaaa-1 bbbbbb-1 2
    1.3 received bbbbbb-1 aaaaaa-1 bbbbbb-1 2
    2.0 sent bbbbbb-1 bbbbbb-2 1
    2.0 acked bbbbbb-1 bbbbbb-2 1
    2.1 received bbbbbb-2 bbbbbb-1 bbbbbb-2 1
    3.9 sent aaaaaa-1 bbbbbb-1 3            # Redis takes it and dies
    3.9 acked aaaaaa-1 bbbbbb-1 3
    4.0 begins redis kill -9
    4.1 sent aaaaaa-1 bbbbbb-1 4
    4.1 refused aaaaaa-1 bbbbbb-1 4 the message was not sent: no connection
    4.2 sent aaaaaa-1 bbbbbb-1 5
    4.2 refused aaaaaa-1 bbbbbb-1 5 nothing confirmed it in time: it may still arrive
    4.3 sent bbbbbb-1 bbbbbb-2 2            # local traffic goes on
    4.3 acked bbbbbb-1 bbbbbb-2 2
    4.3 received bbbbbb-2 bbbbbb-1 bbbbbb-2 2
    4.8 received bbbbbb-1 aaaaaa-1 bbbbbb-1 5
    5.0 ends redis
    6.0 sent bbbbbb-1 aaaaaa-1 1
    6.0 acked bbbbbb-1 aaaaaa-1 1
    6.1 received aaaaaa-1 bbbbbb-1 aaaaaa-1 1
    8.0 begins node 1 kill -9
    8.0 sent bbbbbb-2 aaaaaa-1 1            # a dead node answers nobody
    8.1 ended bbbbbb-1 broken
    8.1 ended bbbbbb-2 broken
    8.1 sent aaaaaa-1 bbbbbb-1 6            # to somebody who is gone
    8.1 acked aaaaaa-1 bbbbbb-1 6
    9.0 node 1 cccccc
    9.1 ends node 1
    20.0 ended aaaaaa-1 left
";

fn broken_rules(text: &str) -> Vec<Rule> {
    let (violations, _) = check(&History::parse(text));
    let mut rules: Vec<Rule> = violations.iter().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

/// The honest history, with each of these lines, which stand there once, told as the lie beside it.
fn told(lies: &[(&str, &str)]) -> String {
    lies.iter().fold(HONEST.to_owned(), |text, (line, lie)| {
        assert_eq!(text.matches(line).count(), 1, "{line}");
        text.replace(line, lie)
    })
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let history = History::parse(HONEST);
    assert_eq!(History::parse(&history.to_string()), history);
}

#[test]
fn an_honest_history_breaks_no_rule() {
    assert_eq!(broken_rules(HONEST), []);
    let (_, counts) = check(&History::parse(HONEST));
    let counted = (counts.sent, counts.acked, counts.refused, counts.arrived, counts.lost, counts.due);
    assert_eq!(counted, (10, 7, 2, 6, 1, 5));
}

fn check_lies(lies: &[(&str, &str)], rule: Rule) {
    assert_eq!(broken_rules(&told(lies)), [rule], "{lies:?}");
}

#[test]
fn an_ack_for_a_message_that_never_arrived_is_found() {
    let check = |line| check_lies(&[(line, "")], Rule::FalseAck);
    check("1.3 received bbbbbb-1 aaaaaa-1 bbbbbb-1 2");
    check("6.1 received aaaaaa-1 bbbbbb-1 aaaaaa-1 1");
    // Redis excuses nothing within a node, ...
    check("4.3 received bbbbbb-2 bbbbbb-1 bbbbbb-2 2");
    // ... nothing long before it died, and nothing after it is back.
    check_lies(&[("3.9 sent aaaaaa-1 bbbbbb-1 3", "3.3 sent aaaaaa-1 bbbbbb-1 3"), ("3.9 acked", "3.4 acked")], Rule::FalseAck);
    check_lies(&[("5.0 ends redis", "5.0 ends redis\n5.1 sent bbbbbb-2 aaaaaa-1 7\n5.1 acked bbbbbb-2 aaaaaa-1 7")], Rule::FalseAck);
    // Who left long after the ack had the time to get it.
    check_lies(
        &[("1.3 received bbbbbb-1 aaaaaa-1 bbbbbb-1 2", ""), ("8.1 ended bbbbbb-1 broken", "8.1 ended bbbbbb-1 left")],
        Rule::FalseAck,
    );
}

#[test]
fn a_message_that_arrives_where_or_how_it_must_not_is_found() {
    let arrival = "2.1 received bbbbbb-2 bbbbbb-1 bbbbbb-2 1";
    check_lies(&[(arrival, &format!("{arrival}\n{arrival}"))], Rule::Duplicate);
    check_lies(&[(arrival, "2.1 received aaaaaa-1 bbbbbb-1 bbbbbb-2 1")], Rule::WrongRecipient);
    check_lies(&[(arrival, &format!("{arrival}\n7.0 received aaaaaa-1 bbbbbb-2 aaaaaa-1 9"))], Rule::Invented);
    let (first, second) = ("1.2 received bbbbbb-1 aaaaaa-1 bbbbbb-1 1", "1.3 received bbbbbb-1 aaaaaa-1 bbbbbb-1 2");
    check_lies(&[(first, "1.2 note nothing"), (second, &format!("{second}\n{first}"))], Rule::BrokenOrder);
    // Also when there was a doubt whether it would arrive at all.
    let (late, newer) = ("4.8 received bbbbbb-1 aaaaaa-1 bbbbbb-1 5", "8.1 acked aaaaaa-1 bbbbbb-1 6");
    check_lies(
        &[(late, "4.8 note nothing"), (newer, &format!("{newer}\n8.1 received bbbbbb-1 aaaaaa-1 bbbbbb-1 6\n{late}"))],
        Rule::BrokenOrder,
    );
    check_lies(&[("1.0 opened bbbbbb-2", "1.0 opened bbbbbb-2\n1.0 strange bbbbbb-2 a telegram")], Rule::Strange);
}

#[test]
fn a_send_that_is_not_answered_once_and_truly_is_found() {
    let (ack, refusal) = ("2.0 acked bbbbbb-1 bbbbbb-2 1", "4.1 refused aaaaaa-1 bbbbbb-1 4 the message was not sent: no connection");
    let doubt = "4.2 refused aaaaaa-1 bbbbbb-1 5 nothing confirmed it in time: it may still arrive";
    check_lies(&[("1.2 acked aaaaaa-1 bbbbbb-1 1", "")], Rule::Unanswered);
    check_lies(&[(doubt, "")], Rule::Unanswered);
    check_lies(&[(ack, &format!("{ack}\n{ack}"))], Rule::AnsweredTwice);
    check_lies(&[(refusal, &format!("{refusal}\n{refusal}"))], Rule::AnsweredTwice);
    check_lies(&[(refusal, &format!("{refusal}\n4.1 acked aaaaaa-1 bbbbbb-1 4"))], Rule::BothAnswers);
    check_lies(&[(doubt, "4.2 refused aaaaaa-1 bbbbbb-1 5 the message was not sent: no connection")], Rule::FalseRefusal);
    let (first, second) = ("1.2 acked aaaaaa-1 bbbbbb-1 1", "1.2 acked aaaaaa-1 bbbbbb-1 2");
    check_lies(&[(first, "1.2 note nothing"), (second, &format!("{second}\n{first}"))], Rule::AnswersOutOfOrder);
}

#[test]
fn a_connection_that_ended_though_its_node_lived_is_found() {
    let (calm, fault) = ("20.0 ended aaaaaa-1 left", "5.0 ends redis");
    check_lies(&[(calm, "20.0 ended aaaaaa-1 broken")], Rule::Disconnected);
    check_lies(&[(calm, "20.0 ended aaaaaa-1 close 1008")], Rule::Disconnected);
    // A fault of Redis is none of the clients' business, and that of a node only of its own clients.
    check_lies(&[(fault, &format!("{fault}\n5.0 ended bbbbbb-2 broken"))], Rule::Disconnected);
    check_lies(&[(calm, ""), ("9.1 ends node 1", "9.0 ended aaaaaa-1 close 1012\n9.1 ends node 1")], Rule::Disconnected);
}
