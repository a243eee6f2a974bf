//! What one came for: some ten lines, spectra side by side.

use kappa_run::SpectrumRecord;

use super::{
    names,
    table::{Table, number, seconds, verdict},
};
use crate::output::say;

/// Prints a column for each spectrum.
pub fn print(records: &[SpectrumRecord]) {
    let mut table = Table::new(records);
    table.what_was_measured();
    table.row("lambda_1", |record| number(record.spectrum.top.first().copied()));
    table.row("lambda_10", |record| number(record.spectrum.top.get(9).copied()));
    table.row("kappa' = l_1 / l_10", |record| number(record.spectrum.kappa_prime));
    // A condition number means something where what is not zero by structure stands above
    // rounding, or with the penalty that keeps all of it away from zero.
    let of_rank = |record: &SpectrumRecord| {
        let spectrum = &record.spectrum;
        spectrum.kappa_of_rank.filter(|_| spectrum.null_space.numerical == 0)
    };
    if table.any(|record| of_rank(record).is_some()) {
        table.row("kappa of what is not zero", |record| number(of_rank(record)));
    }
    if table.any(|record| record.settings.l2 > 0.0) {
        table.row("kappa with L2", |record| number(record.spectrum.kappa_with_l2));
    }
    table.row("exact zeros", |record| {
        let spectrum = &record.spectrum;
        format!("{} of {}", spectrum.null_space.explained, spectrum.size)
    });
    if table.any(|record| record.spectrum.null_space.numerical > 0) {
        table.row("else below rounding", |record| record.spectrum.null_space.numerical.to_string());
    }
    table.row("checks, digits of l_1", |record| {
        let count = record.checks().count();
        let failed = record.checks().filter(|check| !check.passed).count();
        match (&record.evidence, failed) {
            (None, _) => "SKIPPED".to_owned(),
            (Some(evidence), 0) => {
                format!("{count} passed, {} digits", evidence.known_digits_of_lambda_1)
            }
            (Some(_), failed) => format!("{failed} of {count} FAILED"),
        }
    });
    table.row("seconds", |record| seconds(record.timings.total));
    // What was asked for by name is what one came for, too.
    table.directions();
    table.subsets();
    table.print();
    print_failures(records);
}

/// Prints a line for each check that failed.
pub fn print_failures(records: &[SpectrumRecord]) {
    for (record, name) in records.iter().zip(names::of_each(records)) {
        for check in record.checks().filter(|check| !check.passed) {
            say(format_args!("{name}: {} {}  {}", check.name, verdict(check), check.quantity));
        }
    }
}
