//! Metrics as text that Prometheus reads (text format 0.0.4).
//!
//! Every family has its help and its type before its samples, and the prefix `texto_`: nothing can be written without them. Names follow
//! Prometheus' own rules: base units (`_seconds`, `_bytes`), `_total` for what only grows. `docs/metrics.md` says what each is for.

use std::fmt::{Display, Write as _};

use crate::histogram::Histogram;
use crate::hub::{CloseReason, HEARD, Introduction, Limit, STATUSES, Tally};
use crate::wire::answer::Body;
use crate::wire::reject::CODES;
use crate::wire::upgrade::Refusal;

/// What has been told so far.
#[derive(Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// One number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    /// Numbers that go up and down, told apart by one label.
    pub fn gauges<L: Display, V: Display>(&mut self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (L, V)>) {
        self.family(name, "gauge", help);
        self.samples(name, label, values);
    }

    /// One number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    /// Numbers that only grow, told apart by one label.
    pub fn counters<L: Display, V: Display>(&mut self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (L, V)>) {
        self.family(name, "counter", help);
        self.samples(name, label, values);
    }

    /// One histogram of seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        self.buckets(name, "", histogram);
    }

    /// Histograms of seconds, told apart by one label.
    pub fn histograms<L: Display>(&mut self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (L, Histogram)>) {
        self.family(name, "histogram", help);
        for (value, histogram) in values {
            self.buckets(name, &format!("{label}=\"{value}\""), &histogram);
        }
    }

    /// What has been written.
    pub fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.text, "# HELP texto_{name} {help}\n# TYPE texto_{name} {kind}").expect("a String takes everything");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        writeln!(self.text, "texto_{name}{labels} {value}").expect("a String takes everything");
    }

    fn samples<L: Display, V: Display>(&mut self, name: &str, label: &str, values: impl IntoIterator<Item = (L, V)>) {
        for (value_of_label, value) in values {
            self.sample(name, &format!("{{{label}=\"{value_of_label}\"}}"), value);
        }
    }

    fn buckets(&mut self, name: &str, label: &str, histogram: &Histogram) {
        let comma = if label.is_empty() { "" } else { "," };
        for (bound, count) in histogram.cumulative() {
            self.sample(&format!("{name}_bucket"), &format!("{{{label}{comma}le=\"{bound}\"}}"), count);
        }
        let labels = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let sum = histogram.sum();
        self.sample(&format!("{name}_sum"), &labels, format_args!("{}.{:06}", sum.as_secs(), sum.subsec_micros()));
        self.sample(&format!("{name}_count"), &labels, histogram.len());
    }

    /// What the loops have counted.
    pub fn tally(&mut self, tally: &Tally) {
        self.counter("connections_accepted_total", "Connections accepted.", tally.accepted);
        self.counters(
            "http_responses_total",
            "HTTP responses, 101 being a WebSocket.",
            "status",
            STATUSES.into_iter().zip(tally.responses),
        );
        let refused = "Opening handshakes and other requests that got an error status.";
        self.counters("handshakes_refused_total", refused, "reason", Refusal::LABELS.into_iter().zip(tally.refused));
        let closed = CloseReason::ALL.into_iter().map(CloseReason::label).zip(tally.closed);
        self.counters("connections_closed_total", "Connections ended.", "reason", closed);
        self.counter("received_bytes_total", "Bytes read from clients.", tally.bytes_received);
        self.counter("sent_bytes_total", "Bytes written to clients.", tally.bytes_sent);
        self.messages(tally);
        let rejects = CODES.into_iter().zip(tally.rejects);
        self.counters("errors_total", "Requests answered with an error, by its code.", "code", rejects);
        self.limits(tally);
        self.counter("pings_received_total", "Pings from clients.", tally.pings_received);
        self.counter("pings_sent_total", "Pings to silent clients.", tally.pings_sent);
    }

    fn limits(&mut self, tally: &Tally) {
        const NAME: &str = "limit_hits_total";
        let help = "Times that a limit was run into, by limit. Those not enforced were let through: a dry run refuses nothing.";
        self.family(NAME, "counter", help);
        for (hits, enforced) in [(tally.limit_hits, true), (tally.limit_hits_dry, false)] {
            for (limit, count) in Limit::ALL.into_iter().zip(hits) {
                self.sample(NAME, &format!("{{limit=\"{}\",enforced=\"{enforced}\"}}", limit.label()), count);
            }
        }
        let results = Introduction::ALL.into_iter().map(Introduction::label).zip(tally.introductions);
        let help = "Connections by what came of their PROXY header, if one was awaited.";
        self.counters("proxy_headers_total", help, "result", results);
    }

    fn messages(&mut self, tally: &Tally) {
        let heard = "Messages from clients, by kind; what was refused counts as refused, whatever its kind.";
        self.counters("messages_received_total", heard, "kind", HEARD.into_iter().zip(tally.heard));
        let said = "Messages put into the queues of clients, by kind.";
        self.counters("messages_sent_total", said, "kind", Body::KINDS.into_iter().zip(tally.said));
        let sends = [
            ("loop", tally.sends_to_loop),
            ("node", tally.sends_to_sibling),
            ("redis", tally.sends_to_broker),
            ("nobody", tally.sends_to_nobody),
        ];
        let help = "Messages from client to client, by where they went: to the same loop, to another one of this node, to Redis, nowhere.";
        self.counters("sends_total", help, "route", sends);
        self.counter("deliveries_total", "Messages from other loops and nodes put into a client's queue.", tally.deliveries);
        let dropped = "Messages from other loops and nodes for a client that is not here, or too large for its queue.";
        self.counter("deliveries_dropped_total", dropped, tally.deliveries_dropped);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_exposition_names_type_and_help_before_the_samples() {
        let mut exposition = Exposition::default();
        exposition.tally(&Tally { accepted: 3, ..Tally::default() });
        let text = exposition.into_text();
        assert!(text.contains("# TYPE texto_connections_accepted_total counter\ntexto_connections_accepted_total 3\n"), "{text}");
        assert!(text.contains("texto_connections_closed_total{reason=\"slow_reader\"} 0\n"), "{text}");
    }

    #[test]
    fn a_histogram_has_buckets_a_sum_and_a_count_under_its_label() {
        let mut histogram = Histogram::default();
        [90, 100, 101, 1_000_001].into_iter().for_each(|micros| histogram.count(Duration::from_micros(micros)));
        let mut exposition = Exposition::default();
        exposition.histogram("one_seconds", "One.", &histogram);
        exposition.histograms("two_seconds", "Two.", "loop", [(7, histogram)]);
        let text = exposition.into_text();
        for line in [
            "# TYPE texto_one_seconds histogram",
            "texto_one_seconds_bucket{le=\"0.0001\"} 2",
            "texto_one_seconds_bucket{le=\"+Inf\"} 4",
            "texto_one_seconds_sum 1.000292",
            "texto_one_seconds_count 4",
            "texto_two_seconds_bucket{loop=\"7\",le=\"0.00025\"} 3",
            "texto_two_seconds_sum{loop=\"7\"} 1.000292",
            "texto_two_seconds_count{loop=\"7\"} 4",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
