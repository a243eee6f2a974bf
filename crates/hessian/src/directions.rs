//! What lies in the space of the leading eigenvectors, and how much of H a
//! Kronecker product is.

use faer::{Mat, MatRef};

use crate::{Hessian, HessianError, Samples, Spectrum, classes, decomposition, subspace::product};

/// How much two spaces of the same dimension k have in common: |A^T B|_F^2 / k for
/// orthonormal bases A and B [n, k], the mean of the squared cosines of their
/// principal angles. 1 for the same space, about k/n for two random ones.
///
/// ```
/// use kappa_hessian::{faer::mat, overlap};
///
/// let (a, b) = (mat![[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], mat![[1.0, 0.0], [0.0, 0.6], [0.0, 0.8]]);
/// assert!((overlap(a.as_ref(), b.as_ref()) - (1.0 + 0.36) / 2.0).abs() < 1e-15);
/// ```
pub fn overlap(a: MatRef<f64>, b: MatRef<f64>) -> f64 {
    let cosines = product(a.transpose(), b);
    cosines.squared_norm_l2() / a.ncols().min(b.ncols()) as f64
}

/// The share of a vector that lies in the space of the orthonormal `directions` [n, k],
/// |V^T x|^2 / |x|^2. `None` for the zero vector.
///
/// ```
/// use kappa_hessian::{faer::mat, share};
///
/// assert_eq!(share(mat![[1.0], [0.0]].as_ref(), &[1.0, 2.0]), Some(0.2));
/// ```
pub fn share(directions: MatRef<f64>, vector: &[f64]) -> Option<f64> {
    let column = MatRef::from_column_major_slice(vector, vector.len(), 1);
    let whole = column.squared_norm_l2();
    (whole > 0.0).then(|| product(directions.transpose(), column).squared_norm_l2() / whole)
}

/// How far the Kronecker factorisation `E[S] (x) E[g g^T]` is from `H = E[S (x) g g^T]`
/// (Martens and Grosse 2015, "Optimizing Neural Networks with Kronecker-factored
/// Approximate Curvature", section 3.1, here for the last layer, exactly).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kronecker {
    /// `|E[S] (x) E[g g^T] - H|_F / |H|_F`.
    pub relative_error: f64,
    /// The overlap of the spaces of their ten leading eigenvectors ([`overlap`]).
    pub overlap: f64,
    /// Its largest eigenvalue over lambda_1.
    pub lambda_1: f64,
}

impl Samples {
    /// Compares H with its Kronecker factorisation; `leading` are H's leading eigenvectors.
    ///
    /// ```
    /// use kappa_hessian::{Samples, burn::tensor::Device};
    ///
    /// // Where all samples have the same probabilities it is exact.
    /// let samples = Samples::from_slices(1, 2, &[1.0, 2.0], &[0.3, 0.7, 0.3, 0.7], &Device::flex())?;
    /// let hessian = samples.hessian()?;
    /// let kronecker = samples.kronecker(&hessian, hessian.eigenpairs()?.leading(1))?;
    /// assert!(kronecker.relative_error < 1e-14);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::Device`], [`HessianError::NoConvergence`].
    pub fn kronecker(&self, hessian: &Hessian, leading: MatRef<f64>) -> Result<Kronecker, HessianError> {
        let (m, k) = (self.features(), self.classes());
        let (count, columns) = (self.count() as f64, classes::columns(k));
        let parts = self.on_host(|chunk| {
            let g = MatRef::from_row_major_slice(&chunk.features, chunk.rows, m);
            let p = MatRef::from_row_major_slice(&chunk.probabilities, chunk.rows, columns);
            (product(g.transpose(), g), product(p.transpose(), p))
        })?;
        let mut grams = Mat::<f64>::zeros(m, m);
        let mut jacobian = Mat::<f64>::zeros(columns, columns);
        for (features, probabilities) in parts {
            grams += features;
            // E[S]_ab = -E[p_a p_b] off the diagonal; rows of S sum to zero.
            jacobian -= probabilities;
        }
        self.add_up(&mut grams)?;
        self.add_up(&mut jacobian)?;
        grams *= faer::Scale(count.recip());
        jacobian *= faer::Scale(count.recip());
        for a in 0..columns {
            jacobian[(a, a)] = (0..columns).filter(|&b| b != a).map(|b| -jacobian[(a, b)]).sum();
        }
        // Of one logit E[p (1 - p)], which that of two classes has on its diagonal.
        let jacobian = jacobian.submatrix(0, 0, k, k);
        let (mut difference, mut norm) = (0.0, 0.0);
        for a in 0..k {
            for b in 0..k {
                let block = hessian.matrix().submatrix(a * m, b * m, m, m);
                difference += (block - &grams * faer::Scale(jacobian[(a, b)])).squared_norm_l2();
                norm += block.squared_norm_l2();
            }
        }
        let (s, of_classes) = decomposition::eigenpairs(jacobian)?;
        let (a, of_features) = decomposition::eigenpairs(grams.as_ref())?;
        let mut products: Vec<_> = (0..k)
            .flat_map(|class| (0..m).map(move |i| (class, i)))
            .map(|(c, i)| (s[c] * a[i], c, i))
            .collect();
        products.sort_by(|(x, ..), (y, ..)| y.total_cmp(x));
        let approximate = Mat::from_fn(k * m, leading.ncols(), |row, column| {
            let (_, class, feature) = products[column];
            of_classes[(row / m, class)] * of_features[(row % m, feature)]
        });
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let image = product(hessian.matrix(), leading.subcols(0, 1));
        let lambda_1 = product(leading.subcols(0, 1).transpose(), image.as_ref())[(0, 0)];
        Ok(Kronecker {
            relative_error: ratio(f64::sqrt(difference), f64::sqrt(norm)),
            overlap: overlap(approximate.as_ref(), leading),
            lambda_1: ratio(products[0].0, lambda_1),
        })
    }

    /// The gradient of the mean loss for these labels, flattened class by class,
    /// mean_n (p_n - y_n) g_n^T: [K m]; of one logit the labels are 0 and 1. Of the label's class p - 1 is taken as what the other
    /// classes have, which keeps its digits where a sample is all but certain.
    ///
    /// ```
    /// use kappa_hessian::{Samples, burn::tensor::Device};
    ///
    /// let samples = Samples::from_slices(1, 2, &[2.0], &[0.25, 0.75], &Device::flex())?;
    /// assert_eq!(samples.gradient(&[1])?, [0.5, -0.5]);
    /// assert_eq!((samples.loss(&[1])?, samples.accuracy(&[1])?), (-f64::ln(0.75), 1.0));
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongLabels`], [`HessianError::Device`].
    pub fn gradient(&self, labels: &[usize]) -> Result<Vec<f64>, HessianError> {
        let (m, k) = (self.features(), self.classes());
        self.check_labels(labels)?;
        let parts = self.on_host(|chunk| {
            let errors = logit_gradients(chunk.probabilities, &labels[chunk.first..], k);
            let g = MatRef::from_row_major_slice(&chunk.features, chunk.rows, m);
            product(g.transpose(), MatRef::from_row_major_slice(&errors, chunk.rows, k))
        })?;
        self.mean_by_class(parts.into_iter().fold(Mat::zeros(m, k), |sum, part| sum + part))
    }

    /// Of the sums [m, K] over this process's samples the mean over all, class by class: [K m].
    pub(crate) fn mean_by_class(&self, mut sums: Mat<f64>) -> Result<Vec<f64>, HessianError> {
        self.add_up(&mut sums)?;
        let count = self.count() as f64;
        Ok(sums.col_iter().flat_map(|class| class.iter().map(move |sum| sum / count)).collect())
    }

    /// The mean loss for these labels, `-mean_n ln p_n[y_n]`, in nats; near p = 1 by what the
    /// other classes have.
    ///
    /// # Errors
    ///
    /// As [`Self::gradient`].
    pub fn loss(&self, labels: &[usize]) -> Result<f64, HessianError> {
        self.check_labels(labels)?;
        let parts = self.on_host(|chunk| {
            let rows = chunk
                .probabilities
                .chunks_exact(classes::columns(self.classes()))
                .zip(&labels[chunk.first..]);
            rows.map(|(row, &label)| loss_of(row, label)).sum::<f64>()
        })?;
        Ok(self.sum_of_all(parts.into_iter().sum())? / self.count() as f64)
    }

    /// The share of the samples whose likeliest class is their label; of several equal ones the
    /// first, as numpy's argmax takes it.
    ///
    /// # Errors
    ///
    /// As [`Self::gradient`].
    pub fn accuracy(&self, labels: &[usize]) -> Result<f64, HessianError> {
        self.check_labels(labels)?;
        let parts = self.on_host(|chunk| {
            let columns = classes::columns(self.classes());
            let rows = chunk.probabilities.chunks_exact(columns).zip(&labels[chunk.first..]);
            rows.filter(|(row, label)| first_likeliest(row) == **label).count()
        })?;
        Ok(self.sum_of_all(parts.into_iter().sum::<usize>() as f64)? / self.count() as f64)
    }

    /// Whether there is a label for each sample, and a class for each label.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongLabels`].
    pub fn check_labels(&self, labels: &[usize]) -> Result<(), HessianError> {
        let largest = labels.iter().max().copied().unwrap_or(0);
        if labels.len() != self.count() || largest >= classes::columns(self.classes()) {
            let (samples, classes) = (self.count(), classes::columns(self.classes()));
            return Err(HessianError::WrongLabels { labels: labels.len(), largest, samples, classes });
        }
        Ok(())
    }
}

/// The gradient of each sample's loss with respect to its logits, p - y: [n, K], row by row, of probabilities [n, K] and
/// labels below K; of one logit of probabilities [n, 2]. Of the label's class it is taken as what the other classes
/// have, which keeps its digits where a sample is all but certain.
pub fn logit_gradients(mut probabilities: Vec<f64>, labels: &[usize], classes: usize) -> Vec<f64> {
    for (row, &label) in probabilities.chunks_exact_mut(classes::columns(classes)).zip(labels) {
        row[label] = -besides(row, label);
    }
    if classes == 1 {
        // Of class 1, whose logit there is.
        return probabilities.into_iter().skip(1).step_by(2).collect();
    }
    probabilities
}

/// 1 - p_y, as the sum of the others: in 1 - p_y itself all digits of a p_y near 1 cancel.
fn besides(p: &[f64], label: usize) -> f64 {
    p.iter().enumerate().filter(|&(class, _)| class != label).map(|(_, p)| p).sum()
}

fn first_likeliest(p: &[f64]) -> usize {
    (1..p.len()).fold(0, |best, class| if p[class] > p[best] { class } else { best })
}

/// -ln p_y.
fn loss_of(p: &[f64], label: usize) -> f64 {
    if p[label] > 0.5 { -(-besides(p, label)).ln_1p() } else { -p[label].ln() }
}

impl Hessian {
    /// The spectrum of D^(-1/2) H D^(-1/2) for a diagonal D [K m] of positive numbers: the
    /// curvature that an optimiser with the preconditioner D sees (Cohen et al. 2022,
    /// "Adaptive Gradient Methods at the Edge of Stability", section 3).
    ///
    /// ```
    /// use kappa_hessian::Hessian;
    ///
    /// let hessian = Hessian::from_elements(1, 2, 1, f64::EPSILON, vec![1.0, -1.0, -1.0, 1.0])?;
    /// let spectrum = hessian.preconditioned_spectrum(&[4.0, 4.0])?;
    /// assert!((spectrum.eigenvalues()[0] - 0.5).abs() < 1e-15);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongPreconditioner`], [`HessianError::NoConvergence`].
    pub fn preconditioned_spectrum(&self, diagonal: &[f64]) -> Result<Spectrum, HessianError> {
        let size = self.size();
        if diagonal.len() != size || diagonal.iter().any(|d| !(d.is_finite() && *d > 0.0)) {
            return Err(HessianError::WrongPreconditioner { found: diagonal.len(), expected: size });
        }
        let root: Vec<f64> = diagonal.iter().map(|d| d.sqrt().recip()).collect();
        let matrix = self.matrix();
        let seen = Mat::from_fn(size, size, |i, j| root[i] * matrix[(i, j)] * root[j]);
        Ok(Spectrum::from_ascending(decomposition::eigenvalues(seen.as_ref())?, self.epsilon()))
    }
}
