//! What a component consists of, as far as putting it back needs to know: its
//! sections, the one module with a memory, and everything that makes it unfit.

use super::{EXPORT, Unfit};
use std::ops::Range;
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind,
    ComponentTypeRef, ConstExpr, DataKind, Instance, Operator, Parser, Payload, TypeRef,
};

/// Largest memory that is put back, in pages of 64 KiB. Writing more takes
/// longer than a new instance, whose memory is copied when it is touched.
pub(super) const PAGES_MAX: u64 = 4;

/// What a component consists of, as far as it matters here.
#[derive(Default)]
pub(super) struct Survey {
    /// Its own sections, in order.
    pub(super) sections: Vec<(u8, Range<usize>)>,
    pub(super) modules: Vec<Facts>,
    /// Which module each of its core instances is of.
    pub(super) instances: Vec<Option<u32>>,
}

/// What matters of one core module.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) index: u32,
    pub(super) range: Range<usize>,
    /// Pages of its memory at the start.
    pub(super) pages: Option<u64>,
    /// Values that its own mutable globals begin with, by index.
    pub(super) globals: Vec<(u32, ConstValue)>,
    pub(super) globals_imported: u32,
    pub(super) types: u32,
    pub(super) functions: u32,
    pub(super) data: Vec<(usize, Range<usize>)>,
    pub(super) segments: u32,
}

/// The first value of a global.
#[derive(Clone, Copy)]
pub(super) enum ConstValue {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

impl Survey {
    pub(super) fn of(component: &[u8]) -> Result<Survey, Unfit> {
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
    pub(super) fn main(&self) -> Result<&Facts, Unfit> {
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
    pub(super) fn instance_of(&self, index: u32) -> Result<u32, Unfit> {
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
