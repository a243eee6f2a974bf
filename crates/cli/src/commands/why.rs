//! `kappa why`.

use std::path::Path;

use kappa_report::{factor, mean, tau, times, write_why_report};
use kappa_run::{Answer, Chain, Factors, Moved, Speeds, Statement, WhyConfig, WhyFindings, Word, shown};
use kappa_why::{WhyError, WhyResult, run_why};

use super::DataSets;
use crate::{args::WhyArguments, backend, error::CliError, interrupt, output::say, progress::WhyProgress};

pub fn run(arguments: &WhyArguments) -> Result<(), CliError> {
    let mut why = WhyConfig::load(&arguments.config, &arguments.set)?;
    if let Some(folder) = &arguments.data {
        why.recipe.data.folder = Some(folder.clone());
    }
    // A mistake in what comes last is told before anything is trained.
    let again = why.again.iter().map(|set| Ok((&set.name, why.again(set)?)));
    let again: Vec<(&String, WhyConfig)> = again.collect::<Result<_, CliError>>()?;
    let mut sets = DataSets::default();
    sets.get(why.recipe.data.folder.as_deref())?;
    let chosen = backend::choose(arguments.common.backend.named())?;
    let mut progress = WhyProgress::new(arguments.common.quiet);
    let listening = interrupt::listen();
    let mut run = |why: &WhyConfig, root: &Path| -> Result<WhyResult, CliError> {
        let set = sets.get(why.recipe.data.folder.as_deref())?;
        let result = run_why(why, set, &chosen.machine, root, &mut progress);
        result.map_err(|error| match error {
            WhyError::Stopped => CliError::StudyStopped,
            error => error.into(),
        })
    };
    let result = run(&why, &arguments.out)?;
    for (name, again) in &again {
        match again.recipe.data.folder.as_deref().filter(|folder| !folder.exists()) {
            Some(folder) => say(format_args!("{name}: left out, there is no {}", shown(folder))),
            None => {
                say(format_args!("again, {name}"));
                run(again, &result.directory.again())?;
            }
        }
    }
    drop(progress);
    drop(listening);
    print_speeds(&why, &result.findings);
    print_interventions(&result.findings);
    print_chains(&why, &result.findings);
    print_orders(&result.findings);
    print_answers(&result.findings);
    print_statements(&result.findings);
    let page = write_why_report(&result.directory)?;
    say(format_args!("\n{}", shown(&page)));
    Ok(())
}

/// Each arm's steps to the last loss, its best rate and its largest stable one: geometric means over the seeds.
fn print_speeds(why: &WhyConfig, findings: &WhyFindings) {
    let last = why.losses.last().copied().unwrap_or(f64::NAN);
    say(format_args!(
        "\n{:<30}{:>14}{:>14}{:>14}{:>14}",
        format!("steps to a loss of {last}"),
        format!("at {}", why.rates.matched),
        "at the best",
        "that rate",
        "stable up to"
    ));
    let all = findings.arms.iter().chain(findings.interventions.iter().map(|moved| &moved.speeds));
    for of in all {
        let Speeds { variant, matched, best, best_rate, stable_rate } = of;
        let matched: Vec<Option<f64>> =
            matched.iter().map(|losses| losses.last().copied().flatten()).collect();
        let cells = [&matched, best, best_rate, stable_rate].map(|values| mean(values));
        say(format_args!("{variant:<30}{:>14}{:>14}{:>14}{:>14}", cells[0], cells[1], cells[2], cells[3]));
    }
}

fn print_interventions(findings: &WhyFindings) {
    say(format_args!("\n{:<30}{:>30}{:>30}", "steps beside the arm's", "at the matched rate", "at the best"));
    for Moved { speeds, matched, best, .. } in &findings.interventions {
        say(format_args!("{:<30}{:>30}{:>30}", speeds.variant, times(matched), times(best)));
    }
}

fn print_orders(findings: &WhyFindings) {
    say(format_args!(
        "\n{:<42}{:>28}{:>28}{:>28}",
        "does it order the arms? (tau)", "at equal steps", "at equal losses", "at the best rate"
    ));
    for order in &findings.orders {
        let cells = [&order.by_steps, &order.by_losses, &order.at_best].map(tau);
        say(format_args!("{:<42}{:>28}{:>28}{:>28}", order.measure.label(), cells[0], cells[1], cells[2]));
    }
}

/// "FC+BN at 0.125   6.30 = 1.00 x 5.2 x 1.2 x 1.00".
fn print_chains(why: &WhyConfig, findings: &WhyFindings) {
    say(format_args!("\n{:<46}times faster = rate x slope x realised x way", "what is the speed made of?"));
    for Chain { variant, matched, best } in &findings.chains {
        for (at, factors) in
            [(format!("at {}", why.rates.matched), matched), ("at the best".to_owned(), best)]
        {
            let Some(Factors { times, rate, slope, realised, distance, .. }) = factors else { continue };
            let name = format!("{variant} {at}");
            say(format_args!(
                "{name:<46}{times:.2} = {rate:.2} x {slope:.2} x {realised:.2} x {distance:.2}"
            ));
        }
    }
}

fn print_statements(findings: &WhyFindings) {
    for Statement { claim, compared, word } in &findings.statements {
        let parts: Vec<String> =
            compared.iter().map(|part| format!("{}: {}", part.what.label(), factor(&part.ratio))).collect();
        say(format_args!("{:<64}{:<8}{}", claim.label(), word.as_str(), parts.join(", ")));
    }
}

fn print_answers(findings: &WhyFindings) {
    say(format_args!(
        "\n{:<46}{:>16}{:>16}  {}",
        "what explains it?", "at the matched", "at the best", "what changes it alone"
    ));
    for Answer { explanation, at_matched, at_best, changed, word } in &findings.answers {
        let said = |word: &Option<Word>| word.map_or("-", Word::as_str);
        let parts: Vec<String> =
            changed.iter().map(|part| format!("{}: {}", part.name, part.word.as_str())).collect();
        let (label, of_all) = (explanation.label(), word.as_str());
        say(format_args!(
            "{label:<38}{of_all:<8}{:>16}{:>16}  {}",
            said(at_matched),
            said(at_best),
            parts.join(", ")
        ));
    }
}
