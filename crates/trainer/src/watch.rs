//! Looking for the first number in a step that is not finite.

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use kappa_model::Network;

/// Sees the tensors of a step in the order in which they are computed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The first tensor that holds a NaN or an infinity, and which.
    pub first: Option<(String, f64)>,
}

impl Watch {
    /// Looks at a tensor that is called `name`. One that cannot be read is passed over: what
    /// went wrong before is to be told, not that.
    pub fn see<const D: usize>(&mut self, name: &str, tensor: &Tensor<D>) {
        if self.first.is_some() {
            return;
        }
        let Ok(data) = tensor.clone().try_into_data() else { return };
        self.first = data.iter::<f64>().find(|x| !x.is_finite()).map(|value| (name.to_owned(), value));
    }

    pub fn see_gradients(&mut self, network: &Network, gradients: &GradientsParams) {
        network.visit(&mut Parameters::new(self, network, Some(gradients)));
    }

    pub fn see_parameters(&mut self, network: &Network) {
        network.visit(&mut Parameters::new(self, network, None));
    }
}

/// Goes through the parameters, or through their gradients.
struct Parameters<'a> {
    watch: &'a mut Watch,
    /// The parameters' names by their paths in burn.
    names: HashMap<String, String>,
    path: Vec<String>,
    gradients: Option<&'a GradientsParams>,
}

impl<'a> Parameters<'a> {
    fn new(watch: &'a mut Watch, network: &Network, gradients: Option<&'a GradientsParams>) -> Self {
        let table = network.shape().parameters().into_iter();
        let names = table.map(|parameter| (parameter.path(), parameter.name)).collect();
        Self { watch, names, path: Vec::new(), gradients }
    }
}

impl ModuleVisitor for Parameters<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let name = self.names.get(&path).cloned().unwrap_or(path);
        match self.gradients {
            None => self.watch.see(&name, &parameter.val()),
            Some(gradients) => {
                if let Some(gradient) = gradients.get::<D>(parameter.id) {
                    self.watch.see(&format!("the gradient of {name}"), &gradient);
                }
            }
        }
    }
}

/// Zero, or NaN if a parameter of `network` is not finite: 0 x is one of the two, whatever x is.
pub(crate) fn zero_if_finite(network: &Network) -> Option<Tensor<1>> {
    struct Zero(Option<Tensor<1>>);
    impl ModuleVisitor for Zero {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let zero = parameter.val().inner().mul_scalar(0.0).sum();
            self.0 = Some(match self.0.take() {
                Some(sum) => sum + zero,
                None => zero,
            });
        }
    }
    let mut zero = Zero(None);
    network.visit(&mut zero);
    zero.0
}
