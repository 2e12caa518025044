//! Behind the limit: the same bytes once more, as the log's applier writes them. What the limit loses
//! by it is what any log pays that has a journal and keeps its events elsewhere.
//!
//! **Invariant:** no more than a journal's bound waits for it, and it writes as the applier does: 4 MiB
//! behind one another into new files of 64 MiB, with an `fdatasync` after each. It keeps them, as the log
//! does: pages of memory that a removed file gives back are cheaper to fill than new ones.
//! **Next:** `append.rs`.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// As the applier's transactions, extents and bound of what is acked and not applied.
const PIECE_BYTES: usize = 4 << 20;
const FILE_PIECES: usize = 16;
const WAITING_PIECES: usize = 16;

/// A thread that writes everything a second time.
pub(crate) struct Second {
    pieces: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    waiting: usize,
}

impl Second {
    pub(crate) fn start(directory: &Path, random: &[u8]) -> Self {
        let (pieces, wanted) = sync_channel(WAITING_PIECES);
        let directory = directory.to_path_buf();
        let bytes: Vec<u8> = random.iter().copied().cycle().take(PIECE_BYTES).collect();
        let work = move || {
            let (mut count, mut file) = (0_usize, None::<File>);
            for () in wanted {
                if count.is_multiple_of(FILE_PIECES) {
                    let path = directory.join(format!("second-{count}"));
                    file = Some(File::create(path).expect("a scratch file"));
                }
                count += 1;
                let file = file.as_mut().expect("was created");
                file.write_all(&bytes).expect("room on the disk");
                file.sync_data().expect("a sync");
            }
        };
        Self {
            pieces: Some(pieces),
            thread: Some(std::thread::spawn(work)),
            waiting: 0,
        }
    }

    /// So many bytes are durable once; waits if too many are not twice.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.waiting += bytes;
        while self.waiting >= PIECE_BYTES {
            self.waiting -= PIECE_BYTES;
            let pieces = self.pieces.as_ref().expect("not dropped");
            pieces.send(()).expect("the thread writes on");
        }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        drop(self.pieces.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was told by itself.
            let _ = thread.join();
        }
    }
}
