//! Samples that are spread over processes, here threads: what comes out is of all of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::{
    sync::{Arc, Barrier, Mutex},
    thread,
};

use burn::tensor::Device;
use kappa_hessian::{DensityOptions, Samples, Weights, density, growing_subsets, largest_pairs, verify};
use kappa_world::{Alone, Combine, World, WorldError};

/// Threads that show each other their numbers on a board.
#[derive(Debug)]
struct Threads {
    rank: usize,
    board: Arc<Board>,
}

#[derive(Debug)]
struct Board {
    barrier: Barrier,
    shown: Mutex<Vec<Vec<f64>>>,
    processes: usize,
}

impl World for Threads {
    fn processes(&self) -> usize {
        self.board.processes
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn combine(&self, numbers: &mut [f64], how: Combine) -> Result<(), WorldError> {
        self.board.shown.lock().unwrap()[self.rank] = numbers.to_vec();
        self.board.barrier.wait();
        let all = self.board.shown.lock().unwrap().clone();
        self.board.barrier.wait();
        numbers.copy_from_slice(&all[0]);
        all[1..].iter().for_each(|other| how.of(numbers, other));
        Ok(())
    }
}

/// A process's own of so many samples: the first has three times as many as another, and some have none.
fn share_of(count: usize, rank: usize, processes: usize) -> std::ops::Range<usize> {
    let before = |rank: usize| if rank == 0 { 0 } else { count * (rank + 2) / (processes + 2) };
    before(rank)..before(rank + 1)
}

/// What `of` makes of the samples in each of so many processes, by rank.
fn in_processes<T: Send>(
    (count, m, k): (usize, usize, usize),
    processes: usize,
    of: impl Fn(&Samples, &[usize]) -> T + Sync,
) -> Vec<T> {
    let number = |i: usize, salt: usize| ((i * 7919 + salt * 104_729) % 1009) as f64 / 500.0 - 1.0;
    let features: Vec<f64> = (0..count * m).map(|i| number(i, 1)).collect();
    let logits: Vec<f64> = (0..count * k).map(|i| 3.0 * number(i, 2)).collect();
    let labels: Vec<usize> = (0..count).map(|n| n * 5 % k.max(2)).collect();
    let barrier = Barrier::new(processes);
    let board = Arc::new(Board { barrier, shown: Mutex::new(vec![Vec::new(); processes]), processes });
    thread::scope(|scope| {
        let run = |rank: usize| {
            let (own, board) = (share_of(count, rank, processes), board.clone());
            let (features, logits, labels, of) = (&features, &logits, &labels, &of);
            scope.spawn(move || {
                let (g, z) = (&features[own.start * m..own.end * m], &logits[own.start * k..own.end * k]);
                let samples = Samples::from_logits(m, k, g, z, &Device::flex()).unwrap();
                of(&samples.shared(Arc::new(Threads { rank, board }), own.start, count), labels)
            })
        };
        let threads: Vec<_> = (0..processes).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Numbers that are sums of `terms` at the most, by one process and by several: each has at most half an epsilon of
/// rounding a term, and they are of the size of `scale`.
fn assert_near(found: &[f64], expected: &[f64], terms: usize, scale: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let bound = (terms + 20) as f64 * f64::EPSILON * scale;
        assert!((found - expected).abs() <= bound, "{what}: {found}, expected {expected}");
    }
}

const SHAPES: [(usize, usize, usize); 6] =
    [(1, 2, 3), (2, 3, 2), (3, 4, 3), (7, 3, 1), (50, 5, 4), (2100, 3, 3)];

#[test]
fn the_hessian_of_several_processes_is_that_of_all_samples() {
    for shape in SHAPES {
        let of = |samples: &Samples, labels: &[usize]| {
            let hessian = samples.hessian().unwrap();
            assert_eq!(hessian.samples(), shape.0);
            let pairs = hessian.eigenpairs().unwrap();
            let evidence = verify(&hessian, &pairs, samples).unwrap();
            assert!(evidence.passed(), "{shape:?}: {:?}", evidence.checks);
            let kronecker = samples.kronecker(&hessian, pairs.leading(1)).unwrap();
            let rest = [
                samples.trace().unwrap(),
                samples.loss(labels).unwrap(),
                samples.accuracy(labels).unwrap(),
                kronecker.lambda_1,
                kronecker.relative_error,
            ];
            let gradient = samples.gradient(labels).unwrap();
            let elements = (0..shape.1 * shape.2).map(|i| (i as f64).sin()).collect();
            let moved = samples.moved(&Weights { elements, offsets: vec![0.0; shape.2] }, labels).unwrap();
            let moved = [&[moved.loss, moved.samples.trace().unwrap()], &moved.gradient[..]].concat();
            (hessian.elements().to_vec(), [&rest[..], &gradient, &moved].concat())
        };
        let alone = in_processes(shape, 1, of).remove(0);
        for processes in [2, 3, 4] {
            let all = in_processes(shape, processes, of);
            for found in &all {
                assert_near(&found.0, &alone.0, shape.0, 1.0, "H");
                assert_near(&found.1, &alone.1, 10 * shape.0, 10.0, "what goes with it");
                assert_eq!(found, &all[0], "all processes have the same bits");
            }
            assert_eq!(in_processes(shape, processes, of), all, "and the same each time");
        }
    }
}

#[test]
fn products_of_several_processes_are_those_of_all_samples() {
    let shape = (300, 20, 6);
    let of = |samples: &Samples, _: &[usize]| {
        let pairs = largest_pairs(samples, 3, &()).unwrap().measured_anew(samples, &()).unwrap();
        assert!(pairs.passed());
        let options = DensityOptions { probes: 2, steps: 8, seed: 1 };
        let density = density(samples, options, &()).unwrap();
        (pairs.eigenvalues, vec![density.trace])
    };
    let alone = in_processes(shape, 1, of).remove(0);
    for processes in [2, 3] {
        let all = in_processes(shape, processes, of);
        for found in &all {
            // The search ends at a residual of 1e-7, which the eigenvalues have the square of.
            assert_near(&found.0, &alone.0, 10_000, 1.0, "eigenvalues");
            assert_near(&found.1, &alone.1, 10_000, 10.0, "trace");
            assert_eq!(found, &all[0]);
        }
    }
}

#[test]
fn subsets_are_drawn_from_all_samples() {
    let of = |samples: &Samples, _: &[usize]| {
        let subsets = growing_subsets(samples, 2, 7, &()).unwrap();
        let sizes = subsets.iter().map(|subset| subset.samples).collect::<Vec<_>>();
        let spectra = subsets.iter().flat_map(|subset| &subset.spectra);
        (sizes, spectra.flat_map(|spectrum| spectrum.eigenvalues().to_vec()).collect::<Vec<_>>())
    };
    let alone = in_processes((45, 3, 3), 1, of).remove(0);
    for found in in_processes((45, 3, 3), 3, of) {
        assert_eq!(found.0, alone.0);
        assert_near(&found.1, &alone.1, 100, 1.0, "eigenvalues");
    }
}

#[test]
fn one_process_alone_is_a_world() {
    let samples = Samples::from_slices(1, 2, &[2.0], &[0.25, 0.75], &Device::flex()).unwrap();
    let shared = samples.clone().shared(Arc::new(Alone), 0, 1);
    assert_eq!(shared.hessian().unwrap().elements(), samples.hessian().unwrap().elements());
    assert_eq!((Alone.processes(), Alone.rank()), (1, 0));
}
