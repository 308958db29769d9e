//! The middle of several runs, and how far they lie apart.

/// Several measurements of one thing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: usize,
}

impl Spread {
    /// `None` for no measurement at all.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Spread { median, min, max, count: values.len() })
    }
}

/// A number as a person writes it: four digits at most, no exponent.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.1}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        for (values, median) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 3.0, 2.0], 2.5), (vec![7.0], 7.0)] {
            assert_eq!(Spread::of(values).map(|spread| spread.median), Some(median));
        }
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [(0.0, "0"), (0.25, "0.25"), (0.004, "0.0040"), (12.34, "12.3"), (531_075.0, "531.1k"), (2.5e6, "2.5M")] {
            assert_eq!(short(value), expected);
        }
    }
}
