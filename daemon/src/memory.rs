//! The allocator of the process: the one place with `unsafe` code.
//!
//! The daemon has many threads that work in turns. glibc gives threads heaps of their own and keeps
//! in each what that thread has once needed: after a first sync more memory lay idle than was in
//! use. Two heaps are enough for those that work at once, and what is free goes back to the system
//! when the daemon comes to rest. Other systems' allocators do without.

#![expect(unsafe_code, reason = "two calls of the C library that take no pointers")]

/// Heaps that threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 2;

/// Lets threads share a few heaps. To be called before there are many threads.
pub fn share_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets a number in the allocator, which takes a lock for it; no memory is touched.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Gives free memory back to the system. Takes some milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: only pages that the allocator itself knows to be free are given up, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
