//! The report's page in a browser: headless Chromium, and no network.
//!
//! Without a browser the test says so and passes, unless KAPPA_REQUIRE_BROWSER is
//! set, as it is in CI.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Kappa,
    study::{finished_study, json},
};

/// Notes what goes wrong in the page from its first line on.
const WATCH: &str = "<head><script>window.wrong = [];
addEventListener('error', (event) => wrong.push(String(event.message ?? event.target?.src)), true);
addEventListener('unhandledrejection', (event) => wrong.push(String(event.reason)));
addEventListener('securitypolicyviolation', (event) => wrong.push('asked for ' + event.blockedURI));
for (const level of ['error', 'warn']) console[level] = (...all) => wrong.push(level + ': ' + all.join(' '));
</script>";

/// Opens the page at each width, moves its controls, and writes down what is seen.
const DRIVE: &str = include_str!("drive.js");

fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("KAPPA_BROWSER").map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    named.or_else(|| found.find(|path| path.is_file()))
}

/// The page at `path` when its scripts have run, and what the browser says.
fn shown(browser: &Path, path: &Path, folder: &Path) -> (String, String) {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--window-size=1400,1000"])
        .args(["--virtual-time-budget=60000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let [dom, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (dom, stderr)
}

/// What the browser saw, and what it said of errors.
fn look(browser: &Path, report: &Path, folder: &Path) -> (Value, String) {
    let html = std::fs::read_to_string(report).unwrap();
    let watched = html.replacen("<head>", WATCH, 1);
    let quoted = serde_json::to_string(&watched).unwrap().replace('<', "\\u003c");
    let harness = folder.join("harness.html");
    let text = format!(
        "<!doctype html><meta charset=\"utf-8\"><body><script id=\"page\" type=\"application/json\">{quoted}</script>\
         <script>{DRIVE}</script></body>"
    );
    std::fs::write(&harness, text).unwrap();
    let (dom, stderr) = shown(browser, &harness, folder);
    let result = dom.split("<pre id=\"result\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let Some(result) = result else { panic!("the browser saw nothing: {stderr}") };
    let result = result.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let console = stderr.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    (serde_json::from_str(&result).unwrap(), console)
}

#[test]
fn the_page_of_a_kappa_why_draws_any_measure() {
    let Some(browser) = browser() else {
        assert!(std::env::var_os("KAPPA_REQUIRE_BROWSER").is_none(), "there is no browser");
        eprintln!("skipped: there is no browser");
        return;
    };
    let kappa = Kappa::new();
    crate::write_idx(&kappa.folder.path().join("tiny"), 65, 9);
    let config = crate::why::config(kappa.folder.path());
    let settings =
        ["--data", "tiny", "--backend", "flex", "--quiet", "--set", "again=[]", "--set", "interventions=[]"];
    kappa.says(&[&["why", &config, "--set", "seeds=1"], &settings[..]].concat());
    let page = kappa.outputs().join("tiny/report/report.html");
    // Another measure than the first, chosen by hand.
    let text = std::fs::read_to_string(&page).unwrap();
    let chosen = "<script>const measure = document.getElementById('measure'); measure.value = '4';
        measure.dispatchEvent(new Event('input'));</script></body>";
    let driven = kappa.folder.path().join("driven.html");
    std::fs::write(&driven, text.replace("</body>", chosen)).unwrap();
    let (dom, stderr) = shown(&browser, &driven, kappa.folder.path());
    assert!(!stderr.contains("CONSOLE"), "{stderr}");
    assert!(dom.contains("at the best rate by lambda_1 of the whole network\""), "{dom}");
    let plot = dom.split("id=\"plot\"").nth(1).and_then(|rest| rest.split("</svg>").next()).unwrap();
    // A path of marks for each of three arms, beside the grid's.
    assert_eq!(plot.matches("stroke-width=\"2\"").count(), 3, "{plot}");
}

#[test]
fn the_page_works_offline_and_on_a_narrow_screen() {
    let Some(browser) = browser() else {
        assert!(std::env::var_os("KAPPA_REQUIRE_BROWSER").is_none(), "there is no browser");
        eprintln!("skipped: there is no browser");
        return;
    };
    let kappa = Kappa::new();
    let study = finished_study(&kappa);
    let (seen, console) = look(&browser, &study.join("report/report.html"), kappa.folder.path());
    assert_eq!(console, "", "the console is silent");
    for seen in seen.as_array().unwrap() {
        let width = &seen["width"];
        assert_eq!(seen["wrong"], Value::Array(vec![]), "{width} pixels");
        assert_eq!(seen["asked"], Value::Array(vec![]), "{width} pixels: nothing is asked of a network");
        assert_eq!(seen["cut"], Value::Array(vec![]), "{width} pixels: nothing is cut off");
        assert_eq!(seen["pageIsWider"], false, "{width} pixels");
        assert_eq!(seen["figures"], 14);
        // Each control changes what is drawn and what is told.
        let steps = ["last", "first", "seed", "centred", "dataset", "whole"];
        for pair in steps.windows(2) {
            assert_ne!(seen[pair[0]]["drawn"], seen[pair[1]]["drawn"], "{width} pixels: {pair:?}");
            assert_ne!(seen[pair[0]]["numbers"], seen[pair[1]]["numbers"], "{width} pixels: {pair:?}");
        }
        assert_eq!(seen["first"]["epoch"], "0");
        // Of all parameters epochs 0 and 2 were taken.
        assert_eq!((&seen["whole"]["epoch"], &seen["whole_1"]["epoch"]), (&"0".into(), &"0".into()));
        assert_eq!(seen["whole_2"]["epoch"], "2");
        assert!(seen["whole_2"]["numbers"][0][4].as_str().unwrap().contains(" of "));
        // What is told of FC before training, first seed, is what the run left.
        let findings = json(&study.join("findings.json"));
        let fc = findings["points"][0]["seeds"][0]["runs"][0].as_str().unwrap();
        let spectra = json(&study.join("runs").join(fc).join("spectra.json"));
        let row = &spectra["rows"].as_array().unwrap()[0];
        assert_eq!((&row["epoch"], &row["variant"]), (&Value::from(0), &Value::from("plain")));
        let told: f64 = seen["first"]["numbers"][0][1].as_str().unwrap().parse().unwrap();
        let lambda_1 = row["top"][0].as_f64().unwrap();
        // Four digits are shown.
        assert!((told - lambda_1).abs() < 6e-4 * lambda_1, "{told} {lambda_1}");
    }
}
