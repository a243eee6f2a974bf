//! The Hessians of more than the last layer that a study takes, row by row.

use std::time::Instant;

use burn::module::Module;
use kappa_probe::network_row;
use kappa_run::{RunDir, RunWhole};
use kappa_trainer::{TrainError, load_checkpoint, training_images};

use super::{Runner, StudyError, WHOLE_WORK};
use crate::plan::Point;

impl Runner<'_> {
    /// How many Hessians of more than the last layer are still to be taken of `point`.
    pub(super) fn whole_left(&self, point: Point) -> usize {
        let Some(whole) = &self.study.whole else { return 0 };
        let points = whole.points(&self.arms.config(point));
        let run = RunDir::open(&self.directory.runs().join(self.arms.name(point)));
        let found = run.ok().and_then(|run| run.whole().ok().flatten());
        let done = found.filter(|found| found.is_begun(&points)).map_or(0, |found| found.rows.len());
        points.len() - done
    }

    /// Takes the Hessians of more than the last layer of the run of `point`, those that are not there
    /// yet, each written when it is there.
    pub(crate) fn take_whole(&mut self, point: Point) -> Result<(), StudyError> {
        let Some(whole) = &self.study.whole else { return Ok(()) };
        let (name, config, device) = (self.arms.name(point), self.arms.config(point), &self.machine.device);
        let points = whole.points(&config);
        let run = self.directory.run(&name)?;
        let none = RunWhole::new(whole, config.data.train.get());
        let mut found = run.whole()?.filter(|found| found.is_begun(&points)).unwrap_or(none);
        if !found.is_whole(&points) {
            let _lock = run.lock()?;
            let split = training_images(self.set, &config, found.samples, device)?;
            let mut network = None;
            for point in points.iter().skip(found.rows.len()) {
                let (start, epoch) = (Instant::now(), point.epoch);
                let of_epoch = match network.take() {
                    Some((of, network)) if of == epoch => network,
                    _ => load_checkpoint(&run.checkpoint_path(epoch), device)?.valid(),
                };
                let row = network_row(&of_epoch, &split, &config, point, found.precision, &())
                    .map_err(|source| StudyError::Probe { run: run.path().to_owned(), epoch, source })?;
                found.rows.extend(row);
                found.seconds += start.elapsed().as_secs_f64();
                run.write_whole(&found)?;
                network = Some((epoch, of_epoch));
                self.observer.worked(WHOLE_WORK);
                if self.observer.go_on().is_break() {
                    return Err(TrainError::Stopped.into());
                }
            }
        }
        self.checked.add_whole(&name, &found);
        Ok(())
    }
}
