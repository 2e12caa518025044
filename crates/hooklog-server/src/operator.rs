//! What the operator of the server may do: a backup of everything, streamed.
//!
//! **Invariant:** only a token of the operator gets here, for a backup holds what is every tenant's.
//! One backup runs at a time; it holds a few pieces in memory, and a client that takes none of them
//! for `answer_timeout` loses its connection.
//! **Next:** `streamed.rs`.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hooklog_storage::{BackupError, BackupPoint};
use http::{HeaderValue, header};
use tokio::sync::{mpsc, oneshot};

use crate::answers::Room;
use crate::error::ApiError;
use crate::reply::{Answer, Response};
use crate::request::Call;
use crate::streamed::{Broken, Piece, Pieces, Source};

/// Pieces that wait for the connection; each is about 256 KiB.
const PIECES: usize = 2;
/// What a stream counts for in the memory for answers: its pieces and one on its way.
const ROOM_BYTES: usize = 1 << 20;
/// Says about how many bytes will come, for a progress bar.
const BYTES_HEADER: &str = "hooklog-backup-bytes";

/// The pieces of a backup, and the memory that they count for.
struct Backup {
    pieces: mpsc::Receiver<Result<Bytes, BackupError>>,
    _room: Room,
}

impl Source for Backup {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(piece.map(|piece| match piece {
            Ok(bytes) => Ok(Piece {
                bytes,
                room: Room::default(),
            }),
            // The connection breaks off, which the client tells from an end.
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a backup failed");
                Err(error.into())
            }
        }))
    }
}

/// Starts a backup; `since` is where an older one ends.
pub(crate) async fn backup(call: Call) -> Answer {
    let since = match call.query.text("since").map(str::parse::<BackupPoint>) {
        None => None,
        Some(Ok(point)) => Some(point),
        Some(Err(_)) => {
            return Err(ApiError::Query(
                "since: must be where a backup ends, as 5120-0a1b2c3d-77-00000000",
            ));
        }
    };
    let state = Arc::clone(&call.state);
    let slot = Arc::clone(&state.backups)
        .try_acquire_owned()
        .map_err(|_| ApiError::Busy("another backup is running".to_owned()))?;
    let room = state.read_answers.take(ROOM_BYTES)?;
    let (sender, pieces) = mpsc::channel(PIECES);
    let (begun, begins) = oneshot::channel();
    let log = state.log.clone();
    // Ends when all is sent, after an error, or when the client is gone and nobody takes a piece.
    let work = state.tasks.spawn_blocking(move || {
        let _slot = slot;
        let backup = match log.backup(since) {
            Ok(backup) => backup,
            Err(error) => return drop(begun.send(Err(error))),
        };
        if begun.send(Ok(backup.total_bytes())).is_err() {
            return;
        }
        for piece in backup {
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    let Ok(total) = begins.await else {
        // It ended without a word, so it panicked.
        work.await?;
        return Err(ApiError::OutOfService(
            "The backup did not start".to_owned(),
        ));
    };
    let mut response = Response::default();
    let headers = response.headers_mut();
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, octets);
    headers.insert(BYTES_HEADER, total?.into());
    let pieces = Pieces::new(Backup {
        pieces,
        _room: room,
    });
    response.extensions_mut().insert(pieces);
    Ok(response)
}
