//! The view of report.html: steps of each arm and seed over any measure.

use serde::Serialize;

use super::{Results, at_matched};
use crate::spectrum::{ArmView, arm_view};

/// What the page's script draws.
#[derive(Serialize)]
pub struct WhyView {
    pub arms: Vec<ArmView>,
    /// What goes across.
    pub measures: Vec<Values>,
    /// What goes up.
    pub steps: Vec<Values>,
}

/// Numbers, with what they are called.
#[derive(Serialize)]
pub struct Values {
    pub label: String,
    /// Of each arm and seed; none where an arm does not get there.
    pub values: Vec<Vec<Option<f64>>>,
}

impl WhyView {
    pub fn new(results: &Results) -> Self {
        let findings = &results.findings;
        let arms = findings.arms.iter().enumerate().map(|(place, arm)| arm_view(&arm.variant, place));
        let measures = findings.orders.iter().map(|order| Values {
            label: order.measure.label().to_owned(),
            values: order.values.iter().map(|seeds| seeds.iter().copied().map(Some).collect()).collect(),
        });
        let (rate, last) = (results.config.rates.matched, results.last());
        let steps = [
            Values {
                label: format!("steps to {last} at {rate}"),
                values: findings.arms.iter().map(at_matched).collect(),
            },
            Values {
                label: format!("steps to {last} at the best rate"),
                values: findings.arms.iter().map(|arm| arm.best.clone()).collect(),
            },
            Values {
                label: "largest stable learning rate".to_owned(),
                values: findings.arms.iter().map(|arm| arm.stable_rate.clone()).collect(),
            },
        ];
        Self { arms: arms.collect(), measures: measures.collect(), steps: steps.into() }
    }
}
