//! How the allocator treats large allocations.

/// Returns allocations of 1 MiB and more to the system as soon as they are freed.
///
/// By default glibc keeps such memory in each of its arenas once some of it has been freed: several times what is in
/// use.
pub(crate) fn give_back_large_pieces() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 1 << 20;
        const ARENAS: libc::c_int = 4;
        // SAFETY: these calls only set parameters of the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        }
    }
}
