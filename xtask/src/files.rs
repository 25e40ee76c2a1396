//! Files of the repository, with the parts that are written replaced.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files that were edited, by their paths from the root of the repository.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<&'static str, Edited>);

struct Edited {
    before: String,
    after: String,
}

impl Files {
    /// Replaces the lines between the first line that contains `begin` and the next line that begins with `end` after its
    /// indentation. Both lines stay.
    ///
    /// # Errors
    /// If the file cannot be read, or does not have these lines.
    pub(crate) fn replace(&mut self, path: &'static str, begin: &str, end: &str, lines: &str) -> Result<()> {
        let text = self.text(path)?;
        let (start, rest) = after_line(text, begin).with_context(|| format!("{path} has no line with {begin:?}"))?;
        let replaced = rest.split_inclusive('\n').take_while(|line| !line.trim_start().starts_with(end));
        let tail = rest
            .get(replaced.map(str::len).sum()..)
            .filter(|tail| !tail.is_empty())
            .with_context(|| format!("{path} has no line that begins with {end:?} after {begin:?}"))?;
        *text = format!("{start}{lines}{tail}");
        Ok(())
    }

    /// Replaces all that follows the first line that contains `begin`.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub(crate) fn replace_rest(&mut self, path: &'static str, begin: &str, lines: &str) -> Result<()> {
        let text = self.text(path)?;
        let (start, _) = after_line(text, begin).with_context(|| format!("{path} has no line with {begin:?}"))?;
        *text = format!("{start}{lines}");
        Ok(())
    }

    /// Returns the text of a file as it is after all edits.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn text(&mut self, path: &'static str) -> Result<&mut String> {
        let file = match self.0.entry(path) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let before = fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
                entry.insert(Edited { after: before.clone(), before })
            }
        };
        Ok(&mut file.after)
    }

    /// Returns the paths and the texts of the files that differ from those on the disk.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().filter(|(_, file)| file.before != file.after).map(|(path, file)| (*path, file.after.as_str()))
    }

    /// Writes the files that differ.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        for (path, text) in self.changed() {
            fs::write(root().join(path), text).with_context(|| format!("cannot write {path}"))?;
            println!("{path}");
        }
        Ok(())
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text up to and with the first line that contains `word`, and the rest.
fn after_line<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let position = text.find(word)?;
    let end = text.get(position..)?.find('\n')? + position + 1;
    text.split_at_checked(end)
}
