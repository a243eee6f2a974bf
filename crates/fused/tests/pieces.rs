//! Work in pieces: what a piece's operations give against plain compositions, on the CPU backends.

#![allow(clippy::unwrap_used, deprecated)]

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use kappa_fused::{ByteScale, piece};

const SHAPES: [[usize; 3]; 5] = [[1, 1, 1], [3, 7, 2], [65, 5, 33], [334, 784, 100], [2050, 3, 5]];
const SCALE: ByteScale = ByteScale { factor: 1.0 / 255.0, offset: -0.3 };

fn devices() -> Vec<Device> {
    vec![
        #[cfg(feature = "flex")]
        Device::flex(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ]
}

fn each(mut of: impl FnMut(&Device, DType, [usize; 3])) {
    for device in devices() {
        for dtype in [DType::F32, DType::F64] {
            SHAPES.into_iter().for_each(|shape| of(&device, dtype, shape));
        }
    }
}

/// Numbers in [-1, 1) that are no pattern.
fn made_up<const D: usize>(shape: [usize; D], salt: usize, (device, dtype): (&Device, DType)) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let number = |i: usize| ((i + 1) * 7919 + salt * 104_729) % 2003;
    let numbers = (0..count).map(|i| number(i) as f64 / 1001.5 - 1.0).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(numbers, shape).convert_dtype(dtype), (device, dtype))
}

/// Both sum `terms` products of numbers below 1 in another order: each is within terms * epsilon / 2 of
/// the sum of magnitudes, `terms` at the most; typically far less.
fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, terms: usize) {
    let epsilon = if expected.dtype() == DType::F64 { f64::EPSILON } else { f32::EPSILON.into() };
    assert_eq!((found.dims(), found.dtype()), (expected.dims(), expected.dtype()));
    let bound = epsilon * (terms as f64).powi(2).min(terms as f64 * 32.0);
    let (found, expected) = (found.into_data(), expected.into_data());
    for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
        assert!((found - expected).abs() <= bound, "{found} {expected} (bound {bound})");
    }
}

#[test]
fn a_dense_layer_of_a_piece_is_the_plain_composition() {
    each(|device, dtype, [n, d, m]| {
        let place = (device, dtype);
        let (x, w, b) = (made_up([n, d], 1, place), made_up([d, m], 2, place), made_up([m], 3, place));
        let expected = x.clone().matmul(w.clone()) + b.clone().unsqueeze();
        assert_close(piece::dense(x.clone(), w, b), expected, d + 1);
        let u = made_up([n, m], 4, place);
        let (weight, bias) = piece::dense_gradients(x.clone(), u.clone());
        assert_close(weight, x.transpose().matmul(u.clone()), n + 1);
        assert_close(bias, u.sum_dim(0).reshape([m]), n + 1);
    });
}

#[test]
fn bytes_of_a_piece_are_their_numbers_wherever_they_begin() {
    each(|device, dtype, [n, d, _]| {
        let bytes: Vec<u8> = (0..(n + 1) * d).map(|i| (i * 7919 % 251) as u8).collect();
        let numbers = bytes[d..].iter().map(|&byte| SCALE.factor * f64::from(byte) + SCALE.offset);
        let expected = TensorData::new(numbers.collect::<Vec<f64>>(), [n, d]).convert_dtype(dtype);
        let bytes = Tensor::<2, Int>::from_data(TensorData::new(bytes, [n + 1, d]), (device, DType::U8));
        let found = piece::numbers(bytes.slice(1..n + 1), SCALE, dtype);
        assert_close(found, Tensor::from_data(expected, (device, dtype)), 2);
    });
}

#[test]
fn sums_and_blends_of_a_piece_are_the_plain_compositions() {
    each(|device, dtype, [n, _, m]| {
        let place = (device, dtype);
        let (x, y) = (made_up([n, m], 1, place), made_up([n, m], 2, place));
        let sums = Tensor::cat(vec![x.clone().sum_dim(0), (x.clone() * y.clone()).sum_dim(0)], 0);
        assert_close(piece::sums(x.clone(), y.clone()), sums, n + 1);
        let [a, b, c] = [3, 4, 5].map(|salt| made_up([1, m], salt, place));
        let blend = x.clone() * a.clone() + y.clone() * b.clone();
        let terms = [(x, a), (y, b)];
        assert_close(piece::blend(terms.clone(), None), blend.clone(), 3);
        assert_close(piece::blend(terms, Some(c.clone())), blend + c, 3);
    });
}

#[test]
fn pieces_keep_their_order_and_fit() {
    for device in devices() {
        let mut items: Vec<usize> = (0..100).collect();
        let found = piece::map(&device, &mut items, |index, item| {
            *item += 1;
            (index, *item)
        });
        assert_eq!(found, (0..100).map(|i| (i, i + 1)).collect::<Vec<_>>());
        for width in [0, 1, 784, 1 << 30] {
            let rows = piece::rows(&device, width, DType::F32);
            assert!((64..=8192).contains(&rows), "{width}: {rows}");
        }
        assert!(piece::rows(&device, 784, DType::F64) < piece::rows(&device, 784, DType::F32));
    }
}
