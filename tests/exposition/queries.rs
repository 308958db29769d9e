//! Queries in PromQL, wherever they stand in a text: which metrics, labels and values they name, and whether a node has these.

use std::collections::BTreeMap;

use super::{Family, family_of};

/// Labels that Prometheus itself adds.
const OWN_LABELS: [&str; 5] = ["job", "instance", "le", "alertname", "severity"];

/// What `text` names that is not among `families`.
pub(crate) fn check(text: &str, families: &BTreeMap<String, Family>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, _) in text.match_indices("texto_").filter(|(at, _)| !text[..*at].ends_with(is_of_name)) {
        let name_len = text[at..].find(|c| !is_of_name(c)).unwrap_or(text.len() - at);
        let (name, rest) = text[at..].split_at(name_len);
        match find(name, families) {
            None => complaints.push(format!("{name} is no metric of a node")),
            Some(family) => check_matchers(name, family, rest, &mut complaints),
        }
    }
    for label in grouped_by(text).chain(told(text)) {
        if !OWN_LABELS.contains(&label) && !families.values().any(|family| family.labels.contains_key(label)) {
            complaints.push(format!("no metric has the label {label}"));
        }
    }
    complaints
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The family of which `name` is a sample. A histogram itself is none, and only a histogram has samples with an ending.
fn find<'f>(name: &str, families: &'f BTreeMap<String, Family>) -> Option<&'f Family> {
    let plain = families.get(name).filter(|family| family.kind != "histogram");
    plain.or_else(|| families.get(family_of(name)).filter(|family| family.kind == "histogram" && family_of(name) != name))
}

/// The matchers in braces right behind a name, such as `{reason=~"full|draining"}`.
fn check_matchers(name: &str, family: &Family, rest: &str, complaints: &mut Vec<String>) {
    let Some((matchers, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { return };
    for matcher in matchers.split(',') {
        let label = matcher.split(['=', '!']).next().unwrap_or_default().trim();
        let value = matcher.split('"').nth(1).unwrap_or_default();
        if OWN_LABELS.contains(&label) {
            continue;
        }
        match family.labels.get(label) {
            None => complaints.push(format!("{name} has no label {label}")),
            Some(values) => {
                let unknown = value.split('|').filter(|value| !values.contains(*value));
                complaints.extend(unknown.map(|value| format!("{name} has no {label} {value:?}")));
            }
        }
    }
}

/// The labels in `by (…)`, `without (…)` and `on (…)`.
fn grouped_by(text: &str) -> impl Iterator<Item = &str> {
    let lists = ["by", "without", "on"].into_iter().flat_map(move |word| {
        text.match_indices(word).filter(move |(at, _)| !text[..*at].ends_with(is_of_name)).filter_map(move |(at, _)| {
            let list = text[at + word.len()..].trim_start_matches(' ').strip_prefix('(')?;
            list.split_once(')').map(|(list, _)| list)
        })
    });
    // Sentences have words in parentheses, too; labels are single words.
    lists.filter(|list| list.split(',').all(|label| label.trim().chars().all(is_of_name))).flat_map(|list| list.split(',')).map(str::trim)
}

/// The labels that a title or a legend shows: `{{ $labels.loop }}`, `{{loop}}`.
fn told(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).filter_map(|(inside, _)| {
        let label = inside.trim();
        let label = label.strip_prefix("$labels.").unwrap_or(label);
        (!label.starts_with('$')).then_some(label)
    })
}
