// Step 1: an invocation an element.
//
//     S_ab[i, j] = sum_n p_na p_nb g_ni g_nj ,          j <= i
//
// The equation as it stands: one loop over the samples, everything from global
// memory. Each term costs four loads and four operations, and an element's loads
// are the same as its neighbours': the caches are all that helps. One register sums
// all N samples, so rounding grows with N.
//
// Grid: x, y = 16 x 16 elements (j, i); z = pair.

@compute @workgroup_size(16, 16, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = sizes.features;
    let i = id.y;
    let j = id.x;
    if (i >= m || j > i) {
        return;
    }
    let pair = classes_of_pair(id.z, sizes.classes);
    var sum = 0.0;
    for (var n = 0u; n < sizes.samples; n += 1u) {
        let p = n * sizes.classes + pair;
        let g = n * m;
        sum += probabilities[p.x] * probabilities[p.y] * features[g + i] * features[g + j];
    }
    sums[(id.z * m + i) * m + j] = sum;
}
