// Step 2: features through workgroup memory.
//
//     S_ab[i, j] = sum_n (p_na p_nb g_ni) g_nj ,        j <= i
//
// Changed: a workgroup computes a tile of 16 x 16 elements, and brings the 2 x 16
// features of 16 samples into its own memory before it uses each of them 16 times.
// Why: global memory is read a sixteenth as often. The weight p_na p_nb is formed on
// the way in, so that a term is one multiply-add instead of four operations. Tiles
// above the diagonal return at once.
//
// Left: each multiply-add still needs two loads, now from workgroup memory, and that
// is what it waits for.
//
// Grid: x, y = tile (column, row); z = pair.

const TILE: u32 = 16u;

var<workgroup> left: array<f32, TILE * TILE>;     // sample x row, p_na p_nb g_ni
var<workgroup> right: array<f32, TILE * TILE>;    // sample x column, g_nj

@compute @workgroup_size(16, 16, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    if (group.x > group.y) {
        return;
    }
    let s = sizes_of_group(invocation);
    let m = s.features;
    let pair = classes_of_pair(group.z, s.classes);
    let i = group.y * TILE + local.y;
    let j = group.x * TILE + local.x;

    var sum = 0.0;
    for (var start = 0u; start < s.samples; start += TILE) {
        // Row y of both tiles is sample start + y; beyond the last one all is 0.
        let sample = start + local.y;
        let row = group.y * TILE + local.x;
        var weighted = 0.0;
        var plain = 0.0;
        if (sample < s.samples) {
            let p = sample * s.classes + pair;
            let weight = probabilities[p.x] * probabilities[p.y];
            weighted = weight * features[sample * m + min(row, m - 1u)];
            plain = features[sample * m + min(j, m - 1u)];
        }
        left[invocation] = weighted;
        right[invocation] = plain;
        workgroupBarrier();
        for (var depth = 0u; depth < TILE; depth += 1u) {
            sum += left[depth * TILE + local.y] * right[depth * TILE + local.x];
        }
        workgroupBarrier();
    }
    if (i < m && j <= i) {
        sums[(group.z * m + i) * m + j] = sum;
    }
}
