//! The steps: what is launched, and how much it works.

use super::case::Shape;

const COMMON: &str = include_str!("../../ladder/common.wgsl");
/// What the parts of steps 3 and 4 may take: half of the smallest maximal binding.
const PARTS_BYTES: usize = 64 << 20;

/// One step of the ladder.
pub struct Step {
    /// Its file, from the root.
    pub file: &'static str,
    /// Of bench/kernels/ladder; without one it is what kappa itself runs, with its own host code.
    pub kernel: Option<Kernel>,
    pub work: fn(&Shape) -> Work,
    /// The most terms that one f32 variable sums.
    pub longest_sum: fn(&Shape) -> usize,
}

/// A kernel of bench/kernels/ladder and its grid.
pub struct Kernel {
    /// What it is made of, one after the other.
    pub source: &'static [&'static str],
    /// Invocations of a workgroup.
    pub threads: [u32; 2],
    /// Parts that the samples are cut into.
    pub parts: fn(&Shape) -> usize,
    /// Workgroups, from the shape and the parts.
    pub grid: fn(&Shape, usize) -> [usize; 3],
}

/// What a step does, by formula: without its addresses and bounds, and without caches.
pub struct Work {
    /// Multiplications and additions that are computed, asked for or not.
    pub flop: f64,
    /// Bytes of features and probabilities that are read from global memory.
    pub bytes: f64,
}

pub const STEPS: [Step; 5] = [
    Step {
        file: "bench/kernels/ladder/01_naive.wgsl",
        kernel: Some(Kernel {
            source: &[COMMON, include_str!("../../ladder/01_naive.wgsl")],
            threads: [16, 16],
            parts: |_| 1,
            grid: square_grid,
        }),
        // Four operations and four numbers a term; the equation asks for two operations.
        work: |shape| Work { flop: 2.0 * shape.flop(), bytes: 8.0 * shape.flop() },
        longest_sum: |shape| shape.samples,
    },
    Step {
        file: "bench/kernels/ladder/02_tiled.wgsl",
        kernel: Some(Kernel {
            source: &[COMMON, include_str!("../../ladder/02_tiled.wgsl")],
            threads: [16, 16],
            parts: |_| 1,
            grid: square_grid,
        }),
        // Of each sample a tile reads 2 x 16 features, each with p_a and p_b for the left
        // ones, which it multiplies by p_a p_b.
        work: |shape| of_tiles(shape, 16, shape.pairs(), 2.0 * 256.0 + 2.0 * 16.0, 4.0 * 16.0),
        longest_sum: |shape| shape.samples,
    },
    Step {
        file: "bench/kernels/ladder/03_register_blocked.wgsl",
        kernel: Some(Kernel {
            source: &[COMMON, include_str!("../../ladder/03_register_blocked.wgsl")],
            threads: [8, 8],
            parts: |shape| parts(shape, 1024),
            grid: |shape, parts| [lower_tiles(shape, 32), shape.pairs(), parts],
        }),
        work: |shape| of_tiles(shape, 32, shape.pairs(), 2.0 * 1024.0 + 2.0 * 32.0, 4.0 * 32.0),
        longest_sum: |shape| shape.samples.div_ceil(parts(shape, 1024)).div_ceil(16).max(16),
    },
    Step {
        file: "bench/kernels/ladder/04_pairs_together.wgsl",
        kernel: Some(Kernel {
            source: &[COMMON, include_str!("../../ladder/04_pairs_together.wgsl")],
            threads: [8, 8],
            parts: |shape| parts(shape, 256),
            grid: |shape, parts| [lower_tiles(shape, 32), shape.pairs().div_ceil(5), parts],
        }),
        // 1,024 products and five multiply-adds for each; eight weights, of two numbers each.
        work: |shape| {
            let passes = shape.pairs().div_ceil(5);
            of_tiles(shape, 32, passes, 1024.0 * 11.0 + 8.0, 2.0 * 32.0 + 2.0 * 8.0)
        },
        longest_sum: |shape| shape.samples.div_ceil(parts(shape, 256)).max(parts(shape, 256)),
    },
    Step {
        file: "shaders/class_pair_grams.wgsl",
        kernel: None,
        // As step 4, for 16 elements of each block of the triangle. 128 blocks are a
        // workgroup, which reads all m features (128 if m is more) and the weights of the
        // two groups of pairs that it meets at most.
        work: |shape| {
            let side = shape.features.div_ceil(4);
            let blocks = (shape.pairs().div_ceil(5) * side * (side + 1) / 2) as f64;
            let samples = shape.samples as f64;
            let numbers = shape.features.min(128) as f64 + 2.0 * 2.0 * 5.0;
            Work {
                flop: samples * blocks * 16.0 * 11.0,
                bytes: samples * (blocks / 128.0).ceil() * numbers * size_of::<f32>() as f64,
            }
        },
        longest_sum: |_| 512,
    },
];

/// Tiles of 16 x 16 elements of every pair, those above the diagonal included.
fn square_grid(shape: &Shape, _: usize) -> [usize; 3] {
    let side = shape.features.div_ceil(16);
    [side, side, shape.pairs()]
}

/// Tiles of `side` x `side` elements on or below the diagonal.
fn lower_tiles(shape: &Shape, side: usize) -> usize {
    let tiles = shape.features.div_ceil(side);
    tiles * (tiles + 1) / 2
}

/// Parts of at least `samples_per_part` samples each, as many as there is room for.
fn parts(shape: &Shape, samples_per_part: usize) -> usize {
    let part = shape.elements() * size_of::<f32>();
    shape.samples.div_ceil(samples_per_part).min(PARTS_BYTES / part).max(1)
}

/// The work of `passes` over the samples by every tile, from what it is of one sample.
fn of_tiles(shape: &Shape, side: usize, passes: usize, flop: f64, numbers: f64) -> Work {
    let times = (shape.samples * passes * lower_tiles(shape, side)) as f64;
    Work { flop: times * flop, bytes: times * numbers * size_of::<f32>() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_computes_less_than_is_asked_for() {
        let shape = Shape { samples: 60_000, features: 100, classes: 10 };
        // 45 pairs, 60,000 samples, 5,050 elements, two operations each.
        assert_eq!(shape.flop(), 27.27e9);
        for step in &STEPS {
            assert!((step.work)(&shape).flop >= shape.flop(), "{}", step.file);
        }
        // Step 3's ten tiles of 1,024 elements, and its weights; kappa's 325 blocks of 16.
        let executed = STEPS.map(|step| (step.work)(&shape).flop / shape.flop());
        assert!((executed[2] - 10_560.0 / 5050.0).abs() < 1e-12);
        assert!((executed[4] - 325.0 * 16.0 * 11.0 / 10.0 / 5050.0).abs() < 1e-12);
    }
}
