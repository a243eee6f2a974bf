use std::{fs, num::NonZeroUsize};

use super::*;
use crate::{
    Backend, DensityRequest, Interpretation, MatrixFreeRecord, NullSpaceRecord, SavedTensor, Scores,
    SpectrumSummary, SpectrumTimings, write_matrix_free, write_sealed, write_spectrum,
};

fn file(name: &str, digit: char) -> FileChecksum {
    FileChecksum { file: name.to_owned(), sha256: digit.to_string().repeat(64) }
}

/// The whole spectrum of a run after epoch 4.
pub(crate) fn record() -> SpectrumRecord {
    SpectrumRecord {
        schema_version: SPECTRUM_VERSION,
        kappa_version: String::new(),
        settings: SpectrumSettings {
            request: Request::new(Precision::F64),
            source: "run/checkpoints/epoch-0004.safetensors".to_owned(),
            network: "FC".to_owned(),
            epoch: Some(4),
            data: Some("mnist".to_owned()),
            data_files: vec![file("images", 'a')],
            scaling: Some(Scaling::Unit),
            samples: 10,
            features: 3,
            classes: 4,
            statistics: None,
            epsilon: None,
            interpretation: Interpretation::default(),
            files: vec![file("epoch-0004.safetensors", 'c')],
            scores: None,
            ignored: None,
            input_checks: Vec::new(),
            backend: Backend::Flex,
            device: String::new(),
            l2: 1e-5,
        },
        spectrum: SpectrumSummary {
            size: 12,
            top: vec![1.0],
            kappa_prime: None,
            outlier_ratio: None,
            outlier_gap: None,
            rank: 9,
            rank_tolerance: 0.0,
            kappa_of_rank: None,
            lambda_min: 0.0,
            kappa: None,
            kappa_with_l2: None,
            kappa_prime_with_l2: None,
            trace: 2.0,
            effective_rank: None,
            entropy_rank: None,
            null_space: NullSpaceRecord {
                shift: 3,
                absent_classes: 0,
                silent_features: 0,
                dependent_features: 0,
                explained: 3,
                numerical: 0,
                against_whole_matrix: 0.0,
            },
        },
        evidence: None,
        directions: None,
        subsets: Vec::new(),
        timings: SpectrumTimings::default(),
    }
}

/// The place of a run's spectra in `folder`.
pub(crate) fn run(folder: &Path) -> Place {
    Place::Epochs { folder: folder.to_owned(), trained_on: vec![file("images", 'a')] }
}

/// A last layer in files.
fn layer() -> SpectrumSettings {
    SpectrumSettings {
        source: "somewhere/G.npy".to_owned(),
        epoch: None,
        data: None,
        data_files: Vec::new(),
        scaling: None,
        files: vec![file("G.npy", '1'), file("Z.npy", '2')],
        scores: Some(Scores::Logits),
        l2: 0.0,
        ..record().settings
    }
}

fn with(settings: &SpectrumSettings, change: impl Fn(&mut SpectrumSettings)) -> SpectrumSettings {
    let mut settings = settings.clone();
    change(&mut settings);
    settings
}

const SOME: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// Everything that can be asked otherwise, by the end of the name that says so.
fn otherwise() -> Vec<(&'static str, SpectrumSettings)> {
    let density = || Some(DensityRequest { probes: SOME, steps: SOME });
    let settings = record().settings;
    let ask = |change: fn(&mut Request)| with(&settings, |settings| change(&mut settings.request));
    vec![
        ("-test", ask(|request| request.split = Split::Test)),
        ("-limit100", ask(|request| request.limit = Some(SOME))),
        ("-forward-f64", ask(|request| request.forward = Precision::F64)),
        ("-f32", ask(|request| request.precision = Precision::F32)),
        ("-bias", ask(|request| request.bias = true)),
        ("-batch100", with(&settings, |settings| settings.statistics = Some(Statistics::Batch(SOME)))),
        ("-dataset", with(&settings, |settings| settings.statistics = Some(Statistics::Dataset))),
        (
            "-bn-before",
            with(&settings, |settings| settings.interpretation.place = Some(kappa_model::Place::Before)),
        ),
        ("-bn-epsilon1e-3", with(&settings, |settings| settings.interpretation.epsilon = Some(1e-3))),
        (
            // `printf 'fc1=hidden\nfc2=output' | sha256sum`
            "-renamed-47641376",
            with(&settings, |settings| {
                settings.interpretation.rename = vec!["fc1=hidden".to_owned(), "fc2=output".to_owned()];
            }),
        ),
        ("-folded", ask(|request| request.folded = true)),
        ("-top100", ask(|request| request.top = Some(SOME))),
        ("-density100x100", with(&settings, |settings| settings.request.density = density())),
        ("-subsets100", ask(|request| request.subsets = Some(SOME))),
        (
            "-subsets100-seed7",
            ask(|request| {
                request.subsets = Some(SOME);
                request.seed = 7;
            }),
        ),
        ("-directions", ask(|request| request.directions = true)),
        ("-overlap0-10", ask(|request| request.overlap_with = vec![0, 10])),
        ("-matrix", ask(|request| request.keep_matrix = true)),
        ("-unverified", ask(|request| request.verify = false)),
        (
            // `printf '%064d' 0 | tr 0 b | sha256sum`
            "-data-other_set-a0fab137",
            with(&settings, |settings| {
                settings.data = Some("other set".to_owned());
                settings.data_files = vec![file("images", 'b')];
            }),
        ),
    ]
}

#[test]
fn a_name_says_all_that_was_asked_and_nothing_that_nobody_has_to_ask_for() {
    let place = run(Path::new("run/hessian"));
    let name = |settings: &SpectrumSettings| place.of(settings).display().to_string();
    assert_eq!(name(&record().settings), "run/hessian/epoch-0004");
    // A seed that nothing depends on, and the network's only statistics.
    let same = with(&record().settings, |settings| {
        settings.request.seed = 7;
        settings.statistics = Some(Statistics::Running);
    });
    assert_eq!(name(&same), "run/hessian/epoch-0004");
    for (end, settings) in otherwise() {
        assert!(name(&settings).starts_with(&format!("run/hessian/epoch-0004{end}")), "{}", name(&settings));
    }
    let several = with(&record().settings, |settings| {
        settings.request.split = Split::Test;
        settings.request.limit = Some(SOME);
        settings.request.bias = true;
    });
    assert_eq!(name(&several), "run/hessian/epoch-0004-test-limit100-bias");
    let over = |settings: &SpectrumSettings| place.over_epochs(settings).unwrap().display().to_string();
    assert_eq!(over(&record().settings), "run/hessian/spectra");
    assert_eq!(over(&several), "run/hessian/spectra-test-limit100-bias");
}

#[test]
fn files_of_one_name_and_other_contents_have_places_of_their_own() {
    let place = Place::Files("outputs".into());
    let of = |change: fn(&mut SpectrumSettings)| place.of(&with(&layer(), change)).display().to_string();
    let plain = of(|_| {});
    assert!(
        plain.starts_with("outputs/hessian-G-") && plain.len() == "outputs/hessian-G-".len() + 8,
        "{plain}"
    );
    // Wherever they lie.
    assert_eq!(of(|settings| settings.source = "G.npy".to_owned()), plain);
    let others = [
        of(|settings| settings.files[0].sha256 = "3".repeat(64)),
        of(|settings| settings.files[1].sha256 = "3".repeat(64)),
        of(|settings| settings.files.push(file("W.npy", '4'))),
        of(|settings| settings.scores = Some(Scores::Probabilities)),
        of(|settings| settings.l2 = 1e-4),
    ];
    for (index, other) in others.iter().enumerate() {
        assert!(*other != plain && !others[..index].contains(other), "{others:?}");
    }
    assert!(others[4].ends_with("-l2-1e-4"), "{}", others[4]);
    let checkpoint = |data: &str| {
        place.of(&with(&record().settings, |settings| {
            settings.epoch = None;
            settings.data = Some(data.to_owned());
        }))
    };
    let name = checkpoint("mnist").display().to_string();
    assert!(name.starts_with("outputs/hessian-epoch-0004-") && !name.contains("mnist"), "{name}");
    assert!(checkpoint("fashion").display().to_string().contains("-data-fashion-"));
}

#[test]
fn a_name_is_one_that_every_file_system_takes() {
    let place = Place::Files("outputs".into());
    let long = |last: usize| {
        with(&layer(), |settings| {
            settings.source = format!("../{}\n\u{7}*?.npy", "x".repeat(300));
            settings.request.overlap_with = (0..100).chain([last]).collect();
        })
    };
    let name = |settings| place.of(&settings).file_name().unwrap().to_str().unwrap().to_owned();
    let (one, other) = (name(long(100)), name(long(101)));
    assert!(one.len() <= 180 && one != other, "{one} {other}");
    assert!(one.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{one}");
    let odd = name(with(&layer(), |settings| settings.source = "a b\u{1b}[0mä.npy".to_owned()));
    assert!(odd.starts_with("hessian-a_b__0m_-"), "{odd}");
}

#[test]
fn an_answer_to_another_question_is_never_replaced_and_what_differs_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let there = record();
    for (name, settings) in otherwise() {
        write_spectrum(folder.path(), &there, &[], "<svg/>", None).unwrap();
        let before = fs::read(folder.path().join("spectrum.json")).unwrap();
        let asked = SpectrumRecord { settings, ..record() };
        // To the same question more may be asked.
        let is_more =
            ["-subsets", "-directions", "-overlap", "-matrix"].iter().any(|more| name.contains(more));
        let result = write_spectrum(folder.path(), &asked, &[], "<svg/>", None);
        assert_eq!(result.is_ok(), is_more, "{name}: {result:?}");
        assert_eq!(claim(folder.path(), &asked.settings).is_ok(), is_more);
        if is_more {
            // And none of it dropped.
            let dropped = write_spectrum(folder.path(), &there, &[], "<svg/>", None);
            assert!(matches!(dropped, Err(RunError::OtherQuestion { .. })), "{name}: {dropped:?}");
        } else {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(" there, ") && message.contains(" asked for"), "{message}");
            assert_eq!(fs::read(folder.path().join("spectrum.json")).unwrap(), before);
        }
        fs::remove_file(folder.path().join("spectrum.json")).unwrap();
    }
}

#[test]
fn files_and_epochs_are_part_of_the_question_and_their_paths_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |settings: &SpectrumSettings| {
        let record = SpectrumRecord { settings: settings.clone(), ..record() };
        write_spectrum(folder.path(), &record, &[], "<svg/>", None)
    };
    write(&layer()).unwrap();
    write(&with(&layer(), |settings| settings.source = "elsewhere/G.npy".to_owned())).unwrap();
    let other = write(&with(&layer(), |settings| settings.files[0].sha256 = "3".repeat(64)));
    let message = other.unwrap_err().to_string();
    assert!(
        message.contains("files: G.npy (11111111), Z.npy (22222222) there, G.npy (33333333)"),
        "{message}"
    );
    let other = write(&with(&layer(), |settings| settings.scores = Some(Scores::Probabilities)));
    assert!(other.unwrap_err().to_string().contains("scores: logits there, probabilities asked for"));
    let other = write(&with(&layer(), |settings| settings.epoch = Some(3)));
    assert!(other.unwrap_err().to_string().contains("epoch: none there, 3 asked for"));
}

#[test]
fn a_saved_matrix_is_not_dropped_and_what_needs_no_matrix_is_not_put_beside_a_spectrum() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = record();
    kept.settings.request.keep_matrix = true;
    let matrix = [SavedTensor::of_doubles("hessian", vec![1], &[1.0])];
    write_spectrum(folder.path(), &kept, &matrix, "<svg/>", None).unwrap();
    let before = fs::read(folder.path().join("spectrum.safetensors")).unwrap();
    let message = write_spectrum(folder.path(), &record(), &[], "<svg/>", None).unwrap_err().to_string();
    assert!(message.contains("saved matrix: yes there, no asked for"), "{message}");
    assert_eq!(fs::read(folder.path().join("spectrum.safetensors")).unwrap(), before);

    let free = MatrixFreeRecord {
        schema_version: MATRIX_FREE_VERSION,
        kappa_version: String::new(),
        settings: with(&record().settings, |settings| settings.request.top = Some(SOME)),
        top: None,
        density: None,
    };
    let message = write_matrix_free(folder.path(), &free, None).unwrap_err().to_string();
    assert!(message.contains("the whole spectrum there, the 100 largest eigenvalues asked for"), "{message}");
    let elsewhere = tempfile::tempdir().unwrap();
    write_matrix_free(elsewhere.path(), &free, None).unwrap();
    assert!(write_spectrum(elsewhere.path(), &record(), &[], "<svg/>", None).is_err());
}

#[test]
fn an_answer_that_cannot_be_read_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spectrum.json");
    write_sealed(&path, b"{\n  \"schema_version\": 1\n}\n").unwrap();
    let error = claim(folder.path(), &record().settings).unwrap_err();
    let because = std::error::Error::source(&error).unwrap().to_string();
    assert!(because.contains("schema version 1"), "{error}: {because}");
    fs::write(&path, b"cut off").unwrap();
    assert!(write_spectrum(folder.path(), &record(), &[], "<svg/>", None).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"cut off");
}

#[test]
fn a_folder_that_was_named_is_taken_and_what_is_asked_in_turn_goes_beside_it() {
    let place = Place::Folder("out/here".into());
    let of = |change: fn(&mut SpectrumSettings)| place.of(&with(&record().settings, change));
    assert_eq!(of(|settings| settings.request.bias = true), Path::new("out/here"));
    let folded = of(|settings| {
        settings.statistics = Some(Statistics::Dataset);
        settings.request.folded = true;
    });
    assert_eq!(folded, Path::new("out/here-dataset-folded"));
    assert_eq!(place.over_epochs(&record().settings), None);
}
