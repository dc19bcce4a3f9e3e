//! The wasmtime engine: one for all policies of a host, hardened.
//!
//! Limits differ by store, not by engine. A thread of its own advances the
//! epoch, so that a guest is stopped even when every worker is busy; the
//! thread ends with the engine.

use crate::options::HostOptions;
use std::thread;
use std::time::Duration;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, RegallocAlgorithm,
    Strategy,
};

/// The epoch advances once in this time: the precision of deadlines.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Stack of a guest. Rust policies use a few KiB of it; their own data stack
/// is in linear memory.
const WASM_STACK_BYTES: usize = 256 << 10;
/// Stack of a run that may wait: the guest's, and room for host functions
/// below it. What overruns it would abort the process.
const ASYNC_STACK_BYTES: usize = 1 << 20;
/// Parts of a run's stack that stay resident between runs.
const ASYNC_STACK_KEEP_BYTES: usize = 64 << 10;
/// Memory of a slot that is cleared by writing rather than by the kernel.
/// Above the whole memory of a shipped policy, which makes a fresh instance
/// about twice as fast (no page faults).
const KEEP_RESIDENT_BYTES: usize = 512 << 10;
/// Instances beyond `instances_max` for those that wait to be used again: some
/// for each policy whose instances are, of which a host has a few dozen.
const WARM_ROOM: u32 = 64 * crate::revision::WARM_MAX as u32;
/// Parts of tables that are cleared by writing, as above.
const TABLE_KEEP_BYTES: usize = 64 << 10;

/// Builds the engine and starts its clock.
///
/// # Errors
///
/// When the machine does not give the address space for
/// `options.instances_max` memories.
pub(crate) fn build(options: &HostOptions) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
        .epoch_interruption(true)
        .consume_fuel(true)
        .concurrency_support(false)
        // Replay needs the same bits everywhere.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Nothing that a policy needs.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false)
        .memory_init_cow(true)
        .guard_before_linear_memory(true)
        .signals_based_traps(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .async_stack_zeroing(true)
        .memory_reservation(options.memory_bytes_max.max(1 << 20) as u64)
        .memory_guard_size(64 << 10)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    let engine = Engine::new(&config)?;
    start_clock(&engine)?;
    Ok(engine)
}

fn pool(options: &HostOptions) -> PoolingAllocationConfig {
    let instances = options.instances_max.clamp(1, 4_096) + WARM_ROOM;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * 4)
        .total_memories(instances)
        .total_tables(instances * 2)
        .total_stacks(instances)
        .max_core_instances_per_component(8)
        .max_memories_per_component(1)
        .max_tables_per_component(4)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .max_memory_size(options.memory_bytes_max)
        .table_elements(crate::run_state::TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_BYTES)
        .async_stack_keep_resident(ASYNC_STACK_KEEP_BYTES)
        .max_unused_warm_slots(instances.min(64));
    pool
}

/// Advances the epoch until the last user of the engine is gone.
fn start_clock(engine: &Engine) -> wasmtime::Result<()> {
    let weak = engine.weak();
    thread::Builder::new()
        .name("backstop-epoch".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(TICK);
                let Some(engine) = weak.upgrade() else { return };
                engine.increment_epoch();
                drop(engine);
            }
        })
        .map(drop)
        .map_err(|error| wasmtime::Error::msg(format!("start the epoch thread: {error}")))
}

/// Epochs until a run of this length is over.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    // One more, because the present tick has already begun.
    deadline.as_millis().div_ceil(TICK.as_millis()).max(1) as u64 + 1
}
