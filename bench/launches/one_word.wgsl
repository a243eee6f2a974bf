// A kernel that does next to nothing,
//
//     word = 1 ,
//
// so that the time of many is that of launching them.
//
// Grid: one workgroup of one invocation.

@group(0) @binding(0) var<storage, read_write> word: array<u32>;

@compute @workgroup_size(1, 1, 1)
fn main() {
    word[0] = 1u;
}
