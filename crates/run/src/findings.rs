//! `findings.json`: what a study found, and which runs say so.

use serde::{Deserialize, Serialize};

use crate::{Quantity, Variant, When};

/// The version of `findings.json`'s schema.
pub const FINDINGS_VERSION: u32 = 3;

/// What a study found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// [`FINDINGS_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that judged.
    pub kappa_version: String,
    /// Where the best learning rate and L2 parameter were looked for.
    pub grid: Vec<GridPoint>,
    /// The chosen point first, then those along the sweeps.
    pub points: Vec<PointFindings>,
    /// Runs of growing width at the chosen point, and with its first seed.
    pub widths: Vec<RunNames>,
}

impl Findings {
    /// What was found at the chosen point, if anything was.
    pub fn chosen(&self) -> Option<&PointFindings> {
        self.points.first()
    }
}

/// One point of the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridPoint {
    /// The learning rate.
    pub learning_rate: f64,
    /// The L2 parameter.
    pub l2: f64,
    /// The reference's run there.
    pub run: String,
    /// Its accuracy on the validation split at the end; none if the training diverged.
    pub validation_accuracy: Option<f64>,
}

/// What was found at one point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointFindings {
    /// "chosen", or what was changed there: "learning_rate = 0.01".
    pub point: String,
    /// The learning rate.
    pub learning_rate: f64,
    /// The L2 parameter.
    pub l2: f64,
    /// The runs, those of one seed together.
    pub seeds: Vec<RunNames>,
    /// Why there is nothing to judge, if the training diverged.
    pub diverged: Option<String>,
    /// All verdicts, by claim.
    pub verdicts: Vec<Verdict>,
    /// What the arms' effects on the spectrum are made of.
    pub explanations: Vec<Explanation>,
}

impl PointFindings {
    /// One word on a claim, of which there may be several verdicts: theirs if they
    /// agree, and else mixed; none if there is none. Controls have no say.
    pub fn word(&self, claim: u8) -> Option<Word> {
        common(self.verdicts.iter().filter(|verdict| verdict.claim == claim))
    }

    /// The same of one arm.
    pub fn word_of(&self, claim: u8, arm: &str) -> Option<Word> {
        common(self.verdicts.iter().filter(|verdict| verdict.claim == claim && verdict.arm == arm))
    }

    /// The verdict on a number of an arm's spectrum, in its variant, beside the reference's, if
    /// there is one.
    pub fn spectral(&self, arm: &str, comparison: Comparison) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.arm == arm && verdict.spectral == Some(comparison))
    }
}

fn common<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Option<Word> {
    let mut words = verdicts.filter(|verdict| !verdict.control).map(|verdict| verdict.word);
    let first = words.next()?;
    Some(if words.all(|word| word == first) { first } else { Word::Mixed })
}

/// The runs of all arms from the same start, with the same batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNames {
    /// Their seed.
    pub seed: u64,
    /// Features of the reference's last layer.
    pub hidden: usize,
    /// The names of their directories, in the order of the arms.
    pub runs: Vec<String>,
}

/// One word on a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It depends, or the seeds do not say.
    Mixed,
}

impl Word {
    /// "holds", "fails" or "mixed".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Mixed => "mixed",
        }
    }
}

/// A number that every seed has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// With each seed.
    pub effects: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// The mean's 95 % confidence interval (Student's t); none with one seed.
    pub interval: Option<[f64; 2]>,
}

/// What the seeds say of a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The claim's number in the list of the study, 1 to 8.
    pub claim: u8,
    /// The arm that it is claimed of.
    pub arm: String,
    /// What is claimed, of which quantity.
    pub what: String,
    /// The unit of the effect.
    pub unit: String,
    /// The effect with each seed; above zero where the claim holds.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// In how many seeds the effect is above zero.
    pub holding: usize,
    /// Whether it goes beyond what the paper claims: other statistics than those of
    /// inference, the same training loss, a reference with other features.
    pub control: bool,
    /// Which numbers are compared, if they are of the spectrum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectral: Option<Comparison>,
    /// The verdict.
    pub word: Word,
}

/// Which numbers of the spectrum a verdict compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The number.
    pub quantity: Quantity,
    /// What of the arm was probed.
    pub variant: Variant,
    /// What of the reference.
    pub reference: Variant,
    /// Of which epochs.
    pub when: When,
}

/// What the step from the reference to an arm is made of, for one number of the spectrum: in
/// powers of ten (log10 before/after), so that the parts add up to the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The number.
    pub quantity: Quantity,
    /// The arm.
    pub arm: String,
    /// What of the arm was probed.
    pub statistics: Variant,
    /// Of which epochs.
    pub when: When,
    /// From the reference to the arm: the sum of the next three.
    pub whole: Estimate,
    /// From the reference to the reference with its features centred.
    pub centring: Estimate,
    /// From there to the reference with its features standardised.
    pub scaling: Estimate,
    /// From there to the arm: that it learned otherwise, its own scale and shift.
    pub rest: Estimate,
    /// From the reference to the reference with its features scaled to unit mean square and not
    /// centred.
    pub scaling_alone: Estimate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_has_the_word_that_its_verdicts_share() {
        let verdict = |claim, word, control| Verdict {
            claim,
            arm: format!("arm of {claim}"),
            what: String::new(),
            unit: String::new(),
            estimate: Estimate { effects: vec![], mean: 0.0, interval: None },
            holding: 0,
            control,
            spectral: None,
            word,
        };
        let findings = PointFindings {
            point: String::new(),
            learning_rate: 0.1,
            l2: 0.0,
            seeds: vec![],
            diverged: None,
            verdicts: vec![
                verdict(1, Word::Holds, false),
                verdict(1, Word::Holds, false),
                verdict(1, Word::Fails, true),
                verdict(2, Word::Holds, false),
                verdict(2, Word::Fails, false),
                verdict(3, Word::Fails, true),
            ],
            explanations: vec![],
        };
        let words = [1, 2, 3, 4].map(|claim| findings.word(claim));
        assert_eq!(words, [Some(Word::Holds), Some(Word::Mixed), None, None]);
        assert_eq!(findings.word_of(1, "arm of 1"), Some(Word::Holds));
        assert_eq!(findings.word_of(1, "arm of 2"), None);
    }
}
