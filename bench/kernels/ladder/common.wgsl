// What stands before each of the steps 1 to 4: their buffers, and how pairs and tiles are counted.
// All buffers are read_write, since they may share one allocation.

struct Sizes {
    samples: u32,
    features: u32,
    classes: u32,
    pairs: u32,
    samples_per_part: u32,
}

@group(0) @binding(0) var<storage, read_write> features: array<f32>;       // [N, m]
@group(0) @binding(1) var<storage, read_write> probabilities: array<f32>;  // [N, K]
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;           // [parts, pairs, m, m]
@group(0) @binding(3) var<storage, read_write> sizes: Sizes;

var<workgroup> uniform_sizes: Sizes;

// The sizes, as what is the same for all invocations of a workgroup.
fn sizes_of_group(invocation: u32) -> Sizes {
    if (invocation == 0u) {
        uniform_sizes = sizes;
    }
    return workgroupUniformLoad(&uniform_sizes);
}

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

// Tile number -> (row, column) of the lower triangle, counting (0,0), (1,0), (1,1), (2,0), ..
fn position_of_tile(tile: u32) -> vec2<u32> {
    var row = 0u;
    var rest = tile;
    while (rest > row) {
        rest -= row + 1u;
        row += 1u;
    }
    return vec2<u32>(row, rest);
}

