//! A disk that forgets: files, directories, and what a power cut leaves of them. Pure.
//!
//! Written bytes, lengths and names are volatile until they are synced: bytes and length by a sync
//! of the file, names by a sync of their directory. A cut takes any of what is volatile: it may keep
//! a page in any version it had, or torn between two.
//!
//! **Invariant:** the same seed cuts the same disk in the same way; what was synced survives any cut.
//! **Next:** `disk/content.rs`, `disk/names.rs`.

mod content;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use self::content::Content;
use self::names::Names;

/// The number of the top directory, as FUSE has it.
pub(super) const ROOT: u64 = 1;

/// How the names of the journal's files end.
const SEGMENT: &str = ".segment";

/// What a disk does when it is told to sync.
#[derive(Clone, Copy, Debug)]
pub(super) enum Syncs {
    /// As promised.
    Kept,
    /// Says so, and does nothing.
    Forgotten,
    /// Does nothing for files whose names end like this.
    ForgottenFor(&'static str),
}

/// What a cut does to what is not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// All of it is on the disk: a kernel that crashed late, or a killed process.
    Kept,
    /// None of it is.
    Lost,
    /// Some of it, in percent: `keep` survives, of which `tear` is torn.
    Mixed { keep: u8, tear: u8 },
}

#[derive(Clone, Debug)]
enum Node {
    File(Content),
    Directory,
}

/// What a node looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With its length.
    File(u64),
    Directory,
}

/// Why the disk did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotFound,
    Exists,
    NotADirectory,
    IsADirectory,
    NotEmpty,
}

#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// Nodes without a name stay: the power cut may bring their names back.
    nodes: BTreeMap<u64, Node>,
    names: Names,
    next: u64,
    syncs: Syncs,
    journal_syncs: u64,
}

impl Disk {
    pub(super) fn new(syncs: Syncs) -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Directory)]),
            names: Names::default(),
            next: ROOT + 1,
            syncs,
            journal_syncs: 0,
        }
    }

    fn node(&self, number: u64) -> Result<&Node, Refusal> {
        self.nodes.get(&number).ok_or(Refusal::NotFound)
    }

    fn file(&self, number: u64) -> Result<&Content, Refusal> {
        match self.node(number)? {
            Node::File(content) => Ok(content),
            Node::Directory => Err(Refusal::IsADirectory),
        }
    }

    fn file_mut(&mut self, number: u64) -> Result<&mut Content, Refusal> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory) => Err(Refusal::IsADirectory),
            None => Err(Refusal::NotFound),
        }
    }

    pub(super) fn kind(&self, number: u64) -> Result<Kind, Refusal> {
        Ok(match self.node(number)? {
            Node::File(content) => Kind::File(content.length()),
            Node::Directory => Kind::Directory,
        })
    }

    pub(super) fn find(&self, directory: u64, name: &str) -> Result<u64, Refusal> {
        if self.kind(directory)? != Kind::Directory {
            return Err(Refusal::NotADirectory);
        }
        self.names.find(directory, name).ok_or(Refusal::NotFound)
    }

    pub(super) fn list(&self, directory: u64) -> Vec<(String, u64)> {
        let all = self.names.list(directory);
        all.map(|(name, node)| (name.to_owned(), node)).collect()
    }

    pub(super) fn create_file(&mut self, directory: u64, name: &str) -> Result<u64, Refusal> {
        self.create(directory, name, Node::File(Content::default()))
    }

    pub(super) fn create_directory(&mut self, directory: u64, name: &str) -> Result<u64, Refusal> {
        self.create(directory, name, Node::Directory)
    }

    fn create(&mut self, directory: u64, name: &str, node: Node) -> Result<u64, Refusal> {
        match self.find(directory, name) {
            Ok(_) => return Err(Refusal::Exists),
            Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal),
        }
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        let name = (directory, name.to_owned());
        self.names.change(None, Some((name, number)));
        Ok(number)
    }

    /// Removes a file or an empty directory.
    pub(super) fn remove(&mut self, directory: u64, name: &str) -> Result<(), Refusal> {
        let number = self.find(directory, name)?;
        if self.names.list(number).next().is_some() {
            return Err(Refusal::NotEmpty);
        }
        self.names.change(Some((directory, name.to_owned())), None);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> Result<(), Refusal> {
        let number = self.find(from.0, from.1)?;
        let from = (from.0, from.1.to_owned());
        let to = (to.0, to.1.to_owned());
        self.names.change(Some(from), Some((to, number)));
        Ok(())
    }

    pub(super) fn read(&self, file: u64, from: u64, bytes: usize) -> Result<Vec<u8>, Refusal> {
        Ok(self.file(file)?.read(from, bytes))
    }

    pub(super) fn write(&mut self, file: u64, at: u64, data: &[u8]) -> Result<(), Refusal> {
        self.file_mut(file)?.write(at, data);
        Ok(())
    }

    pub(super) fn set_length(&mut self, file: u64, length: u64) -> Result<(), Refusal> {
        self.file_mut(file)?.set_length(length);
        Ok(())
    }

    /// `fsync` and `fdatasync` of a file or a directory.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Refusal> {
        let name = self.names.of(number).unwrap_or_default();
        let forgotten = match self.syncs {
            Syncs::Kept => false,
            Syncs::Forgotten => true,
            Syncs::ForgottenFor(end) => name.ends_with(end),
        };
        self.journal_syncs += u64::from(name.ends_with(SEGMENT));
        match self.nodes.get_mut(&number) {
            None => return Err(Refusal::NotFound),
            Some(_) if forgotten => {}
            Some(Node::File(content)) => content.sync(),
            Some(Node::Directory) => self.names.sync(number),
        }
        Ok(())
    }

    /// How often the journal was told to be durable.
    pub(super) fn journal_syncs(&self) -> u64 {
        self.journal_syncs
    }

    /// The disk as it is when power is back.
    pub(super) fn cut(&self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let fate = match random.u8(..8) {
            0 => Fate::Kept,
            1 => Fate::Lost,
            _ => Fate::Mixed {
                keep: *random.choice(&[5, 50, 95]).unwrap(),
                tear: *random.choice(&[0, 10, 50]).unwrap(),
            },
        };
        let names = self.names.cut(fate, &mut random);
        let mut after = Self {
            nodes: BTreeMap::new(),
            names,
            next: self.next,
            syncs: self.syncs,
            journal_syncs: self.journal_syncs,
        };
        let mut reachable = BTreeSet::from([ROOT]);
        while let Some(number) = reachable.pop_first() {
            let node = match &self.nodes[&number] {
                Node::File(content) => Node::File(content.cut(fate, &mut random)),
                Node::Directory => Node::Directory,
            };
            after.nodes.insert(number, node);
            let below = after.names.list(number).map(|(_, node)| node);
            reachable.extend(below);
        }
        after
    }

    /// Copies everything to a real directory, which exists.
    pub(super) fn write_to(&self, directory: &Path) -> io::Result<()> {
        self.write_node(ROOT, directory)
    }

    fn write_node(&self, number: u64, path: &Path) -> io::Result<()> {
        for (name, node) in self.names.list(number) {
            let path = path.join(name);
            match &self.nodes[&node] {
                Node::Directory => {
                    fs::create_dir(&path)?;
                    self.write_node(node, &path)?;
                }
                Node::File(content) => {
                    let file = fs::File::create(&path)?;
                    file.set_len(content.length())?;
                    for (at, bytes) in content.pieces() {
                        file.write_all_at(&bytes, at)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
