//! A .safetensors file that holds a last layer's arrays by name.

use safetensors::{
    SafeTensorError, SafeTensors,
    tensor::{Dtype, TensorView},
};

use super::{
    array::{Array, Kind, Layout, Place, Role},
    error::LayerError,
};

/// The tensors of one file, each of them one that has a meaning here.
pub(super) struct Bundle<'a> {
    file: &'a str,
    tensors: SafeTensors<'a>,
}

impl<'a> Bundle<'a> {
    /// Checks the header of `bytes` (`file` is their name in messages).
    pub fn new(file: &'a str, bytes: &'a [u8]) -> Result<Self, LayerError> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| LayerError::Malformed {
            file: file.to_owned(),
            problem: match error {
                SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
                    "it ends inside its header: save it again".to_owned()
                }
                SafeTensorError::MetadataIncompleteBuffer => format!(
                    "it has {} bytes, and its header promises another number: save it again",
                    bytes.len()
                ),
                error => format!("it is not a .safetensors file ({error})"),
            },
        })?;
        let mut names = tensors.names();
        names.sort_unstable();
        // A misspelt `label` would otherwise be a file without labels.
        if let Some(stranger) = names.iter().find(|name| !Role::ALL.iter().any(|role| role.name() == **name))
        {
            let problem = format!("holds a tensor `{stranger}`, which is to be left out");
            return Err(LayerError::Tensors { file: file.to_owned(), problem });
        }
        if !names.contains(&Role::Features.name()) {
            let problem = "holds no tensor `features`".to_owned();
            return Err(LayerError::Tensors { file: file.to_owned(), problem });
        }
        Ok(Self { file, tensors })
    }

    pub fn has(&self, role: Role) -> bool {
        self.tensors.names().contains(&role.name())
    }

    /// The tensor for `role`, if there is one.
    pub fn array(&self, role: Role) -> Result<Option<Array<'a>>, LayerError> {
        let place = Place { role, file: self.file.to_owned() };
        match self.tensors.tensor(role.name()) {
            Ok(tensor) => of_tensor(place, &tensor).map(Some),
            Err(_) => Ok(None),
        }
    }
}

fn of_tensor<'a>(place: Place, tensor: &TensorView<'a>) -> Result<Array<'a>, LayerError> {
    let kind = match tensor.dtype() {
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        Dtype::I8 => Kind::I8,
        Dtype::I16 => Kind::I16,
        Dtype::I32 => Kind::I32,
        Dtype::I64 => Kind::I64,
        Dtype::U8 => Kind::U8,
        Dtype::U16 => Kind::U16,
        Dtype::U32 => Kind::U32,
        Dtype::U64 => Kind::U64,
        other => return Err(place.element_type(other.to_string())),
    };
    Array::new(place, tensor.shape().to_vec(), kind, Layout::default(), tensor.data())
}
