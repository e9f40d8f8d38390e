//! How much comes in at once.
//!
//! A disk may be slower than the network, and requests that it holds up are made again: what has
//! been asked for and is not written yet must not fill the memory. And more threads that make files
//! in one directory than there are processors only wait for each other.

use std::future::Future;
use std::thread::available_parallelism;

use protocol::message::ChunkWanted;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes that may be under way or wait to be written, for one folder: what two fast peers fill.
const BYTES: u32 = 32 << 20;

/// The gate through which chunks come.
pub(super) struct Intake {
    bytes: Semaphore,
    writers: Semaphore,
}

impl Default for Intake {
    fn default() -> Self {
        let writers = available_parallelism().map_or(2, std::num::NonZero::get);
        Self { bytes: Semaphore::new(BYTES as usize), writers: Semaphore::new(writers) }
    }
}

impl Intake {
    /// Waits until there is room for these chunks; it is theirs until the answer is dropped.
    /// `None` never comes: the gate is not closed.
    pub(super) async fn room_for(&self, chunks: &[ChunkWanted]) -> Option<SemaphorePermit<'_>> {
        let bytes: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        self.bytes.acquire_many(u32::try_from(bytes).unwrap_or(BYTES).min(BYTES)).await.ok()
    }

    /// Waits for a turn to write, and writes.
    pub(super) async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        let _turn = self.writers.acquire().await;
        write.await
    }
}
