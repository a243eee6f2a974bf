//! What all trainings say.

use std::collections::BTreeMap;

use kappa_run::{Estimate, Moved, Shares, Speeds, WHY_VERSION, WhyConfig, WhyFindings};
use kappa_study::claims::estimate;

use crate::{
    answers::answers, chain::chain, experiment::Trained, orders::Orders, statements::statements,
    training::steps_to,
};

/// What the trainings of all variants say, the arms first.
pub fn findings(why: &WhyConfig, all: &[Trained], version: &str) -> WhyFindings {
    let (arms, interventions) = all.split_at(why.arms.len().min(all.len()));
    let last = why.losses.last().copied().unwrap_or(f64::NAN);
    let orders = Orders { why, arms }.all();
    let interventions: Vec<Moved> = interventions.iter().filter_map(|of| moved(why, of, arms)).collect();
    let others = arms.iter().skip(1);
    WhyFindings {
        schema_version: WHY_VERSION,
        kappa_version: version.to_owned(),
        arms: arms.iter().map(|arm| speeds(why, arm)).collect(),
        shares: arms.iter().map(|arm| shares(why, arm)).collect(),
        chains: arms
            .first()
            .map(|first| others.map(|arm| chain(first, arm, last)).collect())
            .unwrap_or_default(),
        answers: answers(&orders, &interventions, arms, last),
        statements: statements(arms, last),
        interventions,
        orders,
    }
}

fn speeds(why: &WhyConfig, of: &Trained) -> Speeds {
    let to = |losses: &[f64]| why.losses.iter().map(|&loss| steps_to(losses, loss)).collect();
    Speeds {
        variant: of.variant.name.clone(),
        matched: of.matched.iter().map(|training| to(&training.losses)).collect(),
        best: of.steps_at_best(),
        best_rate: of.best.iter().map(|best| best.as_ref().map(|best| best.training.rate)).collect(),
        stable_rate: of.stable.clone(),
    }
}

fn moved(why: &WhyConfig, of: &Trained, arms: &[Trained]) -> Option<Moved> {
    let arm = arms.get(of.variant.arm)?;
    let last = why.losses.last().copied()?;
    Some(Moved {
        speeds: speeds(why, of),
        arm: arm.variant.name.clone(),
        change: of.variant.change?,
        matched: octaves(&of.steps_at_matched(last), &arm.steps_at_matched(last)),
        best: octaves(&of.steps_at_best(), &arm.steps_at_best()),
    })
}

/// log2 of numbers over others, seed by seed, if all are there.
pub fn octaves(of: &[Option<f64>], others: &[Option<f64>]) -> Option<Estimate> {
    let pairs = of.iter().zip(others).map(|(of, other)| Some(((*of)? / (*other)?).log2()));
    estimate(pairs.collect::<Option<Vec<f64>>>()?)
}

/// The tensors' shares where each loss is first reached, between the two points that were measured around it.
fn shares(why: &WhyConfig, of: &Trained) -> Shares {
    let mut sums = BTreeMap::<String, (f64, f64)>::new();
    for training in &of.matched {
        let names = training.measures.iter().flat_map(|at| at.shares.keys());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let share = |at: &kappa_run::Measured| Some((at.step, at.loss.ln(), *at.shares.get(name)?));
            let values: Vec<_> = training.measures.iter().filter_map(share).collect();
            for value in why.losses.iter().filter_map(|loss| between(&values, loss.ln())) {
                let (sum, count) = sums.entry(name.clone()).or_default();
                (*sum, *count) = (*sum + value, *count + 1.0);
            }
        }
    }
    let tensors = sums.into_iter().map(|(name, (sum, count))| (name, sum / count));
    Shares { variant: of.variant.name.clone(), tensors: tensors.collect() }
}

/// What is measured where the loss is first so low, of (step, ln loss, value) and between two of them by the
/// logarithm of the loss.
pub fn between(values: &[(usize, f64, f64)], loss: f64) -> Option<f64> {
    let after = values.iter().position(|at| at.1 <= loss)?;
    let (_, low, value) = *values.get(after)?;
    let Some((_, high, before)) = after.checked_sub(1).and_then(|before| values.get(before)) else {
        return Some(value);
    };
    let part = if high > &low { (high - loss) / (high - low) } else { 1.0 };
    Some(before + part * (value - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_at_a_loss_lies_between_those_around_it() {
        let values = [(0, 2.0, 10.0), (5, 1.0, 20.0), (9, -1.0, 40.0)];
        assert_eq!(between(&values, 3.0), Some(10.0));
        assert_eq!(between(&values, 1.5), Some(15.0));
        assert_eq!(between(&values, 0.0), Some(30.0));
        assert_eq!(between(&values, -2.0), None);
    }

    #[test]
    fn an_intervention_that_does_not_get_there_has_no_factor() {
        let estimate = octaves(&[Some(8.0), Some(2.0)], &[Some(4.0), Some(4.0)]).unwrap();
        assert_eq!(estimate.effects, [1.0, -1.0]);
        assert!(octaves(&[None, Some(2.0)], &[Some(4.0), Some(4.0)]).is_none());
    }
}
