//! The gradients, registered in burn's autodiff.

use burn::backend::{
    Autodiff, AutodiffBackend,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind, unary},
    },
    tensor::{FloatTensor, IntTensor},
};

use crate::{ByteScale, FusedOperations};

impl<B: FusedOperations, C: CheckpointStrategy> FusedOperations for Autodiff<B, C> {
    fn dense(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (inputs, inputs_node) = inputs.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let nodes = [inputs_node, weight_node, bias_node];
        match Dense.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let outputs = B::dense(inputs.clone(), weight.clone(), bias);
                step.finish((inputs, weight), outputs)
            }
            OpsKind::UnTracked(step) => step.finish(B::dense(inputs, weight, bias)),
        }
    }

    fn dense_of_bytes(
        bytes: IntTensor<Self>,
        scale: ByteScale,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        match DenseOfBytes.prepare::<C>([weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let outputs = B::dense_of_bytes(bytes.clone(), scale, weight, bias);
                step.finish((bytes, scale), outputs)
            }
            OpsKind::UnTracked(step) => step.finish(B::dense_of_bytes(bytes, scale, weight, bias)),
        }
    }

    fn cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let targets = targets.into_primitive();
        match CrossEntropy.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let loss = B::cross_entropy(logits.clone(), targets.clone());
                step.finish((logits, targets), loss)
            }
            OpsKind::UnTracked(step) => step.finish(B::cross_entropy(logits, targets)),
        }
    }

    fn squared_norm(numbers: FloatTensor<Self>) -> FloatTensor<Self> {
        let (numbers, node) = numbers.into_parts();
        match SquaredNorm.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(numbers.clone(), B::squared_norm(numbers)),
            OpsKind::UnTracked(step) => step.finish(B::squared_norm(numbers)),
        }
    }

    fn normalise_batch(
        inputs: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (inputs, inputs_node) = inputs.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let (outputs, mean, variance) = B::normalise_batch(inputs.clone(), gamma.clone(), beta, epsilon);
        let nodes = [inputs_node, gamma_node, beta_node];
        let outputs = match BatchNorm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                step.finish((inputs, gamma, mean.clone(), variance.clone(), epsilon), outputs)
            }
            OpsKind::UnTracked(step) => step.finish(outputs),
        };
        // The statistics are no way for gradients: what they owe is in those of the outputs.
        (outputs, Self::from_inner(mean), Self::from_inner(variance))
    }
}

#[derive(Debug)]
struct Dense;

impl<B: FusedOperations> Backward<B, 3> for Dense {
    /// x and W.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [inputs_node, weight_node, bias_node] = ops.parents;
        let (inputs, weight) = ops.state;
        let upstream = gradients.consume::<B>(&ops.node);
        if let Some(node) = inputs_node {
            // dL/dx = dL/dz W^T
            let gradient = B::float_matmul(upstream.clone(), B::float_transpose(weight));
            gradients.register::<B>(node.id, gradient);
        }
        if weight_node.is_none() && bias_node.is_none() {
            return;
        }
        let (weight, bias) = B::dense_gradients(inputs, upstream);
        for (node, gradient) in [(weight_node, weight), (bias_node, bias)] {
            if let Some(node) = node {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct DenseOfBytes;

impl<B: FusedOperations> Backward<B, 2> for DenseOfBytes {
    /// The bytes, and what they are as inputs.
    type State = (IntTensor<B>, ByteScale);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (bytes, scale) = ops.state;
        let upstream = gradients.consume::<B>(&ops.node);
        let (weight, bias) = B::dense_of_bytes_gradients(bytes, scale, upstream);
        for (node, gradient) in ops.parents.into_iter().zip([weight, bias]) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct CrossEntropy;

impl<B: FusedOperations> Backward<B, 1> for CrossEntropy {
    /// z and y.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (logits, targets) = ops.state;
        unary::<B, _>(ops.parents, ops.node, gradients, |upstream| {
            B::cross_entropy_gradient(logits, targets, upstream)
        });
    }
}

#[derive(Debug)]
struct SquaredNorm;

impl<B: FusedOperations> Backward<B, 1> for SquaredNorm {
    /// x.
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let numbers = ops.state;
        unary::<B, _>(ops.parents, ops.node, gradients, |upstream| {
            B::squared_norm_gradient(numbers, upstream)
        });
    }
}

#[derive(Debug)]
struct BatchNorm;

impl<B: FusedOperations> Backward<B, 3> for BatchNorm {
    /// x, gamma, mu, v, epsilon.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (inputs, gamma, mean, variance, epsilon) = ops.state;
        let upstream = gradients.consume::<B>(&ops.node);
        let (of_inputs, of_gamma, of_beta) =
            B::normalise_batch_gradients(inputs, gamma, mean, variance, upstream, epsilon);
        for (node, gradient) in ops.parents.into_iter().zip([of_inputs, of_gamma, of_beta]) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}
