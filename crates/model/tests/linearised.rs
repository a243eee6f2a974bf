//! Derivatives of a network at a point, against central differences in f64.

#![allow(clippy::unwrap_used, missing_docs)]

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{DType, Device, Int, Tensor, TensorData},
};
use kappa_fused::ByteScale;
use kappa_model::{
    Direction, Initialisation, Inputs, Kind, Layer, Linearised, Network, NetworkShape, Normalisation,
    Parameter, Pass, Place, Role,
};

const SCALE: ByteScale = ByteScale { factor: 1.0 / 255.0, offset: -0.1 };

/// Numbers without a pattern in -1 .. 1.
fn made_up(count: usize, salt: f64) -> Vec<f64> {
    (0..count)
        .map(|i| ((i as f64 + 1.0) * 12.9898 + salt).sin() * 43_758.547)
        .map(|x| 2.0 * x.fract().abs() - 1.0)
        .collect()
}

fn matrix(values: Vec<f64>, shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F64))
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// A network, its inputs, and how it is passed through.
struct Case {
    network: Network,
    inputs: Inputs,
    rows: usize,
    pass: Pass,
    name: String,
}

impl Case {
    fn trained(&self) -> Vec<Parameter> {
        self.network.shape().parameters().into_iter().filter(Parameter::is_trained).collect()
    }

    fn direction(&self, parameters: &[Parameter], vector: &[f64]) -> Direction {
        let hidden = self.network.shape().hidden.len();
        Direction::from_vector(hidden, parameters, vector, (&Device::flex(), DType::F64))
    }

    /// c of the loss L = sum_nk (c_nk z_nk + z_nk^2 / 2).
    fn c(&self) -> Tensor<2> {
        let classes = self.network.shape().classes;
        matrix(made_up(self.rows * classes, 3.0), [self.rows, classes])
    }

    /// L and its gradient, `step` along `vector`.
    fn loss(&self, parameters: &[Parameter], vector: &[f64], step: f64) -> (f64, Vec<f64>) {
        let direction = self.direction(parameters, vector);
        let network = self.network.moved(&direction, step);
        let at = Linearised::new(&network, [self.inputs.clone()], self.pass);
        let z = at.logits().remove(0);
        let value = numbers(self.c() * z.clone() + z.clone() * z.clone() / 2.0).iter().sum();
        // dL/dz = c + z
        let upstreams = at.pull_back(vec![self.c() + z], &direction);
        (value, at.gradient(&upstreams, &direction).to_vector(parameters).unwrap())
    }

    /// H v with respect to the parameters named.
    fn product(&self, parameters: &[Parameter], vector: &[f64]) -> Vec<f64> {
        let direction = self.direction(parameters, vector);
        let at = Linearised::new(&self.network, [self.inputs.clone()], self.pass);
        let upstreams = at.pull_back(vec![self.c() + at.logits().remove(0)], &direction);
        // dL/dz = c + z, so along v it is z. .
        at.products(&[direction], Some(&upstreams), |_, z| z)[0].to_vector(parameters).unwrap()
    }
}

fn size(parameters: &[Parameter]) -> usize {
    parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

/// Ragged shapes of one to three hidden layers, a batch of two, units that never fire, inputs that are
/// the same in every sample.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (inputs, hidden, classes, rows) in
        [(3, vec![4], 2, 5), (7, vec![5, 3], 4, 9), (2, vec![3, 2, 4], 3, 2), (1, vec![1], 2, 3)]
    {
        for (kind, place, pass) in [
            (Kind::None, Place::After, Pass::Running),
            (Kind::Batch, Place::After, Pass::Running),
            (Kind::Batch, Place::After, Pass::Batch),
            (Kind::Batch, Place::Before, Pass::Running),
            (Kind::Batch, Place::Before, Pass::Batch),
            (Kind::Centre, Place::After, Pass::Running),
            (Kind::Centre, Place::After, Pass::Batch),
            (Kind::Centre, Place::Before, Pass::Batch),
            (Kind::Scale, Place::After, Pass::Running),
            (Kind::Scale, Place::After, Pass::Batch),
            (Kind::Scale, Place::Before, Pass::Batch),
            (Kind::Layer, Place::After, Pass::Batch),
            (Kind::Layer, Place::Before, Pass::Running),
            (Kind::Weight, Place::After, Pass::Running),
        ] {
            let normalisation = Normalisation { kind, place, epsilon: 0.01, ..Normalisation::default() };
            let shape = NetworkShape { inputs, hidden: hidden.clone(), classes, normalisation };
            let network = Network::from_parameters(&shape, &Device::flex(), |parameter| {
                let count = parameter.shape.iter().product();
                let salt = parameter.name.len() as f64 + count as f64;
                let mut values: Vec<f32> = made_up(count, salt).into_iter().map(|x| x as f32).collect();
                match (parameter.layer, parameter.role) {
                    (_, Role::RunningVariance) => values.iter_mut().for_each(|x| *x = 0.5 + x.abs()),
                    // One never fires: its bias is far below zero.
                    (Layer::Hidden(0), Role::Bias) if count > 2 => values[1] = -5.0,
                    _ => {}
                }
                Ok::<_, ()>(values)
            });
            let mut bytes: Vec<u8> = (0..rows * inputs).map(|i| (i * 7919 % 251) as u8).collect();
            if inputs > 2 {
                bytes.iter_mut().step_by(inputs).for_each(|byte| *byte = 200);
            }
            let bytes = TensorData::new(bytes, [rows, inputs]);
            let bytes = Tensor::<2, Int>::from_data(bytes, (&Device::flex(), DType::U8));
            cases.push(Case {
                network: network.unwrap().in_double_precision(),
                inputs: Inputs::Bytes(bytes, SCALE),
                rows,
                pass,
                name: format!("{inputs} {hidden:?} {classes}, {rows} rows, {kind:?} {place:?} {pass:?}"),
            });
        }
    }
    cases
}

/// Both sides are of order one; a central difference at h = 1e-5 is off by h^2 f''' / 6 and by
/// epsilon / h, some 1e-10 and 1e-11, times derivatives of order one to a thousand.
fn assert_close(found: f64, expected: f64, scale: f64, what: &str) {
    let apart = (found - expected).abs();
    assert!(apart <= 1e-7 * (1.0 + scale), "{what}: {found} and {expected} are {apart:e} apart");
}

#[test]
fn logits_are_those_of_the_network() {
    for case in cases() {
        let at = Linearised::new(&case.network, [case.inputs.clone()], case.pass);
        let Inputs::Bytes(bytes, scale) = case.inputs.clone() else { unreachable!() };
        let features = case.network.features(case.network.preactivations_of_bytes(bytes, scale), case.pass);
        for (found, expected) in
            numbers(at.logits().remove(0)).iter().zip(numbers(case.network.logits(features)))
        {
            assert_close(*found, expected, 0.0, &case.name);
        }
    }
}

#[test]
fn a_gradient_is_the_central_difference_of_the_loss() {
    const STEP: f64 = 1e-5;
    for case in cases() {
        let all = case.trained();
        let vector = made_up(size(&all), 5.0);
        let (_, gradient) = case.loss(&all, &vector, 0.0);
        let along: f64 = gradient.iter().zip(&vector).map(|(g, v)| g * v).sum();
        let [ahead, behind] = [STEP, -STEP].map(|step| case.loss(&all, &vector, step).0);
        assert_close(along, (ahead - behind) / (2.0 * STEP), along.abs(), &case.name);
    }
}

/// By burn's own differentiation of the pass that a training step makes.
#[test]
fn a_gradient_is_that_of_training() {
    let device = Device::flex().autodiff();
    for case in cases() {
        if case.pass == Pass::Running && case.network.shape().normalisation.has_statistics() {
            continue;
        }
        let all = case.trained();
        let (_, expected) = case.loss(&all, &vec![0.0; size(&all)], 0.0);
        let values = case.network.parameters::<f32>().unwrap();
        let mut values = values.into_iter().map(|(_, values)| values);
        let network =
            Network::from_parameters(&case.network.shape(), &device, |_| Ok::<_, ()>(values.next().unwrap()));
        let network = network.unwrap();
        let Inputs::Bytes(bytes, scale) = case.inputs.clone() else { unreachable!() };
        let features =
            network.features(network.preactivations_of_bytes(bytes.autodiff(), scale), Pass::Training);
        let z = network.logits(features);
        let c = case.c().cast(DType::F32).autodiff();
        let gradients = (c * z.clone() + z.clone() * z.mul_scalar(0.5)).sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &network);
        let mut found = Gradients { of: gradients, found: Vec::new(), path: Vec::new() };
        network.visit(&mut found);
        let largest = expected.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
        let mut rest = expected.as_slice();
        for parameter in &all {
            let (own, after) = rest.split_at(parameter.shape.iter().product());
            rest = after;
            let there = found.found.iter().find(|(path, _)| *path == parameter.path());
            let there = parameter.to_pytorchs_layout(&there.unwrap().1);
            for (found, expected) in there.iter().zip(own) {
                // Some hundreds of roundings of 6e-8, of numbers that 1 / s, 10 at the most, magnifies in
                // each of three layers.
                assert!(
                    (found - expected).abs() <= 1e-3 * largest,
                    "{} {}: {found} {expected}",
                    case.name,
                    parameter.name
                );
            }
        }
    }
}

/// The gradients that burn found, by the parameters' paths.
struct Gradients {
    of: GradientsParams,
    found: Vec<(String, Vec<f64>)>,
    path: Vec<String>,
}

impl ModuleVisitor for Gradients {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = self.of.get::<D>(parameter.id) {
            self.found.push((self.path.join("."), numbers(gradient)));
        }
    }
}

#[test]
fn a_product_with_the_hessian_is_the_central_difference_of_the_gradient() {
    const STEP: f64 = 3e-5;
    for case in cases() {
        let all = case.trained();
        // Each tensor alone, every second one, the others, and all.
        let mut choices: Vec<Vec<Parameter>> = all.iter().map(|one| vec![one.clone()]).collect();
        choices.push(all.iter().step_by(2).cloned().collect());
        choices.push(all.iter().skip(1).step_by(2).cloned().collect());
        choices.push(all.clone());
        for parameters in choices {
            let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            let vector = made_up(size(&parameters), 5.0);
            let product = case.product(&parameters, &vector);
            // Richardson's extrapolation of two steps takes the error in h^2 out, of numbers that are divided
            // by a small deviation and have large third derivatives; the steps are so long for their rounding.
            let [ahead, behind, near_ahead, near_behind] =
                [STEP, -STEP, STEP / 2.0, -STEP / 2.0].map(|step| case.loss(&parameters, &vector, step).1);
            let largest = product.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            for (index, found) in product.iter().enumerate() {
                let far = (ahead[index] - behind[index]) / (2.0 * STEP);
                let near = (near_ahead[index] - near_behind[index]) / STEP;
                let expected = (4.0 * near - far) / 3.0;
                assert_close(*found, expected, largest, &format!("{} {names:?} {index}", case.name));
            }
        }
    }
}

/// A gradient, products along `vectors`, and those with the Gauss-Newton matrix, the rows being cut at
/// `cuts`.
fn of_pieces(case: &Case, cuts: &[usize], vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let Inputs::Bytes(bytes, scale) = case.inputs.clone() else { unreachable!() };
    let ends = cuts.iter().copied().chain([case.rows]);
    let ranges: Vec<_> = [0].into_iter().chain(cuts.iter().copied()).zip(ends).map(|(a, b)| a..b).collect();
    let inputs = ranges.iter().map(|rows| Inputs::Bytes(bytes.clone().slice(rows.clone()), scale));
    let at = Linearised::new(&case.network, inputs, case.pass);
    let all = case.trained();
    let directions: Vec<Direction> = vectors.iter().map(|vector| case.direction(&all, vector)).collect();
    let c = ranges.iter().map(|rows| case.c().slice(rows.clone()));
    let upstreams = at.logits().into_iter().zip(c).map(|(z, c)| c + z).collect();
    let upstreams = at.pull_back(upstreams, &directions[0]);
    let mut found = vec![at.gradient(&upstreams, &directions[0])];
    found.extend(at.products(&directions, Some(&upstreams), |_, z| z));
    found.extend(at.products(&directions, None, |_, z| z));
    found.iter().map(|direction| direction.to_vector(&all).unwrap()).collect()
}

#[test]
fn pieces_of_a_batch_give_what_the_batch_gives() {
    for case in cases() {
        let vectors = [made_up(size(&case.trained()), 5.0)];
        let whole = of_pieces(&case, &[], &vectors);
        // Ragged, and a row each: more pieces than are added up at once.
        let single: Vec<usize> = (1..case.rows).collect();
        for cuts in [&[1][..], &single] {
            for (found, expected) in of_pieces(&case, cuts, &vectors).iter().zip(&whole) {
                let largest = expected.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    // Some hundreds of roundings of numbers of the largest's size, times 1 / s of a few
                    // layers, each 10 at the most.
                    let apart = (found - expected).abs();
                    assert!(apart <= 1e-11 * largest, "{} {cuts:?}: {found} {expected}", case.name);
                }
            }
        }
    }
}

#[test]
fn several_directions_at_once_give_what_each_gives_alone() {
    for case in cases() {
        let vectors: Vec<_> = (0..3).map(|salt| made_up(size(&case.trained()), f64::from(salt))).collect();
        let together = of_pieces(&case, &[1], &vectors);
        for (index, vector) in vectors.iter().enumerate() {
            let alone = of_pieces(&case, &[1], std::slice::from_ref(vector));
            // To the bit: each goes through the same operations.
            assert_eq!(together[1 + index], alone[1], "{} {index}", case.name);
            assert_eq!(together[4 + index], alone[2], "{} {index}", case.name);
        }
    }
}

#[test]
fn the_hessian_is_symmetric() {
    for case in cases() {
        let all = case.trained();
        let (u, v) = (made_up(size(&all), 7.0), made_up(size(&all), 8.0));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (left, right) = (dot(&u, &case.product(&all, &v)), dot(&v, &case.product(&all, &u)));
        // Some hundreds of roundings of numbers of order one to a hundred.
        assert!((left - right).abs() <= 1e-12 * (1.0 + left.abs()), "{}: {left} {right}", case.name);
    }
}

/// Batch norm after the ReLU does not see the scale of what goes into it: along a unit's weights and
/// bias the loss changes by epsilon's share alone.
#[test]
fn along_a_row_whose_scale_batch_norm_takes_out_the_gradient_is_zero_and_the_product_minus_it() {
    let normalisation = Normalisation { kind: Kind::Batch, epsilon: 1e-14, ..Normalisation::default() };
    let shape = NetworkShape { inputs: 4, hidden: vec![3], classes: 3, normalisation };
    let network = Network::new(&shape, Initialisation::KaimingUniform, 4, &Device::flex());
    let case = Case {
        network: network.in_double_precision(),
        inputs: Inputs::Numbers(matrix(made_up(28, 1.0), [7, 4])),
        rows: 7,
        pass: Pass::Batch,
        name: String::new(),
    };
    let first: Vec<Parameter> = case.trained().into_iter().take(2).collect();
    let weights = case.network.parameters::<f64>().unwrap();
    for unit in 0..3 {
        // r = (w, b) of the unit, b being zero.
        let mut row = vec![0.0; size(&first)];
        row[unit * 4..unit * 4 + 4].copy_from_slice(&weights[0].1[unit * 4..unit * 4 + 4]);
        let (_, gradient) = case.loss(&first, &row, 0.0);
        let product = case.product(&first, &row);
        let along: f64 = gradient.iter().zip(&row).map(|(g, r)| g * r).sum();
        assert!(along.abs() < 1e-10, "{along}");
        // By Euler H r is minus the gradient with respect to that row, and zero elsewhere.
        for index in 0..row.len() {
            let own = if index < 12 { index / 4 == unit } else { index - 12 == unit };
            let expected = if own { -gradient[index] } else { 0.0 };
            assert!(
                (product[index] - expected).abs() < 1e-10,
                "{unit} {index}: {} {expected}",
                product[index]
            );
        }
    }
}
