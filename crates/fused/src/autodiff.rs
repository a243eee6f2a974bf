//! The gradients, registered in burn's autodiff.

use burn::backend::{
    Autodiff,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind, unary},
    },
    tensor::FloatTensor,
};

use crate::FusedOperations;

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
