//! `whole.json`: Hessians of more of a study's networks than their last layers.

use serde::{Deserialize, Serialize};

use crate::{
    CheckRecord, CurvatureSummary, Precision, Quantity, RunDir, RunError, Variant, WholeConfig, WholePoint,
    json::{read_json, write_json},
    reading::is_there,
};

/// The version of `whole.json`'s schema.
pub const WHOLE_VERSION: u32 = 1;

/// The name of the file.
pub(crate) const WHOLE: &str = "whole.json";

/// The Hessians of one run. Rows are added one by one: they are all there when their points are those
/// of the study's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunWhole {
    /// [`WHOLE_VERSION`].
    pub schema_version: u32,
    /// The arithmetic.
    pub precision: Precision,
    /// Images that the loss is the mean over: the first of the training split.
    pub samples: usize,
    /// Seconds that all rows took.
    pub seconds: f64,
    /// A row for each epoch, statistics and parameters.
    pub rows: Vec<WholeRow>,
}

/// One Hessian in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WholeRow {
    /// Which.
    #[serde(flatten)]
    pub point: WholePoint,
    /// The numbers.
    pub summary: CurvatureSummary,
    /// What was checked.
    pub checks: Vec<CheckRecord>,
}

impl RunWhole {
    /// None yet, of a run of so many images in its training split.
    pub fn new(whole: &WholeConfig, images: usize) -> Self {
        let samples = whole.samples.map_or(images, |samples| samples.get().min(images));
        let (schema_version, precision) = (WHOLE_VERSION, whole.precision);
        Self { schema_version, precision, samples, seconds: 0.0, rows: Vec::new() }
    }

    /// Whether its rows are the first of `points`, one after the other.
    pub fn is_begun(&self, points: &[WholePoint]) -> bool {
        self.rows.len() <= points.len()
            && self.rows.iter().map(|row| &row.point).eq(points.iter().take(self.rows.len()))
    }

    /// Whether its rows are of all `points`.
    pub fn is_whole(&self, points: &[WholePoint]) -> bool {
        self.rows.len() == points.len() && self.is_begun(points)
    }
}

impl WholeRow {
    /// What of the network was looked at.
    pub fn variant(&self) -> Variant {
        self.point.statistics.map_or(Variant::Plain, Variant::from)
    }

    /// The number that claims are about.
    pub fn number(&self, quantity: Quantity) -> Option<f64> {
        match quantity {
            Quantity::Lambda1 => self.summary.lambda_1(),
            Quantity::KappaPrime => self.summary.kappa_prime,
        }
    }

    /// "all, dataset"
    pub fn name(&self) -> String {
        match self.point.statistics {
            Some(statistics) => format!("{}, {statistics}", self.point.parameters),
            None => self.point.parameters.to_string(),
        }
    }
}

impl RunDir {
    /// Writes the Hessians, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_whole(&self, whole: &RunWhole) -> Result<(), RunError> {
        write_json(&self.path().join(WHOLE), whole)
    }

    /// Reads the Hessians, if there are any.
    ///
    /// # Errors
    ///
    /// [`RunError::Malformed`] or [`RunError::UnknownVersion`].
    pub fn whole(&self) -> Result<Option<RunWhole>, RunError> {
        let path = self.path().join(WHOLE);
        if is_there(&path) { read_json(&path, WHOLE_VERSION).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use crate::{EndRecord, Parameters, StatisticsKind, TraceRecord};

    use super::*;

    fn row(epoch: usize, statistics: Option<StatisticsKind>) -> WholeRow {
        let end =
            || EndRecord { eigenvalues: vec![3.0], residuals: vec![0.0], residual_bound: 1e-5, products: 1 };
        WholeRow {
            point: WholePoint { epoch, parameters: Parameters::All, statistics },
            summary: CurvatureSummary {
                tensors: vec![],
                largest: end(),
                smallest: Some(end()),
                negative: 0,
                kappa_prime: None,
                shares: vec![],
                trace: TraceRecord { value: 1.0, error: None },
                gauss_newton_along: vec![],
                gauss_newton_lambda_1: 1.0,
                gradient: 0.0,
                gradient_share: None,
            },
            checks: vec![],
        }
    }

    #[test]
    fn rows_are_begun_where_they_are_the_first_that_are_asked_for() {
        let rows = vec![row(0, None), row(1, None)];
        let points: Vec<WholePoint> = rows.iter().map(|row| row.point.clone()).collect();
        let of = |rows: &[WholeRow]| RunWhole {
            schema_version: WHOLE_VERSION,
            precision: Precision::F32,
            samples: 1,
            seconds: 0.0,
            rows: rows.to_vec(),
        };
        for count in 0..=2 {
            assert!(of(&rows[..count]).is_begun(&points));
            assert_eq!(of(&rows[..count]).is_whole(&points), count == 2);
        }
        assert!(!of(&rows[1..]).is_begun(&points) && !of(&rows).is_begun(&points[..1]));
        let other = row(0, Some(StatisticsKind::Dataset));
        assert!(!of(std::slice::from_ref(&other)).is_begun(&points));
        assert_eq!((other.name(), other.variant()), ("all, dataset".to_owned(), Variant::Dataset));
        assert_eq!((rows[0].name(), rows[0].variant()), ("all".to_owned(), Variant::Plain));
    }
}
