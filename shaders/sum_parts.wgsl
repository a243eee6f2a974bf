// The sum over the parts that class_pair_grams.wgsl left,
//
//     S_ab[i, j] = sum_part parts[part, ab, i, j] ,          j <= i ,
//
// in runs of 16 parts and then over the runs, so that rounding grows with the square
// root of parts / 16. A compensated sum (Kahan's) is no way here: WGSL lets an
// implementation reassociate sums, Mesa does, and (next - sum) - addend becomes 0.
//
// A part is [pairs, 4, blocks] of vec4: the r-th row of each block of 4 x 4 elements
// on or below the diagonal. So row i of S_ab is contiguous in it, as it is in S_ab.
// What is above the diagonal of S_ab is never written.
//
// Grid: x and y together count workgroups of 256 elements, since one dimension
// of a grid ends at 65,535.

const RUN: u32 = 16u;

struct Sizes {
    pairs: u32,
    features: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;   // [parts, pairs, 4, 4 blocks]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;    // [pairs, m, m]
@group(0) @binding(2) var<storage, read_write> sizes: Sizes;

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let m = sizes.features;
    let element = (group.y * groups.x + group.x) * 256u + invocation;
    let pair = element / (m * m);
    let i = element / m % m;
    let j = element % m;
    if (pair >= sizes.pairs || j > i) {
        return;
    }
    let blocks_a_side = (m + 3u) / 4u;
    let row_length = 2u * blocks_a_side * (blocks_a_side + 1u);     // 4 blocks
    let row = i / 4u;
    let place = (4u * pair + i % 4u) * row_length + 2u * row * (row + 1u) + j;

    let stride = 4u * sizes.pairs * row_length;
    var total = 0.0;
    for (var start = 0u; start < sizes.parts; start += RUN) {
        var sum = 0.0;
        for (var part = start; part < min(start + RUN, sizes.parts); part += 1u) {
            sum += parts[part * stride + place];
        }
        total += sum;
    }
    sums[element] = total;
}
