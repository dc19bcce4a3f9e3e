//! The allocator of a policy: talc over memory that is there from the start.
//!
//! A fresh instance is paid for by the page, and `memory.grow` costs the host
//! an `mprotect`. So the heap begins inside the initial memory: what lies
//! between the end of the data and the end of the last page (`__heap_base`
//! and `__heap_end` are the linker's), with [`ARENA_BYTES`] more where that
//! would be too little to start with. Only when all of it is in use does the
//! memory grow. Freed memory is used again, since an instance may serve many
//! decisions.

use core::alloc::Layout;
use core::ptr::addr_of;
use talc::base::{Talc, binning::Binning};
use talc::cell::TalcSyncCell;
use talc::source::Source;
use talc::wasm::WasmBinning;

/// Size of a WebAssembly page.
const PAGE_BYTES: usize = 64 * 1024;

/// What is asked for over the allocation that did not fit: the block's own
/// header and a page's worth of rounding.
const GROWTH_SLACK_BYTES: usize = 256;

#[global_allocator]
static ALLOCATOR: TalcSyncCell<InitialMemory, WasmBinning> =
    TalcSyncCell::new_wasm(InitialMemory { claimed: false });

/// First the rest of the initial memory, then whole new pages.
#[derive(Debug)]
struct InitialMemory {
    claimed: bool,
}

unsafe extern "C" {
    static __heap_base: u8;
    static __heap_end: u8;
}

// SAFETY: `acquire` allocates nothing, and hands each region to talc once: the
// linker reserves heap_base..heap_end for an allocator, and pages that were
// just grown belong to nobody else.
unsafe impl Source for InitialMemory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if !talc.source.claimed {
            talc.source.claimed = true;
            let base = addr_of!(__heap_base).cast_mut();
            let bytes = addr_of!(__heap_end) as usize - base as usize;
            // SAFETY: see above. Too small a rest is not claimed, and the
            // memory grows below when talc asks again.
            if unsafe { talc.claim(base, bytes) }.is_some() {
                return Ok(());
            }
        }
        let bytes = layout.size() + layout.align() + GROWTH_SLACK_BYTES;
        let pages = bytes.div_ceil(PAGE_BYTES);
        let before = core::arch::wasm32::memory_grow::<0>(pages);
        if before == usize::MAX {
            return Err(());
        }
        let base = (before * PAGE_BYTES) as *mut u8;
        // SAFETY: see above.
        match unsafe { talc.claim(base, pages * PAGE_BYTES) } {
            Some(_) => Ok(()),
            None => Err(()),
        }
    }
}
