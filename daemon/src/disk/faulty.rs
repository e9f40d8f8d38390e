//! A disk that fails, waits for the test or dies at its n-th call, around any other.
//!
//! Calls are counted from 1, all of them and by kind, those on open files included. A test that
//! wants to visit every position first runs without a fault, asks [`FaultyDisk::calls`], then runs
//! once for each number.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::Timestamp;

use super::{
    ArchivedPath, ControlName, Disk, DiskLock, DiskStat, Listed, Place, ReadFile, StagedName, WriteFile,
};

/// The kinds of calls: the methods of [`Disk`], [`ReadFile`] and [`WriteFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named like the methods")]
pub enum Call {
    Stat,
    List,
    Open,
    Stage,
    StageWhole,
    ReadLink,
    StageLink,
    MakeDirectory,
    RenameNew,
    Exchange,
    LinkToArchive,
    RemoveFile,
    RemoveDirectory,
    SetMode,
    SetMtime,
    CopyToStaged,
    SyncDirectory,
    SyncAll,
    FreeBytes,
    ReadControl,
    WriteControl,
    Lock,
    Read,
    FileStat,
    Write,
    SetLength,
    Sync,
}

/// What happens at the chosen call.
pub enum Effect {
    /// This call fails with this `errno`.
    FailOnce(i32),
    /// This call and all later ones of the kind fail with this `errno`.
    FailForever(i32),
    /// Something else happens just before the call, which then takes its course.
    Before(Box<dyn FnOnce() + Send>),
    /// The process dies just before the call: this one and all later calls of any kind fail, with
    /// an error that [`FaultyDisk::is_crash`] knows.
    Crash,
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailOnce(errno) => write!(f, "fail once with {errno}"),
            Self::FailForever(errno) => write!(f, "fail for ever with {errno}"),
            Self::Before(_) => f.write_str("do something before"),
            Self::Crash => f.write_str("crash"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the process has crashed")]
struct Crashed;

struct Fault {
    call: Option<Call>,
    nth: u64,
    effect: Effect,
}

#[derive(Default)]
struct Plan {
    total: u64,
    counted: BTreeMap<Call, u64>,
    faults: Vec<Fault>,
    crashed: bool,
}

/// A disk around another, with faults.
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyDisk {
    /// A disk without faults so far.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// At the `nth` call from the start, of this kind or of any (`None`), this happens.
    pub fn at(&self, call: Option<Call>, nth: u64, effect: Effect) {
        self.plan.lock().faults.push(Fault { call, nth, effect });
    }

    /// How many calls of this kind, or of any, there were.
    pub fn calls(&self, call: Option<Call>) -> u64 {
        let plan = self.plan.lock();
        call.map_or(plan.total, |call| plan.counted.get(&call).copied().unwrap_or(0))
    }

    /// Whether an [`Effect::Crash`] has come.
    pub fn has_crashed(&self) -> bool {
        self.plan.lock().crashed
    }

    /// Whether this error is the end of the process and not one of the disk.
    pub fn is_crash(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|e| e.is::<Crashed>())
    }
}

impl Plan {
    /// Counts a call and answers whether it fails, and what is to be done before it.
    fn count(&mut self, call: Call) -> io::Result<Vec<Box<dyn FnOnce() + Send>>> {
        self.total += 1;
        let counted = self.counted.entry(call).or_default();
        *counted += 1;
        let (total, of_kind) = (self.total, *counted);
        let mut before = Vec::new();
        let mut failure = None;
        let mut crashed = self.crashed;
        self.faults.retain_mut(|fault| {
            if fault.call.is_some_and(|c| c != call) {
                return true;
            }
            let now = if fault.call.is_some() { of_kind } else { total };
            if now < fault.nth {
                return true;
            }
            match std::mem::replace(&mut fault.effect, Effect::Crash) {
                Effect::FailOnce(errno) => failure = Some(errno),
                Effect::FailForever(errno) => {
                    failure = Some(errno);
                    fault.effect = Effect::FailForever(errno);
                    return true;
                }
                Effect::Before(deed) => before.push(deed),
                Effect::Crash => crashed = true,
            }
            false
        });
        self.crashed = crashed;
        if crashed {
            return Err(io::Error::other(Crashed));
        }
        failure.map_or(Ok(before), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}

fn pass(plan: &Mutex<Plan>, call: Call) -> io::Result<()> {
    let deeds = plan.lock().count(call)?;
    deeds.into_iter().for_each(|deed| deed());
    Ok(())
}

impl FaultyDisk {
    fn pass(&self, call: Call) -> io::Result<&dyn Disk> {
        pass(&self.plan, call)?;
        Ok(&*self.inner)
    }
}

impl Disk for FaultyDisk {
    fn stat(&self, at: &Place) -> io::Result<Option<DiskStat>> {
        self.pass(Call::Stat)?.stat(at)
    }
    fn list(&self, directory: &Place) -> io::Result<Vec<Listed>> {
        self.pass(Call::List)?.list(directory)
    }
    fn open(&self, at: &Place) -> io::Result<Box<dyn ReadFile>> {
        let inner = self.pass(Call::Open)?.open(at)?;
        Ok(Box::new(FaultyFile { inner, plan: Arc::clone(&self.plan) }))
    }
    fn stage(&self, name: &StagedName) -> io::Result<Box<dyn WriteFile>> {
        let inner = self.pass(Call::Stage)?.stage(name)?;
        Ok(Box::new(FaultyFile { inner, plan: Arc::clone(&self.plan) }))
    }
    fn read_link(&self, at: &Place) -> io::Result<Vec<u8>> {
        self.pass(Call::ReadLink)?.read_link(at)
    }
    fn stage_whole(&self, name: &StagedName, bytes: &[u8], mode: u16) -> io::Result<()> {
        self.pass(Call::StageWhole)?.stage_whole(name, bytes, mode)
    }
    fn stage_link(&self, name: &StagedName, target: &[u8], mtime: Timestamp) -> io::Result<()> {
        self.pass(Call::StageLink)?.stage_link(name, target, mtime)
    }
    fn make_directory(&self, at: &Place, mode: u16) -> io::Result<()> {
        self.pass(Call::MakeDirectory)?.make_directory(at, mode)
    }
    fn rename_new(&self, from: &Place, to: &Place) -> io::Result<()> {
        self.pass(Call::RenameNew)?.rename_new(from, to)
    }
    fn exchange(&self, one: &Place, other: &Place) -> io::Result<()> {
        self.pass(Call::Exchange)?.exchange(one, other)
    }
    fn link_to_archive(&self, from: &Place, to: &ArchivedPath) -> io::Result<()> {
        self.pass(Call::LinkToArchive)?.link_to_archive(from, to)
    }
    fn remove_file(&self, at: &Place) -> io::Result<()> {
        self.pass(Call::RemoveFile)?.remove_file(at)
    }
    fn remove_directory(&self, at: &Place) -> io::Result<()> {
        self.pass(Call::RemoveDirectory)?.remove_directory(at)
    }
    fn set_mode(&self, at: &Place, mode: u16) -> io::Result<()> {
        self.pass(Call::SetMode)?.set_mode(at, mode)
    }
    fn set_mtime(&self, at: &Place, mtime: Timestamp) -> io::Result<()> {
        self.pass(Call::SetMtime)?.set_mtime(at, mtime)
    }
    fn copy_to_staged(&self, from: &Place, to: &StagedName) -> io::Result<u64> {
        self.pass(Call::CopyToStaged)?.copy_to_staged(from, to)
    }
    fn share_with_staged(&self, from: &Place, to: &StagedName) -> io::Result<()> {
        self.pass(Call::CopyToStaged)?.share_with_staged(from, to)
    }
    fn sync_directory(&self, directory: &Place) -> io::Result<()> {
        self.pass(Call::SyncDirectory)?.sync_directory(directory)
    }
    fn sync_all(&self) -> io::Result<()> {
        self.pass(Call::SyncAll)?.sync_all()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.pass(Call::FreeBytes)?.free_bytes()
    }
    fn read_control(&self, name: ControlName) -> io::Result<Vec<u8>> {
        self.pass(Call::ReadControl)?.read_control(name)
    }
    fn write_control(&self, name: ControlName, bytes: &[u8]) -> io::Result<()> {
        self.pass(Call::WriteControl)?.write_control(name, bytes)
    }
    fn lock(&self) -> io::Result<DiskLock> {
        self.pass(Call::Lock)?.lock()
    }
}

struct FaultyFile<F: ?Sized> {
    plan: Arc<Mutex<Plan>>,
    inner: Box<F>,
}

impl<F: ReadFile + ?Sized> ReadFile for FaultyFile<F> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        pass(&self.plan, Call::Read)?;
        self.inner.read_at(buffer, offset)
    }
    fn stat(&self) -> io::Result<DiskStat> {
        pass(&self.plan, Call::FileStat)?;
        self.inner.stat()
    }
}

impl WriteFile for FaultyFile<dyn WriteFile> {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        pass(&self.plan, Call::Write)?;
        self.inner.write_at(bytes, offset)
    }
    fn write_past_cache(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        pass(&self.plan, Call::Write)?;
        self.inner.write_past_cache(bytes, offset)
    }
    fn allocate(&self, offset: u64, bytes: u64) -> bool {
        self.inner.allocate(offset, bytes)
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        pass(&self.plan, Call::SetLength)?;
        self.inner.set_length(bytes)
    }
    fn set_mode(&self, mode: u16) -> io::Result<()> {
        pass(&self.plan, Call::SetMode)?;
        self.inner.set_mode(mode)
    }
    fn set_mtime(&self, mtime: Timestamp) -> io::Result<()> {
        pass(&self.plan, Call::SetMtime)?;
        self.inner.set_mtime(mtime)
    }
    fn sync(&self) -> io::Result<()> {
        pass(&self.plan, Call::Sync)?;
        self.inner.sync()
    }
}
