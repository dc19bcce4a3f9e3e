//! The main module with the function that puts it back, and the function's data.

use super::survey::{ConstValue, Facts};
use super::{EXPORT, Unfit};
use std::ops::Range;
use wasm_encoder::{BlockType, Encode, ExportKind, Function, Module, RawSection};
use wasmparser::{BinaryReader, Parser};

/// A page of linear memory.
const PAGE_BYTES: usize = 64 << 10;
/// Zeros between two pieces of data that are written as data, because one more
/// operation costs more than they do.
pub(super) const GAP_BYTES: usize = 64;

const SECTION_TYPE: u8 = 1;
const SECTION_FUNCTION: u8 = 3;
const SECTION_EXPORT: u8 = 7;
const SECTION_CODE: u8 = 10;
const SECTION_DATA: u8 = 11;
const SECTION_DATA_COUNT: u8 = 12;

/// The main module with the function and its data.
pub(super) fn module(module: &[u8], facts: &Facts) -> Result<Vec<u8>, Unfit> {
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
pub(super) fn pieces(image: &[u8]) -> Vec<Range<usize>> {
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
