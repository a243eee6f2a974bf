//! What was found, in a few sentences for each arm beside the reference: what its spectrum
//! is, what the controls say of that, what the whole network does if it was looked at, and what
//! became of the accuracy.
//!
//! They are written from the verdicts at the chosen point, by rules, and say nothing that
//! was not judged.

use kappa_run::{Comparison, PointFindings, Quantity, Variant, Verdict, When, Word};

use crate::results::StudyResults;

const QUANTITIES: [(u8, Quantity, &str); 2] = [(4, Quantity::Lambda1, "λ₁"), (5, Quantity::KappaPrime, "κ′")];

/// The claims that λ₁ and κ′ of all parameters are smaller.
const WHOLE: [u8; 2] = [12, 13];

/// A paragraph for each arm but the reference.
pub fn paragraphs(results: &StudyResults) -> Vec<String> {
    let (arms, chosen) = (&results.arms, &results.chosen);
    if let Some(problem) = &chosen.findings.diverged {
        return vec![format!("Nothing was judged, since a training diverged: {problem}.")];
    }
    let reference = arms.reference();
    let about = |arm: usize| About {
        reference,
        arm: arms.name(arm),
        as_it_is: chosen.as_it_is(arm),
        findings: &chosen.findings,
    };
    let paragraphs: Vec<String> = arms.others().map(|arm| about(arm).sentences().join(" ")).collect();
    if paragraphs.is_empty() {
        return vec![format!("There is no arm beside {reference} to compare it with.")];
    }
    paragraphs
}

/// An arm beside the reference.
struct About<'a> {
    reference: &'a str,
    arm: &'a str,
    /// What of the arm is the network as it is.
    as_it_is: Option<Variant>,
    findings: &'a PointFindings,
}

impl About<'_> {
    fn sentences(&self) -> Vec<String> {
        let whole = self.whole();
        [self.spectrum(), self.controls()].into_iter().chain(whole).chain([self.accuracy()]).collect()
    }

    /// The verdict at the end on `variant` beside what of the reference `is_it`.
    fn at_the_end(
        &self,
        quantity: Quantity,
        variant: Option<Variant>,
        is_it: impl Fn(Variant) -> bool,
    ) -> Option<&Verdict> {
        self.findings.verdicts.iter().find(|verdict| {
            let Some(Comparison { quantity: of, variant: found, reference, when }) = verdict.spectral else {
                return false;
            };
            verdict.arm == self.arm
                && of == quantity
                && Some(found) == variant
                && when == When::AtTheEnd
                && is_it(reference)
        })
    }

    fn word(&self, claim: u8) -> &'static str {
        self.findings.word_of(claim, self.arm).map_or("is not judged", |word| match word {
            Word::Holds => "holds",
            Word::Fails => "fails",
            Word::Mixed => "is mixed",
        })
    }

    /// Claims 4 and 5.
    fn spectrum(&self) -> String {
        let parts = QUANTITIES.into_iter().filter_map(|(claim, quantity, symbol)| {
            let verdict = self.at_the_end(quantity, self.as_it_is, |reference| !is_changed(reference))?;
            Some(format!(
                "{symbol} of {} is {} times that of {}, smaller in {} (claim {claim} {})",
                self.arm,
                factor(verdict),
                self.reference,
                seeds(verdict),
                self.word(claim)
            ))
        });
        let parts: Vec<String> = parts.collect();
        match parts.is_empty() {
            true => format!("Of the spectrum of {} nothing was judged.", self.arm),
            false => format!("After training {}.", parts.join(", and ")),
        }
    }

    /// The same beside the reference with its features centred, and with the arm folded.
    fn controls(&self) -> String {
        let of = |quantity: Quantity| {
            let centred = self.at_the_end(quantity, self.as_it_is, |reference| reference == Variant::Centred);
            let folded = self.at_the_end(quantity, Some(Variant::Folded), |reference| !is_changed(reference));
            [centred, folded]
        };
        let all = QUANTITIES.map(|(_, quantity, symbol)| (symbol, of(quantity)));
        let words = all.iter().filter_map(|(symbol, controls)| {
            let made = controls.iter().flatten().count();
            let holding = controls.iter().flatten().filter(|verdict| verdict.word == Word::Holds).count();
            let how = match holding {
                _ if made == 0 => return None,
                0 => "does not hold",
                holding if holding == made => "holds",
                _ => "holds in part",
            };
            Some(format!("the effect on {symbol} {how}"))
        });
        let words: Vec<String> = words.collect();
        if words.is_empty() {
            return "No control was made of that.".to_owned();
        }
        let numbers = |control: usize| -> Vec<String> {
            let number = |(symbol, controls): &(&str, [Option<&Verdict>; 2])| {
                let verdict = controls[control]?;
                Some(format!("{symbol} is {} times, smaller in {}", factor(verdict), seeds(verdict)))
            };
            all.iter().filter_map(number).collect()
        };
        let centred = format!("beside {} with its features centred", self.reference);
        let told = [centred.as_str(), "with batch norm folded away, which is the same function,"]
            .into_iter()
            .enumerate()
            .map(|(control, how)| (how, numbers(control)))
            .filter(|(_, numbers)| !numbers.is_empty())
            .map(|(how, numbers)| format!("{how} {}", numbers.join(", and ")));
        format!("Against the controls {}: {}.", words.join(", and "), told.collect::<Vec<_>>().join("; "))
    }

    /// Claims 12 and 13, by the first of the statistics, at the end; and 9 and 11.
    fn whole(&self) -> Option<String> {
        let numbers = WHOLE.into_iter().filter_map(|claim| {
            let mut verdicts = self.findings.verdicts.iter();
            let verdict = verdicts.find(|verdict| verdict.claim == claim && verdict.arm == self.arm)?;
            let (what, times, seeds) = (&verdict.what, factor(verdict), seeds(verdict));
            Some(format!("{what} in {seeds}, at {times} times (claim {claim} {})", self.word(claim)))
        });
        let numbers: Vec<String> = numbers.collect();
        (!numbers.is_empty()).then(|| {
            format!(
                "Of the whole network {}; that its last layer represents it {} (claim 9), and that its first layer is \
                 flat and its last one steep {} (claim 11).",
                numbers.join(", and "),
                self.word(9),
                self.word(11)
            )
        })
    }

    /// Claims 1 and 2.
    fn accuracy(&self) -> String {
        let of_claim = |claim: u8| {
            let verdicts = self.findings.verdicts.iter();
            verdicts.filter(move |verdict| verdict.claim == claim && verdict.arm == self.arm)
        };
        // Of claim 1 the last is that of the test split, of claim 2 the last two are epochs and
        // seconds to the last accuracy.
        let speeds: Vec<&Verdict> = of_claim(2).collect();
        let last = [of_claim(1).next_back(), speeds.iter().rev().nth(1).copied()];
        let parts: Vec<String> = last
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(index, verdict)| {
                let what = match verdict.what.strip_prefix(self.arm).map(str::trim_start) {
                    Some(rest) if index > 0 => rest,
                    _ => &verdict.what,
                };
                format!(
                    "{what} in {}, by {:.1} {} in the mean (claim {} {})",
                    seeds(verdict),
                    verdict.estimate.mean,
                    verdict.unit,
                    verdict.claim,
                    self.word(verdict.claim)
                )
            })
            .collect();
        match parts.is_empty() {
            true => format!("Of the accuracy of {} nothing was judged.", self.arm),
            false => format!("{}.", parts.join(", and ")),
        }
    }
}

/// Whether it is the reference with other features.
fn is_changed(reference: Variant) -> bool {
    matches!(reference, Variant::Centred | Variant::Standardised | Variant::UnitMeanSquare)
}

/// An effect in powers of ten as the arm's number over the reference's.
fn factor(verdict: &Verdict) -> String {
    crate::tables::short(10f64.powf(-verdict.estimate.mean))
}

/// "5 of 5 seeds"
fn seeds(verdict: &Verdict) -> String {
    let seeds = verdict.estimate.effects.len();
    format!("{} of {seeds} seed{}", verdict.holding, if seeds == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use kappa_run::Estimate;

    use super::*;

    fn verdict(claim: u8, what: &str, mean: f64, holding: usize, word: Word) -> Verdict {
        Verdict {
            claim,
            arm: "LN".to_owned(),
            what: what.to_owned(),
            unit: "points".to_owned(),
            estimate: Estimate { effects: vec![mean; 5], mean, interval: None },
            holding,
            control: false,
            spectral: None,
            word,
        }
    }

    /// A verdict on the spectrum at the end.
    fn spectral(quantity: Quantity, of: [Variant; 2], factor: f64, holding: usize, word: Word) -> Verdict {
        let [variant, reference] = of;
        let claim = if quantity == Quantity::Lambda1 { 4 } else { 5 };
        let control = variant == Variant::Folded || is_changed(reference);
        let comparison = Comparison { quantity, variant, reference, when: When::AtTheEnd };
        Verdict {
            control,
            spectral: Some(comparison),
            ..verdict(claim, "", -f64::log10(factor), holding, word)
        }
    }

    fn sentences(verdicts: Vec<Verdict>) -> Vec<String> {
        let findings = PointFindings {
            point: "chosen".to_owned(),
            learning_rate: 0.1,
            l2: 0.0,
            seeds: vec![],
            diverged: None,
            verdicts,
            explanations: vec![],
        };
        About { reference: "ReLU", arm: "LN", as_it_is: Some(Variant::Running), findings: &findings }
            .sentences()
    }

    #[test]
    fn each_sentence_is_of_its_verdicts_and_their_words() {
        use Variant::{Centred, Folded, Plain, Running};
        let told = sentences(vec![
            verdict(1, "LN is more accurate on the train split", 9.0, 5, Word::Holds),
            verdict(1, "LN is more accurate on the test split", 3.12, 4, Word::Mixed),
            verdict(2, "LN needs fewer epochs to 50 %", -1.0, 0, Word::Fails),
            verdict(2, "LN needs fewer seconds to 50 %", -2.0, 0, Word::Fails),
            spectral(Quantity::Lambda1, [Running, Plain], 0.5, 5, Word::Holds),
            spectral(Quantity::Lambda1, [Running, Centred], 4.0, 0, Word::Fails),
            spectral(Quantity::Lambda1, [Folded, Plain], 0.8, 5, Word::Holds),
            spectral(Quantity::KappaPrime, [Running, Plain], 2.0, 1, Word::Mixed),
            spectral(Quantity::KappaPrime, [Running, Centred], 3.0, 0, Word::Fails),
        ]);
        assert_eq!(
            told,
            [
                "After training λ₁ of LN is 0.500 times that of ReLU, smaller in 5 of 5 seeds (claim 4 holds), and κ′ of \
                 LN is 2.00 times that of ReLU, smaller in 1 of 5 seeds (claim 5 is mixed).",
                "Against the controls the effect on λ₁ holds in part, and the effect on κ′ does not hold: beside ReLU \
                 with its features centred λ₁ is 4.00 times, smaller in 0 of 5 seeds, and κ′ is 3.00 times, smaller in 0 \
                 of 5 seeds; with batch norm folded away, which is the same function, λ₁ is 0.800 times, smaller in 5 of \
                 5 seeds.",
                "LN is more accurate on the test split in 4 of 5 seeds, by 3.1 points in the mean (claim 1 is mixed), and \
                 needs fewer epochs to 50 % in 0 of 5 seeds, by -1.0 points in the mean (claim 2 fails).",
            ]
        );
    }

    #[test]
    fn of_the_whole_network_it_is_told_if_it_was_judged() {
        let told = sentences(vec![
            verdict(9, "", -0.3, 0, Word::Mixed),
            verdict(11, "", -0.5, 0, Word::Fails),
            verdict(
                12,
                "lambda_1 of all parameters of LN is smaller at the end",
                -f64::log10(2.0),
                0,
                Word::Fails,
            ),
            verdict(12, "another", 1.0, 5, Word::Holds),
        ]);
        assert_eq!(told.len(), 4);
        assert_eq!(
            told[2],
            "Of the whole network lambda_1 of all parameters of LN is smaller at the end in 0 of 5 seeds, at 2.00 times \
             (claim 12 is mixed); that its last layer represents it is mixed (claim 9), and that its first layer is flat \
             and its last one steep fails (claim 11)."
        );
    }

    #[test]
    fn nothing_is_told_that_was_not_judged() {
        assert_eq!(
            sentences(vec![]),
            [
                "Of the spectrum of LN nothing was judged.",
                "No control was made of that.",
                "Of the accuracy of LN nothing was judged.",
            ]
        );
        let mut one = spectral(Quantity::Lambda1, [Variant::Running, Variant::Plain], 1.0, 0, Word::Fails);
        one.estimate.effects.truncate(1);
        let told = sentences(vec![one]);
        assert_eq!(
            told[0],
            "After training λ₁ of LN is 1.00 times that of ReLU, smaller in 0 of 1 seed (claim 4 fails)."
        );
        // Of another arm.
        let other = Verdict { arm: "BN".to_owned(), ..verdict(1, "BN is better", 1.0, 5, Word::Holds) };
        assert_eq!(sentences(vec![other])[2], "Of the accuracy of LN nothing was judged.");
    }
}
