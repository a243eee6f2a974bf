//! What the paper reports: "Investigating the Effect of Batch Normalization on the
//! Hessian of a Two-Layer Neural Network", Reyes and Levy.

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

/// What Table 1 says of the arm of that name, if it is one of the paper's.
pub fn table_1(arm: &str) -> Option<&'static Row> {
    TABLE_1.iter().find(|row| row.network == arm)
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
