//! What all processes' samples have together: sums that a normalisation waits for.

use burn::tensor::{Tensor, TensorData};
use kappa_world::{Combine, World};

use crate::Pass;

/// The sum over all processes of what each has summed. What cannot be had of another process is no number, and so is
/// whatever is made of it.
pub fn together(world: &dyn World, own: Tensor<2>) -> Tensor<2> {
    if world.processes() == 1 {
        return own;
    }
    let (device, dtype, shape) = (own.device(), own.dtype(), own.dims());
    let data = own.try_into_data().map(|data| data.iter::<f64>().collect::<Vec<f64>>());
    let mut numbers = data.unwrap_or_else(|_| vec![f64::NAN; shape[0] * shape[1]]);
    if world.combine(&mut numbers, Combine::Sum).is_err() {
        numbers.fill(f64::NAN);
    }
    Tensor::from_data(TensorData::new(numbers, shape).convert_dtype(dtype), (&device, dtype))
}

/// The rows of all processes, where their statistics are of all of them.
pub(super) fn count_of_all(world: &dyn World, own: usize, pass: Pass) -> usize {
    if world.processes() == 1 || pass == Pass::Running {
        return own;
    }
    let mut count = [own as f64];
    match world.combine(&mut count, Combine::Sum) {
        // A number of rows is whole, and far below 2^53.
        Ok(()) => count[0] as usize,
        Err(_) => own,
    }
}
