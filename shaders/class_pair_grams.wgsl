// For every pair of classes a < b, the weighted Gram matrix of the features,
//
//     S_ab[i, j] = sum_n p_na p_nb g_ni g_nj ,          j <= i ,
//
// which is -N times the block H_ab of the Hessian. Each factor p_na p_nb comes
// from the Jacobian of sample n's softmax, diag(p) - p p^T, and is formed here,
// on the way into workgroup memory; it is never stored.
//
// An invocation holds a block of 4 x 4 elements (i, j) for PAIRS class pairs. For
// each sample it forms the 16 products g_i g_j once and adds them to every pair's
// sums, each time with that pair's weight: 16 + 16 PAIRS operations for two vec4
// of features and PAIRS weights, all from workgroup memory. Only blocks on or below
// the diagonal exist. They are numbered, the groups of PAIRS pairs are numbered, and
// a workgroup takes a run of the numbers, across ends of groups if need be; so no
// invocation idles for a side that a tile does not divide.
//
// Up to 4 WIDTH features lie in one tile. More are cut into tiles, and a workgroup
// belongs to one region of the lower triangle: a tile of rows by a tile of columns.
//
// A register sums RUN samples at most; runs are added up in the workgroup's part of
// the samples, in `parts`, and sum_parts.wgsl adds the parts. Thus rounding grows
// with RUN, and not with N.
//
// Grid: x = chunk of a region's blocks, and region; y = part.
// All buffers are read_write, since they may share one allocation.

// The host sets these four for each launch (crates/hessian/src/grams/launch.rs).
const DEPTH: u32 = 8u;                      // samples in workgroup memory at a time
const PAIRS: u32 = 5u;                      // class pairs of an invocation, 1 to 5
const SPAN: u32 = 8u;                       // groups of pairs that a workgroup may meet
const RUN: u32 = 512u;                      // samples of one run, a multiple of DEPTH

const INVOCATIONS: u32 = 128u;
const WIDTH: u32 = 32u;                     // vec4 of features that are kept of a sample
const SLOTS: u32 = SPAN * 8u;               // weights that are kept of a sample, 8 a group

struct Sizes {
    samples: u32,
    features: u32,
    classes: u32,
    first_pair: u32,
    pairs: u32,
    samples_per_part: u32,
    tile: u32,                              // blocks along a side of a tile
    chunks: u32,                            // workgroups of a region
    items: u32,                             // blocks times groups of a workgroup
}

@group(0) @binding(0) var<storage, read_write> features: array<f32>;       // [N, m]
@group(0) @binding(1) var<storage, read_write> probabilities: array<f32>;  // [N, K]
@group(0) @binding(2) var<storage, read_write> parts: array<vec4<f32>>;    // [parts, pairs, 4, blocks]
@group(0) @binding(3) var<storage, read_write> sizes: Sizes;

var<workgroup> uniform_sizes: Sizes;
var<workgroup> staged: array<vec4<f32>, DEPTH * WIDTH>;         // g_n, four features an element
var<workgroup> weights: array<vec4<f32>, DEPTH * SPAN * 2u>;    // p_na p_nb, eight a group

// Pair number -> (a, b), counting (0,1), (0,2), .., (0,K-1), (1,2), ..
fn classes_of_pair(pair: u32, classes: u32) -> vec2<u32> {
    var a = 0u;
    var rest = pair;
    while (rest >= classes - 1u - a) {
        rest -= classes - 1u - a;
        a += 1u;
    }
    return vec2<u32>(a, a + 1u + rest);
}

// Number -> (row, column) of a lower triangle, counting (0,0), (1,0), (1,1), (2,0), ..
fn position_in_triangle(number: u32) -> vec2<u32> {
    var row = 0u;
    var rest = number;
    while (rest > row) {
        rest -= row + 1u;
        row += 1u;
    }
    return vec2<u32>(row, rest);
}

fn keep_row(place: u32, sum: vec4<f32>, is_first: bool) {
    if (is_first) {
        parts[place] = sum;
    } else {
        parts[place] += sum;
    }
}

// A run's sums, [i, j] at sum[i][j], into the part.
fn keep(place: u32, blocks: u32, sum: mat4x4<f32>, is_first: bool) {
    keep_row(place, sum[0], is_first);
    keep_row(place + blocks, sum[1], is_first);
    keep_row(place + 2u * blocks, sum[2], is_first);
    keep_row(place + 3u * blocks, sum[3], is_first);
}

@compute @workgroup_size(128, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    if (invocation == 0u) {
        uniform_sizes = sizes;
    }
    let s = workgroupUniformLoad(&uniform_sizes);
    let m = s.features;

    // The region, and this invocation's block and group of pairs in it.
    let tile = position_in_triangle(group.x / s.chunks);
    let on_diagonal = tile.x == tile.y;
    let region_blocks = select(s.tile * s.tile, s.tile * (s.tile + 1u) / 2u, on_diagonal);
    let first_item = (group.x % s.chunks) * s.items;
    let item = first_item + min(invocation, s.items - 1u);
    let first_group = first_item / region_blocks;
    if (first_group * PAIRS >= s.pairs) {
        return;     // a region on the diagonal has fewer blocks, and so fewer chunks, than another
    }
    let slot = item / region_blocks - first_group;
    let number = item % region_blocks;
    var position = vec2<u32>(number / s.tile, number % s.tile);
    if (on_diagonal) {
        position = position_in_triangle(number);
    }
    let row = position.x;
    let column = select(s.tile, 0u, on_diagonal) + position.y;

    // What this invocation brings into workgroup memory: four features of the tile of
    // rows or, behind it, of the tile of columns; the weight of one pair. What is beyond
    // the last feature or pair is brought as the last one, and not kept in the end.
    let lane = invocation % WIDTH;
    let lanes = select(2u * s.tile, s.tile, on_diagonal);
    let block = select(tile.y * s.tile + lane - s.tile, tile.x * s.tile + lane, lane < s.tile);
    let feature = min(4u * block + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(m - 1u));
    let place = invocation % SLOTS;
    let brought = min((first_group + place / 8u) * PAIRS + place % 8u, s.pairs - 1u);
    let classes = classes_of_pair(s.first_pair + brought, s.classes);

    // Where its sums are kept.
    let blocks_a_side = (m + 3u) / 4u;
    let blocks = blocks_a_side * (blocks_a_side + 1u) / 2u;
    let i = tile.x * s.tile + position.x;
    let j = tile.y * s.tile + position.y;
    let pair = (first_group + slot) * PAIRS;
    let is_kept = invocation < s.items && i < blocks_a_side;
    let kept_at = (group.y * s.pairs + pair) * 4u * blocks + i * (i + 1u) / 2u + j;

    let first = group.y * s.samples_per_part;
    let end = min(first + s.samples_per_part, s.samples);
    for (var run = first; run < end; run += RUN) {
        var sum_0 = mat4x4<f32>();
        var sum_1 = mat4x4<f32>();
        var sum_2 = mat4x4<f32>();
        var sum_3 = mat4x4<f32>();
        var sum_4 = mat4x4<f32>();
        let run_end = min(run + RUN, end);
        for (var start = run; start < run_end; start += DEPTH) {
            if (lane < lanes) {
                for (var depth = invocation / WIDTH; depth < DEPTH; depth += INVOCATIONS / WIDTH) {
                    let at = min(start + depth, s.samples - 1u) * m + feature;
                    staged[depth * WIDTH + lane] =
                        vec4<f32>(features[at.x], features[at.y], features[at.z], features[at.w]);
                }
            }
            if (place % 8u < PAIRS) {
                for (var depth = invocation / SLOTS; depth < DEPTH; depth += INVOCATIONS / SLOTS) {
                    let sample = start + depth;
                    var weight = 0.0;
                    if (sample < run_end) {
                        let p = sample * s.classes + classes;
                        weight = probabilities[p.x] * probabilities[p.y];   // -(S_n)_ab
                    }
                    weights[(depth * SLOTS + place) / 4u][place % 4u] = weight;
                }
            }
            workgroupBarrier();

            for (var depth = 0u; depth < DEPTH; depth += 1u) {
                let g_i = staged[depth * WIDTH + row];
                let g_j = staged[depth * WIDTH + column];
                let w = weights[(depth * SPAN + slot) * 2u];
                let products = mat4x4<f32>(g_i.x * g_j, g_i.y * g_j, g_i.z * g_j, g_i.w * g_j);
                sum_0 += w.x * products;
                if (PAIRS > 1u) { sum_1 += w.y * products; }
                if (PAIRS > 2u) { sum_2 += w.z * products; }
                if (PAIRS > 3u) { sum_3 += w.w * products; }
                if (PAIRS > 4u) { sum_4 += weights[(depth * SPAN + slot) * 2u + 1u].x * products; }
            }
            workgroupBarrier();
        }

        let is_first = run == first;
        let next_pair = 4u * blocks;
        if (is_kept && pair < s.pairs) { keep(kept_at, blocks, sum_0, is_first); }
        if (PAIRS > 1u && is_kept && pair + 1u < s.pairs) { keep(kept_at + next_pair, blocks, sum_1, is_first); }
        if (PAIRS > 2u && is_kept && pair + 2u < s.pairs) { keep(kept_at + 2u * next_pair, blocks, sum_2, is_first); }
        if (PAIRS > 3u && is_kept && pair + 3u < s.pairs) { keep(kept_at + 3u * next_pair, blocks, sum_3, is_first); }
        if (PAIRS > 4u && is_kept && pair + 4u < s.pairs) { keep(kept_at + 4u * next_pair, blocks, sum_4, is_first); }
    }
}
