//! The keys that a configuration has, and which of them is meant by one that it has not.

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

/// A configuration of either kind.
pub(super) trait Configuration: Serialize + DeserializeOwned {
    /// One in TOML that names all keys that have no default, each on a line by its whole path.
    fn shortest() -> String;

    /// All keys, by their whole paths: "training.adam.learning_rate".
    fn keys() -> Vec<String> {
        let shortest = toml::from_str::<Self>(&Self::shortest()).ok();
        let table = shortest.and_then(|shortest| Table::try_from(&shortest).ok()).unwrap_or_default();
        paths(&table).into_iter().chain(Self::others().iter().map(ToString::to_string)).collect()
    }

    /// Keys that the shortest one has not, of a table that stands in the place of another.
    fn others() -> &'static [&'static str] {
        &[]
    }
}

/// A key that a configuration does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// As it was written.
    pub key: String,
    /// The keys that there are and that end so: "network.hidden" for "hidden".
    pub known_as: Vec<String>,
}

/// The paths of all values of a table.
fn paths(table: &Table) -> Vec<String> {
    let of_entry = |(key, value): (&String, &Value)| match value {
        Value::Table(inner) => paths(inner).into_iter().map(|path| format!("{key}.{path}")).collect(),
        _ => vec![key.clone()],
    };
    table.iter().flat_map(of_entry).collect()
}

/// Those of `keys` that `key` ends like, or else those whose last part is its last part.
pub(super) fn known_as(key: &str, keys: &[String]) -> Vec<String> {
    let ending = |end: &str| -> Vec<String> {
        let ends = |known: &&String| known.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
        keys.iter().filter(ends).cloned().collect()
    };
    let last = key.rsplit('.').next().unwrap_or(key);
    Some(ending(key)).filter(|found| !found.is_empty()).unwrap_or_else(|| ending(last))
}

/// The keys of `table` that a configuration of this kind does not have, where one that it has
/// may be meant.
pub(super) fn unknown_keys<T: Configuration>(table: &Table) -> Vec<UnknownKey> {
    let keys = T::keys();
    let is_known = |path: &String| {
        // What is below a key that is a whole table or a list is not looked into.
        keys.iter().any(|key| key == path || path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    };
    let unknown = paths(table).into_iter().filter(|path| !is_known(path));
    let described = unknown.map(|key| UnknownKey { known_as: known_as(&key, &keys), key });
    described.filter(|unknown| !unknown.known_as.is_empty()).collect()
}
