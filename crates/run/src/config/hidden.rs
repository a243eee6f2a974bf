//! Hidden units of each layer: a number, or a list of them.

use std::fmt;

use serde::{
    Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

/// Units of a layer, at the most.
const MOST: usize = 1 << 16;
/// Layers, at the most.
const LAYERS: usize = 64;

pub(super) fn serialize<S: Serializer>(widths: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
    match widths {
        [width] => width.serialize(serializer),
        widths => widths.serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    deserializer.deserialize_any(Widths)
}

struct Widths;

impl<'de> Visitor<'de> for Widths {
    type Value = Vec<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "1 to {MOST} hidden units, or a list of 1 to {LAYERS} such numbers")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<usize>, E> {
        let width = usize::try_from(value).ok().filter(|width| (1..=MOST).contains(width));
        let width = width
            .ok_or_else(|| E::custom(format!("invalid value: {value}, expected 1 to {MOST} hidden units")))?;
        Ok(vec![width])
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Vec<usize>, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<usize>, A::Error> {
        let mut widths = Vec::new();
        while let Some(value) = sequence.next_element::<i64>()? {
            widths.extend(Self.visit_i64::<A::Error>(value)?);
        }
        match (1..=LAYERS).contains(&widths.len()) {
            true => Ok(widths),
            false => Err(A::Error::custom(format!(
                "invalid length: {}, expected a list of hidden units for 1 to {LAYERS} layers",
                widths.len()
            ))),
        }
    }
}
