//! What stands in a file, beside what follows from what it was made of.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// A value in a file that is not what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the file: "spectrum.top\[0\]".
    pub key: String,
    /// What stands there.
    pub stands: String,
    /// What follows.
    pub follows: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is {}, and {} follows", self.key, self.stands, self.follows)
    }
}

/// Compares two records value by value, as they stand in JSON, leaving out what `apart` says of a
/// key (the last part of its place). Numbers are the same if they are equal, or no farther apart
/// than `rounding` times the larger magnitude, or than `rounding` itself.
///
/// ```
/// use kappa_run::mismatches;
///
/// let found = mismatches(&[1.0, 2.0], &[1.0, 2.5], 0.0, |_| false);
/// assert_eq!(found[0].to_string(), "[1] is 2.0, and 2.5 follows");
/// ```
pub fn mismatches<T: Serialize>(
    stands: &T,
    follows: &T,
    rounding: f64,
    apart: impl Fn(&str) -> bool,
) -> Vec<Mismatch> {
    // What is no JSON, as what is not finite, is `null` in a file too.
    let [stands, follows] = [stands, follows].map(|value| serde_json::to_value(value).unwrap_or(Value::Null));
    let mut walk = Walk { rounding, apart, found: Vec::new() };
    walk.compare(String::new(), &stands, &follows);
    walk.found
}

struct Walk<A> {
    rounding: f64,
    apart: A,
    found: Vec<Mismatch>,
}

impl<A: Fn(&str) -> bool> Walk<A> {
    fn compare(&mut self, key: String, stands: &Value, follows: &Value) {
        match (stands, follows) {
            (Value::Object(there), Value::Object(here)) => {
                let only_here = here.iter().filter(|(name, _)| !there.contains_key(*name));
                for (name, value) in there.iter().chain(only_here) {
                    if (self.apart)(name) {
                        continue;
                    }
                    let place = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    match (there.get(name), here.get(name)) {
                        (Some(there), Some(here)) => self.compare(place, there, here),
                        (Some(_), None) => self.note(place, brief(value), "nothing".to_owned()),
                        _ => self.note(place, "nothing".to_owned(), brief(value)),
                    }
                }
            }
            (Value::Array(there), Value::Array(here)) if there.len() == here.len() => {
                for (index, (there, here)) in there.iter().zip(here).enumerate() {
                    self.compare(format!("{key}[{index}]"), there, here);
                }
            }
            _ if self.is_same(stands, follows) => {}
            _ => self.note(key, brief(stands), brief(follows)),
        }
    }

    fn is_same(&self, stands: &Value, follows: &Value) -> bool {
        match (stands.as_f64(), follows.as_f64()) {
            (Some(there), Some(here)) if stands.is_f64() || follows.is_f64() => {
                there == here || (there - here).abs() <= self.rounding * there.abs().max(here.abs()).max(1.0)
            }
            _ => stands == follows,
        }
    }

    fn note(&mut self, key: String, stands: String, follows: String) {
        self.found.push(Mismatch { key, stands, follows });
    }
}

/// A value, or how much there is of it.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Object(_) => "a record".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(stands: Value, follows: Value, rounding: f64) -> Vec<String> {
        let apart = |key: &str| key == "seconds";
        mismatches(&stands, &follows, rounding, apart).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_differs_is_named_by_its_place() {
        let there = json!({"a": {"top": [3.0, 1.0], "rank": 2, "seconds": 1.0}, "b": null, "word": "holds"});
        assert!(found(there.clone(), there.clone(), 0.0).is_empty());
        let here = json!({"a": {"top": [3.0, 1.5], "rank": 3, "seconds": 9.0}, "b": 1.0, "word": "fails"});
        assert_eq!(
            found(there, here, 0.0),
            [
                "a.rank is 2, and 3 follows",
                "a.top[1] is 1.0, and 1.5 follows",
                "b is nothing, and 1.0 follows",
                "word is \"holds\", and \"fails\" follows",
            ]
        );
        assert_eq!(
            found(json!({"a": [1], "b": 1}), json!({"a": [1, 2], "c": 1}), 0.0),
            [
                "a is a list of 1, and a list of 2 follows",
                "b is 1, and nothing follows",
                "c is nothing, and 1 follows"
            ]
        );
    }

    #[test]
    fn numbers_are_equal_to_the_last_bit_unless_rounding_is_granted() {
        let next = 1.0 + f64::EPSILON;
        assert_eq!(found(json!([1.0]), json!([next]), 0.0).len(), 1);
        assert!(found(json!([1.0]), json!([next]), 1e-15).is_empty());
        assert_eq!(found(json!([1.0]), json!([1.0 + 1e-12]), 1e-15).len(), 1);
        // Counts are never rounded.
        assert_eq!(found(json!([1]), json!([2]), 1.0).len(), 1);
    }
}
