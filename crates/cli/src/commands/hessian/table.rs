//! Spectra side by side, every number (--full).

use kappa_run::{CheckRecord, DirectionsRecord, Precision, SpectrumRecord};

use super::names;
use crate::output::say;

/// Characters of a column at the least; "1.2e-15 <= 3.4e-12 PASS" fits.
const COLUMN: usize = 23;

/// Prints a column for each spectrum, a row for each number.
pub fn print(records: &[SpectrumRecord]) {
    let mut table = Table::new(records);
    table.what_was_measured();
    table.spectrum();
    table.zeros();
    table.with_l2();
    table.directions();
    table.subsets();
    table.evidence();
    table.seconds();
    table.print();
}

/// Rows of numbers, a column for each spectrum.
pub struct Table<'a> {
    records: &'a [SpectrumRecord],
    /// Characters of a column.
    column: usize,
    lines: Vec<String>,
}

impl<'a> Table<'a> {
    pub fn new(records: &'a [SpectrumRecord]) -> Self {
        Self { records, column: COLUMN, lines: Vec::new() }
    }

    pub fn print(&self) {
        for line in &self.lines {
            say(format_args!("{line}"));
        }
    }

    pub fn row(&mut self, name: &str, value: impl Fn(&SpectrumRecord) -> String) {
        self.cells(name, self.records.iter().map(value));
    }

    fn cells(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let column = self.column;
        let values: String = values.map(|value| format!("  {value:>column$}")).collect();
        self.lines.push(format!("{name:<26}{values}").trim_end().to_owned());
    }

    fn heading(&mut self, text: &str) {
        self.lines.push(String::new());
        self.lines.push(text.to_owned());
    }

    pub fn any(&self, holds: impl Fn(&SpectrumRecord) -> bool) -> bool {
        self.records.iter().any(holds)
    }

    /// What the spectra are of.
    pub fn what_was_measured(&mut self) {
        let apart = [("run", names::runs(self.records)), ("data", names::data(self.records))];
        let headings = self.records.iter().map(|record| record.settings.network.as_str());
        let headings =
            headings.chain(apart.iter().flat_map(|(_, names)| names.iter().flatten().map(String::as_str)));
        self.column = headings.map(|heading| heading.chars().count()).fold(COLUMN, usize::max);
        self.lines.push(String::new());
        self.row("", |record| record.settings.network.clone());
        for (name, values) in apart {
            if let Some(values) = values {
                self.cells(name, values.into_iter());
            }
        }
        if self.any(|record| record.settings.epoch.is_some()) {
            self.row("epoch", |record| or_dash(record.settings.epoch.map(|epoch| epoch.to_string())));
        }
        if self.any(|record| record.settings.statistics.is_some()) {
            self.row("batch norm's statistics", |record| {
                or_dash(record.settings.statistics.map(|statistics| statistics.to_string()))
            });
        }
        // Of a run it is the configuration's.
        let epsilon =
            |record: &SpectrumRecord| record.settings.epsilon.filter(|_| record.settings.epoch.is_none());
        if self.any(|record| epsilon(record).is_some()) {
            self.row("batch norm's epsilon", |record| {
                or_dash(epsilon(record).map(|epsilon| format!("{epsilon:e}")))
            });
        }
        if self.any(|record| record.settings.request.forward == Precision::F64) {
            self.row("network computed in", |record| record.settings.request.forward.to_string());
        }
        self.row("samples, classes x m", |record| {
            let settings = &record.settings;
            let split = settings.split().map_or_else(String::new, |split| format!(" ({split})"));
            format!("{}{split}, {}", settings.samples, names::layer(settings.classes, settings.features))
        });
    }

    fn spectrum(&mut self) {
        let ranks = self.records.iter().map(|record| record.spectrum.top.len()).max().unwrap_or(0);
        for rank in 0..ranks {
            self.row(&format!("lambda_{}", rank + 1), |record| {
                number(record.spectrum.top.get(rank).copied())
            });
        }
        self.row("kappa' = l_1 / l_10", |record| number(record.spectrum.kappa_prime));
        self.row("l_1 / l_(K-1)", |record| number(record.spectrum.outlier_ratio));
        self.row("l_(K-1) / l_K", |record| number(record.spectrum.outlier_gap));
        self.row("trace", |record| number(Some(record.spectrum.trace)));
        self.row("effective rank, trace/l_1", |record| number(record.spectrum.effective_rank));
        self.row("  by entropy", |record| number(record.spectrum.entropy_rank));
    }

    fn zeros(&mut self) {
        self.heading("zeros and conditioning");
        self.row("  eigenvalues", |record| record.spectrum.size.to_string());
        self.row("  zero by softmax's shift", |record| record.spectrum.null_space.shift.to_string());
        let product = |count: usize, zeros: usize| match count {
            0 => "0".to_owned(),
            count => format!("{} ({count} x {zeros})", count * zeros),
        };
        if self.any(|record| record.spectrum.null_space.absent_classes > 0) {
            self.row("  by classes that never occur", |record| {
                product(record.spectrum.null_space.absent_classes, record.settings.features)
            });
        }
        let times = |features: usize, record: &SpectrumRecord| {
            let occurring = record.settings.classes.saturating_sub(record.spectrum.null_space.absent_classes);
            product(features, if record.settings.classes == 1 { 1 } else { occurring.saturating_sub(1) })
        };
        self.row("  by silent features", |record| times(record.spectrum.null_space.silent_features, record));
        self.row("  by dependent features", |record| {
            times(record.spectrum.null_space.dependent_features, record)
        });
        self.row("  else below rounding", |record| record.spectrum.null_space.numerical.to_string());
        self.row("  rank r", |record| record.spectrum.rank.to_string());
        self.row("  kappa = l_1 / l_r", |record| number(record.spectrum.kappa_of_rank));
        self.row("  kappa = l_1 / l_min *", |record| number(record.spectrum.kappa));
        self.row("  l_min *", |record| number(Some(record.spectrum.lambda_min)));
        self.row("  * both ways differ by", |record| {
            format!("{:.1e} l_1", record.spectrum.null_space.against_whole_matrix)
        });
        self.lines.push(
            "  * by the plain decomposition of the whole matrix; all else is taken where H is not zero by its \
             structure. Softmax ignores a shift of all logits, so H is singular: this l_min is rounding, and so \
             is its kappa"
                .to_owned(),
        );
    }

    fn with_l2(&mut self) {
        if self.any(|record| record.settings.l2 > 0.0) {
            self.row("with L2, + 2 l2", |record| number(Some(2.0 * record.settings.l2)));
            self.row("  kappa", |record| number(record.spectrum.kappa_with_l2));
            self.row("  kappa'", |record| number(record.spectrum.kappa_prime_with_l2));
        }
    }

    pub fn directions(&mut self) {
        if !self.any(|record| record.directions.is_some()) {
            return;
        }
        if self.any(|record| record.directions.as_ref().is_some_and(|found| found.gradient.is_some())) {
            self.heading("the mean loss, without L2");
        }
        self.of_directions("  loss in nats", &|directions| directions.loss);
        self.of_directions("  accuracy", &|directions| directions.accuracy);
        self.of_directions("  |gradient|", &|directions| directions.gradient);
        let has_shares = |found: &DirectionsRecord| {
            [found.gradient_share, found.update_share, found.weights_share].iter().any(Option::is_some)
                || !found.overlaps.is_empty()
        };
        if self.any(|record| record.directions.as_ref().is_some_and(has_shares)) {
            self.heading("in the space of the ten leading eigenvectors lies");
        }
        self.of_directions("  of the gradient", &|directions| directions.gradient_share);
        self.of_directions("  of the last update", &|directions| directions.update_share);
        self.of_directions("  of the weights", &|directions| directions.weights_share);
        let directions = self.records.iter().filter_map(|record| record.directions.as_ref());
        let mut epochs: Vec<_> = directions.flat_map(|d| &d.overlaps).map(|overlap| overlap.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        for epoch in epochs {
            self.of_directions(&format!("  overlap with epoch {epoch}"), &|directions| {
                let found = directions.overlaps.iter().find(|overlap| overlap.epoch == epoch);
                found.map(|overlap| overlap.overlap)
            });
        }
        self.heading("the Kronecker factorisation E[S] x E[gg']");
        self.of_directions("  |E[S] x E[gg'] - H| / |H|", &|directions| Some(directions.kronecker_error));
        self.of_directions("  overlap of ten leading", &|directions| Some(directions.kronecker_overlap));
        self.of_directions("  its l_1 / l_1", &|directions| Some(directions.kronecker_lambda_1));
        if self.any(|record| record.directions.as_ref().is_some_and(|directions| directions.adam.is_some())) {
            self.heading("what Adam sees, D^(-1/2) H D^(-1/2)");
            let adam = |record: &SpectrumRecord| record.directions.as_ref().and_then(|d| d.adam.clone());
            self.row("  lambda_1", |record| number(adam(record).and_then(|adam| adam.top.first().copied())));
            self.row("  lambda_10", |record| number(adam(record).and_then(|adam| adam.top.get(9).copied())));
            self.row("  kappa'", |record| number(adam(record).and_then(|adam| adam.kappa_prime)));
            self.row("  stable up to", |record| number(adam(record).map(|adam| adam.stability_threshold)));
        }
    }

    /// A row, if any spectrum has the number.
    fn of_directions(&mut self, name: &str, value: &dyn Fn(&DirectionsRecord) -> Option<f64>) {
        let value = |record: &SpectrumRecord| record.directions.as_ref().and_then(value);
        if self.any(|record| value(record).is_some()) {
            self.row(name, |record| number(value(record)));
        }
    }

    pub fn subsets(&mut self) {
        let Some(longest) = self.records.iter().max_by_key(|record| record.subsets.len()) else { return };
        if longest.subsets.is_empty() {
            return;
        }
        let rows = longest.subsets.len();
        type Values = fn(&kappa_run::SubsetRecord) -> &Vec<f64>;
        let numbers: [(&str, Values); 3] = [
            ("lambda_1", |subset| &subset.lambda_1),
            ("lambda_10", |subset| &subset.lambda_10),
            ("kappa'", |subset| &subset.kappa_prime),
        ];
        for (name, values) in numbers {
            self.heading(&format!("{name} of random subsets: mean (smallest .. largest)"));
            for index in 0..rows {
                let samples = longest.subsets[index].samples;
                self.row(&format!("  {samples}"), |record| {
                    record.subsets.get(index).map_or_else(String::new, |subset| band(values(subset)))
                });
            }
        }
    }

    fn evidence(&mut self) {
        self.heading("evidence");
        let checks = |record: &SpectrumRecord| -> Vec<CheckRecord> { record.checks().cloned().collect() };
        let mut names: Vec<String> = Vec::new();
        for check in self.records.iter().flat_map(checks) {
            if !names.contains(&check.name) {
                names.push(check.name);
            }
        }
        // Beside a few columns there is room to say what is meant.
        let explained = self.records.len() <= 2;
        for name in names {
            self.row(&format!("  {name}"), |record| {
                checks(record).iter().find(|check| check.name == name).map_or_else(String::new, verdict)
            });
            let quantity = self.records.iter().flat_map(checks).find(|check| check.name == name);
            if let (true, Some(check), Some(line)) = (explained, quantity, self.lines.last_mut()) {
                line.push_str("  ");
                line.push_str(&check.quantity);
            }
        }
        if self.any(|record| record.evidence.is_none()) {
            self.row("  all of it", |record| match &record.evidence {
                Some(evidence) if evidence.passed => "PASS".to_owned(),
                Some(_) => "FAIL".to_owned(),
                None => "SKIPPED".to_owned(),
            });
        }
        if self.any(|record| record.evidence.is_some()) {
            let digits = |known: Option<u32>| or_dash(known.map(|digits| digits.to_string()));
            self.row("  digits known of l_1", |record| {
                digits(record.evidence.as_ref().map(|evidence| evidence.known_digits_of_lambda_1))
            });
            self.row("  of l_10", |record| {
                digits(record.evidence.as_ref().and_then(|evidence| evidence.known_digits_of_lambda_10))
            });
            self.row("  of kappa'", |record| {
                digits(record.evidence.as_ref().and_then(|evidence| evidence.known_digits_of_kappa_prime))
            });
        }
    }

    fn seconds(&mut self) {
        self.lines.push(String::new());
        self.row("seconds", |record| seconds(record.timings.total));
        self.row("  features", |record| seconds(record.timings.features));
        self.row("  sums over samples", |record| seconds(record.timings.sums));
        self.row("  eigenpairs", |record| seconds(record.timings.eigenpairs));
        self.row("  evidence", |record| {
            let share = 100.0 * record.timings.evidence / record.timings.total;
            format!("{} ({share:.0} %)", seconds(record.timings.evidence))
        });
        self.row("  what else was asked", |record| seconds(record.timings.rest));
    }
}

pub fn verdict(check: &CheckRecord) -> String {
    if check.passed && check.value.is_none() {
        return "not checked".to_owned();
    }
    let value = check.value.map_or_else(|| "NaN".to_owned(), |value| format!("{value:.1e}"));
    format!("{value} <= {:.1e} {}", check.bound, if check.passed { "PASS" } else { "FAIL" })
}

fn band(values: &[f64]) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
    match values {
        [] => "-".to_owned(),
        [only] => short(*only),
        _ => format!("{} ({} .. {})", short(mean), short(low), short(high)),
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// Five digits, in powers of ten where that is shorter; an exact zero is 0.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) if (1e-3..1e5).contains(&value.abs()) => format!("{value:.5}"),
        Some(value) => format!("{value:.4e}"),
    }
}

/// Three digits, so that three numbers fit into a column.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(0.001..1000.0).contains(&size) => format!("{value:.1e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub fn seconds(value: f64) -> String {
    format!("{value:.3}")
}
