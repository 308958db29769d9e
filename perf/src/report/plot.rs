//! One plot as SVG: lines through points, axes with ticks, a legend. Nothing is loaded from anywhere.

use std::fmt::Write;

use super::stats::short;

const WIDTH: f64 = 860.0;
/// Of the plot itself; the legend stands below it.
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 52.0;
/// Told apart also by those who see no red or green (after Okabe and Ito).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31"];
const LEGEND_LINE: f64 = 18.0;
const LEGEND_COLUMNS: usize = 2;

/// How an axis runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// One axis: its title, and the marks to draw if not its own.
pub(super) struct Axis {
    pub(super) title: &'static str,
    pub(super) scale: Scale,
    pub(super) marks: Vec<(f64, String)>,
}

/// One line of a plot.
pub(super) struct Series {
    pub(super) name: String,
    /// The same for one server in all plots of a page.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// Where values lie on the page.
struct Map {
    scale: Scale,
    from: f64,
    to: f64,
    start: f64,
    length: f64,
}

impl Map {
    fn new(scale: Scale, values: impl Iterator<Item = f64> + Clone, start: f64, length: f64) -> Map {
        let values = values.filter(move |value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let (min, max) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
        let (from, to) = match scale {
            _ if min > max => (1.0, 10.0),
            Scale::Linear => (0.0, if max > 0.0 { max * 1.05 } else { 1.0 }),
            Scale::Log => (10f64.powf(min.log10().floor()), 10f64.powf((max * 1.01).log10().ceil())),
        };
        Map { scale, from, to, start, length }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value.max(self.from) / self.from).log10() / (self.to / self.from).log10(),
        };
        self.start + share * self.length
    }

    fn marks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match self.scale {
            Scale::Linear => {
                let step = step(self.to / 6.0);
                (0..=(self.to / step) as usize).map(|count| count as f64 * step).collect()
            }
            Scale::Log => {
                let decades = (self.to / self.from).log10().round() as i32;
                (0..=decades).map(|power| self.from * 10f64.powi(power)).collect()
            }
        };
        values.into_iter().map(|value| (value, short(value))).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, … at or above.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= least).unwrap_or(power * 10.0)
}

/// Draws the series, or nothing when there are none.
pub(super) fn draw(x: &Axis, y: &Axis, series: &[Series]) -> String {
    if series.is_empty() {
        return String::new();
    }
    let points = series.iter().flat_map(|series| series.points.iter());
    let across = Map::new(x.scale, points.clone().map(|point| point.0), LEFT, WIDTH - LEFT - RIGHT);
    let up = Map::new(y.scale, points.map(|point| point.1), HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM));
    let height = HEIGHT + LEGEND_LINE * (series.len().div_ceil(LEGEND_COLUMNS) as f64 + 0.5);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n");
    axes(&mut out, (x, &across), (y, &up));
    for (at, series) in series.iter().enumerate() {
        line(&mut out, at, series, &across, &up);
    }
    out.push_str("</svg>\n");
    out
}

fn axes(out: &mut String, (x, across): (&Axis, &Map), (y, up): (&Axis, &Map)) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    // Writing to a String cannot fail, here and below.
    for (value, text) in if y.marks.is_empty() { up.marks() } else { y.marks.clone() } {
        let at = up.at(value);
        let _never = writeln!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        let _never = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, at + 4.0);
    }
    for (value, text) in if x.marks.is_empty() { across.marks() } else { x.marks.clone() } {
        let at = across.at(value);
        let _never = writeln!(out, "<line class=\"grid\" y1=\"{TOP}\" y2=\"{bottom}\" x1=\"{at:.1}\" x2=\"{at:.1}\"/>");
        let _never = writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 18.0);
    }
    let middle = f64::midpoint(LEFT, right);
    let _never = writeln!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", HEIGHT - 10.0, escaped(x.title));
    let centre = f64::midpoint(TOP, bottom);
    let turned = format!("transform=\"rotate(-90 16 {centre})\"");
    let _never = writeln!(out, "<text x=\"16\" y=\"{centre}\" text-anchor=\"middle\" {turned}>{}</text>", escaped(y.title));
}

fn line(out: &mut String, number: usize, series: &Series, across: &Map, up: &Map) {
    let colour = COLOURS[series.colour % COLOURS.len()];
    let dashes = ["none", "6 3", "2 3"][series.colour / COLOURS.len() % 3];
    let points: Vec<String> = series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across.at(*x), up.at(*y))).collect();
    let _never = writeln!(out, "<polyline points=\"{}\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/>", points.join(" "));
    for point in &points {
        let (x, y) = point.split_once(',').unwrap_or_default();
        let _never = writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"2.5\" fill=\"{colour}\"/>");
    }
    let (row, column) = ((number / LEGEND_COLUMNS) as f64, (number % LEGEND_COLUMNS) as f64);
    let (x, y) = (LEFT + column * (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS as f64, HEIGHT + LEGEND_LINE * (row + 0.5));
    let _never = writeln!(out, "<polyline points=\"{x},{y} {},{y}\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/>", x + 20.0);
    let _never = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", x + 26.0, y + 4.0, escaped(&series.name));
}

/// Text that HTML takes for text.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (least, expected) in [(0.9, 1.0), (1.1, 2.0), (3.0, 5.0), (7.0, 10.0), (120.0, 200.0)] {
            assert!((step(least) - expected).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn a_log_axis_spans_whole_decades() {
        let map = Map::new(Scale::Log, [30.0, 4_000.0].into_iter(), 0.0, 100.0);
        assert!((map.at(10.0) - 0.0).abs() < 1e-9);
        assert!((map.at(10_000.0) - 100.0).abs() < 1e-9);
        assert_eq!(map.marks().len(), 4);
    }

    #[test]
    fn names_cannot_break_the_page() {
        let axis = |title| Axis { title, scale: Scale::Linear, marks: Vec::new() };
        let svg = draw(&axis("x"), &axis("y"), &[Series { name: "<b>\"&".to_owned(), colour: 0, points: vec![(1.0, 2.0)] }]);
        assert!(svg.contains("&lt;b&gt;&quot;&amp;") && !svg.contains("<b>"));
    }
}
