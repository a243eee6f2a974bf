//! Everything a run leaves on disk: names, schemas, atomic writes.
//!
//! ```text
//! outputs/
//!   fc-bn-s0-20260314-150926/            RunDir
//!     .lock                              Lock: held by the process that trains
//!     run.json                           Manifest: what ran, on what, from when to when, and how it ended
//!     config.toml                        Config: every value, resolved
//!     metrics.csv                        EpochMetrics, one row an epoch, epoch 0 first
//!     checkpoints/
//!       epoch-0030.safetensors           the network in PyTorch's layout
//!       epoch-0030.adam.safetensors      the optimiser's state, likewise (whole for the last epoch,
//!                                        the output layer's for the others, none for epoch 0)
//!     hessian/epoch-0030/                what else was asked is in the name too: Place
//!       spectrum.json                    SpectrumRecord
//!       spectrum.safetensors             eigenvalues [K m] f64 (and, if asked for, the matrix)
//!       gap.svg, subsets.svg             all eigenvalues, and where zeros begin; how many samples it takes
//!       matrix-free.json, density.svg    MatrixFreeRecord: what needs no matrix, if asked for
//!       curvature.json                   CurvatureRecord: of other parameters than the last layer's weights
//!     laplace/epoch-0030/laplace.json    LaplaceRecord, laplace.safetensors, marginal.svg, calibration.svg
//!     influence/epoch-0030/              InfluenceRecord, likewise
//!     hessian/spectra.csv, spectra.svg   EpochSpectrum: over the epochs, if several were asked for
//! ```
//!
//! No other room knows a path inside a run directory. Every file is written
//! aside, synced and renamed, so it is there whole or not at all, and carries a checksum
//! (`checksum`), so that an altered one is known.
#![deny(missing_docs)]
// What a file says is no index before it is checked.
#![deny(clippy::indexing_slicing)]

mod answers;
mod checksum;
mod config;
mod curvature;
mod directory;
mod epochs;
mod error;
mod findings;
mod influence;
mod interpretation;
mod json;
mod laplace;
mod lock;
mod manifest;
mod matrix_free;
mod memory;
mod metrics;
mod mismatch;
mod names;
mod npy;
mod over_epochs;
mod parameters;
mod place;
mod reading;
mod request;
mod saved;
mod shown;
mod spectrum;
mod study;
mod sums;
mod tensors;
mod verify;
mod whole;
mod why;
mod write;

pub use answers::{PosteriorAnswer, answer_folders, claim_answer, read_answer, write_answer};
pub use checksum::{file_checksum, read_from_anywhere, read_sealed, write_sealed};
pub use config::{
    AdamConfig, Arm, BatchSize, Change, Config, DataConfig, DescentConfig, GridConfig, Intervention,
    NetworkConfig, Optimizer, Order, RatesConfig, Reduction, Scaling, StudyConfig, SweepConfig,
    TrainingConfig, UnknownKey, WholeConfig, WholePoint, WhyConfig, slug,
};
pub use curvature::{
    BlockRecord, BlocksRecord, CURVATURE_VERSION, CurvatureEvidence, CurvatureRecord, CurvatureSummary,
    EndRecord, TensorSize, TraceRecord, write_curvature,
};
pub use directory::RunDir;
pub use error::RunError;
pub use findings::{
    Comparison, Estimate, Explanation, FINDINGS_VERSION, Findings, GridPoint, PointFindings, RunNames,
    Verdict, Word,
};
pub use influence::{
    INFLUENCE_VERSION, InfluenceRecord, InfluenceRequest, LeftOutRecord, PlantedRecord, RankingRecord,
    SuspectRecord,
};
pub use interpretation::Interpretation;
pub use laplace::{
    CheaperRecord, LAPLACE_VERSION, LaplaceRecord, LaplaceRequest, Method, MethodRecord, OptimumRecord,
    PosteriorRecord, PredictionRecord, ScoresRecord, SeparationRecord,
};
pub use lock::Lock;
pub use manifest::{Exit, FileChecksum, MANIFEST_VERSION, Manifest, Provenance, Session};
pub use matrix_free::{DensityRecord, MATRIX_FREE_VERSION, MatrixFreeRecord, TopRecord, write_matrix_free};
pub use memory::{free_memory, limit_memory, refuse_beyond_memory};
pub use metrics::EpochMetrics;
pub use mismatch::{Mismatch, mismatches};
pub use names::{Backend, Precision, Quantity, Scores, Split, StatisticsKind, Variant, When};
pub use npy::npy_bytes;
pub use over_epochs::{EpochSpectrum, spectra_over_epochs, write_over_epochs};
pub use parameters::{NoParameters, Parameters};
pub use place::{Difference, Place, claim, short_of};
pub use request::{DensityRequest, Request};
pub use saved::{Saved, is_answer};
pub use shown::{escaped, shown};
pub use spectrum::{
    AdamRecord, CheckRecord, DirectionsRecord, EvidenceRecord, IgnoredSamples, NullSpaceRecord,
    OverlapRecord, SPECTRUM_VERSION, SpectrumRecord, SpectrumSettings, SpectrumSummary, SpectrumTimings,
    SubsetRecord, write_spectrum,
};
pub use study::{Influence, PlainValues, RunSpectra, SPECTRA_VERSION, SpectraRow, StudyDir, kappa_prime};
pub use sums::Checksums;
pub use tensors::{SavedTensor, read_tensors, write_tensors};
pub use verify::{CheckedFiles, Unfinished};
pub use whole::{RunWhole, WHOLE_VERSION, WholeRow};
pub use why::{
    Answer, Chain, Compared, End, Explains, Factors, Measure, Measured, Moved, Ordering, Part, Shares,
    Speeds, Statement, Tau, Told, Training, WHY_VERSION, WhyClaim, WhyDir, WhyFindings,
};
