//! `kappa data`.

use super::DataSets;
use crate::{args::DataArguments, error::CliError, output::say};

pub fn run(arguments: &DataArguments) -> Result<(), CliError> {
    let mut sets = DataSets::default();
    let set = sets.get(arguments.folder.as_deref())?;
    let [rows, columns] = set.train.size();
    say(format_args!("{}: {} classes, images of {rows} x {columns} pixels", set.name, set.classes));
    let counts = [&set.train, &set.test].map(|images| images.class_counts(set.classes));
    let total = |counts: &[usize]| counts.iter().sum::<usize>();
    say(format_args!("{:>10}  {:>8}  {:>8}", "class", "train", "test"));
    for (class, (train, test)) in counts[0].iter().zip(&counts[1]).enumerate() {
        say(format_args!("{class:>10}  {train:>8}  {test:>8}"));
    }
    say(format_args!("{:>10}  {:>8}  {:>8}", "all", total(&counts[0]), total(&counts[1])));
    say(format_args!("SHA-256 of the unpacked files"));
    for digest in &set.files {
        say(format_args!("  {}  {}", digest.sha256, digest.file));
    }
    Ok(())
}
