//! One word for each explanation: whether what it speaks of orders the arms as their speed does, and whether the
//! speed moves where it alone is changed.

use kappa_run::{Answer, Change, Estimate, Explains, Measure, Moved, Ordering, Part, Word};

/// log2 of what counts as moving the speed: a tenth of the steps.
const MOVED: f64 = 0.137_503_523_749_934_9;

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
    }
}

/// Of each explanation that something was measured or changed for.
pub fn answers(orders: &[Ordering], interventions: &[Moved]) -> Vec<Answer> {
    Explains::ALL.into_iter().map(|explanation| answer(explanation, orders, interventions)).collect()
}

fn answer(explanation: Explains, orders: &[Ordering], interventions: &[Moved]) -> Answer {
    let (measures, changes) = says(explanation);
    let of = |order: &&Ordering| measures.contains(&order.measure);
    let words = |pick: fn(&Ordering) -> Word| common(orders.iter().filter(of).map(pick));
    let (at_matched, at_best) = (words(|order| order.by_losses.word), words(|order| order.at_best.word));
    let changed: Vec<Part> = interventions
        .iter()
        .filter_map(|moved| {
            let (_, faster) = changes.iter().find(|(change, _)| *change == moved.change)?;
            let name = moved.speeds.variant.clone();
            Some(Part {
                name,
                word: common(
                    [&moved.matched, &moved.best]
                        .into_iter()
                        .flatten()
                        .map(|estimate| moves(estimate, *faster)),
                )?,
            })
        })
        .collect();
    // A change that moves nothing is enough against it; for it all have to say so.
    let word = match (at_matched, at_best) {
        _ if changed.iter().any(|part| part.word == Word::Fails) => Word::Fails,
        (Some(Word::Fails), _) | (_, Some(Word::Fails)) => Word::Fails,
        (Some(Word::Holds), Some(Word::Holds)) if changed.iter().all(|part| part.word == Word::Holds) => {
            Word::Holds
        }
        _ => Word::Mixed,
    };
    Answer { explanation, at_matched, at_best, changed, word }
}

/// Whether a change moves the speed as it is to: holds where the whole interval says so, fails where no part of it
/// says more than a tenth.
fn moves(estimate: &Estimate, faster: bool) -> Word {
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
fn common(words: impl IntoIterator<Item = Word>) -> Option<Word> {
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
            answer(Explains::ConditioningOfOutput, &[order], changes).word
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
        assert_eq!(answer(Explains::Conditioning, &[], &as_said).word, Word::Mixed);
        assert!((MOVED - 1.1f64.log2()).abs() < 1e-15);
    }
}
