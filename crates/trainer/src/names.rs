//! Which tensors of a checkpoint are which of kappa's, whatever their names.
//!
//! A prefix whose `weight` is a matrix is a linear layer; one whose tensors are all vectors of one
//! length, `weight` and `bias`, `running_mean` and `running_var`, or all four, is batch norm.
//!
//! Linear layers are put into the order in which each takes what the one before gives. Where
//! shapes leave several orders, names that differ in their numbers only are taken in the order of
//! these numbers (`fc2` before `fc10`); what is open even then is not guessed. The order inside the
//! file says nothing: safetensors' writers sort by type and name.

use std::collections::{BTreeMap, BTreeSet};

use kappa_model::Place;

/// Layers of a network that anybody brings, at the most: the search for their order is bounded.
const MOST_LAYERS: usize = 64;
/// Steps of that search, at the most.
const MOST_STEPS: usize = 2_000;

/// What the tensors of a file are.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// By kappa's name the file's.
    pub names: BTreeMap<String, String>,
    /// What was read as what, a line a layer.
    pub lines: Vec<String>,
    /// Where batch norm stands, if the numbers of an `nn.Sequential` tell it.
    pub place: Option<Place>,
}

/// A name without its numbers, and the numbers, each by its length and digits.
type Key = (String, Vec<Number>);
/// A number of any length: how many digits, and which.
type Number = (usize, String);

struct Linear {
    prefix: String,
    key: Key,
    outputs: usize,
    inputs: usize,
    members: BTreeSet<String>,
}

struct Norm {
    prefix: String,
    key: Key,
    units: usize,
    members: BTreeSet<String>,
}

/// Finds out what `tensors`, by name and shape, are; or says why that is open.
pub(crate) fn matched(tensors: &BTreeMap<String, Vec<usize>>) -> Result<Matched, String> {
    let (linears, norms) = layers(tensors)?;
    let order = order(&linears)?;
    let chain: Vec<&Linear> = order.iter().filter_map(|&index| linears.get(index)).collect();
    let Some((output, hidden)) = chain.split_last() else {
        return Err("it has no linear layer".to_owned());
    };
    let norms = beside(hidden, &norms)?;
    let mut matched = Matched { place: place(&chain, &norms), ..Matched::default() };
    let number = |index: usize| if hidden.len() > 1 { format!(".{index}") } else { String::new() };
    for (index, linear) in hidden.iter().enumerate() {
        matched.linear(linear, &format!("hidden{}", number(index)));
        if let Some(norm) = norms.get(index) {
            matched.norm(norm, &format!("norm{}", number(index)));
        }
    }
    matched.linear(output, "output");
    Ok(matched)
}

impl Matched {
    fn linear(&mut self, linear: &Linear, name: &str) {
        let bias = if linear.members.contains("bias") { "" } else { ", without a bias" };
        let &Linear { ref prefix, outputs, inputs, .. } = linear;
        self.lines.push(format!("`{prefix}` [{outputs}, {inputs}] as `{name}`{bias}"));
        self.add(prefix, &linear.members, name);
    }

    fn norm(&mut self, norm: &Norm, name: &str) {
        let missing = match (norm.members.contains("weight"), norm.members.contains("running_var")) {
            (true, true) => "",
            (false, _) => ", without gain and shift",
            (true, false) => ", without running statistics",
        };
        let &Norm { ref prefix, units, .. } = norm;
        self.lines.push(format!("`{prefix}` [{units}] as `{name}`, batch norm{missing}"));
        self.add(prefix, &norm.members, name);
    }

    fn add(&mut self, prefix: &str, members: &BTreeSet<String>, name: &str) {
        for member in members {
            let there = if prefix.is_empty() { member.clone() } else { format!("{prefix}.{member}") };
            self.names.insert(format!("{name}.{member}"), there);
        }
    }
}

/// The linear layers and the normalisations that the tensors make up.
fn layers(tensors: &BTreeMap<String, Vec<usize>>) -> Result<(Vec<Linear>, Vec<Norm>), String> {
    let mut groups: BTreeMap<&str, BTreeMap<&str, &[usize]>> = BTreeMap::new();
    for (name, shape) in tensors {
        let (prefix, member) = name.rsplit_once('.').unwrap_or(("", name));
        if !matches!(member, "weight" | "bias" | "running_mean" | "running_var") {
            return Err(format!("`{name}` is no weight, bias or running statistics of a layer"));
        }
        groups.entry(prefix).or_default().insert(member, shape);
    }
    let (mut linears, mut norms) = (Vec::new(), Vec::new());
    for (prefix, group) in groups {
        let members: BTreeSet<String> = group.keys().map(ToString::to_string).collect();
        let (prefix, key) = (prefix.to_owned(), key(prefix));
        let has = |member: &str| group.contains_key(member);
        let mut shapes = group.values();
        match (group.get("weight"), shapes.next()) {
            (Some(&&[outputs @ (1..), inputs @ (1..)]), _) => {
                if has("running_mean") || has("running_var") {
                    return Err(format!("`{prefix}` has a matrix and running statistics"));
                }
                if let Some(bias) = group.get("bias").filter(|bias| ***bias != [outputs]) {
                    return Err(format!("`{prefix}.bias` has shape {bias:?}, expected [{outputs}]"));
                }
                linears.push(Linear { prefix, key, outputs, inputs, members });
            }
            (_, Some(&&[units @ (1..)]))
                if shapes.all(|shape| **shape == [units])
                    && has("weight") == has("bias")
                    && has("running_mean") == has("running_var") =>
            {
                norms.push(Norm { prefix, key, units, members });
            }
            _ => {
                let of = |(member, shape): (&&str, &&[usize])| format!("{member} {shape:?}");
                let all: Vec<String> = group.iter().map(of).collect();
                return Err(format!("`{prefix}` ({}) is no linear layer and no batch norm", all.join(", ")));
            }
        }
    }
    match linears.len() {
        0 | 1 => Err(format!("it has {} linear layers, and a network has two at the least", linears.len())),
        2..=MOST_LAYERS => Ok((linears, norms)),
        more => Err(format!("it has {more} linear layers, and {MOST_LAYERS} are read at the most")),
    }
}

/// The order of the layers, by their places in `linears`.
fn order(linears: &[Linear]) -> Result<Vec<usize>, String> {
    let by_shapes = Search::new(linears, false).run();
    if let Some([]) = by_shapes.as_deref() {
        return Err("its linear layers do not fit together, each taking what the one before gives".to_owned());
    }
    let found = match by_shapes {
        Some(orders) if orders.len() == 1 => Some(orders),
        _ => Search::new(linears, true).run().filter(|orders| orders.len() == 1),
    };
    found
        .and_then(|mut orders| orders.pop())
        .ok_or_else(|| "shapes and names do not tell the order of its linear layers".to_owned())
}

/// A search for the orders in which each layer takes what the one before gives.
struct Search<'a> {
    linears: &'a [Linear],
    /// Whether names that differ in numbers keep the order of these.
    by_names: bool,
    path: Vec<usize>,
    /// Two are as good as many.
    found: Vec<Vec<usize>>,
    steps: usize,
}

impl<'a> Search<'a> {
    fn new(linears: &'a [Linear], by_names: bool) -> Self {
        Self { linears, by_names, path: Vec::new(), found: Vec::new(), steps: 0 }
    }

    /// The orders, two at the most; none if that took too long.
    fn run(mut self) -> Option<Vec<Vec<usize>>> {
        self.go_on();
        (self.steps < MOST_STEPS).then_some(self.found)
    }

    fn go_on(&mut self) {
        self.steps += 1;
        if self.found.len() > 1 || self.steps >= MOST_STEPS {
            return;
        }
        if self.path.len() == self.linears.len() {
            self.found.push(self.path.clone());
            return;
        }
        let last = self.path.last().and_then(|&last| self.linears.get(last));
        let left = |index: &usize| !self.path.contains(index);
        let fits = |index: &usize| {
            let Some(next) = self.linears.get(*index) else { return false };
            last.is_none_or(|last| last.outputs == next.inputs)
                && !(self.by_names
                    && self.linears.iter().enumerate().any(|(other, linear)| {
                        left(&other) && linear.key.0 == next.key.0 && linear.key.1 < next.key.1
                    }))
        };
        let nexts: Vec<usize> = (0..self.linears.len()).filter(|index| left(index) && fits(index)).collect();
        for next in nexts {
            self.path.push(next);
            self.go_on();
            self.path.pop();
        }
    }
}

/// The normalisation of each hidden layer; none at all, or one each.
fn beside<'a>(hidden: &[&Linear], norms: &'a [Norm]) -> Result<Vec<&'a Norm>, String> {
    if norms.is_empty() {
        return Ok(Vec::new());
    }
    if norms.len() != hidden.len() {
        return Err(format!(
            "it has {} normalisations and {} hidden layers, and either each has one or none",
            norms.len(),
            hidden.len()
        ));
    }
    // Those of each width, in the order of their numbers.
    let mut left: BTreeMap<usize, Vec<&Norm>> = BTreeMap::new();
    for norm in norms {
        left.entry(norm.units).or_default().push(norm);
    }
    for same in left.values_mut() {
        let alike = same.windows(2).all(|pair| matches!(pair, [a, b] if a.key.0 == b.key.0));
        if !alike {
            return Err("shapes and names do not tell which normalisation is of which layer".to_owned());
        }
        same.sort_by(|a, b| b.key.cmp(&a.key));
    }
    hidden
        .iter()
        .map(|linear| {
            left.get_mut(&linear.outputs).and_then(Vec::pop).ok_or_else(|| {
                format!("it has no normalisation of the {} units of `{}`", linear.outputs, linear.prefix)
            })
        })
        .collect()
}

/// Where batch norm stands, if layers are numbered in the order in which they are computed, as in
/// an `nn.Sequential`, and a ReLU, which has no tensor, has room on one side of it only.
fn place(chain: &[&Linear], norms: &[&Norm]) -> Option<Place> {
    let mut places = chain.windows(2).zip(norms).map(|(pair, norm)| match pair {
        [before, after] => {
            let [before, norm, after] = [&before.key, &norm.key, &after.key].map(last_number);
            let ((stem, before), (norms, norm), (next, after)) = (before?, norm?, after?);
            let (to_norm, from_norm) = (norm.checked_sub(before)?, after.checked_sub(norm)?);
            match (stem == norms && norms == next, to_norm, from_norm) {
                (true, 1, 2..) => Some(Place::Before),
                (true, 2.., 1) => Some(Place::After),
                _ => None,
            }
        }
        _ => None,
    });
    let first = places.next()??;
    places.all(|place| place == Some(first)).then_some(first)
}

/// A name's last number, if it ends with it, and what stands before it.
fn last_number((stem, numbers): &Key) -> Option<((&str, &[Number]), u64)> {
    let (last, before) = numbers.split_last()?;
    stem.ends_with('#').then_some(((stem.as_str(), before), last.1.parse().ok()?))
}

/// The name with each number as `#`, and the numbers.
fn key(name: &str) -> Key {
    let (mut stem, mut numbers) = (String::new(), Vec::new());
    let mut rest = name;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let (digits, after) = from.split_at(from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len()));
        stem.push_str(before);
        stem.push('#');
        let digits = digits.trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        numbers.push((digits.len(), digits.to_owned()));
        rest = after;
    }
    stem.push_str(rest);
    (stem, numbers)
}
