//! Reading the journal back after a restart.
//!
//! **Invariant:** either every frame above `applied` that was ever synced is returned, in order, or
//! the scan fails with the first place that is damaged. It never writes.
//! **Next:** `recovery.rs`, which applies the frames.

use std::fs;
use std::path::{Path, PathBuf};

#[cfg(any(test, feature = "fuzzing"))]
use bytes::Bytes;

use crate::directory::{IoError, io_error};
use crate::entry::{self, Committed};
use crate::journal::image::{Image, PIECE_BYTES};
use crate::journal::layout::{
    self, ALIGNMENT, FRAME_HEADER_BYTES, FRAMES_START, FrameHeader, SUCCESSOR_BYTES,
    SUCCESSOR_START, SegmentHeader, Successor,
};
use crate::offset::Sequence;

/// Why the journal cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Io(#[from] IoError),
    /// A frame that was durable is not readable.
    #[error("journal frame {sequence} is damaged at byte {position} of {path}: {reason}")]
    Damaged {
        path: PathBuf,
        position: u64,
        sequence: Sequence,
        reason: &'static str,
    },
    /// Frames between sled and the journal, or between two segments, are not there.
    #[error(
        "journal frames {from} up to {to} are missing: a segment file was lost, or the database is older than the journal"
    )]
    Missing { from: Sequence, to: Sequence },
    /// A segment that was started is not there.
    #[error("the journal segment of epoch {epoch} is missing or its header is lost")]
    Epoch { epoch: u64 },
    /// A segment that is needed was cut.
    #[error("{path} has {found} bytes, but was created with {expected}")]
    Cut {
        path: PathBuf,
        found: u64,
        expected: u64,
    },
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The highest epoch in any segment.
    pub(crate) last_epoch: u64,
}

/// The name of the segment with this number.
pub(crate) fn segment_name(index: usize) -> String {
    format!("journal-{index:03}.segment")
}

/// The number in a segment's name.
pub(crate) fn segment_number(path: &Path) -> Option<usize> {
    path.file_stem()?
        .to_str()?
        .strip_prefix("journal-")?
        .parse()
        .ok()
}

/// All segment files of a directory, by name.
pub(crate) fn segment_paths(directory: &Path) -> Result<Vec<PathBuf>, IoError> {
    let list = io_error("list", directory);
    let mut paths = fs::read_dir(directory)
        .and_then(|entries| {
            entries
                .map(|e| e.map(|e| e.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(list)?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "segment")
    });
    paths.sort();
    Ok(paths)
}

/// Hands every intact frame above `applied` to `visit`, in order. `applied_epoch` is an epoch that is
/// known to have been started.
pub(crate) fn scan<E: From<ScanError>>(
    directory: &Path,
    applied: Option<Sequence>,
    applied_epoch: u64,
    mut visit: impl FnMut(Committed) -> Result<(), E>,
) -> Result<Scan, E> {
    let segments = headers(directory)?;
    let mut next = applied.map_or(Sequence::ZERO, Sequence::next);
    let last_epoch = segments.last().map_or(0, |(header, _)| header.epoch);
    if last_epoch < applied_epoch {
        return Err(ScanError::Epoch {
            epoch: applied_epoch,
        }
        .into());
    }
    for (index, (header, path)) in segments.iter().enumerate() {
        // Everything below the next segment's first frame was durable before that segment began.
        let following = segments.get(index + 1).map(|(header, _)| header.first);
        if following.is_some_and(|following| following <= next) {
            continue;
        }
        if header.first > next {
            return Err(ScanError::Missing {
                from: next,
                to: header.first,
            }
            .into());
        }
        let image = Image::open(path).map_err(ScanError::Io)?;
        let mut segment = SegmentScan::of(image, header)?;
        while let Some(frame) = segment.next()? {
            if frame.sequence >= next {
                next = frame.sequence.next();
                visit(frame)?;
            }
        }
        segment.check_end(next, following)?;
        if let Some(epoch) = segment.successor()?.filter(|epoch| *epoch > last_epoch) {
            return Err(ScanError::Epoch { epoch }.into());
        }
    }
    Ok(Scan { last_epoch })
}

/// Every intact frame of a journal that is one segment with these bytes; for the fuzzer.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn scan_image(image: Bytes) -> Result<Vec<Committed>, ScanError> {
    let Some(header) = SegmentHeader::decode(&image) else {
        return Ok(Vec::new());
    };
    let mut segment = SegmentScan::of(Image::of(Path::new("image"), image), &header)?;
    let mut frames = Vec::new();
    while let Some(frame) = segment.next()? {
        frames.push(frame);
    }
    let next = frames.last().map_or(header.first, |f| f.sequence.next());
    segment.check_end(next, None)?;
    match segment.successor()?.filter(|epoch| *epoch > header.epoch) {
        Some(epoch) => Err(ScanError::Epoch { epoch }),
        None => Ok(frames),
    }
}

/// The segments that are in use, by epoch.
fn headers(directory: &Path) -> Result<Vec<(SegmentHeader, PathBuf)>, ScanError> {
    let mut segments = Vec::new();
    let mut headless = Vec::new();
    for path in segment_paths(directory)? {
        let bytes = head(&path)?;
        match SegmentHeader::decode(&bytes) {
            Some(header) => segments.push((header, path)),
            None => headless.push((path, bytes)),
        }
    }
    segments.sort_by_key(|(header, _)| header.epoch);
    let newest = segments.last().map_or(0, |(header, _)| header.epoch);
    for (path, bytes) in headless {
        // Never used (zeros), or torn while it was started: then no frame of its epoch follows.
        let start = usize::try_from(FRAMES_START).unwrap_or(usize::MAX);
        let frame = bytes.get(start..).and_then(FrameHeader::decode);
        if let Some(frame) = frame.filter(|frame| frame.epoch > newest) {
            let (position, sequence) = (0, frame.sequence);
            let reason = "the segment's header is broken but frames follow it";
            return Err(ScanError::Damaged {
                path,
                position,
                sequence,
                reason,
            });
        }
    }
    Ok(segments)
}

/// The epoch that a segment's header names; 0 if it has none.
pub(crate) fn epoch(path: &Path) -> Result<u64, IoError> {
    Ok(SegmentHeader::decode(&head(path)?).map_or(0, |header| header.epoch))
}

/// The first bytes of a segment: its header and the header of its first frame.
fn head(path: &Path) -> Result<Vec<u8>, IoError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let bytes_wanted = FRAMES_START + layout::FRAME_HEADER_BYTES as u64;
    fs::File::open(path)
        .and_then(|file| file.take(bytes_wanted).read_to_end(&mut bytes))
        .map_err(io_error("read", path))?;
    Ok(bytes)
}

/// Walks through the frames of one segment.
struct SegmentScan<'a> {
    image: Image<'a>,
    epoch: u64,
    salt: u64,
    position: u64,
    expected: Sequence,
    /// CRC of the frame before, once there is one.
    chain: Option<u32>,
}

impl<'a> SegmentScan<'a> {
    /// A scan of a segment with this header.
    fn of(image: Image<'a>, header: &SegmentHeader) -> Result<Self, ScanError> {
        let (found, expected) = (image.length(), header.segment_bytes);
        if found < expected {
            return Err(ScanError::Cut {
                path: image.path().to_path_buf(),
                found,
                expected,
            });
        }
        Ok(Self {
            image,
            epoch: header.epoch,
            salt: header.salt,
            position: FRAMES_START,
            expected: header.first,
            chain: None,
        })
    }

    /// The next intact frame.
    fn next(&mut self) -> Result<Option<Committed>, ScanError> {
        let head = self.image.at(self.position, FRAME_HEADER_BYTES)?;
        let header = FrameHeader::decode(&head)
            .filter(|header| self.is_own(header) && header.sequence == self.expected)
            .filter(|header| self.chain.is_none_or(|chain| chain == header.previous_crc));
        let Some(header) = header else {
            return Ok(None);
        };
        let body_bytes = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
        let frame_bytes = layout::frame_bytes(body_bytes);
        let wanted = usize::try_from(frame_bytes).unwrap_or(usize::MAX);
        let frame = self.image.at(self.position, wanted)?;
        let Some((body, crc)) = header.body(&frame) else {
            return Ok(None);
        };
        let decoded = entry::decode(&frame.slice_ref(body), header.base, header.count);
        let (records, entries) = decoded.map_err(|_| ScanError::Damaged {
            path: self.image.path().to_path_buf(),
            position: self.position,
            sequence: header.sequence,
            reason: "its checksum holds but its body cannot be decoded",
        })?;
        self.position += frame_bytes;
        self.expected = header.sequence.next();
        self.chain = Some(crc);
        Ok(Some(Committed {
            sequence: header.sequence,
            base: header.base,
            records,
            entries,
            bytes: body_bytes,
            crc,
            epoch: self.epoch,
        }))
    }

    /// Whether a header was written into this use of the segment. What lies behind the last frame
    /// may be anything, payloads of publishers included, so the salt decides.
    fn is_own(&self, header: &FrameHeader) -> bool {
        header.epoch == self.epoch && header.salt == self.salt
    }

    /// The epoch that was begun after this segment.
    fn successor(&mut self) -> Result<Option<u64>, ScanError> {
        let bytes = self.image.at(SUCCESSOR_START, SUCCESSOR_BYTES)?;
        let note = Successor::decode(&bytes).filter(|note| note.epoch == self.epoch);
        Ok(note.map(|note| note.next))
    }

    /// Decides whether the place where the frames ended is the end or damage. Frames below `next`
    /// are in sled, so damage among them does not matter.
    fn check_end(&mut self, next: Sequence, following: Option<Sequence>) -> Result<(), ScanError> {
        let reason = if following.is_some_and(|following| next < following) {
            "the next segment proves that it was durable"
        } else if self.is_proven(next)? {
            "a later frame proves that it was durable"
        } else {
            return Ok(());
        };
        Err(ScanError::Damaged {
            path: self.image.path().to_path_buf(),
            position: self.position,
            sequence: self.expected,
            reason,
        })
    }

    /// Whether a frame behind this place says that `next` was durable.
    fn is_proven(&mut self, next: Sequence) -> Result<bool, ScanError> {
        let mut from = self.position + ALIGNMENT as u64;
        loop {
            let piece = self.image.at(from, PIECE_BYTES)?;
            let is_last = from + piece.len() as u64 >= self.image.length();
            // A header that begins here may end in the next piece, which then begins with it.
            let whole = piece.len().saturating_sub(FRAME_HEADER_BYTES - 1);
            let end = if is_last { piece.len() } else { whole };
            let proof = (0..end)
                .step_by(ALIGNMENT)
                .filter_map(|at| piece.get(at..).and_then(FrameHeader::decode))
                .any(|later| {
                    self.is_own(&later) && later.synced.is_some_and(|synced| synced >= next)
                });
            if proof || is_last {
                return Ok(proof);
            }
            from += end.next_multiple_of(ALIGNMENT) as u64;
        }
    }
}
