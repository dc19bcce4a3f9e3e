//! `cargo bench -p backstop-bench`: the same decision in every engine, in one
//! run. Read the ratios, not the figures; see `RESULTS.md`.

use backstop::Isolation;
use backstop_bench::{Backstop, Cel, Counters, Facts, Lua, Native, Rego, Rhai};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;

fn decision(c: &mut Criterion) {
    let counters = Arc::new(Counters::default());
    let facts = Facts::usual();
    let mut group = c.benchmark_group("fallback decision");

    for (name, isolation) in [
        ("backstop, fresh instance", Isolation::Fresh),
        ("backstop, instance put back", Isolation::Reset),
        ("backstop, warm instance", Isolation::Warm),
    ] {
        let backstop = Backstop::new(counters.clone(), isolation);
        group.bench_function(name, |b| b.iter(|| backstop.decide(black_box(&facts))));
    }
    let rego = Rego::new();
    group.bench_function("regorus, cloned engine", |b| {
        b.iter(|| rego.decide(black_box(&facts), &counters));
    });
    let cel = Cel::new();
    group.bench_function("cel-interpreter", |b| {
        b.iter(|| cel.decide(black_box(&facts), &counters));
    });
    let rhai = Rhai::new(counters.clone());
    group.bench_function("rhai", |b| b.iter(|| rhai.decide(black_box(&facts))));
    let lua = Lua::new(counters.clone());
    group.bench_function("luajit, shared vm", |b| {
        b.iter(|| lua.decide(black_box(&facts)));
    });
    group.bench_function("native", |b| {
        b.iter(|| Native.decide(black_box(&facts), &counters));
    });
    group.finish();
}

criterion_group!(benches, decision);
criterion_main!(benches);
