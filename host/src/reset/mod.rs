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
//! in which it drops them shows in the numbers of the next two. An instance
//! whose memory has grown is not put back but dropped, since memory does not
//! shrink. The guest's own code cannot reach what is added: it names functions
//! and segments by numbers, which were fixed before.
//!
//! - `survey`: what a component consists of, and whether it fits;
//! - `rewrite`: the module with the function and its data.

mod rewrite;
mod survey;
#[cfg(test)]
mod tests;

use self::survey::{PAGES_MAX, Survey};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentTypeSection, ComponentValType, ExportKind, PrimitiveValType,
    RawSection,
};
use wasmparser::{BinaryReaderError, Validator};

/// The name under which the function is exported: a function without
/// parameters that returns 0 when the instance is as new, and else 1.
pub(crate) const EXPORT: &str = "backstop-reset";

const SECTION_CORE_MODULE: u8 = 1;

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
    let module = rewrite::module(&component[main.range.clone()], main)?;
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
