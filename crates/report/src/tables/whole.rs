//! The numbers of more of the networks than their last layers.

use kappa_run::{Parameters, Variant, WholeRow};

use super::points::{banded, label as network_label};
use crate::{
    band::Band,
    figures::parameters_label,
    results::{Point, StudyResults},
};

/// The Hessians of all networks with respect to some parameters.
pub struct OfParameters {
    /// "all parameters"
    pub parameters: String,
    /// A row for each network, statistics and epoch.
    pub rows: Vec<OfEpoch>,
}

/// One of them.
pub struct OfEpoch {
    /// The arm and its statistics.
    pub network: String,
    /// Epochs of training.
    pub epoch: usize,
    /// lambda_1, lambda_10, kappa', lambda_min, lambda_1 of the Gauss-Newton matrix, and the shares of
    /// the first and of the last weights in the leading eigenvector.
    pub numbers: [String; 7],
}

pub(super) fn of_parameters(results: &StudyResults) -> Vec<OfParameters> {
    let of = |asked: &Parameters| {
        let arms = results.arms.in_order();
        let rows = arms.flat_map(|arm| {
            let variants = results.chosen.whole_variants(arm).into_iter();
            variants.flat_map(move |variant| of_network(results, arm, variant, asked))
        });
        OfParameters { parameters: parameters_label(asked), rows: rows.collect() }
    };
    results.parameters().iter().map(of).collect()
}

fn of_network(results: &StudyResults, arm: usize, variant: Variant, asked: &Parameters) -> Vec<OfEpoch> {
    let point: &Point = &results.chosen;
    type Number = fn(&WholeRow) -> Option<f64>;
    let numbers: [Number; 7] = [
        |row| row.summary.lambda_1(),
        |row| row.summary.largest.eigenvalues.get(9).copied(),
        |row| row.summary.kappa_prime,
        |row| row.summary.lambda_min(),
        |row| Some(row.summary.gauss_newton_lambda_1),
        |row| share(row, "hidden.weight").or_else(|| share(row, "hidden.0.weight")),
        |row| share(row, "output.weight"),
    ];
    let bands = numbers.map(|number| point.whole(arm, asked, variant, &number));
    let at = |bands: &[(usize, Band)], epoch: usize| {
        banded(bands.iter().find(|(of, _)| *of == epoch).map(|(_, band)| *band))
    };
    let epochs = bands[0].iter().map(|(epoch, _)| *epoch);
    let row = |epoch: usize| OfEpoch {
        network: network_label(results.arms.name(arm), variant),
        epoch,
        numbers: [0, 1, 2, 3, 4, 5, 6].map(|number: usize| at(&bands[number], epoch)),
    };
    epochs.map(row).collect()
}

/// The share of a tensor in the leading eigenvector, where there are others.
fn share(row: &WholeRow, tensor: &str) -> Option<f64> {
    row.summary.leading_share(tensor).filter(|_| row.summary.tensors.len() > 1)
}
