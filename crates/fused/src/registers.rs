//! What a product leaves behind in a thread's registers.

use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};

/// Clears the upper halves of this thread's vector registers, where a processor has them.
///
/// faer's products leave numbers there. Until they are cleared, some of Intel's processors take forty times as long
/// for an exponential or a logarithm (127 ns for 3 on one of family 6, model 167): C's library computes them by
/// instructions of AVX, its callers by those of SSE, and each change from one to the other has to keep the upper
/// halves. To be called before a loop of them.
#[inline]
pub fn clear_upper_halves() {
    Arch::new().dispatch(Clear);
}

/// Uses a register whose upper half there is; a function that does has to clear them all before it returns.
struct Clear;

impl WithSimd for Clear {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        black_box(simd.splat_f64s(1.0));
    }
}
