//! The fuzz targets' promises, held on their corpus and on random changes of it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{fs, path::Path};

use kappa_properties::Reader;
use kappa_run::{InfluenceRecord, LaplaceRecord, RunDir, StudyDir, WhyDir, read_answer, write_sealed};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

/// What fuzzing has found worth keeping, failures that were repaired among it.
fn corpus(reader: Reader) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(reader.name());
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A folder that `reader` finds what it needs in.
fn folder(reader: Reader) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    reader.prepare(folder.path());
    folder
}

/// A change of some bytes: what is at `at` is replaced by `by`, and `cut` bytes are left out.
fn change(mut bytes: Vec<u8>, (at, cut, by): (prop::sample::Index, usize, Vec<u8>)) -> Vec<u8> {
    let at = at.index(bytes.len() + 1);
    let end = (at + cut).min(bytes.len());
    bytes.splice(at..end, by);
    bytes
}

#[test]
fn what_fuzzing_found_keeps_the_promises() {
    for reader in Reader::ALL {
        let (folder, corpus) = (folder(reader), corpus(reader));
        assert!(!corpus.is_empty(), "{reader:?}");
        for input in corpus {
            reader.check(folder.path(), &input);
        }
    }
}

/// Files of an older schema are refused at its number, and then nothing behind it is tried.
#[test]
fn the_corpus_has_results_that_are_read() {
    let folder = folder(Reader::Json);
    let input = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/json").join(name);
        let body = fs::read(path).unwrap();
        [&body[1..], b"\n}\n"].concat()
    };
    let run = RunDir::open(folder.path()).unwrap();
    for name in ["manifest", "manifest-failed"] {
        write_sealed(&folder.path().join("run.json"), &input(name)).unwrap();
        run.manifest().unwrap();
    }
    write_sealed(&folder.path().join("spectra.json"), &input("spectra")).unwrap();
    run.spectra().unwrap();
    write_sealed(&folder.path().join("whole.json"), &input("whole")).unwrap();
    assert_eq!(run.whole().unwrap().unwrap().rows.len(), 2);
    let (study, _) = StudyDir::open(&folder.path().join("study")).unwrap();
    write_sealed(&folder.path().join("study/findings.json"), &input("findings")).unwrap();
    study.findings().unwrap();
    let why = WhyDir::open(&folder.path().join("why")).unwrap();
    write_sealed(&folder.path().join("why/why.json"), &input("why")).unwrap();
    assert_eq!(why.findings().unwrap().chains.len(), 2);
    write_sealed(&folder.path().join("why/trainings/trained.json"), &input("training")).unwrap();
    assert!(!why.training("trained").unwrap().unwrap().measures.is_empty());
    let answers = folder.path().join("answers");
    write_sealed(&answers.join("laplace.json"), &input("laplace")).unwrap();
    assert_eq!(read_answer::<LaplaceRecord>(&answers).unwrap().unwrap().0.predictions.len(), 2);
    write_sealed(&answers.join("influence.json"), &input("influence")).unwrap();
    assert!(read_answer::<InfluenceRecord>(&answers).unwrap().unwrap().0.left_out.is_some());
}

#[test]
fn any_bytes_keep_the_promises() {
    for reader in Reader::ALL {
        let folder = folder(reader);
        let check = |input: Vec<u8>| {
            reader.check(folder.path(), &input);
            Ok(())
        };
        TestRunner::default().run(&vec(any::<u8>(), 0..200), check).unwrap();
    }
}

#[test]
fn a_changed_file_keeps_the_promises() {
    for reader in Reader::ALL {
        let folder = folder(reader);
        let changes = vec((any::<prop::sample::Index>(), 0..9usize, vec(any::<u8>(), 0..9)), 0..4);
        let changed = (prop::sample::select(corpus(reader)), changes)
            .prop_map(|(input, changes)| changes.into_iter().fold(input, change));
        let check = |input: Vec<u8>| {
            reader.check(folder.path(), &input);
            Ok(())
        };
        TestRunner::default().run(&changed, check).unwrap();
    }
}
