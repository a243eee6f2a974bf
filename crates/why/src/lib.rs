//! Why a normalisation trains faster: arms that are descended from the same start, one thing changed in
//! them and nothing else, and every explanation measured as its paper measures it.
//!
//! ```text
//! variant     an arm or an intervention: its network, its images
//! descent     a network on its way, by the whole batch or by mini-batches
//! optimizer   the steps of descent and of Adam
//! preconditioner   what an intervention does to the gradient of the last layer's weights
//! measures    what the explanations speak of
//! training    one descent, measured and kept
//! rates       the best rate, and the largest stable one
//! tau, orders whether a measure orders the arms as their speed does
//! chain       what an arm's speed is made of
//! answers     one word for each explanation
//! statements  one word for what else the paper says
//! findings    what all trainings say
//! experiment  all of it, in an order in which each finds what it needs
//! ```
//!
//! All derivatives are the network's own, exact and the same on any number of threads
//! ([`kappa_probe::NetworkHessian`]); batch norm's statistics are those of the whole batch, and
//! differentiated. Trainings are kept one by one: what is there is not made again.
#![deny(missing_docs)]

mod answers;
mod chain;
mod descent;
mod experiment;
mod findings;
mod measures;
mod optimizer;
mod orders;
mod preconditioner;
mod rates;
mod statements;
mod tau;
mod training;
mod variant;

#[cfg(test)]
mod tests;

pub use experiment::{WhyError, WhyObserver, WhyResult, find_why, run_why};
