//! The figures of a study.

use kappa_run::{EpochMetrics, Quantity, SpectraRow, Variant};
use rayon::prelude::*;

use super::{
    Drawing, Figure,
    axis::Axis,
    chart::{Line, Marker, Panel, Stroke},
    looks, whole,
};
use crate::{
    ReportError,
    band::Band,
    results::{Point, StudyResults},
};

/// The first number of the figures that arms beyond the paper's two have.
const BEYOND: usize = 12;
/// The numbers of a spectrum that are drawn, with their labels.
const NUMBERS: [(&str, Quantity); 2] = [("λ₁", Quantity::Lambda1), ("κ′ = λ₁/λ₁₀", Quantity::KappaPrime)];

/// An arm as it is drawn.
#[derive(Clone, Copy)]
pub(super) struct Drawn<'a> {
    /// Its place in the study.
    pub(super) arm: usize,
    /// Its place among what is drawn: the reference first.
    place: usize,
    pub(super) name: &'a str,
}

/// All arms, the reference first.
pub(super) fn drawn(results: &StudyResults) -> impl Iterator<Item = Drawn<'_>> {
    let order = results.arms.in_order().enumerate();
    order.map(|(place, arm)| Drawn { arm, place, name: results.arms.name(arm) })
}

/// Draws all figures that the study has numbers for.
pub fn all(results: &StudyResults) -> Result<Vec<Figure>, ReportError> {
    let mut drawings = vec![
        against_seconds(results, 1, "training", |row| row.train_accuracy),
        against_seconds(results, 2, "validation", |row| row.validation_accuracy),
        kappa_prime(results),
    ];
    let by_splits = |arm: Drawn<'_>, number| {
        [by_split(results, number, arm, Shown::Accuracy), by_split(results, number + 1, arm, Shown::Loss)]
    };
    drawings.extend(drawn(results).take(2).flat_map(|arm| by_splits(arm, 4 + 2 * arm.place)));
    drawings.extend([ten_largest(results), controls(results), along_learning_rate(results), widths(results)]);
    drawings.extend(drawn(results).skip(2).flat_map(|arm| by_splits(arm, BEYOND + 2 * (arm.place - 2))));
    let more = drawn(results).count().saturating_sub(2);
    drawings.extend(whole::drawings(results, BEYOND + 2 * more));
    // A sweep that was left out leaves nothing to draw.
    let drawable = |drawing: &Drawing| {
        drawing.panels.iter().any(|panel| panel.lines.iter().any(|line| !line.points.is_empty()))
    };
    drawings.retain(drawable);
    drawings.into_par_iter().map(Drawing::draw).collect()
}

/// The line of an arm: its colour, stroke and marker.
pub(super) fn line(arm: Drawn<'_>, label: &str, points: Vec<(f64, Band)>) -> Line {
    let (colour, stroke, marker) = looks(arm.place);
    Line { label: label.to_owned(), colour, stroke, marker, width: 2, shaded: true, points }
}

pub(super) fn by_epoch(points: Vec<(usize, Band)>) -> Vec<(f64, Band)> {
    points.into_iter().map(|(epoch, band)| (epoch as f64, band)).collect()
}

/// "the median of 5 seeds, the band from the smallest to the largest"
pub(super) fn seeds(point: &Point) -> String {
    match point.seeds.len() {
        1 => "one seed".to_owned(),
        count => format!("the median of {count} seeds, and a band from the smallest to the largest"),
    }
}

/// "; FC+BN by its running statistics", if some arm has any.
fn by_running(results: &StudyResults) -> Option<String> {
    let has = |arm: &Drawn<'_>| results.chosen.as_it_is(arm.arm) == Some(Variant::Running);
    let names: Vec<&str> = drawn(results).filter(has).map(|arm| arm.name).collect();
    let whose = if names.len() > 1 { "their" } else { "its" };
    (!names.is_empty()).then(|| format!("{} by {whose} running statistics", names.join(" and ")))
}

fn percent(band: Band) -> Band {
    Band { median: 100.0 * band.median, low: 100.0 * band.low, high: 100.0 * band.high }
}

/// Figures 1 and 2: accuracy against seconds of training.
fn against_seconds(
    results: &StudyResults,
    number: usize,
    split: &str,
    accuracy: fn(&EpochMetrics) -> f64,
) -> Drawing {
    let point = &results.chosen;
    let lines = drawn(results).map(|arm| {
        let seconds = point.metric(arm.arm, |row| row.training_seconds);
        let accuracies = point.metric(arm.arm, accuracy);
        let points = seconds.iter().zip(accuracies).map(|((_, s), (_, a))| (s.median, percent(a)));
        line(arm, arm.name, points.collect())
    });
    Drawing {
        number,
        caption: format!(
            "Accuracy on the {split} split against the seconds spent in training steps (wall clock, evaluation left \
             out; the median over the seeds); {}. From training_seconds and {}_accuracy in metrics.csv.",
            seeds(point),
            if split == "training" { "train" } else { split }
        ),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::linear("training time [s]"),
            y: Axis::linear(&format!("{split} accuracy [%]")),
            lines: lines.collect(),
        }],
    }
}

/// Figure 3: kappa' per epoch.
fn kappa_prime(results: &StudyResults) -> Drawing {
    let point = &results.chosen;
    let lines = drawn(results).filter_map(|arm| {
        let variant = point.as_it_is(arm.arm)?;
        Some(line(arm, arm.name, by_epoch(point.spectral(arm.arm, variant, SpectraRow::kappa_prime))))
    });
    let by_running = by_running(results)
        .map_or_else(String::new, |by| format!("; {by}, which start as no normalisation at all"));
    Drawing {
        number: 3,
        caption: format!(
            "The pseudo-condition number κ′ = λ₁/λ₁₀ of the Hessian over the training split, per epoch (0: before \
             training{by_running}); {}. From top in spectra.json.",
            seeds(point)
        ),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::linear("epoch"),
            y: Axis::log("κ′ = λ₁/λ₁₀"),
            lines: lines.collect(),
        }],
    }
}

/// What is drawn epoch by epoch.
#[derive(Clone, Copy)]
enum Shown {
    Accuracy,
    Loss,
}

/// Figures 4 to 7: accuracy or loss per epoch of one arm, on training and validation.
fn by_split(results: &StudyResults, number: usize, arm: Drawn<'_>, what: Shown) -> Drawing {
    type Number = fn(&EpochMetrics) -> f64;
    let (title, label, numbers): (_, _, [Number; 2]) = match what {
        Shown::Accuracy => (
            "Accuracy",
            "accuracy [%]",
            [|row| 100.0 * row.train_accuracy, |row| 100.0 * row.validation_accuracy],
        ),
        Shown::Loss => (
            "Loss (mean cross-entropy, without the L2 penalty)",
            "loss [nats]",
            [|row| row.train_loss, |row| row.validation_loss],
        ),
    };
    let looks = [("training", Stroke::Solid, Marker::None), ("validation", Stroke::Dotted, Marker::Triangle)];
    let lines = looks.into_iter().zip(numbers).map(|((split, stroke, marker), number)| Line {
        stroke,
        marker,
        ..line(arm, &format!("{}, {split}", arm.name), by_epoch(results.chosen.metric(arm.arm, number)))
    });
    Drawing {
        number,
        caption: format!(
            "{title} of {} per epoch on the training and the validation split; {}. From metrics.csv.",
            arm.name,
            seeds(&results.chosen)
        ),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::linear("epoch"),
            y: Axis::linear(label),
            lines: lines.collect(),
        }],
    }
}

/// Figure 8: the ten largest eigenvalues per epoch, a panel for each arm.
fn ten_largest(results: &StudyResults) -> Drawing {
    let point = &results.chosen;
    let panel = |arm: Drawn<'_>| {
        let variant = point.as_it_is(arm.arm)?;
        let lines = (1..=10).map(|rank| {
            let label = match rank {
                1 => format!("{} λ₁", arm.name),
                2 => format!("{} λ₂ .. λ₉", arm.name),
                10 => format!("{} λ₁₀", arm.name),
                _ => String::new(),
            };
            let points = by_epoch(point.spectral(arm.arm, variant, |row| row.lambda(rank)));
            let line = line(arm, &label, points);
            match rank {
                1 => Line { stroke: Stroke::Solid, width: 3, ..line },
                10 => Line { width: 3, stroke: Stroke::Dashed, marker: Marker::Cross, ..line },
                _ => Line { stroke: Stroke::Solid, marker: Marker::None, width: 1, shaded: false, ..line },
            }
        });
        Some(Panel {
            title: arm.name.to_owned(),
            x: Axis::linear("epoch"),
            y: Axis::log("eigenvalue"),
            lines: lines.collect(),
        })
    };
    let by_running = by_running(results).map_or_else(String::new, |by| format!(" ({by})"));
    Drawing {
        number: 8,
        caption: format!(
            "The ten largest eigenvalues of the Hessian per epoch{by_running}; {}. From top in spectra.json.",
            seeds(point)
        ),
        panels: with_common_range(drawn(results).filter_map(panel).collect()),
    }
}

/// Panels that are to be compared have the same range.
pub(super) fn with_common_range(mut panels: Vec<Panel>) -> Vec<Panel> {
    let bands = panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let all = Band::of(bands.flat_map(|(_, band)| [band.low, band.high]).filter(|value| *value > 0.0));
    for panel in &mut panels {
        panel.y.within = all.map(|all| [all.low, all.high]);
    }
    panels
}

/// An arm's variant in a legend.
fn label_of(name: &str, variant: Variant) -> String {
    match variant {
        Variant::Plain => name.to_owned(),
        Variant::UnitMeanSquare => format!("{name}, unit mean square"),
        Variant::Dataset => format!("{name}, data set"),
        Variant::Batch => format!("{name}, mini-batch"),
        Variant::Centred | Variant::Standardised | Variant::Running | Variant::Folded => {
            format!("{name}, {variant}")
        }
    }
}

/// Figure 9: lambda_1 and kappa' of the reference with its features centred and scaled, beside
/// the other arms.
fn controls(results: &StudyResults) -> Drawing {
    let point = &results.chosen;
    // As it is an arm has its own looks.
    let looks = [
        (Variant::Plain, None),
        (Variant::UnitMeanSquare, Some((Stroke::Dotted, Marker::Cross))),
        (Variant::Centred, Some((Stroke::Dashed, Marker::None))),
        (Variant::Standardised, Some((Stroke::Dotted, Marker::Triangle))),
        (Variant::Running, None),
        (Variant::Folded, Some((Stroke::Dotted, Marker::Cross))),
        (Variant::Dataset, Some((Stroke::Solid, Marker::None))),
        (Variant::Batch, Some((Stroke::Dotted, Marker::Triangle))),
    ];
    let lines_of = |arm: Drawn<'_>, quantity: Quantity| -> Vec<Line> {
        let shown = if arm.place == 0 { point.variants(arm.arm) } else { point.judged(arm.arm) };
        let shown = looks.into_iter().filter(move |(variant, _)| shown.contains(variant));
        shown
            .map(|(variant, look)| {
                let points = by_epoch(point.spectral(arm.arm, variant, |row| row.number(quantity)));
                let line = Line { shaded: false, ..line(arm, &label_of(arm.name, variant), points) };
                match look {
                    Some((stroke, marker)) => Line { stroke, marker, ..line },
                    None => line,
                }
            })
            .collect()
    };
    let panels = NUMBERS.map(|(label, quantity)| Panel {
        title: String::new(),
        x: Axis::linear("epoch"),
        y: Axis::log(label),
        lines: drawn(results).flat_map(|arm| lines_of(arm, quantity)).collect(),
    });
    Drawing {
        number: 9,
        caption: format!(
            "What the effects are made of: λ₁ and κ′ of {} as it is, with its features scaled to unit mean square, \
             centred, and standardised, beside {} by each of its statistics, and folded; medians of {} seeds. From \
             top in spectra.json, by variant.",
            results.arms.reference(),
            results.arms.other(),
            point.seeds.len()
        ),
        panels: panels.into(),
    }
}

/// Figure 10: lambda_1 and kappa' at the end along the learning rate.
fn along_learning_rate(results: &StudyResults) -> Drawing {
    let chosen_l2 = results.chosen.findings.l2;
    let mut points: Vec<&Point> = results.points().filter(|point| point.findings.l2 == chosen_l2).collect();
    points.sort_by(|a, b| a.findings.learning_rate.total_cmp(&b.findings.learning_rate));
    if points.len() < 2 {
        points.clear();
    }
    let looks = [
        (Variant::Plain, None),
        (Variant::Running, None),
        (Variant::Dataset, Some((Stroke::Solid, Marker::Cross))),
        (Variant::Batch, Some((Stroke::Dotted, Marker::Triangle))),
    ];
    let lines_of = |arm: Drawn<'_>, quantity: Quantity| -> Vec<Line> {
        let of = |(variant, look): (Variant, Option<(Stroke, Marker)>)| {
            let at = |point: &&Point| {
                let number = point.last(arm.arm, variant, |row| row.number(quantity))?;
                Some((point.findings.learning_rate, number))
            };
            let line = line(arm, &label_of(arm.name, variant), points.iter().filter_map(at).collect());
            match look {
                Some((stroke, marker)) => Line { stroke, marker, ..line },
                None => line,
            }
        };
        looks.into_iter().map(of).filter(|line| !line.points.is_empty()).collect()
    };
    let panels = NUMBERS.map(|(label, quantity)| Panel {
        title: String::new(),
        x: Axis::log("learning rate"),
        y: Axis::log(label),
        lines: drawn(results).flat_map(|arm| lines_of(arm, quantity)).collect(),
    });
    Drawing {
        number: 10,
        caption: format!(
            "λ₁ and κ′ after the last epoch along the learning rate, by each kind of batch norm statistics; {}. From \
             the last rows of spectra.json.",
            seeds(&results.chosen)
        ),
        panels: panels.into(),
    }
}

/// Figure 11: zeros against the width.
fn widths(results: &StudyResults) -> Drawing {
    let lines = drawn(results).map(|arm| {
        let points = results.widths.iter().filter_map(|seed| {
            let run = seed.runs.get(arm.arm)?;
            let row = run.last_spectrum(*run.variants().first()?)?;
            Some((seed.hidden as f64, Band::of([row.zeros()? as f64])?))
        });
        line(arm, arm.name, points.collect())
    });
    Drawing {
        number: 11,
        caption: "Eigenvalues that are zero up to rounding, after the last epoch, against the number of hidden units; \
                  one seed. From size - plain.rank in spectra.json."
            .to_owned(),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::linear("hidden units"),
            y: Axis::linear("zero eigenvalues"),
            lines: lines.collect(),
        }],
    }
}
