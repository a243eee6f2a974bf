// The sum over the parts that steps 3 and 4 leave,
//
//     S[e] = sum_part parts[part, e] ,
//
// for every element e of [pairs, m, m]. Elements above a diagonal were never written;
// they are summed all the same and never read.
//
// Grid: x counts workgroups of 256 elements.

struct Sizes {
    elements: u32,
    parts: u32,
}

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;   // [parts, elements]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;    // [elements]
@group(0) @binding(2) var<storage, read_write> sizes: Sizes;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let elements = sizes.elements;
    let element = id.x;
    if (element >= elements) {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < sizes.parts; part += 1u) {
        sum += parts[part * elements + element];
    }
    sums[element] = sum;
}
