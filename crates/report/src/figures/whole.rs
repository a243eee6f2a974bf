//! The figures of more of the networks than their last layers.

use kappa_run::{Parameters, Quantity, Variant, WholeRow};

use super::{
    Drawing,
    axis::Axis,
    chart::{Line, Marker, Panel, Stroke},
    study::{Drawn, by_epoch, drawn, line, seeds, with_common_range},
};
use crate::results::StudyResults;

/// Panels side by side, at the most.
const PANELS: usize = 4;

/// lambda_1, kappa' and the shares of the leading eigenvector over the epochs, numbered from `first`.
pub(super) fn drawings(results: &StudyResults, first: usize) -> Vec<Drawing> {
    if results.parameters().is_empty() {
        return Vec::new();
    }
    let numbers = [("λ₁", Quantity::Lambda1), ("κ′ = λ₁/λ₁₀", Quantity::KappaPrime)];
    let mut drawings: Vec<Drawing> = numbers
        .into_iter()
        .zip(first..)
        .map(|((symbol, quantity), number)| over_epochs(results, number, symbol, quantity))
        .collect();
    drawings.push(shares(results, first + drawings.len()));
    drawings
}

/// "hidden.weight (W₁)"
pub fn label(parameters: &Parameters) -> String {
    match parameters.to_string().as_str() {
        "all" => "all parameters".to_owned(),
        name => of_tensor(name),
    }
}

fn of_tensor(name: &str) -> String {
    match name {
        "hidden.weight" | "output.weight" => {
            format!("{name} ({})", if name == "hidden.weight" { "W₁" } else { "W₂" })
        }
        name => name.to_owned(),
    }
}

/// A panel for each parameters, a line for each arm and its statistics.
fn over_epochs(results: &StudyResults, number: usize, symbol: &str, quantity: Quantity) -> Drawing {
    let parameters = results.parameters();
    let panel = |asked: &Parameters| Panel {
        title: label(asked),
        x: Axis::linear("epoch"),
        y: Axis::log(symbol),
        lines: lines(results, asked, &|row| row.number(quantity)),
    };
    Drawing {
        number,
        caption: format!(
            "{symbol} of the Hessian with respect to {}, {}; {}. From {} of summary in whole.json.",
            parameters.iter().map(label).collect::<Vec<_>>().join(", "),
            of_images(results),
            seeds(&results.chosen),
            if quantity == Quantity::Lambda1 { "largest.eigenvalues" } else { "kappa_prime" }
        ),
        panels: with_common_range(parameters.iter().take(PANELS).map(panel).collect()),
    }
}

/// How much of the leading eigenvector of all parameters lies in the first and in the last weights.
fn shares(results: &StudyResults, number: usize) -> Drawing {
    let tensors = ["hidden.weight", "hidden.0.weight", "output.weight"];
    let panel = |tensor: &str| Panel {
        title: of_tensor(tensor),
        x: Axis::linear("epoch"),
        y: Axis { within: Some([0.0, 1.0]), ..Axis::linear("share of the leading eigenvector") },
        lines: lines(results, &Parameters::All, &|row| row.summary.leading_share(tensor)),
    };
    let panels = tensors.map(panel).into_iter().filter(|panel| !panel.lines.is_empty());
    Drawing {
        number,
        caption: format!(
            "The share of two tensors in the eigenvector of λ₁ of all parameters, {}; {}. From shares of summary in \
             whole.json.",
            of_images(results),
            seeds(&results.chosen)
        ),
        panels: panels.collect(),
    }
}

/// "over 5000 images of the training split"
fn of_images(results: &StudyResults) -> String {
    results.whole_samples().map_or_else(String::new, |samples| format!("over {samples} training images"))
}

fn lines(results: &StudyResults, asked: &Parameters, number: &dyn Fn(&WholeRow) -> Option<f64>) -> Vec<Line> {
    let of_arm = |arm: Drawn<'_>| {
        let variants = results.chosen.whole_variants(arm.arm).into_iter();
        let of = move |variant: Variant| {
            let points = by_epoch(results.chosen.whole(arm.arm, asked, variant, number));
            let name = match variant {
                Variant::Plain => arm.name.to_owned(),
                Variant::Dataset => format!("{}, data set", arm.name),
                other => format!("{}, {other}", arm.name),
            };
            let line = line(arm, &name, points);
            match variant {
                Variant::Dataset => Line { stroke: Stroke::Solid, marker: Marker::Cross, ..line },
                Variant::Batch => Line { stroke: Stroke::Dotted, marker: Marker::Triangle, ..line },
                _ => line,
            }
        };
        variants.map(of).filter(|line| !line.points.is_empty()).collect::<Vec<_>>()
    };
    drawn(results).flat_map(of_arm).collect()
}
