// Step 4: one pass over the features for five class pairs.
//
//     S_ab[i, j] = sum_part sum_{n in part} (p_na p_nb) (g_ni g_nj) ,        j <= i
//
// Changed: an invocation forms the 16 products g_ni g_nj of its block once, and adds
// them to the sums of PAIRS pairs, each with its weight p_na p_nb. Why: step 3 loads
// and weights the features for every pair again; here two loads of four features and
// PAIRS weights serve 16 + 16 PAIRS operations. There are registers for one level of
// sums only, and parts are kept short for the sake of rounding.
//
// Left: the tiles of 32 x 32 still compute twice what m = 100 asks for. Step 5, what
// kappa runs (shaders/class_pair_grams.wgsl), numbers the 4 x 4 blocks of the lower
// triangle and shares them out, keeps every feature in workgroup memory once, and
// adds runs of 512 samples to its part, so that parts may be long.
//
// Grid: x = tile of the lower triangle, y = group of pairs, z = part.

const TILE: u32 = 32u;
const DEPTH: u32 = 16u;
const PAIRS: u32 = 5u;
const SIDE: u32 = 8u;                       // invocations along a side of a tile
const BLOCKS: u32 = TILE / 4u;              // blocks along a side of a tile
const INVOCATIONS: u32 = SIDE * SIDE;

var<workgroup> left: array<vec4<f32>, DEPTH * BLOCKS>;      // g_ni, four rows an element
var<workgroup> right: array<vec4<f32>, DEPTH * BLOCKS>;     // g_nj, four columns an element
var<workgroup> weights: array<vec4<f32>, DEPTH * 2u>;       // p_na p_nb

// Four features of a sample from number `first` on; beyond the last one, the last one.
fn four_features(sample: u32, first: u32, m: u32) -> vec4<f32> {
    let at = sample * m + min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(m - 1u));
    return vec4<f32>(features[at.x], features[at.y], features[at.z], features[at.w]);
}

fn keep_row(matrix: u32, i: u32, first_j: u32, m: u32, sum: vec4<f32>) {
    for (var c = 0u; c < 4u; c += 1u) {
        if (i < m && first_j + c <= i) {
            sums[matrix + i * m + first_j + c] = sum[c];
        }
    }
}

@compute @workgroup_size(8, 8, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let s = sizes_of_group(invocation);
    let m = s.features;
    let tile = position_of_tile(group.x) * TILE;
    let first = group.z * s.samples_per_part;
    let end = min(first + s.samples_per_part, s.samples);
    let first_pair = group.y * PAIRS;
    let brought = min(first_pair + invocation % 8u, s.pairs - 1u);
    let classes = classes_of_pair(brought, s.classes);

    var sum_0 = mat4x4<f32>();
    var sum_1 = mat4x4<f32>();
    var sum_2 = mat4x4<f32>();
    var sum_3 = mat4x4<f32>();
    var sum_4 = mat4x4<f32>();
    for (var start = first; start < end; start += DEPTH) {
        for (var slot = invocation; slot < DEPTH * BLOCKS; slot += INVOCATIONS) {
            let sample = min(start + slot / BLOCKS, end - 1u);
            left[slot] = four_features(sample, tile.x + slot % BLOCKS * 4u, m);
            right[slot] = four_features(sample, tile.y + slot % BLOCKS * 4u, m);
        }
        for (var depth = invocation / 8u; depth < DEPTH; depth += INVOCATIONS / 8u) {
            let sample = start + depth;
            var weight = 0.0;
            if (sample < end) {
                let p = sample * s.classes + classes;
                weight = probabilities[p.x] * probabilities[p.y];
            }
            weights[depth * 2u + invocation % 8u / 4u][invocation % 4u] = weight;
        }
        workgroupBarrier();

        for (var depth = 0u; depth < DEPTH; depth += 1u) {
            let g_i = left[depth * BLOCKS + local.y];
            let g_j = right[depth * BLOCKS + local.x];
            let w = weights[depth * 2u];
            let products = mat4x4<f32>(g_i.x * g_j, g_i.y * g_j, g_i.z * g_j, g_i.w * g_j);
            sum_0 += w.x * products;
            sum_1 += w.y * products;
            sum_2 += w.z * products;
            sum_3 += w.w * products;
            sum_4 += weights[depth * 2u + 1u].x * products;
        }
        workgroupBarrier();
    }

    var totals = array<mat4x4<f32>, PAIRS>(sum_0, sum_1, sum_2, sum_3, sum_4);
    for (var pair = first_pair; pair < min(first_pair + PAIRS, s.pairs); pair += 1u) {
        let matrix = (group.z * s.pairs + pair) * m * m;
        for (var r = 0u; r < 4u; r += 1u) {
            let i = tile.x + local.y * 4u + r;
            keep_row(matrix, i, tile.y + local.x * 4u, m, totals[pair - first_pair][r]);
        }
    }
}
