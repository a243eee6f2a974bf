//! A single spectrum: its tail, its density, those of subsets of its samples, and of a run's epochs.

use kappa_run::{DensityRecord, EpochSpectrum, SpectrumRecord, SubsetRecord};
use plotters::style::RGBColor;

use super::{
    COLOURS, HALF,
    axis::Axis,
    chart::{self, Line, Marker, Panel, Stroke},
};
use crate::{ReportError, band::Band};

pub const SIZE: (u32, u32) = (760, 460);
pub const GREY: RGBColor = RGBColor(120, 120, 120);
/// Places along the density's axis.
const PLACES: usize = 240;
/// The width of the bell that each node of the density is drawn as, in powers of ten.
const BELL: f64 = 0.2;

/// All eigenvalues of `record` in order of their size, as SVG: those of the subspace of
/// the contrasts, and those of the plain decomposition of the whole matrix (`whole`), whose
/// zeros are noise. Between the two lies the gap that tells zeros from small numbers.
///
/// # Errors
///
/// [`ReportError::Figure`].
pub fn gap_plot(record: &SpectrumRecord, eigenvalues: &[f64], whole: &[f64]) -> Result<String, ReportError> {
    let points = |values: &[f64]| -> Vec<(f64, Band)> {
        let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).filter(|&size| size > 0.0).collect();
        sizes.sort_by(|a, b| b.total_cmp(a));
        sizes.into_iter().enumerate().map(|(i, size)| ((i + 1) as f64, at(size))).collect()
    };
    let tolerance = record.spectrum.rank_tolerance;
    let ends = [1.0, record.spectrum.size as f64];
    let line = |label: String, colour, stroke, width, points| Line {
        label,
        colour,
        stroke,
        marker: Marker::None,
        width,
        shaded: false,
        points,
    };
    let panel = Panel {
        title: format!(
            "{}: {} of {} eigenvalues are zero by structure, {} more below the rank tolerance",
            record.settings.network,
            record.spectrum.null_space.explained,
            record.spectrum.size,
            record.spectrum.null_space.numerical
        ),
        x: Axis::linear("rank"),
        y: Axis::log("size of the eigenvalue"),
        lines: vec![
            line("whole matrix".to_owned(), GREY, Stroke::Dashed, 2, points(whole)),
            line("contrasts, zeros left out".to_owned(), COLOURS[0], Stroke::Solid, 3, points(eigenvalues)),
            line(
                "rank tolerance".to_owned(),
                COLOURS[1],
                Stroke::Dotted,
                2,
                ends.map(|x| (x, at(tolerance))).to_vec(),
            ),
        ],
    };
    draw(panel, "gap")
}

/// The density of eigenvalues, as SVG: the share of eigenvalues for each power of ten.
/// Each node is drawn as a bell of a fixed width; the line is the mean over the random
/// vectors and the band goes from the smallest to the largest.
///
/// # Errors
///
/// [`ReportError::Figure`].
pub fn density_plot(network: &str, density: &DensityRecord) -> Result<String, ReportError> {
    let largest = density.probes.iter().flatten().map(|&(node, _)| node).fold(0.0, f64::max);
    // What is below 1e-8 of the largest is not resolved by a few dozen nodes.
    let range = [largest.log10() - 8.0, largest.log10() + 0.5];
    let drawable = density.probes.iter().map(|nodes| {
        nodes.iter().filter(|(node, _)| *node > 0.0).map(|&(node, weight)| (node.log10(), weight))
    });
    let drawable: Vec<Vec<(f64, f64)>> = drawable.map(Iterator::collect).collect();
    let height = 1.0 / (BELL * (2.0 * std::f64::consts::PI).sqrt());
    let points = (0..PLACES).filter_map(|place| {
        let x = range[0] + (range[1] - range[0]) * place as f64 / (PLACES - 1) as f64;
        let bells = drawable.iter().map(|nodes| {
            nodes
                .iter()
                .map(|(node, weight)| weight * height * (-((x - node) / BELL).powi(2) / 2.0).exp())
                .sum()
        });
        Some((10f64.powf(x), Band::of(bells)?))
    });
    let line = Line {
        label: format!("{network}, {} random vectors", density.probes.len()),
        colour: COLOURS[0],
        stroke: Stroke::Solid,
        marker: Marker::None,
        width: 2,
        shaded: true,
        points: if largest > 0.0 { points.collect() } else { Vec::new() },
    };
    let panel = Panel {
        title: format!(
            "share of eigenvalues for each power of ten; {:.4} are zero by softmax's shift",
            density.shift
        ),
        x: Axis::log("eigenvalue"),
        y: Axis::linear("share"),
        lines: vec![line],
    };
    draw(panel, "density")
}

/// lambda_1, lambda_10 and kappa' of growing random subsets, as SVG: medians with a band
/// from the smallest to the largest, and the whole split at the end. `None` without subsets.
///
/// # Errors
///
/// [`ReportError::Figure`].
pub fn subsets_plot(record: &SpectrumRecord) -> Result<Option<String>, ReportError> {
    if record.subsets.is_empty() {
        return Ok(None);
    }
    type Values = fn(&SubsetRecord) -> &Vec<f64>;
    let numbers: [(&str, Values); 3] = [
        ("λ₁", |subset| &subset.lambda_1),
        ("λ₁₀", |subset| &subset.lambda_10),
        ("κ′ = λ₁/λ₁₀", |subset| &subset.kappa_prime),
    ];
    let panels = numbers.map(|(label, values)| {
        let band =
            |subset: &SubsetRecord| Some((subset.samples as f64, Band::of(values(subset).iter().copied())?));
        Panel {
            title: String::new(),
            x: Axis::log("samples"),
            y: Axis::linear(label),
            lines: vec![Line {
                label: format!("{}, random subsets", record.settings.network),
                colour: COLOURS[0],
                stroke: Stroke::Solid,
                marker: Marker::Disc,
                width: 2,
                shaded: true,
                points: record.subsets.iter().filter_map(band).collect(),
            }],
        }
    });
    let failed = |problem| ReportError::Figure { name: "subsets".to_owned(), problem };
    chart::draw(&panels, HALF).map(Some).map_err(failed)
}

/// lambda_1, lambda_10 and kappa' against the epochs of a run, as SVG; `title` says of what.
///
/// # Errors
///
/// [`ReportError::Figure`].
pub fn epochs_plot(title: &str, rows: &[EpochSpectrum]) -> Result<String, ReportError> {
    type Value = fn(&EpochSpectrum) -> Option<f64>;
    let numbers: [(&str, Value); 3] =
        [("λ₁", |row| row.lambda_1), ("λ₁₀", |row| row.lambda_10), ("κ′ = λ₁/λ₁₀", |row| row.kappa_prime)];
    let panels = numbers.map(|(label, value)| {
        // A logarithm has no place for zero.
        let point = |row: &EpochSpectrum| {
            let value = value(row).filter(|&value| value.is_finite() && value > 0.0)?;
            Some((row.epoch as f64, at(value)))
        };
        Panel {
            title: String::new(),
            x: Axis::linear("epoch"),
            y: Axis::log(label),
            lines: vec![Line {
                label: title.to_owned(),
                colour: COLOURS[0],
                stroke: Stroke::Solid,
                marker: Marker::Disc,
                width: 2,
                shaded: false,
                points: rows.iter().filter_map(point).collect(),
            }],
        }
    });
    let failed = |problem| ReportError::Figure { name: "spectra".to_owned(), problem };
    chart::draw(&panels, HALF).map_err(failed)
}

/// A value without a band.
pub fn at(value: f64) -> Band {
    Band { median: value, low: value, high: value }
}

fn draw(panel: Panel, name: &str) -> Result<String, ReportError> {
    chart::draw(&[panel], SIZE).map_err(|problem| ReportError::Figure { name: name.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_drawn_with_what_they_have() {
        let row = |epoch, lambda_10| EpochSpectrum {
            epoch,
            lambda_1: Some(0.5),
            lambda_10,
            kappa_prime: None,
            trace: 1.0,
            rank: Some(3),
            lambda_min: None,
            digits: None,
        };
        let svg = epochs_plot("FC of mnist", &[row(0, Some(0.1)), row(5, Some(0.0)), row(10, None)]).unwrap();
        assert!(svg.contains("FC of mnist") && svg.contains("epoch") && svg.contains("κ′"), "{svg}");
        // A disc on each point and one in the legend, which the three panels share: lambda_1 is of
        // three epochs, lambda_10 above zero in one, kappa' in none.
        assert_eq!(svg.matches("<circle").count(), 3 + 1 + 1, "{svg}");
        assert!(epochs_plot("FC", &[]).is_ok());
    }
}
