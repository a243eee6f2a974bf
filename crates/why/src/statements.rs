//! What else the paper says of speed, judged where there are arms for it.

use kappa_model::{Kind, Place};
use kappa_run::{Compared, Config, Estimate, Scaling, Statement, Told, WhyClaim, Word};

use crate::{
    answers::{MOVED, common, moves},
    experiment::Trained,
    findings::octaves,
};

/// The arm that differs from the first one by its normalisation alone.
pub fn arm_of(arms: &[Trained], kind: Kind, place: Place) -> Option<&Trained> {
    let recipe = &arms.first()?.variant.config;
    let is_meant = |arm: &&Trained| {
        let normalisation = &arm.variant.config.network.normalisation;
        let mut same = arm.variant.config.clone();
        same.network.normalisation = recipe.network.normalisation;
        same.name.clone_from(&recipe.name);
        (normalisation.kind, normalisation.place) == (kind, place) && same == *recipe
    };
    arms.iter().skip(1).find(is_meant)
}

/// The arm that differs from the first one by standardised inputs alone.
pub fn standardised(arms: &[Trained]) -> Option<&Trained> {
    let recipe = &arms.first()?.variant.config;
    let is_meant = |arm: &&Trained| {
        let config = &arm.variant.config;
        let mut same: Config = config.clone();
        same.data.scaling = recipe.data.scaling;
        same.name.clone_from(&recipe.name);
        config.data.scaling == Scaling::Standardised && same == *recipe
    };
    arms.iter().skip(1).find(is_meant)
}

/// Of each claim for which there are arms; `last` is the loss to which steps are counted.
pub fn statements(arms: &[Trained], last: f64) -> Vec<Statement> {
    let batch = arm_of(arms, Kind::Batch, Place::After);
    let before = arm_of(arms, Kind::Batch, Place::Before);
    let steps = |of: &Trained, other: &Trained, word: fn(&Estimate) -> Word| {
        let told = [
            (Told::StepsAtMatched, octaves(&of.steps_at_matched(last), &other.steps_at_matched(last))),
            (Told::StepsAtBest, octaves(&of.steps_at_best(), &other.steps_at_best())),
        ];
        let compared = told.into_iter().filter_map(|(what, ratio)| {
            let ratio = ratio?;
            Some(Compared { what, word: word(&ratio), ratio })
        });
        compared.collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    if let (Some(after), Some(before)) = (batch, before) {
        found.extend(statement(WhyClaim::AfterTheRelu, steps(after, before, is_no_more)));
    }
    if let (Some(inputs), Some(batch)) = (standardised(arms), batch) {
        found.extend(statement(WhyClaim::InputsLikeFeatures, steps(inputs, batch, is_the_same)));
    }
    if let (Some(batch), Some(first)) = (batch, arms.first()) {
        let rates = octaves(&batch.stable, &first.stable).map(|ratio| Compared {
            what: Told::StableRate,
            word: moves(&ratio, false),
            ratio,
        });
        found.extend(statement(WhyClaim::LargerRates, rates.into_iter().collect()));
    }
    found
}

fn statement(claim: WhyClaim, compared: Vec<Compared>) -> Option<Statement> {
    let word = common(compared.iter().map(|compared| compared.word))?;
    Some(Statement { claim, compared, word })
}

fn ends(ratio: &Estimate) -> [f64; 2] {
    ratio.interval.unwrap_or([ratio.mean; 2])
}

/// Whether the ratio is at most 1, but for a tenth: holds where the whole interval says so, fails where it says
/// that it is above.
fn is_no_more(ratio: &Estimate) -> Word {
    match ends(ratio) {
        [_, high] if high < MOVED => Word::Holds,
        [low, _] if low > 0.0 => Word::Fails,
        _ => Word::Mixed,
    }
}

/// Whether the ratio is 1, but for a tenth either way: holds where the whole interval is there, fails where no part
/// of it is.
fn is_the_same(ratio: &Estimate) -> Word {
    match ends(ratio) {
        [low, high] if low > -MOVED && high < MOVED => Word::Holds,
        [low, high] if low > MOVED || high < -MOVED => Word::Fails,
        _ => Word::Mixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_either_way_is_the_same() {
        let ratio = |low: f64, high: f64| {
            let mean = (low + high) / 2.0;
            Estimate { effects: vec![mean], mean, interval: Some([low, high]) }
        };
        for (interval, no_more, same) in [
            ([-0.1, 0.1], Word::Holds, Word::Holds),
            ([-2.0, -1.0], Word::Holds, Word::Fails),
            ([0.5, 1.0], Word::Fails, Word::Fails),
            ([0.05, 1.0], Word::Fails, Word::Mixed),
            ([-0.5, 0.5], Word::Mixed, Word::Mixed),
        ] {
            let ratio = ratio(interval[0], interval[1]);
            assert_eq!((is_no_more(&ratio), is_the_same(&ratio)), (no_more, same), "{interval:?}");
        }
    }
}
