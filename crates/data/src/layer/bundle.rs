//! One file of all arrays, each by its name.

use std::path::Path;

use super::{
    array::{Array, Place, Role},
    error::LayerError,
    memory::Budget,
    npz::Archive,
    source::Source,
    tensors::Tensors,
};

/// A file of arrays, each of them one that has a meaning here.
#[derive(Debug)]
pub(super) struct Bundle {
    file: String,
    names: Vec<String>,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Safetensors(Tensors),
    Npz(Archive),
}

impl Bundle {
    /// Whether a file is one of several arrays, by its name's end.
    pub fn is_one(path: &Path) -> bool {
        is_named(path, "safetensors") || is_named(path, "npz")
    }

    /// Reads what `source`, the file at `path`, says of its arrays.
    pub fn open(path: &Path, source: &Source) -> Result<Self, LayerError> {
        let (format, names) = if is_named(path, "npz") {
            let archive = Archive::open(source)?;
            let names = archive.names();
            (Format::Npz(archive), names)
        } else {
            let tensors = Tensors::open(source)?;
            let names = tensors.names();
            (Format::Safetensors(tensors), names)
        };
        let file = source.name().to_owned();
        let what = match format {
            Format::Safetensors(_) => "a tensor",
            Format::Npz(_) => "an array",
        };
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort_unstable();
        // A misspelt `label` would otherwise be a file without labels.
        if let Some(stranger) = sorted.iter().find(|name| !Role::ALL.iter().any(|role| role.name() == **name))
        {
            let problem = format!("holds {what} `{stranger}`, which is to be left out");
            return Err(LayerError::Tensors { file, problem });
        }
        if !names.iter().any(|name| name == Role::Features.name()) {
            return Err(LayerError::Tensors { file, problem: "holds no `features`".to_owned() });
        }
        Ok(Self { file, names, format })
    }

    pub fn has(&self, role: Role) -> bool {
        self.names.iter().any(|name| name == role.name())
    }

    /// The array for `role`, if there is one.
    pub fn array(&self, role: Role, budget: &mut Budget) -> Result<Option<Array>, LayerError> {
        let place = Place::new(role, self.file.clone());
        match &self.format {
            Format::Safetensors(tensors) => tensors.array(place),
            Format::Npz(archive) => archive.array(place, budget),
        }
    }
}

fn is_named(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(end))
}
