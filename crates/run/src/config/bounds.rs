//! What a configuration's numbers and names may be; for serde's `deserialize_with`,
//! so that toml tells the line of one that is out of bounds.

use serde::{Deserialize, Deserializer, de::Error as _};

/// A number that `allowed` accepts, or an error that says `what` is expected.
fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    allowed: impl Fn(f64) -> bool,
) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value.is_finite() && allowed(value) {
        Ok(value)
    } else {
        Err(D::Error::custom(format!("invalid value: {value}, expected {what}")))
    }
}

/// Learning rates and epsilons: beyond 1000 there is a typing error, not an experiment.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number above 0, 1000 at most", |value| value > 0.0 && value <= 1e3)
}

pub(super) fn non_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number from 0 to 1000", |value| (0.0..=1e3).contains(&value))
}

pub(super) fn decay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "a number from 0, below 1", |value| (0.0..1.0).contains(&value))
}

pub(super) fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.') {
        Ok(name)
    } else {
        Err(D::Error::custom(format!(
            "invalid name: {name:?}, expected 1 to 64 letters, digits, `-`, `_` or `.`, not beginning with `.`"
        )))
    }
}

/// What stands in tables, legends and, after some changes, in the names of run directories.
pub(super) fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || " +-_.,()=/".contains(c);
    if name.len() <= 40 && name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Ok(name)
    } else {
        Err(D::Error::custom(format!(
            "invalid name: {name:?}, expected 1 to 40 letters, digits, spaces or signs of `+-_.,()=/`, beginning \
             with a letter or digit"
        )))
    }
}

/// At least one learning rate.
pub(super) fn positives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    at_least_one(positives_or_none(deserializer)?)
}

/// At least one L2 parameter.
pub(super) fn non_negatives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    at_least_one(non_negatives_or_none(deserializer)?)
}

/// Learning rates.
pub(super) fn positives_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    numbers(deserializer, "numbers above 0, 1000 at most", |value| value > 0.0 && value <= 1e3)
}

/// L2 parameters.
pub(super) fn non_negatives_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<f64>, D::Error> {
    numbers(deserializer, "numbers from 0 to 1000", |value| (0.0..=1e3).contains(&value))
}

fn at_least_one<E: serde::de::Error>(values: Vec<f64>) -> Result<Vec<f64>, E> {
    if values.is_empty() { Err(E::custom("expected at least one number")) } else { Ok(values) }
}

fn numbers<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    allowed: impl Fn(f64) -> bool,
) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<f64>::deserialize(deserializer)?;
    match values.iter().find(|&&value| !(value.is_finite() && allowed(value))) {
        None => Ok(values),
        Some(value) => Err(D::Error::custom(format!("invalid value: {value}, expected {what}"))),
    }
}
