//! The tables, as text; both pages show the same.

use std::collections::BTreeSet;

use kappa_run::{Answer, Chain, Factors, Measure, Moved, Statement, Word};

use super::{Results, at_matched, factor, last, mean, tau, times};

/// A table with what is to be known of it.
pub struct Table {
    pub heading: &'static str,
    pub text: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

pub fn tables(results: &Results) -> Vec<Table> {
    let all = [
        answers(results),
        statements(results),
        speeds(results),
        interventions(results),
        chain(results),
        slopes(results),
        shares(results),
        orders(results),
        again(results),
        speeds_again(results),
    ];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn said(word: Option<Word>) -> String {
    word.map_or("-", Word::as_str).to_owned()
}

fn answers(results: &Results) -> Table {
    let rate = results.config.rates.matched;
    let rows = results.findings.answers.iter().map(|answer| {
        let Answer { explanation, at_matched, at_best, changed, word } = answer;
        let parts: Vec<String> =
            changed.iter().map(|part| format!("{}: {}", part.name, part.word.as_str())).collect();
        let parts = if parts.is_empty() { "-".to_owned() } else { parts.join(", ") };
        vec![
            explanation.label().to_owned(),
            said(*at_matched),
            said(*at_best),
            parts,
            word.as_str().to_owned(),
        ]
    });
    Table {
        heading: "What explains it?",
        text: "An explanation fails where a change of what it speaks of moves the steps by less than a tenth, \
               interval included, or its measures order the arms the other way; it holds where orders and changes \
               all say so. An explanation that is an arm itself (standardised inputs, weight norm) is judged by \
               that arm's steps beside the first arm's. Were a larger rate the reason, nothing would be left of \
               batch norm's speed at one and the same rate."
            .to_owned(),
        columns: columns(&["", &format!("orders the arms at {rate}"), "at the best rates", "what changes it alone", "word"]),
        rows: rows.collect(),
    }
}

fn statements(results: &Results) -> Table {
    let rows = results.findings.statements.iter().map(|Statement { claim, compared, word }| {
        let parts: Vec<String> = compared
            .iter()
            .map(|part| format!("{}: {} {}", part.what.label(), factor(&part.ratio), part.word.as_str()))
            .collect();
        vec![claim.label().to_owned(), parts.join("; "), word.as_str().to_owned()]
    });
    Table {
        heading: "What else the paper says",
        text: "A ratio of two arms, with its 95 % interval over the seeds. As fast: at most a tenth slower. As much: \
               within a tenth either way."
            .to_owned(),
        columns: columns(&["", "the one over the other", "word"]),
        rows: rows.collect(),
    }
}

fn speeds(results: &Results) -> Table {
    let findings = &results.findings;
    let lambda_1 = findings.orders.iter().find(|order| order.measure == Measure::Lambda1);
    let thresholds = lambda_1.map(|order| order.values.iter()).into_iter().flatten();
    let mut thresholds =
        thresholds.map(|seeds| mean(&seeds.iter().map(|lambda| Some(2.0 / lambda)).collect::<Vec<_>>()));
    let all = findings.arms.iter().chain(findings.interventions.iter().map(|moved| &moved.speeds));
    let rows = all.map(|of| {
        let cells = [&at_matched(of), &of.best, &of.best_rate, &of.stable_rate].map(|values| mean(values));
        let threshold = thresholds.next().unwrap_or_else(|| "-".to_owned());
        [of.variant.clone()].into_iter().chain(cells).chain([threshold]).collect()
    });
    let rows = rows.collect();
    Table {
        heading: "How fast",
        text: format!(
            "Steps to {}. 2 / λ₁ is of the whole network at equal losses on the way at the matched rate.",
            results.last()
        ),
        columns: columns(&[
            "",
            &format!("steps at {}", results.config.rates.matched),
            "steps at its best rate",
            "that rate",
            "stable up to",
            "2 / λ₁",
        ]),
        rows,
    }
}

fn interventions(results: &Results) -> Table {
    let rows = results.findings.interventions.iter().map(|Moved { speeds, arm, matched, best, .. }| {
        vec![speeds.variant.clone(), arm.clone(), times(matched), times(best)]
    });
    Table {
        heading: "What an intervention does",
        text: "Its steps over those of its arm, with the 95 % interval over the seeds (Student's t on the logarithm, \
               paired)."
            .to_owned(),
        columns: columns(&[
            "",
            "of",
            &format!("at {}", results.config.rates.matched),
            "at the best rate of each",
        ]),
        rows: rows.collect(),
    }
}

fn chain(results: &Results) -> Table {
    let rows = both(results).map(|(chain, at, factors)| {
        let Factors { times, rate, slope, realised, distance, .. } = factors;
        let cells = [times, rate, slope, realised, distance].map(|factor| format!("{factor:.2}"));
        [chain.variant.clone(), at].into_iter().chain(cells).collect()
    });
    let first = results.findings.arms.first().map_or("", |arm| &arm.variant);
    Table {
        heading: "What the speed is made of",
        text: format!(
            "{first}'s steps over the arm's are a product, exactly: times faster = rate × slope × realised × way. \
             The slope is the mean of d · g / L over the steps (|g|² / L for descent): by how much the logarithm of \
             the loss were to fall a step, at a rate of 1, were the loss linear. What of that the steps have \
             realised is less where the loss curves up along them. The way is ln of the first loss over the last. \
             Each is the arm's over {first}'s, the way {first}'s over the arm's."
        ),
        columns: columns(&["", "at", "times faster", "rate", "slope", "realised", "way"]),
        rows: rows.collect(),
    }
}

/// Each chain at the matched rate and at the best rates, where it is.
fn both(results: &Results) -> impl Iterator<Item = (&Chain, String, &Factors)> {
    let matched = results.config.rates.matched.to_string();
    results.findings.chains.iter().flat_map(move |chain| {
        let places = [(matched.clone(), &chain.matched), ("the best rates".to_owned(), &chain.best)];
        places.into_iter().filter_map(move |(at, factors)| Some((chain, at, factors.as_ref()?)))
    })
}

fn slopes(results: &Results) -> Table {
    let names: BTreeSet<&String> = both(results).flat_map(|(.., factors)| factors.slopes.keys()).collect();
    let rows = both(results).map(|(chain, at, factors)| {
        let cells = names
            .iter()
            .map(|name| factors.slopes.get(*name).map_or("-".to_owned(), |part| format!("{part:.2}")));
        [chain.variant.clone(), at, format!("{:.2}", factors.slope)].into_iter().chain(cells).collect()
    });
    let rows = rows.collect();
    Table {
        heading: "Whose gradient it is",
        text: "The slope above in parts, a part for each tensor.".to_owned(),
        columns: ["", "at", "slope"]
            .into_iter()
            .map(str::to_owned)
            .chain(names.into_iter().cloned())
            .collect(),
        rows,
    }
}

fn shares(results: &Results) -> Table {
    let shares = &results.findings.shares;
    let names: BTreeSet<&String> = shares.iter().flat_map(|of| of.tensors.keys()).collect();
    let rows = shares.iter().filter(|of| !of.tensors.is_empty()).map(|of| {
        let cells = names
            .iter()
            .map(|name| of.tensors.get(*name).map_or("-".to_owned(), |share| format!("{share:.3}")));
        [of.variant.clone()].into_iter().chain(cells).collect()
    });
    let rows = rows.collect();
    Table {
        heading: "The share of the squared gradient",
        text: "Of each tensor, at equal losses on the way at the matched rate: means over losses and seeds."
            .to_owned(),
        columns: [String::new()].into_iter().chain(names.into_iter().cloned()).collect(),
        rows,
    }
}

fn orders(results: &Results) -> Table {
    let orders = &results.findings.orders;
    let rows = orders.iter().map(|order| {
        let cells = [&order.by_steps, &order.by_losses, &order.at_best].map(tau);
        [order.measure.label().to_owned()].into_iter().chain(cells).collect()
    });
    Table {
        heading: "Does a measure order the arms as their speed does?",
        text: format!(
            "Kendall's τ over the arms, 1 where less of it always goes with fewer steps; the interval by resampling \
             arms and seeds, at 95 % for all {} measures together. Holds: above zero; fails: below; mixed: not \
             decided.",
            orders.len()
        ),
        columns: columns(&["", "at equal steps", "at equal losses", "against the steps at the best rates"]),
        rows: rows.collect(),
    }
}

/// A line for each time: what explains it there.
fn again(results: &Results) -> Table {
    let all = all_times(results);
    let rows = all.iter().map(|(name, config, findings)| {
        let answer = |answer: &Answer| {
            let [matched, best] = [answer.at_matched, answer.at_best].map(said);
            match (answer.at_matched, answer.at_best) {
                (None, None) => answer.word.as_str().to_owned(),
                _ => format!("{matched} / {best}: {}", answer.word.as_str()),
            }
        };
        [name.clone(), config.seeds.to_string(), last(config).to_string()]
            .into_iter()
            .chain(findings.answers.iter().map(answer))
            .collect()
    });
    let rows = if all.len() > 1 { rows.collect() } else { Vec::new() };
    let explanations = results.findings.answers.iter().map(|answer| answer.explanation.label().to_owned());
    Table {
        heading: "The same again",
        text: "Whether what each explanation speaks of orders the arms at the matched rate / at the best rates, and \
               the word with what changes it alone, where that was done."
            .to_owned(),
        columns: ["", "seeds", "steps to"].into_iter().map(str::to_owned).chain(explanations).collect(),
        rows,
    }
}

fn speeds_again(results: &Results) -> Table {
    let all = all_times(results);
    let rows = results.findings.arms.iter().map(|arm| {
        let cell = |(_, _, findings): &(String, &kappa_run::WhyConfig, &kappa_run::WhyFindings)| {
            let there = findings.arms.iter().find(|there| there.variant == arm.variant);
            there.map_or("-".to_owned(), |there| {
                format!("{} / {}", mean(&at_matched(there)), mean(&there.best))
            })
        };
        [arm.variant.clone()].into_iter().chain(all.iter().map(cell)).collect()
    });
    let rows = if all.len() > 1 { rows.collect() } else { Vec::new() };
    Table {
        heading: "How fast again",
        text: "Steps at the matched rate / at the best rate of each arm.".to_owned(),
        columns: [String::new()].into_iter().chain(all.iter().map(|(name, ..)| name.clone())).collect(),
        rows,
    }
}

/// The first time, and each time again, by name.
fn all_times(results: &Results) -> Vec<(String, &kappa_run::WhyConfig, &kappa_run::WhyFindings)> {
    let first = (results.config.name.clone(), &results.config, &results.findings);
    let again = results.again.iter().map(|(name, config, findings)| (name.clone(), config, findings));
    [first].into_iter().chain(again).collect()
}
