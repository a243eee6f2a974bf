//! One word for each explanation: whether what it speaks of orders the arms as their speed does, and whether the
//! speed moves where it alone is changed.

use kappa_model::{Kind, Place};
use kappa_run::{Answer, Change, Estimate, Explains, Measure, Moved, Ordering, Part, Word};

use crate::{
    experiment::Trained,
    findings::octaves,
    statements::{arm_of, standardised},
};

/// log2 of what counts as moving the speed: a tenth of the steps.
pub const MOVED: f64 = 0.137_503_523_749_934_9;

/// What an explanation says: less of these measures is faster, and these changes, each with whether it is to make
/// an arm faster.
fn says(explanation: Explains) -> (&'static [Measure], &'static [(Change, bool)]) {
    match explanation {
        Explains::ConditioningOfOutput => {
            (&[Measure::KappaPrimeOfOutput], &[(Change::Equalised, true), (Change::Stiffened, false)])
        }
        Explains::Conditioning => (&[Measure::KappaPrime], &[]),
        Explains::LargestEigenvalue => (&[Measure::Lambda1], &[]),
        Explains::Smoothness => {
            (&[Measure::LossRange, Measure::GradientChange, Measure::EffectiveSmoothness], &[])
        }
        Explains::CovariateShift => {
            (&[Measure::CovariateShift, Measure::CovariateTurn], &[(Change::Noise, false)])
        }
        Explains::LearningRate => (&[Measure::InverseStableRate], &[]),
        Explains::Decoupling | Explains::InputPreconditioning => (&[], &[]),
    }
}

/// Of each explanation; `last` is the loss to which the arms' steps are counted.
pub fn answers(orders: &[Ordering], interventions: &[Moved], arms: &[Trained], last: f64) -> Vec<Answer> {
    let answer = |explanation| {
        let changed = changed(explanation, interventions).into_iter().chain(of_arms(explanation, arms, last));
        answer(explanation, orders, changed.collect())
    };
    Explains::ALL.into_iter().map(answer).collect()
}

fn answer(explanation: Explains, orders: &[Ordering], changed: Vec<Part>) -> Answer {
    let measures = says(explanation).0;
    let of = |order: &&Ordering| measures.contains(&order.measure);
    let words = |pick: fn(&Ordering) -> Word| common(orders.iter().filter(of).map(pick));
    let (at_matched, at_best) = (words(|order| order.by_losses.word), words(|order| order.at_best.word));
    let of_orders = [at_matched, at_best].into_iter().flatten();
    let parts = || changed.iter().map(|part| part.word);
    // A change that moves nothing is enough against it; for it all have to say so.
    let all: Vec<Word> = of_orders.chain(parts()).collect();
    let is_whole = measures.is_empty() || (at_matched.is_some() && at_best.is_some());
    let word = match &all[..] {
        [] => Word::Mixed,
        all if all.contains(&Word::Fails) => Word::Fails,
        all if is_whole && all.iter().all(|word| *word == Word::Holds) => Word::Holds,
        _ => Word::Mixed,
    };
    Answer { explanation, at_matched, at_best, changed, word }
}

/// What the interventions say of an explanation.
fn changed(explanation: Explains, interventions: &[Moved]) -> Vec<Part> {
    let part = |moved: &Moved| {
        let (_, faster) = says(explanation).1.iter().find(|(change, _)| *change == moved.change)?;
        let words = [&moved.matched, &moved.best].into_iter().flatten();
        let word = common(words.map(|estimate| moves(estimate, *faster)))?;
        Some(Part { name: moved.speeds.variant.clone(), word })
    };
    interventions.iter().filter_map(part).collect()
}

/// What arms say of an explanation that is an arm itself, beside the first one.
fn of_arms(explanation: Explains, arms: &[Trained], last: f64) -> Option<Part> {
    let first = arms.first()?;
    let faster = |arm: &Trained| {
        let matched = octaves(&arm.steps_at_matched(last), &first.steps_at_matched(last));
        let best = octaves(&arm.steps_at_best(), &first.steps_at_best());
        let word = common([matched, best].iter().flatten().map(|ratio| moves(ratio, true)))?;
        Some(Part { name: arm.variant.name.clone(), word })
    };
    match explanation {
        Explains::Decoupling => {
            let places = [Place::After, Place::Before];
            faster(places.into_iter().find_map(|place| arm_of(arms, Kind::Weight, place))?)
        }
        Explains::InputPreconditioning => faster(standardised(arms)?),
        // At one and the same rate a larger one cannot help: were it all, nothing would be left there.
        Explains::LearningRate => {
            let batch = arm_of(arms, Kind::Batch, Place::After)?;
            let ratio = octaves(&batch.steps_at_matched(last), &first.steps_at_matched(last))?;
            let word = match moves(&ratio, true) {
                Word::Holds => Word::Fails,
                Word::Fails => Word::Holds,
                word => word,
            };
            Some(Part { name: format!("{} at one rate", batch.variant.name), word })
        }
        _ => None,
    }
}

/// Whether a change moves the speed as it is to: holds where the whole interval says so, fails where no part of it
/// says more than a tenth.
pub fn moves(estimate: &Estimate, faster: bool) -> Word {
    let sign = if faster { -1.0 } else { 1.0 };
    let [a, b] = estimate.interval.unwrap_or([estimate.mean; 2]).map(|end| sign * end);
    let (low, high) = (a.min(b), a.max(b));
    if high < MOVED {
        Word::Fails
    } else if low > 0.0 {
        Word::Holds
    } else {
        Word::Mixed
    }
}

/// The word of all, if they agree.
pub fn common(words: impl IntoIterator<Item = Word>) -> Option<Word> {
    let mut words = words.into_iter();
    let first = words.next()?;
    Some(if words.all(|word| word == first) { first } else { Word::Mixed })
}

#[cfg(test)]
mod tests {
    use kappa_run::{Speeds, Tau};

    use super::*;

    fn order(measure: Measure, matched: Word, best: Word) -> Ordering {
        let tau = |word| Tau { tau: 0.0, interval: [0.0; 2], word };
        let [by_losses, at_best] = [matched, best].map(tau);
        Ordering { measure, values: Vec::new(), by_steps: tau(matched), by_losses, at_best }
    }

    fn moved(change: Change, interval: [f64; 2]) -> Moved {
        let mean = (interval[0] + interval[1]) / 2.0;
        let estimate = Estimate { effects: vec![mean], mean, interval: Some(interval) };
        let none = Vec::new;
        let speeds = Speeds {
            variant: format!("{change:?}"),
            matched: none(),
            best: Vec::new(),
            best_rate: Vec::new(),
            stable_rate: Vec::new(),
        };
        Moved { speeds, arm: String::new(), change, matched: Some(estimate), best: None }
    }

    #[test]
    fn an_explanation_fails_where_its_change_moves_nothing_and_holds_where_all_says_so() {
        let measure = Measure::KappaPrimeOfOutput;
        let word = |order: Ordering, changes: &[Moved]| {
            let explanation = Explains::ConditioningOfOutput;
            answer(explanation, &[order], changed(explanation, changes)).word
        };
        let holds = || order(measure, Word::Holds, Word::Holds);
        // log2 0.8 and 1.3: as it is said, by more than a tenth.
        let (faster, slower) = ([-0.5, -0.2], [0.3, 0.5]);
        let as_said = [moved(Change::Equalised, faster), moved(Change::Stiffened, slower)];
        assert_eq!(word(holds(), &as_said), Word::Holds);
        assert_eq!(word(order(measure, Word::Mixed, Word::Holds), &as_said), Word::Mixed);
        assert_eq!(word(order(measure, Word::Fails, Word::Holds), &as_said), Word::Fails);
        // A hundredth of the steps, the other way, and not decided.
        let still = [moved(Change::Equalised, [-0.03, 0.01]), moved(Change::Stiffened, slower)];
        assert_eq!(word(holds(), &still), Word::Fails);
        assert_eq!(word(holds(), &[moved(Change::Stiffened, [-0.5, -0.3])]), Word::Fails);
        assert_eq!(word(holds(), &[moved(Change::Stiffened, [-0.1, 0.5])]), Word::Mixed);
        // What nothing was measured of is not decided.
        assert_eq!(answer(Explains::Conditioning, &[], Vec::new()).word, Word::Mixed);
        assert!((MOVED - 1.1f64.log2()).abs() < 1e-15);
    }
}
