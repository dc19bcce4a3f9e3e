//! How complex a component may be before anybody compiles it.
//!
//! Compiling takes time that depends on what is in the file more than on its
//! size: one enormous function, or very many small ones, keep the compiler busy
//! for minutes. So the file is read once, without validating or compiling, and
//! held against limits that policies stay far below. What passes may still be
//! slow; [`crate::host`] bounds the time.

use crate::error::{ActivationErrorKind as Kind, SandboxError};
use wasmparser::{FunctionBody, Parser, Payload};

/// Functions over all core modules. A Rust policy has some hundred, an
/// interpreter of another language some thousand.
const FUNCTIONS_MAX: u64 = 20_000;
/// Bytes of one function: the main loop of an interpreter takes about half of
/// this, and what the compiler needs grows faster than the function.
const FUNCTION_BYTES_MAX: u64 = 128 << 10;
/// Bytes of code over all functions: half a second to some seconds of compiling.
const CODE_BYTES_MAX: u64 = 8 << 20;
/// Locals of one function: a declaration of five bytes makes as many as it likes.
const LOCALS_MAX: u64 = 4_096;
/// Core modules: the policy's own and two shims; other tool chains add adapters.
const MODULES_MAX: u64 = 16;
/// Instances of modules and components; each import and export of an interface
/// makes one or two, and the contract has a dozen interfaces.
const INSTANCES_MAX: u64 = 256;
/// Types of modules and components together.
const TYPES_MAX: u64 = 10_000;

/// Holds `component` against the limits.
///
/// # Errors
///
/// [`Kind::TooComplex`] for the first limit that is passed, [`Kind::Invalid`]
/// for what cannot be read at all.
pub(crate) fn check(component: &[u8]) -> Result<(), Kind> {
    let mut functions = Count::new("functions", FUNCTIONS_MAX);
    let mut code = Count::new("bytes of code", CODE_BYTES_MAX);
    let mut modules = Count::new("core modules", MODULES_MAX);
    let mut instances = Count::new("instances", INSTANCES_MAX);
    let mut types = Count::new("types", TYPES_MAX);
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::ModuleSection { .. } => modules.add(1)?,
            Payload::FunctionSection(section) => functions.add(section.count().into())?,
            Payload::CodeSectionEntry(body) => {
                let bytes = body.as_bytes().len() as u64;
                Count::new("bytes in one function", FUNCTION_BYTES_MAX).add(bytes)?;
                Count::new("locals in one function", LOCALS_MAX).add(locals(&body)?)?;
                code.add(bytes)?;
            }
            Payload::InstanceSection(section) => instances.add(section.count().into())?,
            Payload::ComponentInstanceSection(section) => instances.add(section.count().into())?,
            Payload::TypeSection(section) => types.add(section.count().into())?,
            Payload::CoreTypeSection(section) => types.add(section.count().into())?,
            Payload::ComponentTypeSection(section) => types.add(section.count().into())?,
            _ => {}
        }
    }
    Ok(())
}

fn locals(body: &FunctionBody<'_>) -> Result<u64, Kind> {
    let mut count = 0;
    for declared in body.get_locals_reader().map_err(invalid)? {
        let (more, _) = declared.map_err(invalid)?;
        count += u64::from(more);
    }
    Ok(count)
}

fn invalid(error: wasmparser::BinaryReaderError) -> Kind {
    Kind::Invalid(SandboxError::text(error.to_string()))
}

/// Something that is counted against its limit.
struct Count {
    what: &'static str,
    count: u64,
    max: u64,
}

impl Count {
    fn new(what: &'static str, max: u64) -> Self {
        Count {
            what,
            count: 0,
            max,
        }
    }

    fn add(&mut self, more: u64) -> Result<(), Kind> {
        self.count += more;
        if self.count <= self.max {
            return Ok(());
        }
        Err(Kind::TooComplex {
            what: self.what,
            count: self.count,
            max: self.max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn refusal(module: &str) -> String {
        let component = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        check(&component).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_policies_stay_far_below_the_limits() {
        for policy in backstop_policies::BUILTINS {
            check(policy.component).unwrap();
        }
    }

    #[test]
    fn what_would_keep_the_compiler_busy_is_refused_with_its_measure() {
        let large = "(drop (i32.const 1000000))".repeat(50_000);
        let text = refusal(&format!("(func {large})"));
        assert!(text.contains("bytes in one function"), "{text}");
        assert!(text.contains("at most 131072"), "{text}");

        let text = refusal(&"(func)".repeat(20_001));
        assert!(text.contains("20001 functions"), "{text}");

        let text = refusal(&format!("(func (local {}))", "i32 ".repeat(5_000)));
        assert!(text.contains("5000 locals in one function"), "{text}");

        let body = format!("(func {})", "(drop (i32.const 1000000))".repeat(10_000));
        let text = refusal(&body.repeat(170));
        assert!(text.contains("bytes of code"), "{text}");

        let mut types = String::new();
        for fields in 0..10_001 {
            let _ = write!(
                types,
                "(type (func (param i32 i64) (result i{})))",
                32 << (fields % 2)
            );
        }
        let text = refusal(&types);
        assert!(text.contains("10001 types"), "{text}");

        let modules = wat::parse_str(format!("(component {})", "(core module)".repeat(17)));
        let text = check(&modules.unwrap()).unwrap_err().to_string();
        assert!(text.contains("17 core modules"), "{text}");

        let instances = "(core instance (instantiate $m))".repeat(257);
        let instances = wat::parse_str(format!("(component (core module $m) {instances})"));
        let text = check(&instances.unwrap()).unwrap_err().to_string();
        assert!(text.contains("257 instances"), "{text}");
    }
}
