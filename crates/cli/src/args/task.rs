//! `--task`: which part of a stage, as it is typed or as a batch system says it.

use std::{env, str::FromStr};

use kappa_study::Task;

/// `I/N`, `/N`, or nothing: what is left out comes from the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskArgument {
    index: Option<usize>,
    count: Option<usize>,
}

impl FromStr for TaskArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { index: None, count: None });
        }
        let number = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<usize>().map(Some).map_err(|_| format!("`{text}` is no whole number")),
        };
        let (index, count) = text.split_once('/').ok_or("a task is I/N, 2/8 say, the second of eight")?;
        let task = Self { index: number(index)?, count: number(count)? };
        match (task.index, task.count) {
            (_, None | Some(0)) => Err("there is one task at the least: I/N, 2/8 say".to_owned()),
            (Some(index), Some(count)) if index == 0 || index > count => {
                Err(format!("of {count} tasks there is no task {index}: they are 1 to {count}"))
            }
            _ => Ok(task),
        }
    }
}

impl TaskArgument {
    /// The task, by what was typed and by what the batch system says of this process.
    ///
    /// # Errors
    ///
    /// What is missing, or does not fit.
    pub fn task(self) -> Result<Task, String> {
        self.with(|name| env::var(name).ok()?.parse().ok())
    }

    fn with(self, told: impl Fn(&str) -> Option<usize>) -> Result<Task, String> {
        // Slurm's arrays may begin anywhere and go by steps.
        let slurm = || {
            let (id, first) = (told("SLURM_ARRAY_TASK_ID")?, told("SLURM_ARRAY_TASK_MIN").unwrap_or(1));
            let step = told("SLURM_ARRAY_TASK_STEP").filter(|step| *step > 0).unwrap_or(1);
            Some(id.checked_sub(first)? / step + 1)
        };
        // PBS Pro's, Torque's and Grid Engine's arrays are counted from where the script says, 1 by its page; Kubernetes
        // counts from 0.
        let pbs = || ["PBS_ARRAY_INDEX", "PBS_ARRAYID", "SGE_TASK_ID"].into_iter().find_map(&told);
        let kubernetes = || Some(told("JOB_COMPLETION_INDEX")? + 1);
        let index = self.index.or_else(slurm).or_else(pbs).or_else(kubernetes);
        let count = self.count.or_else(|| told("SLURM_ARRAY_TASK_COUNT"));
        match (index, count) {
            (Some(index), Some(count)) if index > 0 && index <= count => Ok(Task { index, count }),
            (Some(index), Some(count)) => Err(format!("of {count} tasks there is no task {index}")),
            (None, _) => Err("no batch system says which task this is: --task I/N, 2/8 say".to_owned()),
            (_, None) => Err("no batch system says how many tasks there are: --task /N, /8 say".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str, told: &[(&str, usize)]) -> Result<(usize, usize), String> {
        let found = |name: &str| told.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        text.parse::<TaskArgument>()?.with(found).map(|task| (task.index, task.count))
    }

    #[test]
    fn a_task_is_what_was_typed_and_what_a_batch_system_says() {
        let slurm = [("SLURM_ARRAY_TASK_ID", 7), ("SLURM_ARRAY_TASK_MIN", 5), ("SLURM_ARRAY_TASK_COUNT", 4)];
        assert_eq!(task("", &slurm), Ok((3, 4)));
        assert_eq!(task("/9", &slurm), Ok((3, 9)));
        assert_eq!(task("1/2", &slurm), Ok((1, 2)));
        let stepped = [("SLURM_ARRAY_TASK_ID", 4), ("SLURM_ARRAY_TASK_MIN", 0), ("SLURM_ARRAY_TASK_STEP", 2)];
        assert_eq!(task("/3", &stepped), Ok((3, 3)));
        assert_eq!(task("/4", &[("JOB_COMPLETION_INDEX", 0)]), Ok((1, 4)));
        assert_eq!(task("/4", &[("PBS_ARRAY_INDEX", 2)]), Ok((2, 4)));
    }

    #[test]
    fn what_is_no_task_is_told() {
        for (text, told, said) in [
            ("5/4", &[][..], "of 4 tasks there is no task 5"),
            ("0/4", &[], "they are 1 to 4"),
            ("1/0", &[], "one task at the least"),
            ("3", &[], "a task is I/N"),
            ("x/3", &[], "no whole number"),
            ("", &[], "no batch system says which"),
            ("", &[("JOB_COMPLETION_INDEX", 1)], "how many tasks"),
            ("/2", &[("JOB_COMPLETION_INDEX", 2)], "of 2 tasks there is no task 3"),
        ] {
            let message = task(text, told).unwrap_err();
            assert!(message.contains(said), "{text}: {message}");
        }
    }
}
