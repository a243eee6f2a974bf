//! What the runs left, read into memory.

use kappa_run::{
    EpochMetrics, Findings, Manifest, Parameters, PointFindings, RunDir, RunNames, SpectraRow, StudyConfig,
    StudyDir, Variant, WholeRow,
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
    /// Of more than the last layer: a row for each epoch, statistics and parameters.
    pub whole: Vec<WholeRow>,
    /// Images that those are of, and seconds that they took, if there are any.
    pub whole_cost: Option<(usize, f64)>,
}

/// The runs of all arms with one seed.
pub struct SeedRuns {
    /// Their seed.
    pub seed: u64,
    /// Hidden units of the reference's last hidden layer.
    pub hidden: usize,
    /// One run of each arm, in the order of the arms.
    pub runs: Vec<Run>,
}

/// One point of the study with its runs.
pub struct Point {
    /// What was found there.
    pub findings: PointFindings,
    /// The runs, those of one seed together.
    pub seeds: Vec<SeedRuns>,
}

/// A whole study.
pub struct StudyResults {
    /// Its configuration.
    pub config: StudyConfig,
    /// What is compared.
    pub arms: Arms,
    /// What was found.
    pub findings: Findings,
    /// The chosen point.
    pub chosen: Point,
    /// The points along the sweeps.
    pub sweep: Vec<Point>,
    /// Runs of growing width, with one seed.
    pub widths: Vec<SeedRuns>,
    /// What ran: the manifest of one of the reference's runs.
    pub manifest: Manifest,
}

/// What a study compares.
#[derive(Debug, Clone)]
pub struct Arms {
    /// The arms by name.
    pub names: Vec<String>,
    /// The place of the one that the others are compared with.
    pub reference: usize,
}

impl Arms {
    /// The places of all arms: the reference first, the others in their order.
    pub fn in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let (count, reference) = (self.names.len(), self.reference);
        std::iter::once(reference).chain((0..count).filter(move |&arm| arm != reference))
    }

    /// The places of all but the reference.
    pub fn others(&self) -> impl Iterator<Item = usize> + use<> {
        self.in_order().skip(1)
    }

    /// The name of an arm.
    pub fn name(&self, arm: usize) -> &str {
        self.names.get(arm).map_or("", String::as_str)
    }

    /// The reference's name.
    pub fn reference(&self) -> &str {
        self.name(self.reference)
    }

    /// What is said of every arm but the reference: its name, if it is one.
    pub fn other(&self) -> &str {
        let mut others = self.others();
        match (others.next(), others.next()) {
            (Some(arm), None) => self.name(arm),
            _ => "each other arm",
        }
    }
}

impl StudyResults {
    /// Reads everything that the report tells of.
    pub fn read(study: &StudyDir) -> Result<Self, ReportError> {
        let (_, config) = StudyDir::open(study.path())?;
        let arms = Arms { names: config.arm_names(), reference: config.reference_index() };
        let findings = study.findings()?;
        let mut points = findings
            .points
            .iter()
            .map(|point| Ok(Point { findings: point.clone(), seeds: seeds(study, &arms, &point.seeds)? }))
            .collect::<Result<Vec<_>, ReportError>>()?
            .into_iter();
        let no_runs = || ReportError::NoRuns(study.path().to_owned());
        let chosen = points.next().ok_or_else(no_runs)?;
        let first = chosen.runs(arms.reference).next().ok_or_else(no_runs)?;
        let manifest = first.manifest.clone();
        let widths = seeds(study, &arms, &findings.widths)?;
        Ok(Self { config, arms, findings, chosen, sweep: points.collect(), widths, manifest })
    }

    /// What Hessians of more than the last layer are with respect to.
    pub fn parameters(&self) -> &[Parameters] {
        let taken = self.config.whole.as_ref().filter(|whole| !whole.epochs.is_empty());
        taken.map_or(&[], |whole| &whole.parameters)
    }

    /// Images that they are of.
    pub fn whole_samples(&self) -> Option<usize> {
        self.chosen.all_runs().find_map(|run| run.whole_cost).map(|(samples, _)| samples)
    }

    /// The chosen point, and those of the sweeps that have runs.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        std::iter::once(&self.chosen).chain(&self.sweep).filter(|point| !point.seeds.is_empty())
    }
}

fn seeds(study: &StudyDir, arms: &Arms, names: &[RunNames]) -> Result<Vec<SeedRuns>, ReportError> {
    let of_seed = |names: &RunNames| {
        if names.runs.len() != arms.names.len() {
            return Err(ReportError::OtherArms(study.path().to_owned()));
        }
        let runs = names.runs.iter().map(|name| run(study, name)).collect::<Result<_, _>>()?;
        Ok(SeedRuns { seed: names.seed, hidden: names.hidden, runs })
    };
    names.iter().map(of_seed).collect()
}

fn run(study: &StudyDir, name: &str) -> Result<Run, ReportError> {
    let directory = study.run(name)?;
    let spectra = directory.spectra()?.ok_or_else(|| ReportError::NoSpectra(directory.path().to_owned()))?;
    let whole = directory.whole()?;
    Ok(Run {
        whole_cost: whole.as_ref().map(|whole| (whole.samples, whole.seconds)),
        whole: whole.map(|whole| whole.rows).unwrap_or_default(),
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
    pub fn spectra_of(&self, variant: Variant) -> impl Iterator<Item = &SpectraRow> {
        self.spectra.iter().filter(move |row| row.variant == variant)
    }

    /// The variants that were probed, in their order.
    pub fn variants(&self) -> Vec<Variant> {
        let mut variants = Vec::new();
        for row in &self.spectra {
            if !variants.contains(&row.variant) {
                variants.push(row.variant);
            }
        }
        variants
    }

    /// The last spectrum of `variant`.
    pub fn last_spectrum(&self, variant: Variant) -> Option<&SpectraRow> {
        self.spectra_of(variant).last()
    }

    /// Features of the last layer.
    pub fn hidden(&self) -> usize {
        self.manifest.config.network.features()
    }
}

impl Point {
    /// The seeds' runs of one arm.
    pub fn runs(&self, arm: usize) -> impl Iterator<Item = &Run> {
        self.seeds.iter().filter_map(move |seed| seed.runs.get(arm))
    }

    /// All runs, seed by seed.
    pub fn all_runs(&self) -> impl Iterator<Item = &Run> + Clone {
        self.seeds.iter().flat_map(|seed| &seed.runs)
    }

    /// The variants that an arm was probed in.
    pub fn variants(&self, arm: usize) -> Vec<Variant> {
        self.runs(arm).next().map(Run::variants).unwrap_or_default()
    }

    /// The variant that is the network as it is: the first.
    pub fn as_it_is(&self, arm: usize) -> Option<Variant> {
        self.runs(arm).next()?.variants().first().copied()
    }

    /// What of an arm is judged: the network by each of its statistics, and folded; not
    /// its features centred or scaled, which are there to be compared with.
    pub fn judged(&self, arm: usize) -> Vec<Variant> {
        let mut variants = self.variants(arm);
        variants.retain(|variant| {
            !matches!(variant, Variant::Centred | Variant::Standardised | Variant::UnitMeanSquare)
        });
        variants
    }

    /// Epoch by epoch, a number of the metrics over the seeds.
    pub fn metric(&self, arm: usize, number: impl Fn(&EpochMetrics) -> f64) -> Vec<(usize, Band)> {
        let rows: Vec<_> = self.runs(arm).map(|run| run.metrics.as_slice()).collect();
        over_seeds(&rows, |row| row.epoch, |row| Some(number(row)))
    }

    /// Epoch by epoch, a number of the spectra of `variant` over the seeds.
    pub fn spectral(
        &self,
        arm: usize,
        variant: Variant,
        number: impl Fn(&SpectraRow) -> Option<f64>,
    ) -> Vec<(usize, Band)> {
        let rows: Vec<Vec<SpectraRow>> =
            self.runs(arm).map(|run| run.spectra_of(variant).cloned().collect()).collect();
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        over_seeds(&rows, |row| row.epoch, number)
    }

    /// The statistics by which more than an arm's last layer was taken.
    pub fn whole_variants(&self, arm: usize) -> Vec<Variant> {
        let mut variants = Vec::new();
        for variant in self.runs(arm).flat_map(|run| run.whole.iter().map(WholeRow::variant)) {
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
        variants
    }

    /// Epoch by epoch, a number of the Hessians with respect to what was `asked` over the seeds.
    pub fn whole(
        &self,
        arm: usize,
        asked: &Parameters,
        variant: Variant,
        number: &dyn Fn(&WholeRow) -> Option<f64>,
    ) -> Vec<(usize, Band)> {
        let is_it = |row: &&WholeRow| row.point.parameters == *asked && row.variant() == variant;
        let of_run = |run: &'_ Run| run.whole.iter().filter(is_it).cloned().collect();
        let rows: Vec<Vec<WholeRow>> = self.runs(arm).map(of_run).collect();
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        over_seeds(&rows, |row| row.point.epoch, number)
    }

    /// A number of the last spectrum of `variant` over the seeds.
    pub fn last(
        &self,
        arm: usize,
        variant: Variant,
        number: impl Fn(&SpectraRow) -> Option<f64>,
    ) -> Option<Band> {
        Band::of(self.runs(arm).filter_map(|run| number(run.last_spectrum(variant)?)))
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
