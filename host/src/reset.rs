//! Reset: putting an instance back into the state that it was made in.
//!
//! Making an instance and taking it down costs more than most decisions. For
//! policies with [`Isolation::Reset`](crate::Isolation::Reset) the component,
//! as `configure` left it ([`crate::preinit`]), gets one more function: it
//! writes the whole linear memory anew from data segments of its own and gives
//! every mutable global its first value. The host calls it after a decision
//! and uses the instance again when it succeeds ([`crate::revision`]).
//!
//! Always holds: after a reset nothing is left that a decision could have
//! written. A component where this cannot be seen from its code is refused
//! ([`Unfit`]): one with state beside memory and globals (instructions that
//! change tables or drop segments, resources of its own, a start function),
//! with several memories, or with so much memory that a new instance is
//! cheaper. So is one whose modules and instances are not all its own, plainly
//! listed, for then the function might be taken from the wrong one, and one
//! that decides at `threshold`: of the two handles that it is given, the order
//! in which it drops them shows in the numbers of the next two. An instance whose memory has grown is not put back but dropped,
//! since memory does not shrink. The guest's own code cannot reach what is
//! added: it names functions and segments by numbers, which were fixed before.

use std::ops::Range;
use wasm_encoder::{
    Alias, BlockType, CanonicalFunctionSection, Component, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentTypeSection, ComponentValType, Encode,
    ExportKind, Function, Module, PrimitiveValType, RawSection,
};
use wasmparser::{
    BinaryReader, BinaryReaderError, CanonicalFunction, ComponentAlias, ComponentExternalKind,
    ComponentOuterAliasKind, ComponentTypeRef, ConstExpr, DataKind, Instance, Operator, Parser,
    Payload, TypeRef, Validator,
};

/// The name under which the function is exported: a function without
/// parameters that returns 0 when the instance is as new, and else 1.
pub(crate) const EXPORT: &str = "backstop-reset";

/// Largest memory that is put back, in pages of 64 KiB. Writing more takes
/// longer than a new instance, whose memory is copied when it is touched.
const PAGES_MAX: u64 = 4;
const PAGE_BYTES: usize = 64 << 10;
/// Zeros between two pieces of data that are written as data, because one more
/// operation costs more than they do.
const GAP_BYTES: usize = 64;

const SECTION_CORE_MODULE: u8 = 1;
const SECTION_TYPE: u8 = 1;
const SECTION_FUNCTION: u8 = 3;
const SECTION_EXPORT: u8 = 7;
const SECTION_CODE: u8 = 10;
const SECTION_DATA: u8 = 11;
const SECTION_DATA_COUNT: u8 = 12;

/// Why instances of a component are not put back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it has {0}")]
    Has(&'static str),
    #[error("it uses `{0}`, which changes more than its memory")]
    Instruction(&'static str),
    #[error("its memory has {0} pages, at most {PAGES_MAX} are put back")]
    Memory(u64),
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl From<BinaryReaderError> for Unfit {
    fn from(error: BinaryReaderError) -> Self {
        Unfit::Unreadable(error.to_string())
    }
}

/// `component` with the function [`EXPORT`].
///
/// # Errors
///
/// [`Unfit`], when it cannot be told that the function would put everything
/// back.
pub(crate) fn instrument(component: &[u8]) -> Result<Vec<u8>, Unfit> {
    let survey = Survey::of(component)?;
    let main = survey.main()?;
    let module = with_reset(&component[main.range.clone()], main)?;
    let instance = survey.instance_of(main.index)?;

    let types = Validator::new().validate_all(component)?;
    let types = types.as_ref();
    let mut out = Component::new();
    let mut modules = 0;
    for (id, range) in &survey.sections {
        let (id, mut data) = (*id, &component[range.clone()]);
        if id == SECTION_CORE_MODULE {
            if modules == main.index {
                data = &module;
            }
            modules += 1;
        }
        out.section(&RawSection { id, data });
    }
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport {
        instance,
        kind: ExportKind::Func,
        name: EXPORT,
    });
    let mut function_types = ComponentTypeSection::new();
    function_types
        .function()
        .params::<_, ComponentValType>([])
        .result(Some(ComponentValType::Primitive(PrimitiveValType::U32)));
    let mut lifted = CanonicalFunctionSection::new();
    lifted.lift(types.function_count(), types.component_type_count(), []);
    let mut exports = ComponentExportSection::new();
    let function = types.component_function_count();
    exports.export(EXPORT, ComponentExportKind::Func, function, None);
    out.section(&aliases)
        .section(&function_types)
        .section(&lifted)
        .section(&exports);
    Ok(out.finish())
}

/// What a component consists of, as far as it matters here.
#[derive(Default)]
struct Survey {
    /// Its own sections, in order.
    sections: Vec<(u8, Range<usize>)>,
    modules: Vec<Facts>,
    /// Which module each of its core instances is of.
    instances: Vec<Option<u32>>,
}

/// What matters of one core module.
#[derive(Default)]
struct Facts {
    index: u32,
    range: Range<usize>,
    /// Pages of its memory at the start.
    pages: Option<u64>,
    /// Values that its own mutable globals begin with, by index.
    globals: Vec<(u32, ConstValue)>,
    globals_imported: u32,
    types: u32,
    functions: u32,
    data: Vec<(usize, Range<usize>)>,
    segments: u32,
}

/// The first value of a global.
#[derive(Clone, Copy)]
enum ConstValue {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

impl Survey {
    fn of(component: &[u8]) -> Result<Survey, Unfit> {
        let mut survey = Survey::default();
        // What encloses the payload: modules of the component itself, or not.
        let mut inside: Vec<bool> = Vec::new();
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            if inside.is_empty()
                && let Some(section) = payload.as_section()
            {
                survey.sections.push(section);
            }
            match payload {
                Payload::ModuleSection {
                    unchecked_range, ..
                } => {
                    if !inside.is_empty() {
                        return Err(Unfit::Has("core modules in components inside it"));
                    }
                    survey.modules.push(Facts {
                        index: u32::try_from(survey.modules.len()).unwrap_or(u32::MAX),
                        range: unchecked_range,
                        ..Facts::default()
                    });
                    inside.push(true);
                }
                Payload::ComponentSection { .. } => inside.push(false),
                Payload::End(_) => {
                    inside.pop();
                }
                Payload::InstanceSection(_) if !inside.is_empty() => {
                    return Err(Unfit::Has("core instances in components inside it"));
                }
                Payload::InstanceSection(section) => {
                    for instance in section {
                        survey.instances.push(match instance? {
                            Instance::Instantiate { module_index, .. } => Some(module_index),
                            Instance::FromExports(_) => None,
                        });
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        match function? {
                            CanonicalFunction::Lift { .. }
                            | CanonicalFunction::Lower { .. }
                            | CanonicalFunction::ResourceDrop { .. } => {}
                            _ => return Err(Unfit::Has("resources or tasks of its own")),
                        }
                    }
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        if let ComponentTypeRef::Module(_) = import?.ty {
                            return Err(Unfit::Has("an imported core module"));
                        }
                    }
                }
                Payload::ComponentAliasSection(section) => {
                    for alias in section {
                        if let ComponentAlias::InstanceExport {
                            kind: ComponentExternalKind::Module,
                            ..
                        }
                        | ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::CoreModule,
                            ..
                        } = alias?
                        {
                            return Err(Unfit::Has("a core module from elsewhere"));
                        }
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        if export?.name.name == EXPORT {
                            return Err(Unfit::Has("an export with the reserved name"));
                        }
                    }
                }
                other => {
                    if inside.last() == Some(&true)
                        && let Some(facts) = survey.modules.last_mut()
                    {
                        facts.note(other)?;
                    }
                }
            }
        }
        Ok(survey)
    }

    /// The one module with a memory.
    fn main(&self) -> Result<&Facts, Unfit> {
        let mut with_memory = self.modules.iter().filter(|facts| facts.pages.is_some());
        match (with_memory.next(), with_memory.next()) {
            (None, _) => Err(Unfit::Has("no memory")),
            (_, Some(_)) => Err(Unfit::Has("several memories")),
            (Some(main), None) => {
                let others = self
                    .modules
                    .iter()
                    .filter(|facts| facts.index != main.index);
                match others.into_iter().any(|facts| !facts.globals.is_empty()) {
                    true => Err(Unfit::Has("several modules with globals")),
                    false => Ok(main),
                }
            }
        }
    }

    /// The one instance of the module `index`.
    fn instance_of(&self, index: u32) -> Result<u32, Unfit> {
        let mut of = (0..).zip(&self.instances);
        let mut of = of.by_ref().filter(|(_, module)| **module == Some(index));
        match (of.next(), of.next()) {
            (Some((instance, _)), None) => Ok(instance),
            _ => Err(Unfit::Has(
                "not exactly one instance of the module with the memory",
            )),
        }
    }
}

impl Facts {
    fn note(&mut self, payload: Payload<'_>) -> Result<(), Unfit> {
        match payload {
            Payload::TypeSection(section) => {
                for entry in section.into_iter_err_on_gc_types() {
                    entry?;
                    self.types += 1;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions += 1,
                        TypeRef::Memory(_) => return Err(Unfit::Has("an imported memory")),
                        TypeRef::Global(global) if global.mutable => {
                            return Err(Unfit::Has("an imported global that changes"));
                        }
                        TypeRef::Global(_) => self.globals_imported += 1,
                        TypeRef::Table(_) => {}
                        TypeRef::Tag(_) => return Err(Unfit::Has("exceptions")),
                    }
                }
            }
            Payload::FunctionSection(section) => self.functions += section.count(),
            Payload::ExportSection(section) => {
                for export in section {
                    if export?.name == EXPORT {
                        return Err(Unfit::Has("an export with the reserved name"));
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    if self.pages.is_some() || memory.shared || memory.memory64 {
                        return Err(Unfit::Has("several memories, or an unusual one"));
                    }
                    if memory.initial > PAGES_MAX {
                        return Err(Unfit::Memory(memory.initial));
                    }
                    self.pages = Some(memory.initial);
                }
            }
            Payload::GlobalSection(section) => {
                for (index, global) in (self.globals_imported..).zip(section) {
                    let global = global?;
                    if global.ty.mutable {
                        let value = value(&global.init_expr)?;
                        self.globals.push((index, value));
                    }
                }
            }
            Payload::StartSection { .. } => return Err(Unfit::Has("a start function")),
            Payload::TagSection(_) => return Err(Unfit::Has("exceptions")),
            Payload::DataSection(section) => {
                for segment in section {
                    let segment = segment?;
                    self.segments += 1;
                    let DataKind::Active { offset_expr, .. } = segment.kind else {
                        continue;
                    };
                    let ConstValue::I32(offset) = value(&offset_expr)? else {
                        return Err(Unfit::Has("data at a place that is computed"));
                    };
                    let end = segment.range.end;
                    let place = usize::try_from(offset.cast_unsigned()).unwrap_or(usize::MAX);
                    self.data.push((place, end - segment.data.len()..end));
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    if let Some(name) = changes_more(&operator?) {
                        return Err(Unfit::Instruction(name));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The name of an instruction that changes what a reset does not put back.
fn changes_more(operator: &Operator<'_>) -> Option<&'static str> {
    Some(match operator {
        Operator::TableSet { .. } => "table.set",
        Operator::TableGrow { .. } => "table.grow",
        Operator::TableFill { .. } => "table.fill",
        Operator::TableCopy { .. } => "table.copy",
        Operator::TableInit { .. } => "table.init",
        Operator::ElemDrop { .. } => "elem.drop",
        Operator::DataDrop { .. } => "data.drop",
        _ => return None,
    })
}

/// The value of a constant expression that is one constant.
fn value(expression: &ConstExpr<'_>) -> Result<ConstValue, Unfit> {
    let mut operators = expression.get_operators_reader();
    let value = match operators.read()? {
        Operator::I32Const { value } => ConstValue::I32(value),
        Operator::I64Const { value } => ConstValue::I64(value),
        Operator::F32Const { value } => ConstValue::F32(value.bits()),
        Operator::F64Const { value } => ConstValue::F64(value.bits()),
        _ => {
            return Err(Unfit::Has(
                "a global or a piece of data that depends on another global",
            ));
        }
    };
    match operators.read()? {
        Operator::End => Ok(value),
        _ => Err(Unfit::Has(
            "a global or a piece of data that depends on another global",
        )),
    }
}

/// The main module with the function and its data.
fn with_reset(module: &[u8], facts: &Facts) -> Result<Vec<u8>, Unfit> {
    let image = image(module, facts)?;
    let pieces = pieces(&image);
    let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    let mut code = Vec::new();
    function(facts, &image, &pieces).encode(&mut code);
    let mut data = Vec::new();
    for piece in &pieces {
        data.push(1); // passive
        image[piece.clone()].encode(&mut data);
    }
    let mut export = Vec::new();
    EXPORT.encode(&mut export);
    ExportKind::Func.encode(&mut export);
    facts.functions.encode(&mut export);
    let mut function_type = Vec::new();
    facts.types.encode(&mut function_type);
    let mut data_count = Vec::new();
    (facts.segments + count).encode(&mut data_count);

    let mut out = Module::new();
    let mut section = |id, data: &[u8]| {
        out.section(&RawSection { id, data });
    };
    let mut has_data = false;
    for payload in Parser::new(0).parse_all(module) {
        let Some((id, range)) = payload?.as_section() else {
            continue;
        };
        let body = &module[range];
        match id {
            // One more type: nothing to a number.
            SECTION_TYPE => section(id, &extended(body, 1, &[0x60, 0, 1, 0x7f])?),
            SECTION_FUNCTION => section(id, &extended(body, 1, &function_type)?),
            SECTION_EXPORT => section(id, &extended(body, 1, &export)?),
            SECTION_DATA_COUNT => {}
            SECTION_CODE => {
                section(SECTION_DATA_COUNT, &data_count);
                section(id, &extended(body, 1, &code)?);
            }
            SECTION_DATA => {
                has_data = true;
                section(id, &extended(body, count, &data)?);
            }
            _ => section(id, body),
        }
    }
    if !has_data {
        section(SECTION_DATA, &extended(&[0], count, &data)?);
    }
    Ok(out.finish())
}

/// The memory as it is when an instance is made.
fn image(module: &[u8], facts: &Facts) -> Result<Vec<u8>, Unfit> {
    let pages = usize::try_from(facts.pages.unwrap_or(0)).unwrap_or(usize::MAX);
    let mut image = vec![0; pages * PAGE_BYTES];
    for (place, range) in &facts.data {
        // Ranges count from the beginning of the component.
        let bytes = &module[range.start - facts.range.start..range.end - facts.range.start];
        image
            .get_mut(*place..)
            .and_then(|rest| rest.get_mut(..bytes.len()))
            .ok_or(Unfit::Has("data outside of its memory"))?
            .copy_from_slice(bytes);
    }
    Ok(image)
}

/// The pieces of `image` that are not zero, each up to the next long gap.
fn pieces(image: &[u8]) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for (at, byte) in image.iter().enumerate() {
        if *byte == 0 {
            continue;
        }
        match pieces.last_mut() {
            Some(last) if at - last.end <= GAP_BYTES => last.end = at + 1,
            _ => pieces.push(at..at + 1),
        }
    }
    pieces
}

/// The function: writes zeros and data, sets the globals, and says whether the
/// memory is still as large as it was.
fn function(facts: &Facts, image: &[u8], pieces: &[Range<usize>]) -> Function {
    let int = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let mut function = Function::new([]);
    let mut code = function.instructions();
    let pages = int(image.len() / PAGE_BYTES);
    code.memory_size(0).i32_const(pages).i32_ne();
    code.if_(BlockType::Empty);
    code.i32_const(1).return_().end();
    let mut zeros = 0;
    for (segment, piece) in (facts.segments..).zip(pieces) {
        if zeros < piece.start {
            code.i32_const(int(zeros)).i32_const(0);
            code.i32_const(int(piece.start - zeros)).memory_fill(0);
        }
        code.i32_const(int(piece.start)).i32_const(0);
        code.i32_const(int(piece.len())).memory_init(0, segment);
        zeros = piece.end;
    }
    if zeros < image.len() {
        code.i32_const(int(zeros)).i32_const(0);
        code.i32_const(int(image.len() - zeros)).memory_fill(0);
    }
    for (index, value) in &facts.globals {
        match *value {
            ConstValue::I32(value) => code.i32_const(value),
            ConstValue::I64(value) => code.i64_const(value),
            ConstValue::F32(bits) => code.f32_const(f32::from_bits(bits).into()),
            ConstValue::F64(bits) => code.f64_const(f64::from_bits(bits).into()),
        };
        code.global_set(*index);
    }
    code.i32_const(0).end();
    function
}

/// The body of a section with `count` more `entries` at its end.
fn extended(body: &[u8], count: u32, entries: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut reader = BinaryReader::new(body, 0);
    let before = reader.read_var_u32()?;
    let mut out = Vec::with_capacity(body.len() + entries.len() + 5);
    (before + count).encode(&mut out);
    out.extend_from_slice(&body[reader.original_position()..]);
    out.extend_from_slice(entries);
    Ok(out)
}

#[cfg(test)]
mod tests {
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
        let text = format!(
            "(component {rest} (core module $m {fields}) (core instance $i (instantiate $m)))"
        );
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
}
