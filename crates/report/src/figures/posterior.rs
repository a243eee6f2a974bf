//! What `kappa laplace` draws: the marginal likelihood along the prior's precision, and how often what is said comes
//! true.

use kappa_run::{LaplaceRecord, Method, PredictionRecord};

use super::{
    COLOURS, HALF, MARKERS,
    axis::Axis,
    chart::{self, Line, Marker, Panel, Stroke},
    single::{GREY, SIZE, at},
};
use crate::{ReportError, band::Band};

fn line(label: &str, place: usize, marker: Marker, points: Vec<(f64, Band)>) -> Line {
    let colour = COLOURS[place % COLOURS.len()];
    Line { label: label.to_owned(), colour, stroke: Stroke::Solid, marker, width: 2, shaded: false, points }
}

/// ln p(D | delta) along delta, as SVG, with the delta that was taken and the best one. Where a posterior leaves
/// eigenvectors out the band goes from the least to the most that it can be.
///
/// # Errors
///
/// [`ReportError::Figure`].
pub fn marginal_plot(record: &LaplaceRecord) -> Result<String, ReportError> {
    let posterior = &record.posterior;
    let band = |low: f64, high: f64| Band { median: 0.5 * (low + high), low, high };
    // Far from its top it falls without end: what is drawn is what can be read off.
    let top = posterior.curve.iter().map(|point| point[2]).fold(f64::NEG_INFINITY, f64::max);
    let shown = 0.02 * top.abs().max(1.0) + 4.0 * posterior.size as f64;
    let curve: Vec<(f64, Band)> = posterior
        .curve
        .iter()
        .filter(|point| point[1] > top - shown)
        .map(|&[delta, low, high]| (delta, band(low, high)))
        .collect();
    let mut lines = vec![Line { shaded: true, ..line("ln p(D | δ)", 0, Marker::None, curve) }];
    let [low, high] = posterior.log_marginal;
    if high > top - shown {
        lines.push(line("δ that was taken", 1, Marker::Square, vec![(posterior.delta, band(low, high))]));
    }
    if let Some((delta, [low, high])) = posterior.best_delta.zip(posterior.best_log_marginal) {
        lines.push(line("largest", 2, Marker::Disc, vec![(delta, band(low, high))]));
    }
    let panel = Panel {
        title: format!("{}: marginal likelihood by Laplace's method", record.settings.network),
        x: Axis::log("precision of the prior δ"),
        y: Axis::linear("ln p(D | δ), nats"),
        lines,
    };
    chart::draw(&[panel], SIZE)
        .map_err(|problem| ReportError::Figure { name: "marginal".to_owned(), problem })
}

/// The share that is right against the confidence, before and after, as SVG: a panel each for the softmax of the
/// logits alone and for each way of taking the posterior into account. None of a set without labels.
///
/// # Errors
///
/// [`ReportError::Figure`].
pub fn calibration_plot(prediction: &PredictionRecord) -> Result<Option<String>, ReportError> {
    let panels: Vec<Panel> = prediction
        .methods
        .iter()
        .enumerate()
        .filter_map(|(place, method)| {
            let scores = method.scores.as_ref()?;
            let points = scores.bins.iter().map(|&(_, confidence, accuracy)| (confidence, at(accuracy)));
            let name = match method.method {
                Method::Map => "without the posterior",
                Method::Probit => "probit",
                Method::ProbitOfContrasts => "probit of contrasts",
                Method::Sampling => "sampling",
                Method::Bridge => "bridge",
            };
            let even = Line {
                label: "as often as it says".to_owned(),
                colour: GREY,
                stroke: Stroke::Dashed,
                marker: Marker::None,
                width: 1,
                shaded: false,
                points: vec![(0.0, at(0.0)), (1.0, at(1.0))],
            };
            let marker = MARKERS[place % MARKERS.len()];
            Some(Panel {
                title: format!("{name}: off by {:.2} %", 100.0 * scores.calibration_error),
                x: Axis::linear("confidence"),
                y: Axis::linear("share that is right"),
                lines: vec![even, line(name, place, marker, points.collect())],
            })
        })
        .collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let failed = |problem| ReportError::Figure { name: "calibration".to_owned(), problem };
    chart::draw(&panels, HALF).map(Some).map_err(failed)
}
