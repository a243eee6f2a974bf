//! The figures of a `kappa why`.

use super::{
    Drawing, Figure,
    axis::Axis,
    chart::{Line, Panel, Stroke},
    looks,
};
use crate::{ReportError, band::Band};

/// The steps of each arm and seed over what was measured of it.
pub struct MeasurePanel {
    /// What the measure is called.
    pub measure: String,
    /// What the steps are called.
    pub steps: String,
    /// The measure: [arm][seed].
    pub values: Vec<Vec<f64>>,
    /// Each arm, with its steps, a seed each.
    pub speeds: Vec<(String, Vec<Option<f64>>)>,
}

/// The panels side by side.
pub fn arms_by_measure(number: usize, caption: &str, panels: &[MeasurePanel]) -> Result<Figure, ReportError> {
    let drawn = |panel: &MeasurePanel| Panel {
        title: String::new(),
        x: Axis::log(&panel.measure),
        y: Axis::log(&panel.steps),
        lines: panel
            .speeds
            .iter()
            .zip(&panel.values)
            .enumerate()
            .map(|(place, ((name, steps), values))| {
                let seeds = values.iter().zip(steps);
                let seeds = seeds.filter_map(|(&value, steps)| Some((value, Band::of(*steps)?)));
                marks(place, name, seeds.collect())
            })
            .collect(),
    };
    Drawing { number, caption: caption.to_owned(), panels: panels.iter().map(drawn).collect() }.draw()
}

/// A line for each arm, one above the other, from its best learning rate to its largest stable one.
pub fn rates(
    number: usize,
    caption: &str,
    windows: &[(&str, Option<Band>, Option<Band>)],
) -> Result<Figure, ReportError> {
    let lines = windows.iter().enumerate().map(|(place, (name, best, stable))| {
        let height = (windows.len() - place) as f64;
        let at = |rate: &Option<Band>| rate.map(|rate| (rate.median, level(height)));
        Line { stroke: Stroke::Solid, ..marks(place, name, at(best).into_iter().chain(at(stable)).collect()) }
    });
    let panel = Panel {
        title: String::new(),
        x: Axis::log("learning rate: the best, and the largest stable one"),
        y: Axis { within: Some([0.0, windows.len() as f64 + 1.0]), ..Axis::linear("") },
        lines: lines.collect(),
    };
    Drawing { number, caption: caption.to_owned(), panels: vec![panel] }.draw()
}

fn level(value: f64) -> Band {
    Band { median: value, low: value, high: value }
}

fn marks(place: usize, name: &str, points: Vec<(f64, Band)>) -> Line {
    let (colour, _, marker) = looks(place);
    Line { label: name.to_owned(), colour, stroke: Stroke::None, marker, width: 2, shaded: false, points }
}
