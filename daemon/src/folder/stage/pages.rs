//! Buffers whose bytes lie in memory as they do in their file, so that they can be
//! [written past the cache](crate::disk::WriteFile::write_past_cache).

use crate::disk::PAGE_BYTES;

/// A buffer for bytes of a file.
pub(super) struct Pages(Vec<u8>);

impl Pages {
    /// Has room for so many bytes of any offset.
    pub(super) fn new(bytes: usize) -> Self {
        Self(vec![0; bytes + 2 * PAGE_BYTES])
    }

    /// The place for so many bytes that belong at this offset of a file. What is there is left over.
    pub(super) fn at(&mut self, offset: u64, len: usize) -> &mut [u8] {
        let first = self.0.as_ptr().align_offset(PAGE_BYTES);
        let start = first + (offset % PAGE_BYTES as u64) as usize;
        &mut self.0[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lie_in_memory_as_in_the_file() {
        let mut pages = Pages::new(10_000);
        for offset in [0, 1, 4_095, 4_096, 65_535, u64::MAX] {
            let place = pages.at(offset, 10_000);
            assert_eq!(place.as_ptr().addr() % PAGE_BYTES, (offset % PAGE_BYTES as u64) as usize);
            assert_eq!(place.len(), 10_000);
        }
    }
}
