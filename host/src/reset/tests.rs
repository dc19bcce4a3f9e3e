//! Tests of putting instances back, on components written by hand.

use super::rewrite::{GAP_BYTES, pieces};
use super::*;
use crate::options::HostOptions;
use wasmtime::Store;
use wasmtime::component::Linker;

/// A component whose `touch` adds up what it finds in a global and in
/// three places of its memory, and changes them all.
const STATEFUL: &str = r#"(component
    (core module $m
        (memory 1)
        (global $own (mut i32) (i32.const 7))
        (global $constant i32 (i32.const 1000))
        (data (i32.const 16) "\01")
        (data (i32.const 300) "\02")
        (func (export "touch") (result i32)
            global.get $own
            global.get $constant
            (i32.load8_u (i32.const 16))
            (i32.load8_u (i32.const 300))
            (i32.load (i32.const 65532))
            i32.add i32.add i32.add i32.add
            (global.set $own (i32.const 0))
            (i32.store8 (i32.const 16) (i32.const 9))
            (i32.store8 (i32.const 300) (i32.const 9))
            (i32.store (i32.const 65532) (i32.const 9)))
        (func (export "grow") (result i32) (memory.grow (i32.const 1))))
    (core instance $i (instantiate $m))
    (func (export "touch") (result u32) (canon lift (core func $i "touch")))
    (func (export "grow") (result u32) (canon lift (core func $i "grow"))))"#;
const NEW: u32 = 7 + 1_000 + 1 + 2;
const TOUCHED: u32 = 1_000 + 3 * 9;

fn calls(text: &str, names: &[&str]) -> Vec<u32> {
    let component = instrument(&wat::parse_str(text).unwrap()).unwrap();
    let engine = crate::engine::build(&HostOptions::default()).unwrap();
    let component = wasmtime::component::Component::new(&engine, component).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(1_000_000).unwrap();
    store.set_epoch_deadline(10_000);
    let linker = Linker::new(&engine);
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let call = |name: &&str| {
        let function = instance.get_typed_func::<(), (u32,)>(&mut store, name);
        function.unwrap().call(&mut store, ()).unwrap().0
    };
    names.iter().map(call).collect()
}

#[test]
fn memory_and_globals_are_as_new_after_a_reset() {
    assert_eq!(
        calls(STATEFUL, &["touch", "touch", EXPORT, "touch", EXPORT]),
        [NEW, TOUCHED, 0, NEW, 0]
    );
}

#[test]
fn memory_that_has_grown_is_told() {
    assert_eq!(calls(STATEFUL, &["grow", EXPORT]), [1, 1]);
}

#[test]
fn a_component_without_data_is_put_back_too() {
    let text = r#"(component
        (core module $m (memory 1)
            (func (export "touch") (result i32)
                (i32.load (i32.const 8)) (i32.store (i32.const 8) (i32.const 3))))
        (core instance $i (instantiate $m))
        (func (export "touch") (result u32) (canon lift (core func $i "touch"))))"#;
    assert_eq!(
        calls(text, &["touch", "touch", EXPORT, "touch"]),
        [0, 3, 0, 0]
    );
}

/// Why a module with `fields`, which `rest` of the component uses, is unfit.
fn refused(fields: &str, rest: &str) -> Unfit {
    let text =
        format!("(component {rest} (core module $m {fields}) (core instance $i (instantiate $m)))");
    instrument(&wat::parse_str(text).unwrap()).unwrap_err()
}

#[test]
fn what_has_more_state_than_can_be_put_back_is_refused() {
    let instruction = |fields| refused(&format!("(memory 1) {fields}"), "");
    for (fields, name) in [
        (
            "(table 1 funcref) (func i32.const 0 ref.null func table.set)",
            "table.set",
        ),
        (
            "(table 1 funcref) (func ref.null func i32.const 1 table.grow drop)",
            "table.grow",
        ),
        ("(data \"x\") (func data.drop 0)", "data.drop"),
        ("(elem func 0) (func elem.drop 0)", "elem.drop"),
    ] {
        assert_eq!(instruction(fields), Unfit::Instruction(name));
    }
    assert_eq!(
        instruction("(func $s) (start $s)"),
        Unfit::Has("a start function")
    );
    assert_eq!(refused("", ""), Unfit::Has("no memory"));
    assert_eq!(refused("(memory 5)", ""), Unfit::Memory(5));
    let second = "(core module $n (memory 1))";
    assert_eq!(
        refused("(memory 1)", second),
        Unfit::Has("several memories")
    );
    let second = "(core module $n (global (mut i32) (i32.const 0)))";
    assert_eq!(
        refused("(memory 1)", second),
        Unfit::Has("several modules with globals")
    );
    let inner = "(component (core module (memory 1)))";
    assert_eq!(
        refused("(memory 1)", inner),
        Unfit::Has("core modules in components inside it")
    );
    let own = "(type $r (resource (rep i32))) (core func (canon resource.new $r))";
    assert_eq!(
        refused("(memory 1)", own),
        Unfit::Has("resources or tasks of its own")
    );
}

/// A core instance inside another component shifts what a careless count
/// takes for the main instance; the guest's own next one then answers.
#[test]
fn a_function_of_the_guest_does_not_pass_for_the_reset() {
    let decoy = format!(
        r#"(component
            (core module $m (memory 1) (global (mut i32) (i32.const 0)))
            (core module $fake (func (export "{EXPORT}") (result i32) (i32.const 0)))
            (component (core module $x) (core instance (instantiate $x)))
            (core instance (instantiate $m))
            (core instance (instantiate $fake)))"#
    );
    let empty = "(component (core module $m (memory 1)) (component (core instance))
        (core instance (instantiate $m)))";
    for (text, why) in [
        (decoy.as_str(), "an export with the reserved name"),
        (empty, "core instances in components inside it"),
    ] {
        let unfit = instrument(&wat::parse_str(text).unwrap()).unwrap_err();
        assert_eq!(unfit, Unfit::Has(why));
    }
    let named = format!(
        r#"(component (core module $m (memory 1) (func (export "f") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func (export "{EXPORT}") (result u32) (canon lift (core func $i "f"))))"#
    );
    let unfit = instrument(&wat::parse_str(named).unwrap()).unwrap_err();
    assert_eq!(unfit, Unfit::Has("an export with the reserved name"));
}

#[test]
fn a_module_that_is_instantiated_twice_is_refused() {
    let again = "(component (core module $m (memory 1))
        (core instance (instantiate $m)) (core instance (instantiate $m)))";
    let unfit = instrument(&wat::parse_str(again).unwrap()).unwrap_err();
    assert_eq!(
        unfit,
        Unfit::Has("not exactly one instance of the module with the memory")
    );
}

#[test]
fn zeros_between_data_are_bridged_or_left_out() {
    let mut image = vec![0; 1_000];
    image[10] = 1;
    image[10 + GAP_BYTES] = 1;
    image[500] = 1;
    assert_eq!(pieces(&image), [10..11 + GAP_BYTES, 500..501]);
    assert!(pieces(&[0; 8]).is_empty());
}
