//! How a launch of class_pair_grams.wgsl is cut up: from the sizes of the sums and
//! the limits of the adapter, never from its name.

/// Elements along a side of the block of one invocation.
pub(super) const BLOCK: usize = 4;
/// Invocations of a workgroup, half of what every adapter has. An invocation's sums are up
/// to 80 registers, and a processor's registers bound how many workgroups it holds: of small
/// ones more fit with less left over, and while one waits at a barrier, others compute.
pub(super) const INVOCATIONS: usize = 128;
/// Workgroups along one dimension of a grid, at most.
pub(super) const GRID: usize = 65_535;

/// Blocks along a side of the largest tile: `WIDTH` in the kernel, 128 features.
const LARGEST_TILE: usize = 32;
/// Blocks along a side of a tile where there are several: rows and columns share `WIDTH`.
const SHARED_TILE: usize = LARGEST_TILE / 2;
/// Class pairs of one invocation, at most: 16 registers each.
const MOST_PAIRS: usize = 5;
/// Groups of pairs that a workgroup may meet, at most.
const WIDEST_SPAN: usize = 8;
/// Samples in workgroup memory at a time: the first number whose memory fits.
const DEPTHS: [usize; 3] = [32, 16, 8];
/// Samples of one run: so few that a sum of them in f32 stays near 1e-7 of its norm
/// (tests/gpu.rs), so many that adding 4 x 4 sums to a part is rare beside forming them.
const RUN: usize = 512;
/// The fewest samples for which a part of their own is worth it.
const SAMPLES_PER_PART: usize = 256;
/// What the parts may take at most. A workgroup writes 40 KB of them, so this is 1,600
/// workgroups, a dozen for each processor of a chip that has 132; more would be shared out
/// more evenly, and write and read more.
const PARTS_BYTES: usize = 64 << 20;

/// What an adapter allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: usize,
    /// Bytes of the largest binding.
    pub binding_bytes: usize,
}

/// A launch of class_pair_grams.wgsl. The first four are constants of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaunchPlan {
    pub depth: usize,
    pub pairs_a_pass: usize,
    pub span: usize,
    pub run: usize,
    /// Blocks along a side of a tile.
    pub tile: usize,
    /// Pairs of tiles, of the lower triangle of them.
    pub regions: usize,
    /// Workgroups of a region.
    pub chunks: usize,
    /// Blocks, times groups of pairs, of a workgroup.
    pub items: usize,
    pub samples_per_part: usize,
    pub parts: usize,
    /// Elements of one part.
    pub part_elements: usize,
}

impl LaunchPlan {
    /// For `samples` samples, m = `features` features and `pairs` class pairs, none of them 0.
    pub fn new(samples: usize, features: usize, pairs: usize, limits: Limits) -> Self {
        let blocks_a_side = features.div_ceil(BLOCK);
        let tiles = if blocks_a_side > LARGEST_TILE { blocks_a_side.div_ceil(SHARED_TILE) } else { 1 };
        let tile = blocks_a_side.div_ceil(tiles);
        let on_diagonal = triangle(tile);
        let most_blocks = if tiles > 1 { tile * tile } else { on_diagonal };

        let pairs_a_pass = pairs_a_pass(pairs);
        let groups = pairs.div_ceil(pairs_a_pass);
        // A run of L numbers meets at most (L - 1) / blocks + 1 groups, rounded up.
        let items = INVOCATIONS.min((WIDEST_SPAN - 1) * on_diagonal + 1);
        let span = ((items - 1).div_ceil(on_diagonal) + 1).next_power_of_two();
        let depth = DEPTHS
            .into_iter()
            .find(|depth| 2 * workgroup_bytes(*depth, span) <= limits.workgroup_bytes)
            .unwrap_or(DEPTHS[DEPTHS.len() - 1]);

        let part_elements = pairs * triangle(blocks_a_side) * BLOCK * BLOCK;
        let budget = PARTS_BYTES.min(limits.binding_bytes / 2) / (part_elements * size_of::<f32>());
        let most_parts = samples.div_ceil(SAMPLES_PER_PART).min(budget).clamp(1, GRID);
        let samples_per_part = samples.div_ceil(most_parts).next_multiple_of(depth);
        Self {
            depth,
            pairs_a_pass,
            span,
            run: RUN,
            tile,
            regions: triangle(tiles),
            chunks: (groups * most_blocks).div_ceil(items),
            items,
            samples_per_part,
            parts: samples.div_ceil(samples_per_part),
            part_elements,
        }
    }

    /// The constants of the kernel's text.
    pub fn constants(&self) -> [(&'static str, usize); 4] {
        [("DEPTH", self.depth), ("PAIRS", self.pairs_a_pass), ("SPAN", self.span), ("RUN", self.run)]
    }
}

/// The P for which ceil(pairs / P) passes cost least: each forms the products (4 vector
/// operations), loads two vectors and weights, and adds to P sums (4 operations each).
fn pairs_a_pass(pairs: usize) -> usize {
    let cost = |p: usize| pairs.div_ceil(p) * (4 + 4 * p + 1);
    (1..=MOST_PAIRS).min_by_key(|&p| cost(p)).unwrap_or(1)
}

/// Bytes of `staged` and `weights`, and of the sizes.
fn workgroup_bytes(depth: usize, span: usize) -> usize {
    depth * (LARGEST_TILE * 16 + span * 32) + 9 * size_of::<u32>()
}

/// 1 + 2 + .. + side.
const fn triangle(side: usize) -> usize {
    side * (side + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: Limits = Limits { workgroup_bytes: 16 << 10, binding_bytes: 128 << 20 };
    const LARGER: Limits = Limits { workgroup_bytes: 48 << 10, binding_bytes: 1 << 31 };

    /// N, m and pairs from one to the largest that one launch gets.
    const SIZES: [[usize; 3]; 10] = [
        [1, 1, 1],
        [60_000, 100, 45],
        [60_000, 128, 3],
        [60_000, 129, 45],
        [33_000_000, 1, 1],
        [1000, 1, 262_144],
        [5000, 12, 7],
        [255, 40, 190],
        [10_000, 1000, 4],
        [5000, 5792, 1],
    ];

    #[test]
    fn a_launch_stays_inside_the_limits() {
        for limits in [SMALLEST, LARGER] {
            for [samples, features, pairs] in SIZES {
                let plan = LaunchPlan::new(samples, features, pairs, limits);
                let context = format!("{samples} {features} {pairs}: {plan:?}");
                assert!(plan.part_elements * plan.parts * 4 <= limits.binding_bytes, "{context}");
                assert!(workgroup_bytes(plan.depth, plan.span) <= limits.workgroup_bytes, "{context}");
                assert!(plan.regions * plan.chunks <= GRID && plan.parts <= GRID, "{context}");
                assert_eq!(plan.run % plan.depth, 0, "{context}");
                assert_eq!(INVOCATIONS % (plan.span * 8), 0, "{context}");
            }
        }
    }

    #[test]
    fn every_block_sample_and_pair_is_somebodys() {
        for [samples, features, pairs] in SIZES {
            let plan = LaunchPlan::new(samples, features, pairs, SMALLEST);
            let context = format!("{samples} {features} {pairs}: {plan:?}");
            assert!(plan.items <= INVOCATIONS && plan.items > 0, "{context}");
            let tiles = (1..).find(|&tiles| triangle(tiles) == plan.regions).unwrap();
            assert!(tiles * plan.tile * BLOCK >= features, "{context}");
            assert!(if tiles > 1 { 2 * plan.tile } else { plan.tile } <= LARGEST_TILE, "{context}");
            let groups = pairs.div_ceil(plan.pairs_a_pass);
            let most_blocks = if tiles > 1 { plan.tile * plan.tile } else { triangle(plan.tile) };
            assert!(plan.chunks * plan.items >= groups * most_blocks, "{context}");
            for chunk in 0..plan.chunks.min(1000) {
                let first = chunk * plan.items / triangle(plan.tile);
                let last = (chunk * plan.items + plan.items - 1) / triangle(plan.tile);
                assert!(last - first < plan.span, "{context}");
            }
            assert!(plan.parts * plan.samples_per_part >= samples, "{context}");
            assert!((plan.parts - 1) * plan.samples_per_part < samples, "a part without a sample: {context}");
        }
    }

    #[test]
    fn a_pass_takes_as_many_pairs_as_pays() {
        assert_eq!([1, 3, 6, 7, 10, 45].map(pairs_a_pass), [1, 3, 3, 4, 5, 5]);
    }

    #[test]
    fn memory_is_filled_to_a_half_of_what_a_workgroup_may_have() {
        let depth = |kibibytes: usize| {
            LaunchPlan::new(60_000, 100, 45, Limits { workgroup_bytes: kibibytes << 10, ..SMALLEST }).depth
        };
        assert_eq!([16, 32, 48, 64].map(depth), [8, 16, 32, 32]);
    }
}
