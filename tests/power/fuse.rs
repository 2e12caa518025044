//! The disk that forgets as a file system of the kernel's, by FUSE.
//!
//! It is mounted without a place in the tree of directories: it is reached through the file
//! descriptor of its top directory alone, and is gone when that is closed, however this process ends.
//! No thread of this process may touch it: were the process killed, it would wait for itself.
//!
//! **Invariant:** the kernel keeps nothing back: files are opened for direct I/O and there is no
//! writeback cache, so each write is in the model before it returns, and `sync_file_range` never
//! gets here.
//! **Next:** `acked.rs`.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, SessionACL,
    TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::disk::{Disk, Kind, ROOT, Refusal};
use crate::harness::wait_for;

/// Is shown the disk after each change of it, before the change is confirmed.
pub(super) type Watch = Box<dyn FnMut(&Disk) + Send>;

/// A mounted disk.
pub(super) struct Mounted {
    session: Option<BackgroundSession>,
    /// The last thing that holds the mount.
    top: Option<OwnedFd>,
}

impl Mounted {
    pub(super) fn new(disk: Disk, watch: Watch) -> Result<Self, String> {
        let served = Served(Mutex::new((disk, watch)));
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| format!("/dev/fuse: {error}"))?;
        let top = mount(&device).map_err(|error| format!("mounting takes root: {error}"))?;
        let config = fuser::Config::default();
        let session = Session::from_fd(served, device.into(), SessionACL::Owner, config)
            .and_then(Session::spawn)
            .map_err(|error| format!("FUSE: {error}"))?;
        let (session, top) = (Some(session), Some(top));
        Ok(Self { session, top })
    }

    /// Where another process finds it.
    pub(super) fn path(&self) -> PathBuf {
        let top = self.top.as_ref().unwrap().as_raw_fd();
        format!("/proc/{}/fd/{top}", std::process::id()).into()
    }

    /// Ends it, once nobody has a file of it open any more.
    pub(super) fn unmount(mut self) {
        drop(self.top.take());
        let session = self.session.take().unwrap();
        wait_for("end of the file system", || {
            session.guard.is_finished().then_some(())
        });
        session.join().unwrap();
    }
}

/// A mount that is nowhere. The session is to answer the first request, or all others wait.
fn mount(device: &File) -> rustix::io::Result<OwnedFd> {
    let options = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let device = device.as_raw_fd().to_string();
    for (key, value) in [
        ("source", "hooklog-power"),
        ("fd", &device),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
    ] {
        fsconfig_set_string(&options, key, value)?;
    }
    fsconfig_create(&options)?;
    fsmount(
        &options,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

struct Served(Mutex<(Disk, Watch)>);

impl Served {
    fn look<T>(&self, look: impl FnOnce(&Disk) -> Result<T, Refusal>) -> Result<T, Errno> {
        look(&self.0.lock().0).map_err(errno)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Disk) -> Result<T, Refusal>) -> Result<T, Errno> {
        let mut served = self.0.lock();
        let (disk, watch) = &mut *served;
        let changed = change(disk).map_err(errno)?;
        watch(disk);
        Ok(changed)
    }
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::NotFound => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::NotADirectory => Errno::ENOTDIR,
        Refusal::IsADirectory => Errno::EISDIR,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
    }
}

/// Nothing is remembered by the kernel: a cut disk is another disk.
const TTL: Duration = Duration::ZERO;

fn attributes(disk: &Disk, number: u64) -> Result<FileAttr, Refusal> {
    let (kind, perm, size) = match disk.kind(number)? {
        Kind::File(length) => (FileType::RegularFile, 0o600, length),
        Kind::Directory => (FileType::Directory, 0o700, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

/// Our names are plain text.
fn text(name: &OsStr) -> &str {
    name.to_str().unwrap_or_default()
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.look(|disk| attributes(disk, disk.find(parent.0, text(name))?));
        entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.look(|disk| attributes(disk, ino.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    /// Lengths are kept, modes and times are not.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.change(|disk| {
            if let Some(length) = size {
                disk.set_length(ino.0, length)?;
            }
            attributes(disk, ino.0)
        });
        match changed {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let created = self.change(|disk| {
            let number = disk.create_directory(parent.0, text(name))?;
            attributes(disk, number)
        });
        entry(created, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.change(|disk| disk.remove(parent.0, text(name))), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.change(|disk| disk.remove(parent.0, text(name))), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = ((parent.0, text(name)), (newparent.0, text(newname)));
        empty(self.change(|disk| disk.rename(from, to)), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.change(|disk| {
            let number = disk.create_file(parent.0, text(name))?;
            attributes(disk, number)
        });
        match created {
            Ok(attributes) => {
                let direct = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), direct);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        match self.look(|disk| disk.read(ino.0, offset, bytes)) {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.change(|disk| disk.write(ino.0, offset, data)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    /// Closing a file makes nothing durable.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        empty(self.change(|disk| disk.sync(ino.0)), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.change(|disk| disk.sync(ino.0)), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let own = [(".".to_owned(), ino.0), ("..".to_owned(), ROOT)];
        let listed = self.look(|disk| {
            let all = own.into_iter().chain(disk.list(ino.0));
            let kinds = all.map(|(name, number)| Ok((name, number, disk.kind(number)?)));
            kinds.collect::<Result<Vec<_>, _>>()
        });
        let listed = match listed {
            Ok(listed) => listed,
            Err(errno) => return reply.error(errno),
        };
        // The offset of an entry is where the next one is.
        let rest = (1..)
            .zip(listed)
            .skip(usize::try_from(offset).unwrap_or(usize::MAX));
        for (next, (name, number, kind)) in rest {
            let kind = match kind {
                Kind::File(_) => FileType::RegularFile,
                Kind::Directory => FileType::Directory,
            };
            if reply.add(INodeNo(number), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

/// Whether this process may mount.
pub(super) fn can_mount() -> Result<(), String> {
    let watch = Box::new(|_: &Disk| {});
    Mounted::new(Disk::new(super::disk::Syncs::Kept), watch)?.unmount();
    Ok(())
}
