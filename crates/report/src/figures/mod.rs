//! The paper's eight figures, and three of ours.
//!
//! FC is blue, solid and marked by discs; FC+BN is vermilion, dashed and marked by
//! squares: told apart without colour too, and the same two colours everywhere
//! (from the palette of Okabe and Ito, which does not depend on colour vision).

mod axis;
mod chart;
#[cfg(feature = "png")]
mod raster;
pub mod single;

use kappa_run::{EpochMetrics, SpectraRow};
use plotters::style::RGBColor;

use self::{
    axis::Axis,
    chart::{Line, Marker, Panel, Stroke},
};
use crate::{
    ReportError,
    band::Band,
    evidence::{Evidence, Point},
};

/// Blue for FC, vermilion for FC+BN.
pub const COLOURS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)];
/// Both networks.
pub const NETWORKS: [&str; 2] = ["FC", "FC+BN"];

const PANEL: (u32, u32) = (620, 400);
const HALF: (u32, u32) = (470, 400);

/// A figure, drawn.
pub struct Figure {
    /// The name of its files.
    pub name: String,
    /// What it shows, and from which files.
    pub caption: String,
    /// As SVG.
    pub svg: String,
    /// The same as PNG, in a build that makes them.
    pub png: Option<Vec<u8>>,
    /// What is drawn, number by number.
    pub csv: Vec<u8>,
}

impl Figure {
    /// Its files: extension and content.
    pub fn files(&self) -> Vec<(&'static str, &[u8])> {
        let png = self.png.as_deref().map(|png| ("png", png));
        [("svg", self.svg.as_bytes()), ("csv", self.csv.as_slice())].into_iter().chain(png).collect()
    }
}

/// A figure, to be drawn.
struct Drawing {
    name: &'static str,
    caption: String,
    panels: Vec<Panel>,
}

/// Draws all figures that the study has numbers for.
pub fn all(evidence: &Evidence) -> Result<Vec<Figure>, ReportError> {
    let chosen = &evidence.chosen;
    let mut drawings = vec![
        against_seconds(chosen, "figure-1", "training", |row| row.train_accuracy),
        against_seconds(chosen, "figure-2", "validation", |row| row.validation_accuracy),
        kappa_prime(chosen),
    ];
    for (network, numbers) in [(0, [4, 5]), (1, [6, 7])] {
        drawings.push(by_split(chosen, numbers[0], network, Quantity::Accuracy));
        drawings.push(by_split(chosen, numbers[1], network, Quantity::Loss));
    }
    drawings.extend([ten_largest(chosen), controls(chosen), along_learning_rate(evidence), widths(evidence)]);
    // A sweep that was left out leaves nothing to draw.
    let drawable = |drawing: &Drawing| {
        drawing.panels.iter().any(|panel| panel.lines.iter().any(|line| !line.points.is_empty()))
    };
    drawings.into_iter().filter(drawable).map(Drawing::draw).collect()
}

impl Drawing {
    fn draw(self) -> Result<Figure, ReportError> {
        let failed = |problem: String| ReportError::Figure { name: self.name.to_owned(), problem };
        let size = if self.panels.len() > 1 { HALF } else { PANEL };
        let svg = chart::draw(&self.panels, size).map_err(failed)?;
        #[cfg(feature = "png")]
        let png = Some(raster::png(&svg).map_err(failed)?);
        #[cfg(not(feature = "png"))]
        let png = None;
        let csv = csv_of(&self.panels).map_err(|error| failed(error.to_string()))?;
        Ok(Figure { name: self.name.to_owned(), caption: self.caption, svg, png, csv })
    }
}

/// Every point of every line.
fn csv_of(panels: &[Panel]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["panel", "line", "x", "x_label", "median", "low", "high", "y_label"])?;
    for panel in panels {
        for line in &panel.lines {
            for (x, band) in &line.points {
                let numbers = [*x, band.median, band.low, band.high].map(|number| number.to_string());
                let [x, median, low, high] = &numbers;
                let label = if line.label.is_empty() { "(unnamed)" } else { &line.label };
                writer.write_record([
                    &panel.title,
                    label,
                    x,
                    &panel.x.label,
                    median,
                    low,
                    high,
                    &panel.y.label,
                ])?;
            }
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// A network's colour, stroke and marker.
pub fn looks(network: usize) -> (RGBColor, Stroke, Marker) {
    match network {
        0 => (COLOURS[0], Stroke::Solid, Marker::Disc),
        _ => (COLOURS[1], Stroke::Dashed, Marker::Square),
    }
}

/// The line of a network: its colour, stroke and marker.
fn line(network: usize, label: &str, points: Vec<(f64, Band)>) -> Line {
    let (colour, stroke, marker) = looks(network);
    Line { label: label.to_owned(), colour, stroke, marker, width: 2, shaded: true, points }
}

fn by_epoch(points: Vec<(usize, Band)>) -> Vec<(f64, Band)> {
    points.into_iter().map(|(epoch, band)| (epoch as f64, band)).collect()
}

/// "the median of 5 seeds, the band from the smallest to the largest"
fn seeds(point: &Point) -> String {
    match point.pairs.len() {
        1 => "one seed".to_owned(),
        count => format!("the median of {count} seeds, and a band from the smallest to the largest"),
    }
}

fn percent(band: Band) -> Band {
    Band { median: 100.0 * band.median, low: 100.0 * band.low, high: 100.0 * band.high }
}

/// Figures 1 and 2: accuracy against seconds of training.
fn against_seconds(
    point: &Point,
    name: &'static str,
    split: &str,
    accuracy: fn(&EpochMetrics) -> f64,
) -> Drawing {
    let lines = (0..2).map(|network| {
        let seconds = point.metric(network, |row| row.training_seconds);
        let accuracies = point.metric(network, accuracy);
        let points = seconds.iter().zip(accuracies).map(|((_, s), (_, a))| (s.median, percent(a)));
        line(network, NETWORKS[network], points.collect())
    });
    Drawing {
        name,
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
fn kappa_prime(point: &Point) -> Drawing {
    let lines = (0..2).map(|network| {
        let variant = point.variants(network).first().copied().unwrap_or_default();
        let points = point.spectral(network, variant, SpectraRow::kappa_prime);
        line(network, NETWORKS[network], by_epoch(points))
    });
    Drawing {
        name: "figure-3",
        caption: format!(
            "The pseudo-condition number κ′ = λ₁/λ₁₀ of the Hessian over the training split, per epoch (0: before \
             training; FC+BN by its running statistics, which start as no normalisation at all); {}. From top in \
             spectra.json.",
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

#[derive(Clone, Copy)]
enum Quantity {
    Accuracy,
    Loss,
}

/// Figures 4 to 7: accuracy or loss per epoch of one network, on training and validation.
fn by_split(point: &Point, number: usize, network: usize, quantity: Quantity) -> Drawing {
    type Number = fn(&EpochMetrics) -> f64;
    let (what, unit, numbers): (_, _, [Number; 2]) = match quantity {
        Quantity::Accuracy => {
            ("accuracy", "%", [|row| 100.0 * row.train_accuracy, |row| 100.0 * row.validation_accuracy])
        }
        Quantity::Loss => ("loss", "nats", [|row| row.train_loss, |row| row.validation_loss]),
    };
    let name = match number {
        4 => "figure-4",
        5 => "figure-5",
        6 => "figure-6",
        _ => "figure-7",
    };
    let lines =
        ["training", "validation"].into_iter().zip(numbers).enumerate().map(|(i, (split, number))| Line {
            stroke: if i == 0 { Stroke::Solid } else { Stroke::Dotted },
            marker: if i == 0 { Marker::None } else { Marker::Triangle },
            ..line(
                network,
                &format!("{}, {split}", NETWORKS[network]),
                by_epoch(point.metric(network, number)),
            )
        });
    Drawing {
        name,
        caption: format!(
            "{} of {} per epoch on the training and the validation split; {}. From metrics.csv.",
            if what == "loss" { "Loss (mean cross-entropy, without the L2 penalty)" } else { "Accuracy" },
            NETWORKS[network],
            seeds(point)
        ),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::linear("epoch"),
            y: Axis::linear(&format!("{what} [{unit}]")),
            lines: lines.collect(),
        }],
    }
}

/// Figure 8: the ten largest eigenvalues per epoch, a panel for each network.
fn ten_largest(point: &Point) -> Drawing {
    let panel = |network: usize| {
        let variant = point.variants(network).first().copied().unwrap_or_default();
        let lines = (1..=10).map(|rank| {
            let label = match rank {
                1 => format!("{} λ₁", NETWORKS[network]),
                2 => format!("{} λ₂ .. λ₉", NETWORKS[network]),
                10 => format!("{} λ₁₀", NETWORKS[network]),
                _ => String::new(),
            };
            let points = by_epoch(point.spectral(network, variant, |row| row.lambda(rank)));
            let line = line(network, &label, points);
            match rank {
                1 => Line { stroke: Stroke::Solid, width: 3, ..line },
                10 => Line { width: 3, stroke: Stroke::Dashed, marker: Marker::Cross, ..line },
                _ => Line { stroke: Stroke::Solid, marker: Marker::None, width: 1, shaded: false, ..line },
            }
        });
        Panel {
            title: NETWORKS[network].to_owned(),
            x: Axis::linear("epoch"),
            y: Axis::log("eigenvalue"),
            lines: lines.collect(),
        }
    };
    Drawing {
        name: "figure-8",
        caption: format!(
            "The ten largest eigenvalues of the Hessian per epoch (FC+BN by its running statistics); {}. From top in \
             spectra.json.",
            seeds(point)
        ),
        panels: with_common_range(vec![panel(0), panel(1)]),
    }
}

/// Panels that are to be compared have the same range.
fn with_common_range(mut panels: Vec<Panel>) -> Vec<Panel> {
    let bands = panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let all = Band::of(bands.flat_map(|(_, band)| [band.low, band.high]).filter(|value| *value > 0.0));
    for panel in &mut panels {
        panel.y.within = all.map(|all| [all.low, all.high]);
    }
    panels
}

/// Figure 9: lambda_1 and kappa' of FC with its features centred and scaled, beside both networks.
fn controls(point: &Point) -> Drawing {
    let looks = [
        ("plain", "FC", Stroke::Solid, Marker::Disc),
        ("unit_mean_square", "FC, unit mean square", Stroke::Dotted, Marker::Cross),
        ("centred", "FC, centred", Stroke::Dashed, Marker::None),
        ("standardised", "FC, standardised", Stroke::Dotted, Marker::Triangle),
        ("running", "FC+BN, running", Stroke::Dashed, Marker::Square),
        ("folded", "FC+BN, folded", Stroke::Dotted, Marker::Cross),
        ("dataset", "FC+BN, data set", Stroke::Solid, Marker::None),
        ("batch", "FC+BN, mini-batch", Stroke::Dotted, Marker::Triangle),
    ];
    type Number = fn(&SpectraRow) -> Option<f64>;
    let numbers: [(&str, Number); 2] =
        [("λ₁", |row| row.lambda(1)), ("κ′ = λ₁/λ₁₀", SpectraRow::kappa_prime)];
    let panels = numbers.map(|(label, number)| Panel {
        title: String::new(),
        x: Axis::linear("epoch"),
        y: Axis::log(label),
        lines: looks
            .iter()
            .filter_map(|&(variant, name, stroke, marker)| {
                let network = (0..2).find(|&network| point.variants(network).contains(&variant))?;
                let points = by_epoch(point.spectral(network, variant, number));
                Some(Line { stroke, marker, shaded: false, ..line(network, name, points) })
            })
            .collect(),
    });
    Drawing {
        name: "figure-9",
        caption: format!(
            "What batch norm's effect is made of: λ₁ and κ′ of FC as it is, with its features scaled to unit mean \
             square, centred, and standardised, beside FC+BN by each of its statistics, and folded; medians of {} seeds. From \
             top in spectra.json, by variant.",
            point.pairs.len()
        ),
        panels: panels.into(),
    }
}

/// Figure 10: lambda_1 and kappa' at the end along the learning rate.
fn along_learning_rate(evidence: &Evidence) -> Drawing {
    let chosen_l2 = evidence.chosen.findings.l2;
    let mut points: Vec<&Point> = evidence.points().filter(|point| point.findings.l2 == chosen_l2).collect();
    points.sort_by(|a, b| a.findings.learning_rate.total_cmp(&b.findings.learning_rate));
    if points.len() < 2 {
        points.clear();
    }
    type Number = fn(&SpectraRow) -> Option<f64>;
    let numbers: [(&str, Number); 2] =
        [("λ₁", |row| row.lambda(1)), ("κ′ = λ₁/λ₁₀", SpectraRow::kappa_prime)];
    let looks = [
        (0, "plain", "FC", Stroke::Solid, Marker::Disc),
        (1, "running", "FC+BN, running", Stroke::Dashed, Marker::Square),
        (1, "dataset", "FC+BN, data set", Stroke::Solid, Marker::Cross),
        (1, "batch", "FC+BN, mini-batch", Stroke::Dotted, Marker::Triangle),
    ];
    let panels = numbers.map(|(label, number)| Panel {
        title: String::new(),
        x: Axis::log("learning rate"),
        y: Axis::log(label),
        lines: looks
            .iter()
            .map(|&(network, variant, name, stroke, marker)| {
                let at = |point: &&Point| {
                    Some((point.findings.learning_rate, point.last(network, variant, number)?))
                };
                Line { stroke, marker, ..line(network, name, points.iter().filter_map(at).collect()) }
            })
            .filter(|line| !line.points.is_empty())
            .collect(),
    });
    Drawing {
        name: "figure-10",
        caption: format!(
            "λ₁ and κ′ after the last epoch along the learning rate, by each kind of batch norm statistics; {}. From \
             the last rows of spectra.json.",
            seeds(&evidence.chosen)
        ),
        panels: panels.into(),
    }
}

/// Figure 11: zeros against the width.
fn widths(evidence: &Evidence) -> Drawing {
    let lines = (0..2).map(|network| {
        let points = evidence.widths.iter().filter_map(|pair| {
            let run = pair.runs.get(network)?;
            let row = run.last_spectrum(run.variants().first()?)?;
            Some((pair.hidden as f64, Band::of([(row.size - row.rank) as f64])?))
        });
        line(network, NETWORKS[network], points.collect())
    });
    Drawing {
        name: "figure-11",
        caption: "Eigenvalues that are zero up to rounding, after the last epoch, against the number of hidden units; \
                  one seed. From size - rank in spectra.json."
            .to_owned(),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::linear("hidden units"),
            y: Axis::linear("zero eigenvalues"),
            lines: lines.collect(),
        }],
    }
}
