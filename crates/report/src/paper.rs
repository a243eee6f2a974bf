//! What the paper reports: "Investigating the Effect of Batch Normalization on the
//! Hessian of a Two-Layer Neural Network", Reyes and Levy; and of which runs it can be said.

use kappa_run::{Manifest, Order};

/// MNIST: SHA-256 of its unpacked training images, training labels, test images, test labels.
const MNIST: [&str; 4] = [
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
];
/// Hidden units of its one layer.
const HIDDEN: [usize; 1] = [100];
const EPOCHS: usize = 30;
/// Images to train, to validate and to test with, in the files' order; the paper does not state
/// them, and docs/decisions/recipe.md says how they were found.
const SPLITS: [usize; 3] = [50_000, 10_000, 1_000];

/// Whether a run is in the paper's setting, so that the paper's numbers can stand beside its own:
/// by data, splits, width and epochs. Normalisation, learning rate and batches are what is compared
/// and looked for.
pub fn is_setting_of(run: &Manifest) -> bool {
    let (data, training) = (&run.config.data, &run.config.training);
    run.data_files.iter().map(|file| file.sha256.as_str()).eq(MNIST)
        && [data.train, data.validation, data.test].map(usize::from) == SPLITS
        && data.order == Order::File
        && run.config.network.hidden == HIDDEN
        && usize::from(training.epochs) == EPOCHS
}

/// Table 1, accuracies in %: train, validation, test.
pub struct Row {
    /// The network.
    network: &'static str,
    /// Train, validation, test.
    pub accuracies: [f64; 3],
}

/// Table 1: accuracies after 30 epochs on MNIST, of one run of each network.
const TABLE_1: [Row; 2] = [
    Row { network: "FC", accuracies: [74.8, 77.2, 72.8] },
    Row { network: "FC+BN", accuracies: [79.5, 81.3, 76.7] },
];

/// What Table 1 says of the network of `run`, if it is one of the paper's in the paper's setting.
pub fn table_1(run: &Manifest) -> Option<&'static Row> {
    let network = run.config.network_label();
    TABLE_1.iter().find(|row| row.network == network).filter(|_| is_setting_of(run))
}

/// The claims that the study judges, numbered from 1, of the arm or arms called `other`.
pub fn claims(other: &str) -> [String; 8] {
    [
        format!("{other} is more accurate, on each split"),
        format!("{other} needs fewer epochs, and fewer seconds, to reach an accuracy"),
        format!("an epoch of {other} takes longer"),
        format!("λ₁ of {other} is smaller"),
        format!("κ′ = λ₁/λ₁₀ of {other} is smaller"),
        "κ = λ₁/λ_min cannot be used, since H is singular".to_owned(),
        "there are about as many outlying eigenvalues as classes, or one fewer".to_owned(),
        "the singularity grows with the number of hidden units".to_owned(),
    ]
}

/// What the paper says of the last layer, asked of the whole network; numbered behind [`claims`].
pub fn claims_of_whole(other: &str) -> [String; 5] {
    [
        format!(
            "the last layer represents the whole network: its λ₁ and κ′ say of {other} what those of all parameters say, and the leading eigenvector lies in it"
        ),
        "H is block-diagonal by layers, in λ₁".to_owned(),
        "the first layer is flat and the last one steep: λ₁ of W₁ is below that of W₂".to_owned(),
        format!("λ₁ of all parameters of {other} is smaller"),
        format!("κ′ of all parameters of {other} is smaller"),
    ]
}

#[cfg(test)]
mod tests {
    use kappa_run::{Config, FileChecksum, MANIFEST_VERSION};

    use super::*;

    fn manifest(settings: &[&str]) -> Manifest {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fc-bn-paper.toml");
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let file = |digest: &str| FileChecksum { file: String::new(), sha256: digest.to_owned() };
        Manifest {
            schema_version: MANIFEST_VERSION,
            config: Config::load(&path, &settings).unwrap(),
            data: "mnist".to_owned(),
            inputs: 784,
            classes: 10,
            data_files: MNIST.map(file).to_vec(),
            sessions: vec![],
        }
    }

    #[test]
    fn the_papers_numbers_are_of_its_data_splits_width_and_epochs_alone() {
        let with = |settings: &[&str]| table_1(&manifest(settings)).map(|row| row.accuracies[0]);
        assert_eq!(with(&[]), Some(79.5));
        assert_eq!(with(&["network.normalisation.kind=none"]), Some(74.8));
        // What the paper varies, or does not state.
        assert_eq!(with(&["training.batch_size=128", "training.l2=0.0", "seed=7"]), Some(79.5));
        for setting in [
            "network.normalisation.place=before",
            "network.hidden=99",
            "network.hidden=[100, 100]",
            "training.epochs=31",
            "data.train=49999",
            "data.validation=9999",
            "data.test=10000",
            "data.order=shuffled",
        ] {
            assert_eq!(with(&[setting]), None, "{setting}");
        }
        let mut other = manifest(&[]);
        // Of the same name, and of other images.
        other.data_files[0].sha256 = MNIST[1].to_owned();
        assert!(table_1(&other).is_none());
        other.data_files.clear();
        assert!(table_1(&other).is_none());
    }

    #[test]
    fn the_checksums_are_those_of_mnist() {
        let set = kappa_data::DataSet::mnist().unwrap();
        assert!(set.files.iter().map(|file| file.sha256.as_str()).eq(MNIST));
    }
}
