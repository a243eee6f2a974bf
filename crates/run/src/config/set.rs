//! `--set path.to.key=value`.

use toml::{Table, Value};

use crate::RunError;

/// Sets one value of a table; tables on the way are made where they are missing.
pub(super) fn set(table: &mut Table, assignment: &str) -> Result<(), RunError> {
    let problem = |problem: String| RunError::Set { assignment: assignment.to_owned(), problem };
    let (path, value) = assignment.split_once('=').ok_or_else(|| {
        problem("expected path=value, for example training.adam.learning_rate=1e-3".to_owned())
    })?;
    let keys: Vec<&str> = path.trim().split('.').collect();
    let Some((last, parents)) = keys.split_last().filter(|_| keys.iter().all(|key| !key.is_empty())) else {
        return Err(problem("the path has an empty part".to_owned()));
    };
    let mut table = table;
    for key in parents {
        table = table
            .entry(*key)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| problem(format!("`{key}` is a value, not a section")))?;
    }
    let value = value.trim();
    let parsed = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    table.insert((*last).to_owned(), parsed);
    Ok(())
}
