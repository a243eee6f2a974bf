// The sum over the parts that steps 3 and 4 leave,
//
//     S[e] = sum_part parts[part, e] ,
//
// for every element e of [pairs, m, m]. Elements above a diagonal were never written;
// they are summed all the same and never read.
//
// Grid: x and y together count workgroups of 256 elements, since one dimension of a
// grid ends at 65,535.

struct Sizes {
    elements: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;   // [parts, elements]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;    // [elements]
@group(0) @binding(2) var<storage, read_write> sizes: Sizes;

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let elements = sizes.elements;
    let element = (group.y * groups.x + group.x) * 256u + invocation;
    if (element >= elements) {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < sizes.parts; part += 1u) {
        sum += parts[part * elements + element];
    }
    sums[element] = sum;
}
