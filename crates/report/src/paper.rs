//! What the paper reports: "Investigating the Effect of Batch Normalization on the
//! Hessian of a Two-Layer Neural Network", Reyes and Levy.

/// Table 1, accuracies in %: train, validation, test.
pub struct Row {
    /// The network.
    pub network: &'static str,
    /// Train, validation, test.
    pub accuracies: [f64; 3],
}

/// Table 1: accuracies after 30 epochs on MNIST, of one run of each network.
pub const TABLE_1: [Row; 2] = [
    Row { network: "FC", accuracies: [74.8, 77.2, 72.8] },
    Row { network: "FC+BN", accuracies: [79.5, 81.3, 76.7] },
];

/// The claims that the study judges, numbered from 1.
pub const CLAIMS: [&str; 8] = [
    "FC+BN is more accurate, on each split",
    "FC+BN needs fewer epochs, and fewer seconds, to reach an accuracy",
    "an epoch of FC+BN takes longer",
    "λ₁ of FC+BN is smaller",
    "κ′ = λ₁/λ₁₀ of FC+BN is smaller",
    "κ = λ₁/λ_min cannot be used, since H is singular",
    "there are about as many outlying eigenvalues as classes, or one fewer",
    "the singularity grows with the number of hidden units",
];
