//! A batch size: a number, or "full".

use std::{fmt, num::NonZeroUsize};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Samples a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// The whole training split, so one step an epoch.
    Full,
    /// That many; the last batch of an epoch may be smaller.
    Samples(NonZeroUsize),
}

impl Serialize for BatchSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Full => serializer.serialize_str("full"),
            Self::Samples(samples) => samples.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BatchSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = BatchSize;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a batch size: a positive whole number, or \"full\"")
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<BatchSize, E> {
                (value == "full")
                    .then_some(BatchSize::Full)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(value), &self))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<BatchSize, E> {
                usize::try_from(value)
                    .ok()
                    .and_then(NonZeroUsize::new)
                    .map(BatchSize::Samples)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<BatchSize, E> {
                u64::try_from(value)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
                    .and_then(|value| self.visit_u64(value))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
