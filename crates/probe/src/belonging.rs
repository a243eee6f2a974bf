//! Whether logits are made of features and weights that were given beside them.

use kappa_data::{Elements, LastLayer, Matrix, Rows, Scores};
use kappa_run::CheckRecord;
use kappa_world::{Combine, World};

use crate::{
    ProbeError,
    parts::{doubles, of_source},
};

/// Numbers of the wider array that are gone through at once.
const PART: usize = 1 << 20;
/// Of weights, a class's, that are off by more than this nothing would be seen: then they are not
/// checked.
const BLIND: f64 = 0.1;

/// Whether the logits are W g + b for the given weights and some b; nothing if there are none.
///
/// Class by class, since one that is wrong hides behind the others: with b the mean of z - w g,
///
/// ```text
/// rms_n (z - w g - b) / rms_n (w g - mean w g)      bound:  u rms_n (sum_i |w_i g_i| + |z|) / the same .
/// ```
///
/// u is what the framework may have rounded to: 2^-8 if all logits are numbers of bfloat16, else the
/// 2^-11 of float16 and of products in TF32. Weights that are off by a share of c are as far from the
/// logits as c, so the bound is also what can be seen. Of a single sample every weight is right for
/// some b.
///
/// The sums are of the samples of all processes of `world`.
pub(crate) fn belonging(arrays: &LastLayer, world: &dyn World) -> Result<Option<CheckRecord>, ProbeError> {
    let (Scores::Logits(logits), Some(weights)) = (&arrays.scores, &arrays.weights) else { return Ok(None) };
    let (classes, in_bfloat16) = classes(&arrays.features, logits, weights, world)?;
    let unit = if in_bfloat16 { 2f64.powi(-8) } else { 2f64.powi(-11) };
    Ok(Some(check(&classes, unit)))
}

fn check(classes: &[Class], unit: f64) -> CheckRecord {
    let visible = classes.iter().filter(|class| class.bound(unit) <= BLIND);
    let name = "weights".to_owned();
    // The class that is farthest beyond what rounding explains.
    let excess = |class: &Class| class.value() / class.bound(unit);
    let worst = visible.clone().reduce(|worst, class| {
        if excess(class) > excess(worst) || excess(class).is_nan() { class } else { worst }
    });
    let Some(worst) = worst else {
        let quantity = "no class's weights would be seen to be off by less than a tenth".to_owned();
        return CheckRecord { name, quantity, value: None, bound: 1.0, passed: true };
    };
    let (value, bound, count) = (worst.value(), worst.bound(unit), visible.count());
    let seen = if count == classes.len() { String::new() } else { format!(", of {count} classes") };
    CheckRecord {
        name,
        quantity: format!("max_k rms (z_k - w_k g - b_k) / rms (w_k g - mean){seen}"),
        value: value.is_finite().then_some(value),
        bound,
        passed: value <= bound,
    }
}

/// Whether a check says that it could see nothing.
pub(crate) fn is_blind(check: &CheckRecord) -> bool {
    check.value.is_none() && check.bound == 1.0
}

/// Sums over the samples, of one class.
#[derive(Clone, Copy, Default)]
struct Class {
    count: f64,
    rest: f64,
    squared_rest: f64,
    made: f64,
    squared_made: f64,
    squared_size: f64,
}

impl Class {
    /// Adds what is left of a logit and what is made, about the first sample's, so that the variances do not
    /// cancel, and how large it is.
    fn add(&mut self, rest: f64, made: f64, size: f64) {
        self.count += 1.0;
        self.rest += rest;
        self.squared_rest += rest * rest;
        self.made += made;
        self.squared_made += made * made;
        self.squared_size += size * size;
    }

    fn numbers(&self) -> [f64; 6] {
        [self.count, self.rest, self.squared_rest, self.made, self.squared_made, self.squared_size]
    }

    fn of([count, rest, squared_rest, made, squared_made, squared_size]: [f64; 6]) -> Self {
        Self { count, rest, squared_rest, made, squared_made, squared_size }
    }

    /// The deviation of numbers, by the sums of them and of their squares.
    fn deviation(&self, sum: f64, squares: f64) -> f64 {
        (squares / self.count - (sum / self.count).powi(2)).max(0.0).sqrt()
    }

    fn explained(&self) -> f64 {
        self.deviation(self.made, self.squared_made)
    }

    fn value(&self) -> f64 {
        self.deviation(self.rest, self.squared_rest) / self.explained()
    }

    /// Infinite, and so nothing is seen, where the weights make no difference between samples.
    fn bound(&self, unit: f64) -> f64 {
        match self.explained() {
            explained if explained > 0.0 => unit * (self.squared_size / self.count).sqrt() / explained,
            _ => f64::INFINITY,
        }
    }
}

/// The sums of each class, and whether all logits are numbers of bfloat16.
fn classes(
    features: &Rows,
    logits: &Rows,
    weights: &Matrix,
    world: &dyn World,
) -> Result<(Vec<Class>, bool), ProbeError> {
    let (w, m) = (doubles(weights), weights.columns);
    let mut sums = vec![Class::default(); logits.columns()];
    // What is left of a logit, what is made of the features, and how large that is; nothing of a class that is
    // masked.
    let parts = |w: &[f64], z: f64, g: &[f64]| {
        let terms = || w.iter().zip(g).map(|(w, g)| w * g);
        let (made, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>() + z.abs());
        z.is_finite().then_some((z - made, made, size))
    };
    // Of the first process's first sample: it has one if there is any.
    let mut about = vec![0.0; 2 * logits.columns()];
    if world.rank() == 0 && features.count() > 0 {
        let (g, z) =
            (doubles(&features.read(0..1).map_err(of_source)?), logits.read(0..1).map_err(of_source)?);
        for ((w, z), about) in w.chunks_exact(m).zip(doubles(&z)).zip(about.chunks_exact_mut(2)) {
            if let Some((rest, made, _)) = parts(w, z, &g) {
                about.copy_from_slice(&[rest, made]);
            }
        }
    }
    world.combine(&mut about, Combine::Sum)?;
    let mut rounded = 1.0;
    let wider = if logits.columns() > features.columns() { logits } else { features };
    for range in wider.ranges(PART) {
        let logits = logits.read(range.clone()).map_err(of_source)?;
        if !in_bfloat16(&logits) {
            rounded = 0.0;
        }
        let (g, z) = (doubles(&features.read(range).map_err(of_source)?), doubles(&logits));
        for (g, z) in g.chunks_exact(m).zip(z.chunks_exact(logits.columns)) {
            let classes = w.chunks_exact(m).zip(z).zip(&mut sums).zip(about.chunks_exact(2));
            for (((w, z), sums), about) in classes {
                if let (Some((rest, made, size)), &[about_rest, about_made]) = (parts(w, *z, g), about) {
                    sums.add(rest - about_rest, made - about_made, size);
                }
            }
        }
    }
    let mut numbers: Vec<f64> = sums.iter().flat_map(|class| class.numbers()).collect();
    world.combine(&mut numbers, Combine::Sum)?;
    world.combine(std::slice::from_mut(&mut rounded), Combine::Smallest)?;
    let (sums, _) = numbers.as_chunks();
    Ok((sums.iter().map(|&numbers| Class::of(numbers)).collect(), rounded == 1.0))
}

/// Whether all are numbers of eight bits: an f32 or f64 whose other bits are zero.
fn in_bfloat16(matrix: &Matrix) -> bool {
    match &matrix.elements {
        Elements::F32(elements) => elements.iter().all(|x| x.to_bits() & 0xffff == 0),
        Elements::F64(elements) => elements.iter().all(|x| x.to_bits() & 0x1fff_ffff_ffff == 0),
    }
}

#[cfg(test)]
mod tests {
    use kappa_world::Alone;

    use super::*;

    /// A layer of 4 features and 3 classes whose weights are what `change` makes of the right ones.
    fn check(samples: usize, change: impl Fn(&mut [f64]), logits: impl Fn(f64) -> f64) -> CheckRecord {
        let wave =
            |count: usize, step: f64| (0..count).map(|i| (step * i as f64).sin()).collect::<Vec<f64>>();
        let (features, mut weights) = (wave(4 * samples, 1.3), wave(12, 0.7));
        let rows = features.chunks_exact(4);
        let z = rows.flat_map(|g| {
            let classes = weights.chunks_exact(4).enumerate();
            let of_class =
                |(class, w): (usize, &[f64])| w.iter().zip(g).map(|(w, g)| w * g).sum::<f64>() + class as f64;
            classes.map(of_class).map(&logits).collect::<Vec<_>>()
        });
        let z = z.collect();
        change(&mut weights);
        let matrix = |columns: usize, elements: Vec<f64>| Matrix {
            rows: elements.len() / columns,
            columns,
            elements: Elements::F64(elements),
        };
        let layer = LastLayer {
            features: matrix(4, features).into(),
            scores: Scores::Logits(matrix(3, z).into()),
            weights: Some(matrix(4, weights)),
            labels: None,
            ignored: None,
            files: Vec::new(),
            place: (0, samples),
            logits_are_distributions: false,
            is_read_again: false,
        };
        belonging(&layer, &Alone).unwrap().unwrap()
    }

    fn bfloat16(z: f64) -> f64 {
        f64::from_bits((z.to_bits() + 0x1000_0000_0000) & !0x1fff_ffff_ffff)
    }

    #[test]
    fn right_weights_pass_whatever_the_logits_were_rounded_to() {
        for rounding in [|z| z, |z| f64::from(z as f32), bfloat16] {
            let found = check(50, |_| (), rounding);
            assert!(found.passed && found.value.is_some(), "{found:?}");
        }
    }

    /// One class's weights that are off by a fiftieth were seen in two of three cases only.
    #[test]
    fn weights_of_any_class_that_are_off_by_a_fiftieth_are_seen() {
        for class in 0..3 {
            let change = |w: &mut [f64]| w[4 * class..4 * class + 4].iter_mut().for_each(|w| *w *= 1.02);
            let found = check(50, change, |z| f64::from(z as f32));
            assert!(!found.passed, "{class}: {found:?}");
        }
    }

    /// Any weights passed with a single sample, as 0.0.
    #[test]
    fn what_nothing_can_be_seen_of_is_not_checked() {
        let found = check(1, |w| w.iter_mut().for_each(|w| *w = 7.0), |z| z);
        assert!(is_blind(&found) && found.passed, "{found:?}");
        assert!(!is_blind(&check(2, |_| (), |z| z)));
    }
}
