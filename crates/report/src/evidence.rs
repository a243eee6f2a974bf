//! What the runs left, read into memory.

use kappa_run::{
    EpochMetrics, Findings, Manifest, PairedRuns, PointFindings, RunDir, SpectraRow, StudyConfig, StudyDir,
};

use crate::{ReportError, band::Band};

/// One run.
pub struct Run {
    /// Its directory.
    pub directory: RunDir,
    /// Its name in the study.
    pub name: String,
    /// What ran.
    pub manifest: Manifest,
    /// A row an epoch.
    pub metrics: Vec<EpochMetrics>,
    /// A row for each epoch and variant.
    pub spectra: Vec<SpectraRow>,
    /// Seconds that the spectra took.
    pub spectra_seconds: f64,
}

/// FC and FC+BN of one seed.
pub struct Pair {
    /// Their seed.
    pub seed: u64,
    /// Hidden units.
    pub hidden: usize,
    /// FC, FC+BN.
    pub runs: [Run; 2],
}

/// One point of the study with its runs.
pub struct Point {
    /// What was found there.
    pub findings: PointFindings,
    /// The runs, a pair for each seed.
    pub pairs: Vec<Pair>,
}

/// A whole study.
pub struct Evidence {
    /// Its configuration.
    pub config: StudyConfig,
    /// What was found.
    pub findings: Findings,
    /// The chosen point.
    pub chosen: Point,
    /// The points along the sweeps.
    pub sweep: Vec<Point>,
    /// Pairs of growing width, with one seed.
    pub widths: Vec<Pair>,
    /// What ran: the manifest of one of the runs.
    pub manifest: Manifest,
}

impl Evidence {
    /// Reads everything that the report tells of.
    pub fn read(study: &StudyDir) -> Result<Self, ReportError> {
        let (_, config) = StudyDir::open(study.path())?;
        let findings = study.findings()?;
        let mut points = findings
            .points
            .iter()
            .map(|point| Ok(Point { findings: point.clone(), pairs: pairs(study, &point.pairs)? }))
            .collect::<Result<Vec<_>, ReportError>>()?
            .into_iter();
        let no_runs = || ReportError::NoRuns(study.path().to_owned());
        let chosen = points.next().ok_or_else(no_runs)?;
        let manifest = chosen.pairs.first().ok_or_else(no_runs)?.runs[0].manifest.clone();
        let widths = pairs(study, &findings.widths)?;
        Ok(Self { config, findings, chosen, sweep: points.collect(), widths, manifest })
    }

    /// The chosen point, and those of the sweeps that have runs.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        std::iter::once(&self.chosen).chain(&self.sweep).filter(|point| !point.pairs.is_empty())
    }
}

fn pairs(study: &StudyDir, names: &[PairedRuns]) -> Result<Vec<Pair>, ReportError> {
    let pair = |names: &PairedRuns| {
        let runs = [run(study, &names.fc)?, run(study, &names.bn)?];
        Ok(Pair { seed: names.seed, hidden: names.hidden, runs })
    };
    names.iter().map(pair).collect()
}

fn run(study: &StudyDir, name: &str) -> Result<Run, ReportError> {
    let directory = study.run(name)?;
    let spectra = directory.spectra()?.ok_or_else(|| ReportError::NoSpectra(directory.path().to_owned()))?;
    Ok(Run {
        name: name.to_owned(),
        manifest: directory.manifest()?,
        metrics: directory.metrics()?,
        spectra: spectra.rows,
        spectra_seconds: spectra.seconds,
        directory,
    })
}

impl Run {
    /// The spectra of `variant`, epoch by epoch.
    pub fn spectra_of<'a>(&'a self, variant: &'a str) -> impl Iterator<Item = &'a SpectraRow> {
        self.spectra.iter().filter(move |row| row.variant == variant)
    }

    /// The variants that were probed, in their order.
    pub fn variants(&self) -> Vec<&str> {
        let mut variants: Vec<&str> = Vec::new();
        for row in &self.spectra {
            if !variants.contains(&row.variant.as_str()) {
                variants.push(&row.variant);
            }
        }
        variants
    }

    /// The last spectrum of `variant`.
    pub fn last_spectrum<'a>(&'a self, variant: &'a str) -> Option<&'a SpectraRow> {
        self.spectra_of(variant).last()
    }
}

impl Point {
    /// The seeds' runs of one network: 0 for FC, 1 for FC+BN.
    pub fn runs(&self, network: usize) -> impl Iterator<Item = &Run> {
        self.pairs.iter().filter_map(move |pair| pair.runs.get(network))
    }

    /// The variants that one network was probed with.
    pub fn variants(&self, network: usize) -> Vec<&str> {
        self.runs(network).next().map(Run::variants).unwrap_or_default()
    }

    /// Epoch by epoch, a number of the metrics over the seeds.
    pub fn metric(&self, network: usize, number: impl Fn(&EpochMetrics) -> f64) -> Vec<(usize, Band)> {
        let rows: Vec<_> = self.runs(network).map(|run| run.metrics.as_slice()).collect();
        over_seeds(&rows, |row| row.epoch, |row| Some(number(row)))
    }

    /// Epoch by epoch, a number of the spectra of `variant` over the seeds.
    pub fn spectral(
        &self,
        network: usize,
        variant: &str,
        number: impl Fn(&SpectraRow) -> Option<f64>,
    ) -> Vec<(usize, Band)> {
        let rows: Vec<Vec<SpectraRow>> =
            self.runs(network).map(|run| run.spectra_of(variant).cloned().collect()).collect();
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        over_seeds(&rows, |row| row.epoch, number)
    }

    /// A number of the last spectrum of `variant` over the seeds.
    pub fn last(
        &self,
        network: usize,
        variant: &str,
        number: impl Fn(&SpectraRow) -> Option<f64>,
    ) -> Option<Band> {
        Band::of(self.runs(network).filter_map(|run| number(run.last_spectrum(variant)?)))
    }
}

/// The band of `number` at each epoch that the seeds' rows have.
fn over_seeds<R>(
    seeds: &[&[R]],
    epoch: impl Fn(&R) -> usize,
    number: impl Fn(&R) -> Option<f64>,
) -> Vec<(usize, Band)> {
    let Some(first) = seeds.first() else { return Vec::new() };
    first
        .iter()
        .filter_map(|row| {
            let epoch_here = epoch(row);
            let values =
                seeds.iter().filter_map(|rows| number(rows.iter().find(|row| epoch(row) == epoch_here)?));
            Some((epoch_here, Band::of(values)?))
        })
        .collect()
}
