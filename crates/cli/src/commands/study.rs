//! `kappa study`.

use kappa_run::StudyConfig;
use kappa_study::{Judged, claims::Word, run_study};

use super::DataSets;
use crate::{
    args::{PrecisionArgument, StudyArguments},
    backend,
    error::CliError,
    output::say,
    progress::StudyProgress,
};

pub fn run(arguments: &StudyArguments) -> Result<(), CliError> {
    let mut study = StudyConfig::load(&arguments.config, &arguments.set)?;
    if let Some(folder) = &arguments.data {
        study.recipe.data.folder = Some(folder.clone());
    }
    let mut sets = DataSets::default();
    let set = sets.get(study.recipe.data.folder.as_deref())?;
    let chosen = backend::choose(arguments.common.backend)?;
    let precision = PrecisionArgument::or(arguments.precision, chosen.precision);
    let mut progress = StudyProgress::new(arguments.common.quiet);
    let (directory, result) =
        run_study(&study, set, &chosen.machine, precision, &arguments.out, &mut progress)?;

    say(format_args!("\nchosen: learning rate {:e}, L2 {:e}", result.learning_rate, result.l2));
    if let Some((chosen, sweep)) = result.judged.split_first() {
        print_verdicts(chosen);
        print_words(sweep);
    }
    say(format_args!("\nseconds"));
    for (stage, seconds) in &result.stages {
        say(format_args!("  {stage:<16}{seconds:9.1}"));
    }
    say(format_args!("{}", directory.path().display()));
    Ok(())
}

/// The verdicts at the chosen point, with their numbers.
fn print_verdicts(judged: &Judged) {
    for verdict in &judged.verdicts {
        let interval = verdict
            .interval
            .map_or_else(|| "(one seed)".to_owned(), |[low, high]| format!("[{low:.3}, {high:.3}]"));
        say(format_args!(
            "  ({}) {}  {}: {:.3} {interval} {}, {} of {}",
            verdict.claim,
            word(verdict.word),
            verdict.what,
            verdict.mean,
            verdict.unit,
            verdict.holding,
            verdict.effects.len()
        ));
    }
}

/// One word for each claim and point of the sweeps. A claim is judged of several
/// quantities; where they differ it is mixed.
fn print_words(sweep: &[Judged]) {
    let claims = 1..=5u8;
    let headings: String = claims.clone().map(|claim| format!("{:>7}", format!("({claim})"))).collect();
    say(format_args!("\n{:<24}{headings}", "elsewhere"));
    for judged in sweep {
        let words: String = claims
            .clone()
            .map(|claim| {
                let words: Vec<Word> =
                    judged.verdicts.iter().filter(|v| v.claim == claim).map(|v| v.word).collect();
                let summary = match words.split_first() {
                    None => "-",
                    Some((first, others)) if others.iter().all(|other| other == first) => word(*first),
                    Some(_) => word(Word::Mixed),
                };
                format!("{summary:>7}")
            })
            .collect();
        say(format_args!("{:<24}{words}", judged.point));
    }
}

fn word(word: Word) -> &'static str {
    match word {
        Word::Holds => "holds",
        Word::Fails => "fails",
        Word::Mixed => "mixed",
    }
}
