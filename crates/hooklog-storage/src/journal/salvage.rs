//! Finding what is intact in a damaged journal, also behind the damage.
//!
//! A frame counts if its checksums hold and it carries the salt of a segment: no payload of a
//! publisher can pass for one. Segments are used again and again, so old frames are found as well.
//!
//! **Invariant:** frames come in the order of sequences, each once, from the latest use of it; it
//! never writes.
//! **Next:** `transfer/repair.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::directory::{IoError, io_error};
use crate::entry::{self, Committed};
use crate::journal::layout::{self, ALIGNMENT, FRAMES_START, FrameHeader, SegmentHeader};
use crate::journal::scan::segment_paths;
use crate::offset::Sequence;

/// Where intact frames are.
#[derive(Debug, Default)]
pub(crate) struct Found {
    frames: BTreeMap<Sequence, Place>,
    /// Segments that could not be read at all, and why.
    pub(crate) unread: Vec<String>,
}

#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    header: FrameHeader,
    position: u64,
}

/// Looks through all segments.
pub(crate) fn find(directory: &Path) -> Result<Found, IoError> {
    let paths = segment_paths(directory)?;
    let mut found = Found::default();
    let mut salts = BTreeSet::new();
    let mut segments = Vec::new();
    for path in paths {
        match fs::read(&path) {
            Ok(bytes) => {
                salts.extend(SegmentHeader::decode(&bytes).map(|header| header.salt));
                // Payloads never stand where the first frame does.
                let first = usize::try_from(FRAMES_START).unwrap_or(usize::MAX);
                let first = bytes.get(first..).and_then(FrameHeader::decode);
                salts.extend(first.map(|header| header.salt));
                segments.push(path);
            }
            Err(error) => found
                .unread
                .push(format!("cannot read {}: {error}", path.display())),
        }
    }
    // Read again, one at a time: a segment may have a GiB.
    for path in segments {
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        found.collect(&path, &bytes, &salts);
    }
    found.drop_overtaken();
    Ok(found)
}

impl Found {
    fn collect(&mut self, path: &Path, bytes: &[u8], salts: &BTreeSet<u64>) {
        let mut position = usize::try_from(FRAMES_START).unwrap_or(usize::MAX);
        while let Some(rest) = bytes.get(position..).filter(|rest| !rest.is_empty()) {
            let header = FrameHeader::decode(rest).filter(|header| salts.contains(&header.salt));
            let Some((header, (body, _))) =
                header.and_then(|header| Some((header, header.body(rest)?)))
            else {
                position += ALIGNMENT;
                continue;
            };
            let place = Place {
                path: path.to_path_buf(),
                header,
                position: position as u64,
            };
            let known = self.frames.get(&header.sequence);
            if known.is_none_or(|known| known.header.epoch < header.epoch) {
                self.frames.insert(header.sequence, place);
            }
            position += usize::try_from(layout::frame_bytes(body.len())).unwrap_or(usize::MAX);
        }
    }

    /// Drops frames of an old use that come after frames of a newer one: those were never acked.
    fn drop_overtaken(&mut self) {
        let mut epoch = 0;
        self.frames.retain(|_, place| {
            let is_kept = place.header.epoch >= epoch;
            epoch = epoch.max(place.header.epoch);
            is_kept
        });
    }

    /// The sequences that are there, ascending.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = Sequence> {
        self.frames.keys().copied()
    }

    /// Base and number of the records of each frame.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Sequence, u64, u64)> {
        self.frames.values().map(|place| {
            let FrameHeader {
                sequence,
                base,
                count,
                ..
            } = place.header;
            (sequence, base.get(), base.get() + u64::from(count))
        })
    }

    /// One frame, decoded; `None` if it cannot be after all.
    pub(crate) fn load(&self, sequence: Sequence) -> Option<Committed> {
        let place = self.frames.get(&sequence)?;
        let body_bytes = usize::try_from(place.header.body_bytes).ok()?;
        let bytes = usize::try_from(layout::frame_bytes(body_bytes)).ok()?;
        let mut frame = vec![0; bytes];
        let file = File::open(&place.path).ok()?;
        file.read_exact_at(&mut frame, place.position).ok()?;
        let frame = Bytes::from(frame);
        let (body, crc) = place.header.body(&frame)?;
        let header = place.header;
        let (records, entries) =
            entry::decode(&frame.slice_ref(body), header.base, header.count).ok()?;
        Some(Committed {
            sequence,
            base: header.base,
            records,
            entries,
            bytes: body_bytes,
            crc,
            epoch: header.epoch,
        })
    }
}
