//! Files that are parts of one array: `part-*.npy`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::error::LayerError;

/// The files that `path` names: itself, or, if its last name has a `*` and is no file's own, those that
/// match, in the order of the numbers that stand there.
pub(super) fn files_of(path: &Path) -> Result<Option<Vec<PathBuf>>, LayerError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*').filter(|_| !path.exists()) else { return Ok(None) };
    let pattern = path.display().to_string();
    let wrong = |problem: String| LayerError::Parts { pattern: pattern.clone(), problem };
    if after.contains('*') {
        return Err(wrong("has more than one `*`".to_owned()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unreadable = |source| LayerError::Unreadable { file: folder.display().to_string(), source };
    let (mut found, mut total): (Vec<(u64, String)>, Option<u64>) = (Vec::new(), None);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let between = file.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let Some(between) = between else { continue };
        let number = number_in(between).ok_or_else(|| {
            wrong(format!("matches {file}, which has no number in the place of `*` to tell the order by"))
        })?;
        total = between.split("-of-").nth(1).and_then(number_in).or(total);
        found.push((number, file));
    }
    found.sort();
    if found.is_empty() {
        return Err(wrong("matches no file".to_owned()));
    }
    for pair in found.windows(2) {
        let [(number, file), (next, other)] = pair else { continue };
        if number == next {
            return Err(wrong(format!("matches {file} and {other}, which have one number")));
        }
        if number + 1 != *next {
            return Err(wrong(format!(
                "matches {file} and {other}, and nothing numbered {} between",
                number + 1
            )));
        }
    }
    if let Some(total) = total.filter(|total| *total != found.len() as u64) {
        return Err(wrong(format!("matches {} of {total} parts, by their names", found.len())));
    }
    Ok(Some(found.into_iter().map(|(_, file)| path.with_file_name(file)).collect()))
}

/// The first number in a text: 7 of "0007-of-0100".
fn number_in(text: &str) -> Option<u64> {
    let digits = text.trim_start_matches(|sign: char| !sign.is_ascii_digit());
    let end = digits.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], pattern: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let files = files_of(&folder.path().join(pattern)).map_err(|error| error.to_string())?;
        let names = files.unwrap_or_default().into_iter();
        Ok(names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn parts_come_in_the_order_of_their_numbers() {
        let names = ["g-2.npy", "g-10.npy", "g-9.npy", "g-3.npy", "g-8.npy", "g-4.npy", "g-7.npy", "g-5.npy"];
        let all = [&names[..], &["g-6.npy", "z-1.npy", "g-1.npz"]].concat();
        let expected: Vec<String> = (2..=10).map(|n| format!("g-{n}.npy")).collect();
        assert_eq!(found(&all, "g-*.npy").unwrap(), expected);
        let of = found(&["g-0001-of-2.npy", "g-0002-of-2.npy"], "g-*.npy").unwrap();
        assert_eq!(of, ["g-0001-of-2.npy", "g-0002-of-2.npy"]);
        assert_eq!(found(&["g-*.npy", "g-1.npy"], "g-*.npy").unwrap(), [""; 0]);
        assert_eq!(found(&["g.npy"], "g.npy").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_no_row_of_parts_is_told() {
        for (names, pattern, told) in [
            (&["g-1.npy", "g-3.npy"][..], "g-*.npy", "nothing numbered 2 between"),
            (&["g-1.npy", "g-01.npy"], "g-*.npy", "which have one number"),
            (&["g-1.npy", "g-last.npy"], "g-*.npy", "no number in the place of `*`"),
            (&["g-1.npy"], "h-*.npy", "matches no file"),
            (&["g-1-of-3.npy", "g-2-of-3.npy"], "g-*.npy", "2 of 3 parts"),
            (&["g-1.npy"], "*-*.npy", "more than one `*`"),
        ] {
            let message = found(names, pattern).unwrap_err();
            assert!(message.contains(told), "{message}");
        }
    }
}
