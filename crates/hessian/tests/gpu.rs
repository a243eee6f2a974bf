//! The WGSL kernels against f64. Without an adapter the tests say so and pass,
//! unless KAPPA_REQUIRE_GPU is set, as it is in CI: then that is a failure.
#![cfg(feature = "wgpu")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::sync::OnceLock;

use burn::tensor::{
    DType, Device, Tensor, TensorData,
    wgpu::{WgpuSetup, wgpu},
};
use common::{Samples, relative_error};
use faer::MatRef;
use kappa_hessian::{Accumulator, SymmetricOperator};

/// The adapter burn chooses, with WebGPU's default limits and nothing more:
/// kernels that need a larger binding, workgroup or grid fail on it.
fn gpu() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE
        .get_or_init(|| {
            let device = smallest_limits();
            if device.is_none() {
                assert!(
                    std::env::var_os("KAPPA_REQUIRE_GPU").is_none(),
                    "KAPPA_REQUIRE_GPU is set, and there is no adapter"
                );
                eprintln!("skipped: no GPU adapter, not even a software one");
            }
            device
        })
        .clone()
}

fn smallest_limits() -> Option<Device> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = burn::backend::read_sync(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let adapter =
        adapters.into_iter().min_by_key(|adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu)?;
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits::default(),
        // burn's own kernels (slices, copies) ask for it where it is to be had; ours do not.
        required_features: adapter.features() & wgpu::Features::SHADER_INT64,
        ..Default::default()
    });
    let (device, queue) = burn::backend::read_sync(request).unwrap();
    assert_eq!(device.limits().max_storage_buffer_binding_size, 128 << 20);
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    Some(Device::wgpu_options().setup(setup).init().unwrap())
}

#[test]
fn ragged_and_degenerate_shapes_agree_with_the_kronecker_sum() {
    let Some(device) = gpu() else { return };
    for [n, m, k] in [
        [1, 1, 2],
        [1, 5, 3],
        [7, 1, 4],
        [5, 3, 2],
        [17, 32, 3],
        [33, 33, 5],
        [65, 70, 3],
        [129, 5, 10],
        [2500, 3, 4],
        // Pairs in groups of one, three, two of five, with a group that is not full (K = 7: 21 pairs).
        [40, 100, 2],
        [33, 10, 7],
        [3, 1, 90],
        // Several tiles of features: more than 128, a last one that is not full.
        [20, 129, 3],
        [9, 260, 2],
        [11, 305, 3],
    ] {
        let samples = Samples::new(n, m, k, 8);
        let found = samples.hessian(&device, DType::F32, n);
        let error = relative_error(found.elements(), &samples.kronecker_sum());
        // Features are exact in f32, probabilities round once, each term three times more; the
        // sums have few terms: a handful of units of 6e-8.
        assert!(error < 5e-7, "{n} {m} {k}: {error}");
    }
}

#[test]
fn chunks_and_launches_do_not_change_the_sum() {
    let Some(device) = gpu() else { return };
    // 600^2 elements of 4 bytes: eleven pairs a launch, and K = 6 has fifteen.
    let samples = Samples::new(40, 600, 6, 9);
    let gpu = samples.hessian(&device, DType::F32, 13);
    let cpu = samples.hessian(&Device::flex(), DType::F64, 40);
    assert!(relative_error(gpu.elements(), cpu.elements()) < 5e-7);
}

#[test]
fn sixty_thousand_samples_are_summed_to_a_millionth() {
    let Some(device) = gpu() else { return };
    let samples = Samples::new(60_000, 40, 10, 10);
    let gpu = samples.hessian(&device, DType::F32, 60_000);
    let cpu = samples.hessian(&Device::flex(), DType::F64, 60_000);
    let error = relative_error(gpu.elements(), cpu.elements());
    println!("relative Frobenius error at N = 60,000: {error:.2e}");
    assert!(error < 1e-6, "{error}");
}

#[test]
fn a_part_of_several_runs_is_summed_whole() {
    let Some(device) = gpu() else { return };
    // 496 pairs leave room for 38 parts, of 528 samples: a run of 512 and one of 16.
    let samples = Samples::new(20_000, 40, 32, 13);
    let gpu = samples.hessian(&device, DType::F32, 20_000);
    let cpu = samples.hessian(&Device::flex(), DType::F64, 20_000);
    let error = relative_error(gpu.elements(), cpu.elements());
    println!("relative Frobenius error in several runs: {error:.2e}");
    assert!(error < 1e-6, "{error}");
}

#[test]
fn the_same_samples_give_the_same_bits() {
    let Some(device) = gpu() else { return };
    let samples = Samples::new(3000, 20, 4, 11);
    let once = samples.hessian(&device, DType::F32, 3000);
    let twice = samples.hessian(&device, DType::F32, 3000);
    assert_eq!(once.elements(), twice.elements());
}

#[test]
fn a_view_of_a_tensor_is_summed_as_its_elements_stand() {
    let Some(device) = gpu() else { return };
    let samples = Samples::new(30, 4, 3, 12);
    let (_, probabilities) = samples.tensors(&device, DType::F32);
    let transposed: Vec<f64> =
        (0..4).flat_map(|i| (0..30).map(move |n| (n, i))).map(|(n, i)| samples.feature(n)[i]).collect();
    let data = TensorData::new(transposed, [4, 30]).convert_dtype(DType::F32);
    let features = Tensor::<2>::from_data(data, &device).transpose();
    let mut sums = Accumulator::new(4, 3).unwrap();
    sums.add(features, probabilities).unwrap();
    let error = relative_error(sums.finish().unwrap().elements(), &samples.kronecker_sum());
    assert!(error < 5e-7, "{error}");
}

#[test]
fn products_without_h_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for [n, m, k] in [[1, 1, 2], [7, 3, 4], [300, 20, 5]] {
        let samples = Samples::new(n, m, k, 34);
        let directions: Vec<f64> = (0..3 * m * k).map(|i| (i as f64 * 0.7).sin()).collect();
        let directions = MatRef::from_column_major_slice(&directions, m * k, 3);
        let [found, expected] = [(&gpu, DType::F32), (&Device::flex(), DType::F64)].map(|(device, dtype)| {
            let product = samples.set(device, dtype, 128).product(directions).unwrap();
            product
                .col_iter()
                .flat_map(|column| column.iter().copied().collect::<Vec<_>>())
                .collect::<Vec<f64>>()
        });
        // Sums of 300 terms in f32.
        assert!(relative_error(&found, &expected) < 1e-5, "{n} {m} {k}");
    }
}
