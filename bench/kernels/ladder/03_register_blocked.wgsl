// Step 3: a block of registers for each invocation, and parts of the samples.
//
//     S_ab[i, j] = sum_part sum_{n in part} (p_na p_nb g_ni) g_nj ,        j <= i
//
// Changed: an invocation holds 4 x 4 elements, so that 8 loads from workgroup memory
// serve 16 multiply-adds; a workgroup of 8 x 8 invocations is a tile of 32 x 32. Why:
// step 2 waited for workgroup memory, with two loads for each multiply-add. Also, the
// samples are cut into parts, one for each z of the grid, which add_parts.wgsl adds:
// larger tiles alone would leave a large chip without work. The sum runs in two
// levels, 16 samples and then the total, so that rounding grows with the square root
// of N / (parts * 16).
//
// Left: features are loaded and weighted again for each of the 45 pairs, and tiles of
// 32 x 32 compute twice what m = 100 asks for (ten tiles, 10,240 elements for 5,050).
//
// Grid: x = tile of the lower triangle, y = pair, z = part.

const TILE: u32 = 32u;
const DEPTH: u32 = 16u;
const SIDE: u32 = 8u;                       // invocations along a side of a tile
const BLOCK: u32 = 4u;                      // elements along a side of a register block
const LOADS: u32 = TILE * DEPTH / (SIDE * SIDE);

var<workgroup> left: array<f32, 512>;       // DEPTH x TILE, p_na p_nb g_ni
var<workgroup> right: array<f32, 512>;      // DEPTH x TILE, g_nj

@compute @workgroup_size(8, 8, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let s = sizes_of_group(invocation);
    let m = s.features;
    let pair = classes_of_pair(group.y, s.classes);
    let tile = position_of_tile(group.x) * TILE;
    let first = group.z * s.samples_per_part;
    let end = min(first + s.samples_per_part, s.samples);

    var total: array<vec4<f32>, 4>;
    for (var start = first; start < end; start += DEPTH) {
        for (var load = 0u; load < LOADS; load += 1u) {
            let slot = load * SIDE * SIDE + invocation;
            let sample = start + slot / TILE;
            let i = tile.x + slot % TILE;
            let j = tile.y + slot % TILE;
            var weighted = 0.0;
            var plain = 0.0;
            if (sample < end) {
                if (i < m) {
                    let p = sample * s.classes;
                    weighted = probabilities[p + pair.x] * probabilities[p + pair.y] * features[sample * m + i];
                }
                if (j < m) {
                    plain = features[sample * m + j];
                }
            }
            left[slot] = weighted;
            right[slot] = plain;
        }
        workgroupBarrier();

        var sum: array<vec4<f32>, 4>;
        for (var depth = 0u; depth < DEPTH; depth += 1u) {
            let row = depth * TILE + local.y * BLOCK;
            let column = depth * TILE + local.x * BLOCK;
            let g = vec4<f32>(right[column], right[column + 1u], right[column + 2u], right[column + 3u]);
            sum[0] += left[row] * g;
            sum[1] += left[row + 1u] * g;
            sum[2] += left[row + 2u] * g;
            sum[3] += left[row + 3u] * g;
        }
        for (var r = 0u; r < BLOCK; r += 1u) {
            total[r] += sum[r];
        }
        workgroupBarrier();
    }

    let matrix = (group.z * s.pairs + group.y) * m * m;
    for (var r = 0u; r < BLOCK; r += 1u) {
        let i = tile.x + local.y * BLOCK + r;
        for (var c = 0u; c < BLOCK; c += 1u) {
            let j = tile.y + local.x * BLOCK + c;
            if (i < m && j <= i) {
                sums[matrix + i * m + j] = total[r][c];
            }
        }
    }
}
