//! The allocator of a policy: talc over memory that is there from the start.
//!
//! A fresh instance is paid for by the page, and `memory.grow` costs the host
//! an `mprotect`. So the heap lies inside the initial memory: first a reserve
//! of [`RESERVE_BYTES`], so that there is always room to decide, then what is
//! left between the end of the data and the end of the last page (between the
//! linker's `__heap_base` and `__heap_end`). Only when all of it is in use
//! does the memory grow. Freed memory is used again, since an instance may
//! serve many decisions.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::addr_of;
use talc::base::{Talc, binning::Binning};
use talc::cell::TalcSyncCell;
use talc::source::Source;
use talc::wasm::WasmBinning;

/// Heap that every policy has at the start. A decision with a few models needs
/// two or three kilobytes; with the stack it is half of the one page that a
/// small policy starts with.
const RESERVE_BYTES: usize = 16 * 1024;

/// Size of a WebAssembly page.
const PAGE_BYTES: usize = 64 * 1024;

/// What growing asks for beyond the allocation that did not fit: more than
/// talc's own bookkeeping for a region and a block.
const GROWTH_SLACK_BYTES: usize = 256;

static mut RESERVE: [MaybeUninit<u8>; RESERVE_BYTES] = [MaybeUninit::uninit(); RESERVE_BYTES];

#[global_allocator]
static ALLOCATOR: TalcSyncCell<InitialMemory, WasmBinning> =
    TalcSyncCell::new_wasm(InitialMemory::Untouched);

/// Which regions the allocator has been given.
#[derive(Debug)]
enum InitialMemory {
    /// None.
    Untouched,
    /// The reserve.
    Reserve,
    /// The reserve and the rest of the last page; from here on whole new pages.
    All,
}

unsafe extern "C" {
    static __heap_base: u8;
    static __heap_end: u8;
}

// SAFETY: `acquire` allocates nothing, and hands each region to talc once: the
// reserve is named nowhere else, the linker keeps heap_base..heap_end for an
// allocator, and pages that were just grown belong to nobody.
unsafe impl Source for InitialMemory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if let Self::Untouched = talc.source {
            talc.source = Self::Reserve;
            // SAFETY: see above.
            if unsafe { talc.claim((&raw mut RESERVE).cast(), RESERVE_BYTES) }.is_some() {
                return Ok(());
            }
        }
        if let Self::Reserve = talc.source {
            talc.source = Self::All;
            let base = addr_of!(__heap_base).cast_mut();
            let bytes = addr_of!(__heap_end) as usize - base as usize;
            // SAFETY: see above. A rest that is too small is not taken.
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
