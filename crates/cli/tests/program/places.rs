//! Where results lie, that none is taken for another, and how they are told apart.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Kappa,
    layer::{with, write_layer},
    study::json,
    write_idx,
};

/// A small run on the images of the folder `data`.
fn run_on(kappa: &Kappa, data: &str, more: &[&str]) -> PathBuf {
    write_idx(&kappa.folder.path().join(data), 30, 9);
    let mut arguments = vec!["--data", data];
    for setting in ["data.train=20", "data.validation=10", "data.test=9", "training.batch_size=7"] {
        arguments.extend(["--set", setting]);
    }
    kappa.train(&[&arguments, more].concat())
}

fn hessian<'a>(run: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["hessian", run.to_str().unwrap(), "--backend", "flex"], more].concat()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn bytes(folder: &Path) -> Vec<Vec<u8>> {
    names(folder).iter().map(|name| fs::read(folder.join(name)).unwrap()).collect()
}

#[test]
fn each_question_has_a_place_of_its_own_and_takes_no_others() {
    // A regression: all of these replaced the spectrum of the whole training split.
    let kappa = Kappa::new();
    let run = run_on(&kappa, "tiny", &[]);
    write_idx(&kappa.folder.path().join("other"), 31, 9);
    kappa.says(&hessian(&run, &[]));
    let plain = run.join("hessian/epoch-0002");
    let before = bytes(&plain);
    let questions: [(&[&str], &str); 9] = [
        (&["--split", "test"], "epoch-0002-test"),
        (&["--limit", "10", "--bias"], "epoch-0002-limit10-bias"),
        (&["--precision", "f32"], "epoch-0002-f32"),
        (&["--forward", "f64"], "epoch-0002-forward-f64"),
        (&["--bn-stats", "dataset", "--folded"], "epoch-0002-dataset-folded"),
        (&["--top", "3"], "epoch-0002-top3"),
        (&["--density", "--seed", "5"], "epoch-0002-density8x48-seed5"),
        (&["--save-matrix", "--no-verify"], "epoch-0002-matrix-unverified"),
        (&["--data", "other"], "epoch-0002-data-other-"),
    ];
    for (more, name) in questions {
        let said = kappa.says(&hessian(&run, more));
        assert!(said.contains(&format!("hessian/{name}")), "{name} in {said}");
        let found = names(&run.join("hessian"));
        assert!(found.iter().any(|found| found.starts_with(name)), "{name} in {found:?}");
        assert_eq!(bytes(&plain), before, "{name}");
    }
    // The images that it was trained on need not be named, and may be.
    let places = names(&run.join("hessian"));
    kappa.says(&hessian(&run, &["--data", "tiny"]));
    assert_eq!(names(&run.join("hessian")), places);
    let record = json(&plain.join("spectrum.json"));
    assert_eq!(record["settings"]["data"], "tiny");
    assert_eq!(record["settings"]["data_files"], json(&run.join("run.json"))["data_files"]);
    assert_eq!(record["settings"]["files"][0]["file"], "epoch-0002.safetensors");
}

#[test]
fn a_folder_that_was_named_keeps_the_answer_that_it_has() {
    let kappa = Kappa::new();
    let run = run_on(&kappa, "tiny", &[]);
    let out = kappa.folder.path().join("here").join(run.file_name().unwrap());
    kappa.says(&hessian(&run, &["--out", "here", "--save-matrix"]));
    let before = bytes(&out);
    for (more, differs) in [
        (&["--split", "test", "--save-matrix"][..], "split: train there, test asked for"),
        (&["--limit", "10", "--save-matrix"], "samples: all there, 10 asked for"),
        (&["--epoch", "1", "--save-matrix"], "epoch: 2 there, 1 asked for"),
        (&["--bias", "--save-matrix"], "bias: no there, yes asked for"),
        (&["--precision", "f32", "--save-matrix"], "precision: f64 there, f32 asked for"),
        (&["--no-verify", "--save-matrix"], "checks: yes there, no asked for"),
        (&["--top", "3"], "answer: the whole spectrum there, the 3 largest eigenvalues asked for"),
        (&[], "saved matrix: yes there, no asked for"),
    ] {
        let message = kappa.complains(&hessian(&run, &[&["--out", "here"], more].concat()));
        assert!(message.contains(differs) && message.contains("--out names another"), "{differs}: {message}");
        assert_eq!(bytes(&out), before, "{differs}");
    }
    // The same question may be answered again, and with more.
    kappa.says(&hessian(&run, &["--out", "here", "--save-matrix"]));
    kappa.says(&hessian(&run, &["--out", "here", "--save-matrix", "--subsets", "2"]));
    assert!(out.join("subsets.svg").is_file());
}

#[test]
fn files_of_one_name_in_two_folders_do_not_share_a_result() {
    // A regression: both went to outputs/hessian-G.
    let kappa = Kappa::new();
    write_layer(&kappa);
    let folder = kappa.folder.path();
    fs::create_dir(folder.join("b")).unwrap();
    fs::copy(folder.join("Z.npy"), folder.join("b/Z.npy")).unwrap();
    let mut features = fs::read(folder.join("G.npy")).unwrap();
    let last = features.len() - 2;
    features[last] ^= 1;
    fs::write(folder.join("b/G.npy"), features).unwrap();
    let one = ["hessian", "--features", "G.npy", "--logits", "Z.npy", "--backend", "flex"];
    let other = ["hessian", "--features", "b/G.npy", "--logits", "b/Z.npy", "--backend", "flex"];
    kappa.says(&one);
    kappa.says(&other);
    let found = names(&kappa.outputs());
    assert!(found.len() == 2 && found.iter().all(|name| name.starts_with("hessian-G-")), "{found:?}");
    kappa.says(&one);
    kappa.says(&with(&["--top", "3"]));
    let more = names(&kappa.outputs());
    assert!(more.len() == 3 && more.iter().filter(|name| name.ends_with("-top3")).count() == 1, "{more:?}");

    kappa.says(&[&one[..], &["--out", "here"]].concat());
    let message = kappa.complains(&[&other[..], &["--out", "here"]].concat());
    assert!(message.contains("here answers another question (files: G.npy ("), "{message}");
}

#[test]
fn columns_are_headed_by_what_tells_them_apart() {
    // A regression: three runs were "FC FC FC".
    let kappa = Kappa::new();
    let none = ["--set", "network.normalisation.kind=none"];
    let runs = ["one", "two", "two"].map(|name| {
        let named = format!("name={name}");
        run_on(&kappa, "tiny", &[&none[..], &["--set", &named]].concat())
    });
    let last = |run: &Path| run.file_name().unwrap().to_str().unwrap().to_owned();
    let paths = runs.each_ref().map(|run| run.to_str().unwrap());
    let line = |said: &str, name: &str| {
        let found = said.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no {name} in {said}"))
    };
    for more in [&[][..], &["--full"]] {
        let command = [&["hessian"], &paths[..], &["--backend", "flex", "--quiet"], more].concat();
        let said = kappa.says(&command);
        let heading: Vec<String> =
            line(&said, "run ").split_whitespace().skip(1).map(str::to_owned).collect();
        assert_eq!(heading, runs.each_ref().map(|run| last(run)), "{said}");
        assert!(line(&said, "data ").ends_with("tiny"), "not MNIST: {said}");
        assert!(line(&said, "samples").matches("20 (train)").count() == 3, "{said}");
    }
    // Of one run it need not be said which.
    let said = kappa.says(&hessian(&runs[0], &["--quiet"]));
    assert!(!said.contains("\nrun "), "{said}");

    // Runs of one name in two folders; images of one name too.
    let elsewhere = kappa.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let moved = elsewhere.join(last(&runs[0]));
    assert!(std::process::Command::new("cp").arg("-r").args([&runs[0], &moved]).status().unwrap().success());
    let said = kappa.says(&["hessian", paths[0], moved.to_str().unwrap(), "--backend", "flex", "--quiet"]);
    let heading = line(&said, "run ");
    assert!(heading.contains("outputs/one-") && heading.contains("elsewhere/one-"), "{said}");
}

#[test]
fn a_run_on_mnist_beside_one_on_other_images_is_told_from_it() {
    let kappa = Kappa::new();
    let few = ["--set", "data.train=60", "--set", "network.hidden=4", "--set", "training.epochs=1"];
    let mnist = kappa.train(&few);
    let other = run_on(&kappa, "fashion", &few[2..]);
    let said = kappa.says(&hessian(&mnist, &[other.to_str().unwrap(), "--quiet"]));
    let data = said.lines().find(|line| line.starts_with("data ")).unwrap();
    assert_eq!(data.split_whitespace().collect::<Vec<_>>(), ["data", "mnist", "fashion"]);
    let said = kappa.says(&hessian(&mnist, &["--quiet"]));
    assert!(!said.contains("\ndata "), "{said}");
}

#[test]
fn several_epochs_are_a_row_each_with_a_table_and_a_figure_of_them() {
    let kappa = Kappa::new();
    let run = run_on(&kappa, "tiny", &["--set", "training.epochs=3"]);
    let said = kappa.says(&hessian(&run, &["--epoch", "3,0"]));
    let rows = |said: &str| -> Vec<Vec<String>> {
        let table = said.lines().skip_while(|line| !line.starts_with("epoch ")).skip(1);
        let rows = table.take_while(|line| !line.starts_with("->"));
        rows.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let epochs = |said: &str| rows(said).iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(epochs(&said), ["0", "3"], "{said}");
    assert!(said.contains("tiny (train), 20 samples") && said.contains("kappa'"), "{said}");
    assert!(said.contains("hessian/spectra.csv"), "{said}");
    let folder = run.join("hessian");
    assert_eq!(
        names(&folder).into_iter().collect::<Vec<_>>(),
        ["epoch-0000", "epoch-0003", "spectra.csv", "spectra.svg"]
    );
    let table = |name: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.starts_with("epoch,lambda_1,lambda_10,kappa_prime,trace,rank,digits,"), "{text}");
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    for (row, epoch) in table("spectra.csv").iter().zip([0, 3]) {
        let record = json(&folder.join(format!("epoch-{epoch:04}/spectrum.json")));
        let spectrum = &record["spectrum"];
        let numbers = [
            &record["settings"]["epoch"],
            &spectrum["top"][0],
            &spectrum["top"][9],
            &spectrum["kappa_prime"],
            &spectrum["trace"],
            &spectrum["rank"],
            &record["evidence"]["known_digits_of_lambda_1"],
        ];
        for (written, number) in row.iter().zip(numbers) {
            assert_eq!(written.parse::<f64>().unwrap(), number.as_f64().unwrap());
        }
    }

    // What was measured before is in the table still; another question has its own.
    let said = kappa.says(&hessian(&run, &["--epoch", "1,2", "--quiet"]));
    assert_eq!(epochs(&said), ["1", "2"], "{said}");
    assert_eq!(table("spectra.csv").iter().map(|row| &row[0][..]).collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    let said = kappa.says(&hessian(&run, &["--epoch", "all", "--split", "test"]));
    assert_eq!(epochs(&said), ["0", "1", "2", "3"], "{said}");
    assert_eq!(table("spectra-test.csv").len(), 4);
    assert!(folder.join("spectra-test.svg").is_file() && folder.join("epoch-0001-test").is_dir());
    assert_eq!(table("spectra.csv").len(), 4);

    let message = kappa.complains(&hessian(&run, &["--epoch", "1,7"]));
    assert!(message.contains("no checkpoint of epoch 7; it has epochs 0 to 3"), "{message}");
    let message = kappa.complains(&hessian(&run, &["--epoch", "last"]));
    assert!(message.contains("0,5,10 say, or all"), "{message}");

    kappa.says(&hessian(&run, &["--epoch", "all", "--out", "there"]));
    let there = kappa.folder.path().join("there").join(run.file_name().unwrap());
    assert!(there.join("spectra.csv").is_file() && there.join("epoch-0001/spectrum.json").is_file());
}

#[cfg(unix)]
#[test]
fn a_hessian_of_a_run_that_cannot_be_written_in_is_told_where_else() {
    use std::os::unix::fs::PermissionsExt;
    let kappa = Kappa::new();
    let run = run_on(&kappa, "tiny", &[]);
    let allow = |mode| fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
    fs::remove_file(run.join(".lock")).unwrap();
    allow(0o555);
    // Who may do everything is not kept out by this; `disks` has a file system that is read-only.
    if fs::write(run.join("probe"), "").is_err() {
        let message = kappa.complains(&hessian(&run, &[]));
        assert!(message.contains("cannot write ") && message.contains("--out DIR"), "{message}");
        kappa.says(&hessian(&run, &["--out", "here"]));
    }
    allow(0o755);
}
