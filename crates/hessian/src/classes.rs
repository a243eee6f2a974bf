//! What the number of classes says of a Hessian, and which of them occur in it.
//!
//! Of K >= 2 logits the probabilities are the softmax. Of one logit z they are those of class 0 and of
//! class 1, sigmoid(-z) and sigmoid(z): two columns, whose product p (1 - p) keeps its digits where a
//! sample is all but certain, and which is what a class pair's sum is weighed by.

use crate::{Hessian, grams::pairs};

/// Columns of probabilities that are kept of a sample.
pub(crate) const fn columns(classes: usize) -> usize {
    if classes == 1 { 2 } else { classes }
}

/// Class pairs whose sums the Hessian is made of.
pub(crate) const fn pairs_of(classes: usize) -> usize {
    pairs(columns(classes))
}

/// Zeros since softmax ignores a shift of all logits: m. A sigmoid's only logit is not ignored.
pub(crate) const fn zeros_of_shift(features: usize, classes: usize) -> usize {
    if classes == 1 { 0 } else { features }
}

/// The classes in which H is anything but zero. The others have a probability of exactly zero in every
/// sample that leaves any doubt. Where none does H is zero, whatever the classes, and all are given.
pub(crate) fn occurring(hessian: &Hessian) -> Vec<usize> {
    let (m, size, elements) = (hessian.features(), hessian.size(), hessian.elements());
    let occurs =
        |&class: &usize| elements[class * m * size..(class + 1) * m * size].iter().any(|&x| x != 0.0);
    let occurring: Vec<usize> = (0..hessian.classes()).filter(occurs).collect();
    if occurring.is_empty() { (0..hessian.classes()).collect() } else { occurring }
}
