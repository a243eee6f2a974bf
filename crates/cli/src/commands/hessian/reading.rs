//! How a checkpoint from elsewhere was read: what was taken for what, what was assumed, and what
//! cannot be right.

use kappa_model::Place;
use kappa_probe::TrainedNetwork;

use crate::output::{printable, say};

/// Says it, warnings on standard error even if `quiet`.
pub fn tell(network: &TrainedNetwork<'_>, quiet: bool) {
    let Some(reading) = network.reading() else { return };
    let normalisation = network.shape().normalisation;
    if !quiet {
        for layer in &reading.layers {
            say(format_args!("read {}", printable(layer)));
        }
        if normalisation.has_statistics() {
            let place = match normalisation.place {
                Place::After => "after",
                Place::Before => "before",
            };
            let assumed = |assumed, option: &str| {
                if assumed { format!(" (assumed; {option} says otherwise)") } else { String::new() }
            };
            say(format_args!(
                "batch norm {place} the ReLU{}, epsilon {:e}{}",
                assumed(reading.place_assumed, "--bn-place"),
                normalisation.epsilon,
                assumed(reading.epsilon_assumed, "--bn-epsilon"),
            ));
        }
        if reading.rounded {
            say(format_args!("its f64 numbers are rounded to f32, in which networks are kept"));
        }
    }
    if let Some(tensor) = &reading.negative_mean {
        warn(&format!(
            "`{tensor}` has negative entries: what a ReLU gives has no negative mean, so this batch norm stood before \
             it; --bn-place before takes it so"
        ));
    }
    if reading.lacks_running_statistics && !reading.layers.is_empty() {
        warn(
            "what has gain and shift and no running statistics is taken for batch norm; a layer norm looks the \
             same, and is another network",
        );
    }
}

fn warn(text: &str) {
    eprintln!("warning: {}", printable(text));
}
