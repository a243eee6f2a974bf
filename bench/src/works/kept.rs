//! What a work needs in memory, kept from one request to the next.

use std::any::Any;

/// Holds one thing at a time: what another work left would count in the memory of this
/// one. What it is told apart by is its type and a key.
#[derive(Default)]
pub struct Kept(Option<Box<dyn Any>>);

impl Kept {
    /// Gives `work` what is kept under `key`, or what `load` makes of it. After an error or
    /// a panic nothing is kept, since nobody knows in what state it was left.
    pub fn with<K: PartialEq + 'static, T: 'static, R, E>(
        &mut self,
        key: K,
        load: impl FnOnce() -> Result<T, E>,
        work: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let kept = self.0.take().and_then(|kept| kept.downcast::<(K, T)>().ok());
        // What is of another key is dropped here, before there is something new.
        let mut kept = match kept.filter(|kept| kept.0 == key) {
            Some(kept) => kept,
            None => Box::new((key, load()?)),
        };
        let result = work(&mut kept.1)?;
        self.0 = Some(kept);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_or_was_lost_is_loaded() {
        let mut kept = Kept::default();
        let mut loads = 0;
        let mut ask = |key: &'static str, outcome: Result<(), ()>| {
            let load = || {
                loads += 1;
                Ok(0)
            };
            kept.with(key, load, |uses: &mut u32| {
                *uses += 1;
                outcome.map(|()| *uses)
            })
        };
        assert_eq!([ask("a", Ok(())), ask("a", Ok(()))], [Ok(1), Ok(2)]);
        assert_eq!([ask("b", Ok(())), ask("a", Ok(()))], [Ok(1), Ok(1)]);
        assert_eq!([ask("a", Err(())), ask("a", Ok(()))], [Err(()), Ok(1)]);
        assert_eq!(loads, 4);
        // The same key of another type is something else.
        assert_eq!(kept.with("a", || Ok::<_, ()>(7u64), |seven| Ok(*seven)), Ok(7));
    }
}
