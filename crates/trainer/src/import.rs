//! A network that anything else may have written: under other names, and with less in it.
//!
//! ```text
//! names      `module.` and `_orig_mod.` before all of them are taken off; what is to be renamed is;
//!            then they are kappa's, or are found out by shapes (`names`)
//! missing    a bias is zero; batch norm without gain and shift has 1 and 0; without running
//!            statistics it can be looked at by those of the samples only
//! numbers    f16 and bf16 are exact in f32, in which a network is computed; f64 is rounded to it
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::tensor::Device;
use kappa_model::{Network, Place, Role};
use kappa_run::{Interpretation, read_from_anywhere, refuse_beyond_memory, shown};
use safetensors::{SafeTensors, tensor::Dtype};

use crate::{
    CheckpointError,
    checkpoint::{Tensors, malformed, not_negative, shape_of, singles, stated},
    names::matched,
};

/// PyTorch counts batches in its state; the count has no use here.
const IGNORED: &str = "num_batches_tracked";
/// What PyTorch's wrappers put before every name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
/// Times its own size that a checkpoint takes: the file, its parameters, those on the device.
const COPIES: u64 = 3;
/// Tensors that an error lists, at the most.
const LISTED: usize = 40;

/// How a checkpoint from elsewhere was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// What was read as what, a line a layer; none where the names were kappa's.
    pub layers: Vec<String>,
    /// Whether nobody said batch norm's epsilon, so that PyTorch's 1e-5 was taken.
    pub epsilon_assumed: bool,
    /// Whether nobody said where batch norm stands.
    pub place_assumed: bool,
    /// Whether numbers of f64 were rounded to f32.
    pub rounded: bool,
    /// Whether batch norm has no running statistics.
    pub lacks_running_statistics: bool,
    /// A running mean with a negative entry, of a batch norm that was taken to stand behind a
    /// ReLU, whose outputs have none.
    pub negative_mean: Option<String>,
}

/// Reads a network that anything else may have written: without a checksum, if it has none, and
/// as `interpretation` says where the file leaves it open.
///
/// # Errors
///
/// [`CheckpointError`]: [`CheckpointError::Names`] lists what there is, where it cannot be told what is what.
pub fn import_checkpoint(
    path: &Path,
    interpretation: &Interpretation,
    device: &Device,
) -> Result<(Network, Reading), CheckpointError> {
    refuse_beyond_memory(path, COPIES)?;
    let bytes = read_from_anywhere(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| malformed(path, error))?;
    let mut reading = Reading::default();
    let there = there(&file, &interpretation.rename).map_err(|problem| malformed(path, problem))?;
    let named =
        |problem: String| CheckpointError::Names { path: path.to_owned(), problem, tensors: listed(&there) };
    let shapes = there.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    let mut guessed_place = None;
    // By kappa's name that in `there`.
    let names: BTreeMap<String, String> = if has_kappas_names(&there) {
        there.keys().map(|name| (name.clone(), name.clone())).collect()
    } else {
        let matched = matched(&shapes).map_err(named)?;
        (reading.layers, guessed_place) = (matched.lines, matched.place);
        matched.names
    };
    let mut tensors: Tensors = names
        .iter()
        .filter_map(|(name, other)| Some((name.clone(), there.get(other)?)))
        .map(|(name, tensor)| (name, (tensor.dtype, tensor.shape.clone())))
        .collect();
    reading.rounded = tensors.values().any(|(dtype, _)| *dtype == Dtype::F64);
    let filled = fill(&mut tensors);
    reading.lacks_running_statistics = filled.keys().any(|name| name.ends_with(".running_var"));
    let stated = stated(header.metadata().as_ref()).map_err(|problem| malformed(path, problem))?;
    let mut shape = shape_of(&tensors, &stated).map_err(|problem| malformed(path, problem))?;
    if shape.normalisation.has_statistics() {
        let place = interpretation.place.or(stated.place);
        reading.place_assumed = place.or(guessed_place).is_none();
        shape.normalisation.place = place.or(guessed_place).unwrap_or_default();
        reading.epsilon_assumed = interpretation.epsilon.or(stated.epsilon).is_none();
        if let Some(epsilon) = interpretation.epsilon {
            shape.normalisation.epsilon = epsilon;
        }
    } else if interpretation.place.is_some() || interpretation.epsilon.is_some() {
        return Err(malformed(path, "it has no batch norm whose place or epsilon could be given"));
    }
    let after = shape.normalisation.place == Place::After && interpretation.place.is_none();
    let network = Network::from_parameters(&shape, device, |parameter| {
        if let Some(&value) = filled.get(&parameter.name) {
            return Ok::<_, CheckpointError>(vec![value; parameter.shape.iter().product()]);
        }
        let tensor = names.get(&parameter.name).and_then(|name| there.get(name));
        let original = tensor.map_or(parameter.name.as_str(), |tensor| tensor.original.as_str());
        let values = singles(path, &file, original, parameter)?;
        if parameter.role == Role::RunningVariance {
            not_negative(path, original, &values)?;
        }
        if parameter.role == Role::RunningMean && after && values.iter().any(|&mean| mean < 0.0) {
            reading.negative_mean.get_or_insert_with(|| original.to_owned());
        }
        Ok(values)
    })?;
    Ok((network, reading))
}

/// A tensor of the file.
struct There {
    /// What the file calls it.
    original: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

/// The file's tensors by the names that they have without wrappers, and renamed.
fn there(file: &SafeTensors<'_>, rename: &[String]) -> Result<BTreeMap<String, There>, String> {
    let counts = |name: &str| name.rsplit('.').next() == Some(IGNORED);
    let mut names: Vec<(String, String)> = file
        .names()
        .into_iter()
        .filter(|name| !counts(name))
        .map(|name| (name.to_owned(), name.to_owned()))
        .collect();
    // They stand on the screen.
    if let Some((name, _)) = names.iter().find(|(name, _)| shown(name) != *name) {
        return Err(format!("no tensor is called `{}`", shown(name)));
    }
    while let Some(wrapper) = WRAPPERS
        .iter()
        .find(|wrapper| !names.is_empty() && names.iter().all(|(name, _)| name.starts_with(**wrapper)))
    {
        for (name, _) in &mut names {
            *name = name.split_off(wrapper.len());
        }
    }
    for assignment in rename {
        let (old, new) = assignment
            .split_once('=')
            .filter(|(old, new)| !old.is_empty() && !new.is_empty())
            .ok_or_else(|| format!("{assignment:?} renames nothing: expected OLD=NEW"))?;
        let renamed = |name: &str| {
            let rest = name.strip_prefix(old).filter(|rest| rest.is_empty() || rest.starts_with('.'))?;
            Some(format!("{new}{rest}"))
        };
        let mut found = false;
        for (name, original) in &mut names {
            if let Some(other) = renamed(name).or_else(|| renamed(original)) {
                (*name, found) = (other, true);
            }
        }
        if !found {
            return Err(format!("it has no tensor `{old}`, and none whose name begins with `{old}.`"));
        }
    }
    let mut there = BTreeMap::new();
    for (name, original) in names {
        let tensor = file.tensor(&original).map_err(|error| error.to_string())?;
        let entry = There { original, dtype: tensor.dtype(), shape: tensor.shape().to_vec() };
        if there.insert(name.clone(), entry).is_some() {
            return Err(format!("two of its tensors are renamed to `{name}`"));
        }
    }
    Ok(there)
}

fn has_kappas_names(there: &BTreeMap<String, There>) -> bool {
    let has = |name: &str| there.contains_key(name);
    has("output.weight") && (has("hidden.weight") || has("hidden.0.weight"))
}

/// Adds to `tensors` what networks may lack, and returns what each that was added is full of.
fn fill(tensors: &mut Tensors) -> BTreeMap<String, f32> {
    let normalised: BTreeSet<String> = tensors
        .keys()
        .filter_map(|name| Some(name.rsplit_once('.')?.0.to_owned()))
        .filter(|layer| layer.starts_with("norm"))
        .collect();
    let units: Vec<(String, usize)> = tensors
        .iter()
        .filter_map(|(name, (_, shape))| match (name.strip_suffix(".weight")?, shape.as_slice()) {
            (layer, &[units, _]) => Some((layer.to_owned(), units)),
            _ => None,
        })
        .collect();
    let mut filled = BTreeMap::new();
    // Half a pair is a mistake, and told as one.
    let mut fill = |layer: &str, units: usize, members: &[(&str, f32)]| {
        let names: Vec<String> = members.iter().map(|(member, _)| format!("{layer}.{member}")).collect();
        if names.iter().any(|name| tensors.contains_key(name)) {
            return;
        }
        for (name, &(_, value)) in names.into_iter().zip(members) {
            tensors.insert(name.clone(), (Dtype::F32, vec![units]));
            filled.insert(name, value);
        }
    };
    for (layer, units) in units {
        fill(&layer, units, &[("bias", 0.0)]);
        let norm = layer.strip_prefix("hidden").map(|number| format!("norm{number}"));
        if let Some(norm) = norm.filter(|norm| normalised.contains(norm)) {
            fill(&norm, units, &[("weight", 1.0), ("bias", 0.0)]);
            fill(&norm, units, &[("running_mean", 0.0), ("running_var", 1.0)]);
        }
    }
    filled
}

/// `name [shape]` of each, or of the first ones.
fn listed(there: &BTreeMap<String, There>) -> String {
    let each = there.iter().take(LISTED).map(|(name, tensor)| format!("{name} {:?}", tensor.shape));
    let mut all: Vec<String> = each.collect();
    if there.len() > LISTED {
        all.push(format!("and {} more", there.len() - LISTED));
    }
    all.join(", ")
}
