//! How the allocator treats large pieces of memory.

/// Has pieces of 1 MiB and more given back to the system as soon as they are dropped.
///
/// By itself glibc would keep them, once some have been dropped, for each of its arenas: several times what is in use.
pub(crate) fn give_back_large_pieces() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 1 << 20;
        const ARENAS: libc::c_int = 4;
        // SAFETY: these calls only set numbers of the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        }
    }
}
