//! The allocator of the process, and what it gives back.
//!
//! A burst of thousands of streams takes hundreds of megabytes in blocks of a
//! few KiB and ends with some of them still in use: connections that are kept,
//! records. jemalloc hands back everything between them; allocators that fill
//! runs of pages with blocks of one size (mimalloc, and the system's with its
//! heaps for each thread) keep each run in which one is left. And it has a
//! thread of its own for that, so that memory also returns when no request
//! comes any more.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Memory that is free goes back within about a second: long enough that
/// requests of a busy gateway use it again without asking the system.
#[expect(
    unsafe_code,
    reason = "jemalloc reads its options from the symbol of this name, a C string, which this is"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

#[cfg(test)]
mod tests {
    #[test]
    fn the_options_reach_the_allocator() {
        // Off by default: a name that it does not look for changes nothing.
        assert_eq!(tikv_jemalloc_ctl::background_thread::read(), Ok(true));
    }
}
