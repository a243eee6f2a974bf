//! The files that people have, from their bytes to the spectrum.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{Kappa, layer::npy, study::json};

/// Numbers without a pattern in -1 .. 1.
fn numbers(count: usize, seed: u32) -> impl Iterator<Item = f64> {
    let mut state = seed;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    })
}

fn doubles(path: &Path, shape: &str, numbers: impl IntoIterator<Item = f64>) {
    npy(path, shape, "<f8", &numbers.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<_>>());
}

/// The record of the spectrum of these files, which lie in the folder of `kappa`.
fn spectrum(kappa: &Kappa, files: &[&str], out: &str) -> Value {
    kappa.says(&[&["hessian", "--backend", "flex", "--out", out], files].concat());
    json(&kappa.folder.path().join(out).join("spectrum.json"))
}

fn eigenvalues(kappa: &Kappa, out: &str) -> Vec<u8> {
    fs::read(kappa.folder.path().join(out).join("spectrum.safetensors")).unwrap()
}

fn top(record: &Value, rank: usize) -> f64 {
    record["spectrum"]["top"][rank].as_f64().unwrap()
}

/// 50 samples of 4 features, in G.npy, and logits of 3 classes.
fn layer(kappa: &Kappa) -> Vec<f64> {
    doubles(&kappa.folder.path().join("G.npy"), "(50, 4)", numbers(200, 1));
    numbers(150, 2).map(|z| 4.0 * z).collect()
}

#[test]
fn one_logit_has_half_the_eigenvalues_of_two() {
    let kappa = Kappa::new();
    layer(&kappa);
    let folder = kappa.folder.path();
    let z: Vec<f64> = numbers(50, 3).map(|z| 6.0 * z).collect();
    doubles(&folder.join("z.npy"), "(50,)", z.clone());
    doubles(&folder.join("Z.npy"), "(50, 2)", z.iter().flat_map(|&z| [0.0, z]));
    doubles(&folder.join("p.npy"), "(50, 1)", z.iter().map(|z| 1.0 / (1.0 + (-z).exp())));
    npy(&folder.join("y.npy"), "(50,)", "|u1", &z.iter().map(|&z| u8::from(z > 0.0)).collect::<Vec<_>>());
    let labels = ["--labels", "y.npy"];
    let one = spectrum(&kappa, &[&["--features", "G.npy", "--logits", "z.npy"], &labels[..]].concat(), "one");
    let two = spectrum(&kappa, &[&["--features", "G.npy", "--logits", "Z.npy"], &labels[..]].concat(), "two");
    let by_p = spectrum(&kappa, &["--features", "G.npy", "--probabilities", "p.npy"], "by-p");
    for rank in 0..4 {
        let half = top(&two, rank) / 2.0;
        // Fifty additions, and a decomposition of eight rows.
        assert!((top(&one, rank) / half - 1.0).abs() < 1e-13, "{rank}");
        assert!((top(&by_p, rank) / half - 1.0).abs() < 1e-13, "{rank}");
    }
    assert_eq!((&one["spectrum"]["size"], &two["spectrum"]["size"]), (&4.into(), &8.into()));
    assert_eq!(one["spectrum"]["null_space"]["shift"], 0);
    assert_eq!(one["directions"]["accuracy"], 1.0);
    let [a, b] = [&one, &two].map(|record| record["directions"]["loss"].as_f64().unwrap());
    assert!((a / b - 1.0).abs() < 1e-14, "{a} {b}");
    // Without H too, and again.
    let said = kappa.says(&[
        "hessian",
        "--features",
        "G.npy",
        "--logits",
        "z.npy",
        "--top",
        "2",
        "--backend",
        "flex",
        "--out",
        "top",
    ]);
    assert!(said.contains(&format!("{:.6e}", top(&one, 0))), "{said}");
    assert!(kappa.says(&["verify", "one"]).contains("1 record follows"));
}

#[test]
fn a_masked_class_leaves_the_spectrum_of_the_others_and_zeros_of_its_own() {
    let kappa = Kappa::new();
    let logits = layer(&kappa);
    let folder = kappa.folder.path();
    doubles(&folder.join("three.npy"), "(50, 3)", logits.clone());
    let with = |mask: f64| logits.chunks(3).flat_map(move |z| [z[0], mask, z[1], z[2]]).collect::<Vec<_>>();
    doubles(&folder.join("infinite.npy"), "(50, 4)", with(f64::NEG_INFINITY));
    doubles(&folder.join("large.npy"), "(50, 4)", with(-1e30));
    let softmax = |z: &[f64]| {
        let powers: Vec<f64> = z.iter().map(|z| z.exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect::<Vec<_>>()
    };
    doubles(&folder.join("zero.npy"), "(50, 4)", with(f64::NEG_INFINITY).chunks(4).flat_map(softmax));
    let three = spectrum(&kappa, &["--features", "G.npy", "--logits", "three.npy"], "three");
    for (option, file) in
        [("--logits", "infinite.npy"), ("--logits", "large.npy"), ("--probabilities", "zero.npy")]
    {
        let masked = spectrum(&kappa, &["--features", "G.npy", option, file], &format!("of-{file}"));
        for rank in 0..8 {
            let apart = (top(&masked, rank) / top(&three, rank) - 1.0).abs();
            assert!(apart < 1e-13, "{file} {rank}: {apart}");
        }
        let null = &masked["spectrum"]["null_space"];
        assert_eq!(
            (&null["shift"], &null["absent_classes"], &null["explained"]),
            (&4.into(), &1.into(), &8.into())
        );
        assert_eq!(masked["spectrum"]["rank"], 8, "{file}");
    }
    assert_eq!(three["spectrum"]["rank"], 8);
}

#[test]
fn half_precision_has_the_spectrum_of_the_same_numbers_in_single() {
    let kappa = Kappa::new();
    let folder = kappa.folder.path();
    // Numbers that half precision has: k / 256.
    let halves: Vec<f32> = numbers(200, 5).map(|x| ((x * 255.0).round() / 256.0) as f32).collect();
    let singles: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
    let as_half = |x: &f32| {
        let bits = x.to_bits();
        let (sign, exponent, fraction) = ((bits >> 16) & 0x8000, (bits >> 23) & 0xff, bits & 0x7f_ffff);
        let word = if exponent == 0 { sign } else { sign | ((exponent - 112) << 10) | (fraction >> 13) };
        (word as u16).to_le_bytes()
    };
    npy(&folder.join("single.npy"), "(50, 4)", "<f4", &singles);
    npy(&folder.join("half.npy"), "(50, 4)", "<f2", &halves.iter().flat_map(as_half).collect::<Vec<_>>());
    doubles(&folder.join("Z.npy"), "(50, 3)", numbers(150, 2));
    for file in ["single", "half"] {
        spectrum(&kappa, &["--features", &format!("{file}.npy"), "--logits", "Z.npy"], file);
    }
    assert!(eigenvalues(&kappa, "single") == eigenvalues(&kappa, "half"));
}

#[test]
fn a_language_models_tokens_are_samples_but_for_those_that_are_ignored() {
    let kappa = Kappa::new();
    let folder = kappa.folder.path();
    let (g, z): (Vec<f64>, Vec<f64>) = (numbers(200, 1).collect(), numbers(150, 2).collect());
    doubles(&folder.join("G.npy"), "(5, 10, 4)", g.clone());
    doubles(&folder.join("Z.npy"), "(5, 10, 3)", z.clone());
    let label = |n: usize| if n % 10 == 9 { -100i64 } else { (n % 3) as i64 };
    npy(
        &folder.join("y.npy"),
        "(5, 10)",
        "<i8",
        &(0..50).flat_map(|n| label(n).to_le_bytes()).collect::<Vec<_>>(),
    );
    let kept = || (0..50).filter(|n| n % 10 != 9);
    doubles(&folder.join("g.npy"), "(45, 4)", kept().flat_map(|n| g[4 * n..4 * n + 4].to_vec()));
    doubles(&folder.join("z.npy"), "(45, 3)", kept().flat_map(|n| z[3 * n..3 * n + 3].to_vec()));
    let files = ["--features", "G.npy", "--logits", "Z.npy", "--labels", "y.npy", "--out", "tokens"];
    let said = kappa.says(&[&["hessian", "--backend", "flex"], &files[..]].concat());
    assert!(said.contains("5 samples with label -100 are left out"), "{said}");
    let tokens = json(&folder.join("tokens/spectrum.json"));
    assert_eq!(tokens["settings"]["ignored"], serde_json::json!({ "label": -100, "samples": 5 }));
    assert_eq!(tokens["settings"]["samples"], 45);
    spectrum(&kappa, &["--features", "g.npy", "--logits", "z.npy"], "kept");
    assert!(eigenvalues(&kappa, "tokens") == eigenvalues(&kappa, "kept"));
}

/// The most memory of its own that a process has had, in bytes, asked while it runs: what it is killed
/// for if there is no more. Pages of its file, the program's code, are given back when they have to be.
#[cfg(target_os = "linux")]
fn peak(kappa: &Kappa, arguments: &[&str]) -> u64 {
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_kappa"))
        .current_dir(kappa.folder.path())
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", process.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(ended) = process.try_wait().unwrap() {
            assert!(ended.success(), "{arguments:?}");
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn files_of_three_times_the_allowed_memory_come_out_right_within_it() {
    const ALLOWED: u64 = 128_000_000;
    let kappa = Kappa::new();
    let folder = kappa.folder.path();
    let (n, m) = (400_000, 120);
    // Of a few large directions, so that --top needs few products.
    let features = numbers(n * m, 1).enumerate().map(|(i, x)| x / (1.0 + (i % m) as f64).powi(2));
    doubles(&folder.join("G.npy"), &format!("({n}, {m})"), features);
    doubles(&folder.join("Z.npy"), &format!("({n}, 3)"), numbers(n * 3, 2));
    assert!(fs::metadata(folder.join("G.npy")).unwrap().len() >= 3 * ALLOWED);
    let ask = |more: &[&'static str]| {
        let files = ["hessian", "--features", "G.npy", "--logits", "Z.npy", "--backend", "flex", "--quiet"];
        [&files[..], more].concat()
    };
    kappa.says(&ask(&["--out", "whole"]));
    let memory = ["--memory", "128MB"];
    for (more, out) in [(&[][..], "parts"), (&["--top", "3"], "top")] {
        let peak = peak(&kappa, &ask(&[&memory[..], more, &["--out", out]].concat()));
        assert!(peak <= ALLOWED && peak > ALLOWED / 8, "{out}: {peak} bytes");
    }
    assert!(eigenvalues(&kappa, "whole") == eigenvalues(&kappa, "parts"), "to the last bit");
    let [whole, found] = ["whole/spectrum.json", "top/matrix-free.json"].map(|file| json(&folder.join(file)));
    for rank in 0..3 {
        let (found, expected) = (found["top"]["eigenvalues"][rank].as_f64().unwrap(), top(&whole, rank));
        // The solver's tolerance, over lambda_1.
        assert!((found - expected).abs() < 1e-6 * top(&whole, 0), "{rank}: {found} {expected}");
    }
}

#[test]
fn what_can_not_be_held_in_what_is_allowed_is_refused_with_the_sizes() {
    let kappa = Kappa::new();
    layer(&kappa);
    let folder = kappa.folder.path();
    // A header for 80 GB, and a file of that length of which the disk holds next to nothing.
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 5000000000), }\n";
    let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    fs::write(folder.join("huge.npy"), &start).unwrap();
    let file = fs::File::options().write(true).open(folder.join("huge.npy")).unwrap();
    file.set_len(start.len() as u64 + 80_000_000_000).unwrap();
    doubles(&folder.join("Z.npy"), "(2, 3)", numbers(6, 1));
    let message =
        kappa.complains(&["hessian", "--features", "huge.npy", "--logits", "Z.npy", "--memory", "1GiB"]);
    assert!(message.contains("GB of memory at once") && message.contains("may be taken"), "{message}");
    assert!(kappa.complains(&["hessian", "--memory", "lots"]).contains("--memory"));
}

#[test]
fn parts_of_files_are_one_array_to_the_last_bit() {
    let kappa = Kappa::new();
    let logits = layer(&kappa);
    let features: Vec<f64> = numbers(200, 1).collect();
    let folder = kappa.folder.path();
    doubles(&folder.join("Z.npy"), "(50, 3)", logits.clone());
    let labels: Vec<u8> = (0..50).map(|n| (n % 3) as u8).collect();
    npy(&folder.join("y.npy"), "(50,)", "|u1", &labels);
    let whole = ["--features", "G.npy", "--logits", "Z.npy", "--labels", "y.npy"];
    spectrum(&kappa, &whole, "whole");
    // In the order of their numbers, each array cut elsewhere, one part of a single sample and one of none.
    for (number, rows) in [(8, 0..17), (9, 17..18), (10, 18..18), (11, 18..50)] {
        let own = features[4 * rows.start..4 * rows.end].iter().copied();
        doubles(&folder.join(format!("g-{number}.npy")), &format!("({}, 4)", rows.len()), own);
    }
    for (number, rows) in [(1, 0..40), (2, 40..50)] {
        let own = logits[3 * rows.start..3 * rows.end].iter().copied();
        doubles(&folder.join(format!("z-{number}-of-2.npy")), &format!("({}, 3)", rows.len()), own);
        npy(&folder.join(format!("y{number}.npy")), &format!("({},)", rows.len()), "|u1", &labels[rows]);
    }
    let parts = ["--features", "g-*.npy", "--logits", "z-*.npy", "--labels", "y?.npy"];
    let message = kappa.complains(&[&["hessian"], &parts[..]].concat());
    assert!(message.contains("cannot read y?.npy"), "{message}");
    fs::rename(folder.join("y.npy"), folder.join("labels.npy")).unwrap();
    let parts = ["--features", "g-*.npy", "--logits", "z-*.npy", "--labels", "y*.npy"];
    let record = spectrum(&kappa, &parts, "parts");
    assert_eq!(eigenvalues(&kappa, "whole"), eigenvalues(&kappa, "parts"));
    let files: Vec<&str> = record["settings"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["file"].as_str().unwrap())
        .collect();
    assert_eq!(files[..4], ["g-8.npy", "g-9.npy", "g-10.npy", "g-11.npy"]);
    assert_eq!(files.len(), 8);

    let mistakes = |change: &dyn Fn(), told: &str| {
        change();
        let message = kappa.complains(&[&["hessian", "--backend", "flex"], &parts[..]].concat());
        assert!(message.contains(told), "{told} in {message}");
    };
    let nan = || doubles(&folder.join("g-9.npy"), "(1, 4)", [1.0, 2.0, f64::NAN, 4.0]);
    mistakes(&nan, "features in g-9.npy hold NaN in row 0, column 2");
    let narrow = || doubles(&folder.join("g-9.npy"), "(1, 3)", [1.0, 2.0, 3.0]);
    mistakes(&narrow, "features in g-8.npy are [17, 4] of f64, and features in g-9.npy are [1, 3] of f64");
    mistakes(&|| fs::remove_file(folder.join("g-9.npy")).unwrap(), "nothing numbered 9 between");
    let two = || doubles(&folder.join("g-9.npy"), "(2, 4)", numbers(8, 3));
    mistakes(&two, "logits in z-*.npy are for 50 samples, and features in g-*.npy for 51");
    mistakes(&|| fs::remove_file(folder.join("z-2-of-2.npy")).unwrap(), "1 of 2 parts");
}

#[test]
fn parts_of_all_arrays_are_one_layer() {
    let kappa = Kappa::new();
    let (features, logits): (Vec<f64>, Vec<f64>) = (numbers(200, 1).collect(), numbers(150, 2).collect());
    let bytes = |numbers: &[f64]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let write = |name: &str, rows: std::ops::Range<usize>, with_weights: bool| {
        let (g, z) = (&features[4 * rows.start..4 * rows.end], &logits[3 * rows.start..3 * rows.end]);
        let [g, z, w] = [bytes(g), bytes(z), bytes(&[0.5; 12])];
        let view = |columns: usize, bytes| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F64, vec![rows.len(), columns], bytes)
        };
        let mut tensors = vec![("features", view(4, &g).unwrap()), ("logits", view(3, &z).unwrap())];
        if with_weights {
            let shape = vec![3, 4];
            let weights = safetensors::tensor::TensorView::new(safetensors::Dtype::F64, shape, &w);
            tensors.push(("weights", weights.unwrap()));
        }
        let file = safetensors::serialize(tensors, None).unwrap();
        fs::write(kappa.folder.path().join(name), file).unwrap();
    };
    write("all.safetensors", 0..50, false);
    spectrum(&kappa, &["--features", "all.safetensors"], "whole");
    write("part-0.safetensors", 0..20, false);
    write("part-1.safetensors", 20..50, false);
    spectrum(&kappa, &["--features", "part-*.safetensors"], "parts");
    assert_eq!(eigenvalues(&kappa, "whole"), eigenvalues(&kappa, "parts"));
    write("part-0.safetensors", 0..20, true);
    write("part-1.safetensors", 20..50, true);
    let message = kappa.complains(&["hessian", "--features", "part-*.safetensors"]);
    assert!(message.contains("`weights` in 2 parts"), "{message}");
}
