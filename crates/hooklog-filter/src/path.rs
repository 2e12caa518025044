//! Paths into a payload: `data.items.0.sku`.
//!
//! **Invariant:** a path has at least one step, and shows as it would be written.
//! **Next:** `evaluate.rs`.

use std::fmt;

/// Steps from one value to another below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    steps: Vec<Step>,
}

/// A field's name; also an index where the value is an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) index: Option<usize>,
}

impl Path {
    /// Reads a key of a condition: steps between dots, a dot in a name behind a backslash. `None`
    /// if a step is empty.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let (mut steps, mut name) = (Vec::new(), String::new());
        let mut chars = key.chars();
        while let Some(next) = chars.next() {
            match next {
                '\\' => name.push(chars.next().unwrap_or('\\')),
                '.' => steps.push(Step::new(std::mem::take(&mut name))?),
                other => name.push(other),
            }
        }
        steps.push(Step::new(name)?);
        Some(Self { steps })
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// This path and then another.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let steps = self.steps.iter().chain(&other.steps).cloned().collect();
        Self { steps }
    }
}

impl Step {
    fn new(name: String) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        // `+1` and `01` are names; only what an index shows as is one.
        let index = name.parse().ok();
        let index = index.filter(|index: &usize| index.to_string() == name);
        Some(Self { name, index })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("the payload");
        }
        for (number, step) in self.steps.iter().enumerate() {
            let dot = if number == 0 { "" } else { "." };
            write!(
                f,
                "{dot}{}",
                step.name.replace('\\', "\\\\").replace('.', "\\.")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_show_as_they_are_written() {
        let cases = [
            ("a", Some(1)),
            ("a.b.0", Some(3)),
            (r"a\.b", Some(1)),
            (r"a\\.b", Some(2)),
            ("", None),
            ("a.", None),
            (".a", None),
            ("a..b", None),
        ];
        for (key, steps) in cases {
            let path = Path::parse(key);
            assert_eq!(path.as_ref().map(|path| path.steps().len()), steps, "{key}");
            if let Some(path) = path {
                assert_eq!(path.to_string(), key);
            }
        }
    }
}
