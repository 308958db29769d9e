//! Readings as lines: one node in full, several as a table. Made for 80 columns and 24 rows.

use super::readings::Change;

/// A node, and what is known of it.
pub(super) struct Node<'r> {
    pub(super) address: &'r str,
    /// Or why nothing is.
    pub(super) change: Result<Change<'r>, &'r str>,
}

/// The lines for `nodes`, no more and no wider than fits into `size`: columns and rows.
pub(super) fn lines(nodes: &[Node<'_>], (columns, rows): (usize, usize)) -> Vec<String> {
    let mut lines = match nodes {
        [Node { address, change: Ok(change) }] => whole(address, *change, rows),
        nodes => table(nodes),
    };
    lines.truncate(rows);
    // What comes from elsewhere must not speak to the terminal.
    lines.iter().map(|line| line.chars().filter(|c| !c.is_control()).take(columns).collect()).collect()
}

/// Everything about one node.
fn whole(address: &str, change: Change<'_>, rows: usize) -> Vec<String> {
    let mut lines = state(address, change);
    lines.push(String::new());
    lines.extend(traffic(change));
    lines.push(String::new());
    let room = rows.saturating_sub(lines.len() + 1);
    lines.extend(loops(change, room));
    lines
}

fn state(address: &str, change: Change<'_>) -> Vec<String> {
    let value = |name: &str| change.now.value(name).unwrap_or(f64::NAN);
    let version = change.now.labelled("build_info").next().map_or("?", |(version, _, _)| version);
    let state = if value("draining") == 1.0 { "DRAINING" } else { "serving" };
    let (connections, most) = (value("connections"), value("connections_max"));
    let mut lines = vec![
        format!("{address}  texto {version}  {state}  up {}", age(change.now.age().as_secs())),
        String::new(),
        format!(
            "Connections   {} of {} ({})   clients {}   slow readers {}",
            number(connections),
            number(most),
            percent(connections / most),
            number(value("clients")),
            number(value("slow_readers"))
        ),
        format!(
            "Memory        {}   per connection {}   waiting for slow readers {}",
            bytes(value("process_resident_memory_bytes")),
            bytes(value("connection_memory_bytes")),
            bytes(value("waiting_bytes"))
        ),
        format!(
            "Descriptors   {} of {}   processors {:.2}",
            number(value("process_open_fds")),
            number(value("process_max_fds")),
            change.rate("process_cpu_seconds_total")
        ),
    ];
    lines.push(redis_state(change));
    lines
}

fn redis_state(change: Change<'_>) -> String {
    let value = |name: &str| change.now.value(name);
    let Some(publisher) = value("redis_publisher_up") else { return "Redis         none: this node runs alone".to_owned() };
    let up = |up: f64| if up == 1.0 { "up" } else { "DOWN" };
    format!(
        "Redis         publish {}   subscribe {}   round trip {}   waiting {}",
        up(publisher),
        up(value("redis_subscriber_up").unwrap_or_default()),
        time(change.since_first().quantile("redis_round_trip_seconds", None, 0.5)),
        number(value("redis_queue_messages").unwrap_or_default())
    )
}

fn traffic(change: Change<'_>) -> Vec<String> {
    let total = |name: &'static str| rate(change.total_rate(name));
    let by = |title: &str, name: &'static str| {
        let rates: Vec<String> = change.rates(name).iter().map(|(label, value)| format!("{label} {}", rate(*value))).collect();
        format!("{title:<14}{}", if rates.is_empty() { "none".to_owned() } else { rates.join("   ") })
    };
    let mut lines = vec![
        format!(
            "Per second    accepted {}   ended {}   refused {}   errors {}",
            rate(change.rate("connections_accepted_total")),
            total("connections_closed_total"),
            total("handshakes_refused_total"),
            total("errors_total")
        ),
        format!(
            "Messages      in {} ({})   out {} ({})",
            total("messages_received_total"),
            bytes(change.rate("received_bytes_total")),
            total("messages_sent_total"),
            bytes(change.rate("sent_bytes_total"))
        ),
        by("Sends", "sends_total"),
        by("Ended", "connections_closed_total"),
        by("Refused", "handshakes_refused_total"),
        by("Errors", "errors_total"),
    ];
    if change.now.value("redis_publisher_up").is_some() {
        lines.push(format!(
            "Redis         published {}   received {}   refused {}   reconnects {}",
            rate(change.rate("redis_published_total")),
            rate(change.rate("redis_received_total")),
            total("redis_refused_total"),
            number(change.now.value("redis_reconnects_total").unwrap_or_default())
        ));
    }
    lines
}

/// What an event loop has done between the readings.
struct Loop<'r> {
    number: &'r str,
    connections: f64,
    ticks: f64,
    busy: f64,
    tick: [Option<f64>; 2],
    lag: Option<f64>,
    answer: Option<f64>,
}

/// The loops of a node, the busiest first.
fn loops_of(change: Change<'_>) -> Vec<Loop<'_>> {
    let read = |(number, _, connections)| {
        let of = |name: &str| format!("{name}{{loop=\"{number}\"}}");
        let is_up = change.now.value(&of("loop_up")) == Some(1.0);
        Loop {
            number,
            connections,
            ticks: change.rate(&of("loop_tick_seconds_count")),
            busy: change.rate(&of("loop_tick_seconds_sum")),
            tick: [0.5, 0.99].map(|share| change.quantile("loop_tick_seconds", Some(number), share)),
            lag: change.quantile("loop_lag_seconds", Some(number), 0.99),
            answer: change.now.value(&of("loop_answer_seconds")).filter(|_| is_up),
        }
    };
    let mut loops: Vec<Loop<'_>> = change.now.labelled("loop_connections").map(read).collect();
    // One that stands still is busier than any.
    loops.sort_by(|one, other| {
        (one.answer.is_some(), other.busy).partial_cmp(&(other.answer.is_some(), one.busy)).unwrap_or(std::cmp::Ordering::Equal)
    });
    loops
}

/// A line for each loop, as far as there is `room`.
fn loops(change: Change<'_>, room: usize) -> Vec<String> {
    let all = loops_of(change);
    let shown = if all.len() < room { all.len() } else { room.saturating_sub(2) };
    let mut lines = vec!["Loop  Connections   Ticks/s    Busy   Tick p50   Tick p99    Lag p99    Answer".to_owned()];
    for one in &all[..shown.min(all.len())] {
        let tick = one.tick.map(time);
        lines.push(format!(
            "{:>4}  {:>11}  {:>8}  {:>6}  {:>9}  {:>9}  {:>9}  {:>8}",
            one.number,
            number(one.connections),
            rate(one.ticks),
            percent(one.busy),
            tick[0],
            tick[1],
            time(one.lag),
            one.answer.map_or("STUCK".to_owned(), |answer| time(Some(answer)))
        ));
    }
    if shown < all.len() {
        lines.push(format!("      and {} that are less busy", all.len() - shown));
    }
    lines
}

/// A line for each of several nodes.
fn table(nodes: &[Node<'_>]) -> Vec<String> {
    let mut lines = vec!["Node                     Clients  Full   Msg/s   Err/s   Busy  Tick p99   Lag p99  Redis".to_owned()];
    for Node { address, change } in nodes {
        lines.push(match change {
            Err(why) => (*why).to_owned(),
            Ok(change) => row(address, *change),
        });
    }
    lines
}

fn row(address: &str, change: Change<'_>) -> String {
    let value = |name: &str| change.now.value(name);
    let loops = loops_of(change);
    let worst = |times: &mut dyn Iterator<Item = Option<f64>>| times.flatten().max_by(f64::total_cmp);
    let redis = match (value("redis_publisher_up"), value("redis_subscriber_up")) {
        _ if value("draining") == Some(1.0) => "DRAINING",
        (None, _) => "none",
        (Some(1.0), Some(1.0)) => "up",
        _ => "DOWN",
    };
    format!(
        "{address:<22} {:>9}  {:>4}  {:>6}  {:>6}  {:>5}  {:>8}  {:>8}  {redis}",
        number(value("clients").unwrap_or_default()),
        percent(value("connections").unwrap_or_default() / value("connections_max").unwrap_or(f64::NAN)),
        rate(change.total_rate("messages_received_total")),
        rate(change.total_rate("errors_total")),
        percent(loops.iter().map(|one| one.busy).fold(0.0, f64::max)),
        time(worst(&mut loops.iter().map(|one| one.tick[1]))),
        time(worst(&mut loops.iter().map(|one| one.lag))),
    )
}

/// A whole number with its thousands apart; `-` for none.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let digits = format!("{value:.0}");
    let mut told = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

/// A number per second: small ones to a tenth.
fn rate(value: f64) -> String {
    if value > 0.0 && value < 10.0 { format!("{value:.1}") } else { number(value) }
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0} %", share * 100.0) } else { "-".to_owned() }
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    if !value.is_finite() {
        return "-".to_owned();
    }
    let (mut value, mut unit) = (value, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Seconds, in milliseconds; `-` for none, and what lies beyond the largest bound as such.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "> 1 s".to_owned(),
        Some(seconds) if seconds >= 1.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds >= 0.1 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) => format!("{:.2} ms", seconds * 1000.0),
    }
}

fn age(seconds: u64) -> String {
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let clock = format!("{hours:02}:{minutes:02}:{seconds:02}");
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::readings::Reading;
    use super::*;

    const BEFORE: &str = "\
texto_process_start_time_seconds 1000
texto_process_cpu_seconds_total 10
texto_connections_accepted_total 100
texto_connections_closed_total{reason=\"hung_up\"} 5
texto_messages_received_total{kind=\"send\"} 1000
texto_errors_total{code=\"EBROKER\"} 0
texto_loop_tick_seconds_sum{loop=\"0\"} 1
texto_loop_tick_seconds_sum{loop=\"1\"} 1
texto_loop_tick_seconds_bucket{loop=\"1\",le=\"0.001\"} 0
texto_loop_tick_seconds_bucket{loop=\"1\",le=\"+Inf\"} 0
";

    const NOW: &str = "\
texto_build_info{version=\"9.9.9\"} 1
texto_draining 0
texto_connections 1234567
texto_connections_max 2000000
texto_clients 1234000
texto_slow_readers 3
texto_waiting_bytes 3145728
texto_connection_memory_bytes 41
texto_process_start_time_seconds 1000
texto_process_cpu_seconds_total 10.5
texto_process_open_fds 1234600
texto_process_max_fds 2000500
texto_process_resident_memory_bytes 104857600
texto_connections_accepted_total 300
texto_connections_closed_total{reason=\"closed_by_peer\"} 0
texto_connections_closed_total{reason=\"hung_up\"} 25
texto_messages_received_total{kind=\"send\"} 3000
texto_errors_total{code=\"EBROKER\"} 1
texto_redis_publisher_up 0
texto_redis_subscriber_up 1
texto_redis_queue_messages 12
texto_loop_connections{loop=\"0\"} 617284
texto_loop_connections{loop=\"1\"} 617283
texto_loop_up{loop=\"0\"} 1
texto_loop_up{loop=\"1\"} 1
texto_loop_answer_seconds{loop=\"0\"} 0.0002
texto_loop_answer_seconds{loop=\"1\"} 0.0004
texto_loop_tick_seconds_sum{loop=\"0\"} 1.2
texto_loop_tick_seconds_sum{loop=\"1\"} 2
texto_loop_tick_seconds_bucket{loop=\"1\",le=\"0.001\"} 100
texto_loop_tick_seconds_bucket{loop=\"1\",le=\"+Inf\"} 100
";

    fn readings(now: &str) -> [Reading; 2] {
        let start = Instant::now();
        [(BEFORE, 0), (now, 2)].map(|(page, second)| Reading::parse(page, start + Duration::from_secs(second), Duration::from_secs(4661)))
    }

    fn draw(now: &str, size: (usize, usize)) -> Vec<String> {
        let [before, now] = readings(now);
        lines(&[Node { address: "127.0.0.1:9398", change: Ok(Change { first: &before, before: &before, now: &now }) }], size)
    }

    #[test]
    fn a_node_is_told_in_words_and_rates() {
        let drawn = draw(NOW, (80, 24));
        for line in [
            "127.0.0.1:9398  texto 9.9.9  serving  up 01:01:01",
            "Connections   1,234,567 of 2,000,000 (62 %)   clients 1,234,000   slow readers 3",
            "Memory        100 MiB   per connection 41 B   waiting for slow readers 3.0 MiB",
            "Descriptors   1,234,600 of 2,000,500   processors 0.25",
            "Redis         publish DOWN   subscribe up   round trip -   waiting 12",
            "Per second    accepted 100   ended 10   refused 0   errors 0.5",
            "Ended         hung_up 10",
            "Refused       none",
            "Errors        EBROKER 0.5",
            "   1      617,283         0    50 %    0.50 ms    0.99 ms          -   0.40 ms",
        ] {
            assert!(drawn.iter().any(|drawn| drawn == line), "{line:?} is not in\n{}", drawn.join("\n"));
        }
    }

    #[test]
    fn the_busiest_loop_is_first_but_for_one_that_stands_still() {
        let order = |now: &str| -> Vec<String> {
            let drawn = draw(now, (80, 24));
            let loops = drawn.iter().skip_while(|line| !line.starts_with("Loop")).skip(1);
            loops.map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(order(NOW), ["1", "0"]);
        assert_eq!(order(&NOW.replace("loop_up{loop=\"0\"} 1", "loop_up{loop=\"0\"} 0")), ["0", "1"]);
    }

    #[test]
    fn nothing_is_larger_than_the_terminal() {
        let many: String = (2..200).map(|number| format!("texto_loop_connections{{loop=\"{number}\"}} 1\n")).collect();
        let crowded = NOW.to_owned() + &many;
        for size in [(80, 24), (40, 10), (10, 1), (80, 0), (0, 24), (200, 60)] {
            let drawn = draw(&crowded, size);
            assert!(drawn.len() <= size.1 && drawn.iter().all(|line| line.chars().count() <= size.0), "{size:?}: {drawn:#?}");
        }
        assert!(draw(&crowded, (80, 24)).iter().any(|line| line.contains("that are less busy")));
        assert!(draw(&crowded, (80, 24)).len() <= 23, "a line is left for the keys");
        assert_eq!(draw(&crowded, (usize::MAX, usize::MAX)).iter().filter(|line| line.contains("STUCK")).count(), 198);
    }

    #[test]
    fn several_nodes_are_a_table_in_which_a_silent_one_says_why() {
        let [before, now] = readings(NOW);
        let node = |address, change| Node { address, change };
        let nodes =
            [node("a:1", Ok(Change { first: &before, before: &before, now: &now })), node("b:1", Err("b:1 does not answer: no\u{1b}[2J"))];
        let drawn = lines(&nodes, (100, 24));
        assert_eq!(drawn[1], "a:1                    1,234,000  62 %   1,000     0.5   50 %   0.99 ms         -  DOWN");
        assert_eq!(drawn[2], "b:1 does not answer: no[2J");
        assert!(drawn[0].starts_with("Node"));
    }

    #[test]
    fn numbers_are_easy_to_read() {
        for (told, expected) in [
            (number(0.0), "0"),
            (number(999.0), "999"),
            (number(1_000_000.0), "1,000,000"),
            (number(f64::NAN), "-"),
            (rate(0.04), "0.0"),
            (rate(9.95), "9.9"),
            (rate(10.0), "10"),
            (bytes(1023.0), "1023 B"),
            (bytes(1536.0), "1.5 KiB"),
            (bytes(314.0 * 1024.0 * 1024.0), "314 MiB"),
            (time(None), "-"),
            (time(Some(0.000_05)), "0.05 ms"),
            (time(Some(0.25)), "250 ms"),
            (time(Some(f64::INFINITY)), "> 1 s"),
            (age(59), "00:00:59"),
            (age(90_061), "1d 01:01:01"),
        ] {
            assert_eq!(told, expected);
        }
    }
}
