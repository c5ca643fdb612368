//! A disk in memory that can crash at every call, and then has what a real one might still have.

use super::Dice;
use fray_server::store::file::{Disk, DiskFile, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    MakeDir,
    Create,
    Append,
    Truncate,
    SyncFile,
    SyncDir,
    Rename,
    Remove,
    RemoveDir,
}

/// What becomes of bytes that were written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All are gone, and all names with them.
    All,
    /// All are there.
    Nothing,
    /// Any part is: cut at any byte, or with zeros from there on; and any of the names.
    Any(u64),
}

type Fault = Box<dyn Fn(Call, &str) -> bool + Send>;

#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Inodes are never removed: who reads one may go on.
    inodes: Vec<Inode>,
    /// As the process sees it; `None` is a folder.
    names: BTreeMap<String, Option<usize>>,
    /// As it is after a crash.
    synced_names: BTreeMap<String, Option<usize>>,
    calls: Vec<Call>,
    crash_at: Option<usize>,
    has_crashed: bool,
    fault: Option<Fault>,
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    synced: Vec<u8>,
}

impl SimDisk {
    /// Crashes in the call of this index: it may or may not have been done, and nothing is done afterwards.
    pub(crate) fn crashing_at(call: usize) -> Self {
        let disk = Self::default();
        disk.lock().crash_at = Some(call);
        disk
    }

    /// Calls for which `fault` says so fail; an append leaves half of its bytes, a sync loses what was not synced.
    pub(crate) fn fail(&self, fault: impl Fn(Call, &str) -> bool + Send + 'static) {
        self.lock().fault = Some(Box::new(fault));
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.lock().has_crashed
    }

    /// What is there when the machine is started again.
    pub(crate) fn after_crash(&self, loss: Loss) -> Self {
        let state = self.lock();
        let mut dice = Dice(if let Loss::Any(seed) = loss { seed } else { 0 });
        let mut keeps = |is_synced: bool| match loss {
            Loss::All => is_synced,
            Loss::Nothing => !is_synced,
            Loss::Any(_) => dice.roll(2) == 0,
        };
        let mut names = BTreeMap::new();
        let all: BTreeSet<_> = state.names.keys().chain(state.synced_names.keys()).collect();
        for name in all {
            let (now, synced) = (state.names.get(name), state.synced_names.get(name));
            let node = if now == synced || keeps(true) { synced } else { now };
            // Without its folder, nothing is there.
            let has_folder = parent(name).is_empty() || names.contains_key(parent(name));
            if let Some(node) = node.filter(|_| has_folder) {
                names.insert(name.clone(), *node);
            }
        }
        let left = |inode: &Inode| {
            let data = match loss {
                Loss::All => inode.synced.clone(),
                Loss::Nothing => inode.data.clone(),
                Loss::Any(_) if !inode.data.starts_with(&inode.synced) => {
                    if dice.roll(2) == 0 {
                        inode.synced.clone()
                    } else {
                        inode.data.clone()
                    }
                }
                Loss::Any(_) => {
                    let more = inode.data.len() - inode.synced.len();
                    let cut = inode.synced.len() + dice.roll(more as u64 + 1) as usize;
                    let mut data = inode.data[..cut].to_vec();
                    if dice.roll(3) == 0 {
                        data.resize(
                            cut + dice.roll((inode.data.len() - cut) as u64 + 1) as usize,
                            0,
                        );
                    }
                    data
                }
            };
            Inode { synced: data.clone(), data }
        };
        let inodes = state.inodes.iter().map(left).collect();
        let state = State { inodes, synced_names: names.clone(), names, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The bytes of all files below a folder, one after the other in the order of their names.
    pub(crate) fn concatenated(&self, dir: &str) -> Vec<u8> {
        let state = self.lock();
        let files = state.names.iter().filter(|(name, _)| parent(name) == dir);
        files
            .filter_map(|(_, node)| *node)
            .flat_map(|node| state.inodes[node].data.clone())
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it is held")
    }

    /// Begins a call; says whether it is the one in which the machine crashes.
    fn call(&self, call: Call, path: &str) -> io::Result<(std::sync::MutexGuard<'_, State>, bool)> {
        let mut state = self.lock();
        if state.has_crashed {
            return Err(io::Error::other("crashed"));
        }
        let is_crash = state.crash_at == Some(state.calls.len());
        state.has_crashed = is_crash;
        state.calls.push(call);
        let is_faulty = state.fault.as_ref().is_some_and(|fault| fault(call, path));
        Ok((state, is_crash || is_faulty))
    }

    fn append(&self, node: usize, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (mut state, fails) = self.call(Call::Append, path)?;
        let written = if fails && !state.has_crashed { bytes.len() / 2 } else { bytes.len() };
        state.inodes[node].data.extend_from_slice(&bytes[..written]);
        answer(fails)
    }

    fn sync(&self, node: usize, path: &str) -> io::Result<()> {
        let (mut state, fails) = self.call(Call::SyncFile, path)?;
        let has_crashed = state.has_crashed;
        let inode = &mut state.inodes[node];
        if !fails {
            inode.synced = inode.data.clone();
        } else if !has_crashed {
            // The kernel could not write it, and forgets that it should.
            let length = inode.data.len();
            inode.data.truncate(inode.synced.len());
            inode.data.resize(length, 0);
        }
        answer(fails)
    }
}

fn answer(fails: bool) -> io::Result<()> {
    if fails { Err(io::Error::other("no")) } else { Ok(()) }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn file(&self, path: &str) -> io::Result<usize> {
        self.names.get(path).copied().flatten().ok_or_else(missing)
    }

    fn check_folder(&self, path: &str) -> io::Result<()> {
        let folder = parent(path);
        let is_there = folder.is_empty() || self.names.get(folder) == Some(&None);
        if is_there { Ok(()) } else { Err(missing()) }
    }
}

impl Disk for SimDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let state = self.lock();
        if !dir.is_empty() && state.names.get(dir) != Some(&None) {
            return Err(missing());
        }
        let inside = state.names.iter().filter(|(name, _)| parent(name) == dir);
        let entry = |(path, node): (&String, &Option<usize>)| Entry {
            name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            bytes: node.map_or(0, |node| state.inodes[node].data.len() as u64),
            modified: Duration::ZERO,
        };
        Ok(inside.map(entry).collect())
    }

    fn read(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let node = self.lock().file(path)?;
        Ok(Box::new(SimReader { disk: self.clone(), node, position: 0 }))
    }

    fn make_dir(&self, dir: &str) -> io::Result<bool> {
        let (mut state, fails) = self.call(Call::MakeDir, dir)?;
        state.check_folder(dir)?;
        let is_new = state.names.insert(dir.to_owned(), None).is_none();
        answer(fails).map(|()| is_new)
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let (mut state, fails) = self.call(Call::Create, path)?;
        answer(fails && !state.has_crashed)?;
        state.check_folder(path)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_owned(), Some(node));
        answer(fails)?;
        Ok(Box::new(SimFile { disk: self.clone(), node, path: path.to_owned() }))
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        let (mut state, fails) = self.call(Call::Truncate, path)?;
        answer(fails && !state.has_crashed)?;
        let node = state.file(path)?;
        state.inodes[node].data.resize(length as usize, 0);
        answer(fails)
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        let node = self.lock().file(path)?;
        self.sync(node, path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let (mut state, fails) = self.call(Call::SyncDir, dir)?;
        answer(fails)?;
        let State { names, synced_names, .. } = &mut *state;
        synced_names.retain(|name, _| parent(name) != dir);
        let inside = names.iter().filter(|(name, _)| parent(name) == dir);
        synced_names.extend(inside.map(|(name, node)| (name.clone(), *node)));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut state, fails) = self.call(Call::Rename, to)?;
        answer(fails && !state.has_crashed)?;
        let node = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), Some(node));
        answer(fails)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (mut state, fails) = self.call(Call::Remove, path)?;
        answer(fails && !state.has_crashed)?;
        state.file(path)?;
        state.names.remove(path);
        answer(fails)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let (mut state, fails) = self.call(Call::RemoveDir, dir)?;
        answer(fails && !state.has_crashed)?;
        if state.names.keys().any(|name| parent(name) == dir) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.names.remove(dir).ok_or_else(missing)?;
        answer(fails)
    }
}

struct SimFile {
    disk: SimDisk,
    node: usize,
    path: String,
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(self.node, &self.path, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(self.node, &self.path)
    }
}

struct SimReader {
    disk: SimDisk,
    node: usize,
    position: usize,
}

impl Read for SimReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.lock();
        let data = &state.inodes[self.node].data;
        let rest = data.get(self.position..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}
