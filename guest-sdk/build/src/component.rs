//! From a core module to a component, and what a component says about itself.

use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm};

/// The custom sections in which the SDK's export macro leaves the worlds.
const TYPE_SECTION_PREFIX: &str = "component-type";

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// The module was not built with the SDK.
    #[error(
        "module says nothing about its world: end the policy's `src/lib.rs` with \
         `backstop_sdk::export!(MyPolicy: fallback)`"
    )]
    NoWorld,
    /// The module cannot be turned into a component.
    #[error("turn the module into a component: {message}")]
    Encode {
        /// What the encoder said, with its causes.
        message: String,
    },
    /// Not WebAssembly, or damaged.
    #[error("read the component")]
    Parse(#[from] wasmparser::BinaryReaderError),
    /// WebAssembly, but no component.
    #[error("not a component: build it with `backstop policy build`")]
    NotAComponent,
    /// The types cannot be read.
    #[error("read the component's world: {message}")]
    World {
        /// What the decoder said, with its causes.
        message: String,
    },
}

/// What a component is, read from its bytes alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// Size in bytes.
    pub bytes: usize,
    /// SHA-256 in lower-case hexadecimal.
    pub digest: String,
    /// Interfaces that it imports, such as `backstop:policy/metrics@0.1.2`, in
    /// alphabetical order.
    pub imports: Vec<String>,
    /// Interfaces that it exports, in alphabetical order.
    pub exports: Vec<String>,
    /// Pages of 64 KiB that its memories have at the start, in all.
    pub memory_pages: u64,
}

/// Turns a core module that carries its world into a component.
///
/// # Errors
/// The module carries no world, imports something that no world names, or is
/// no valid module.
pub fn into_component(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    if !has_world(module)? {
        return Err(ComponentError::NoWorld);
    }
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| ComponentError::Encode {
            message: format!("{error:#}"),
        })
}

fn has_world(module: &[u8]) -> Result<bool, ComponentError> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload?
            && section.name().starts_with(TYPE_SECTION_PREFIX)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Describes a component without running it.
///
/// # Errors
/// The bytes are damaged or no component.
pub fn inspect(component: &[u8]) -> Result<Inspection, ComponentError> {
    let memory_pages = memory_pages(component)?;
    let decoded = wit_component::decode(component).map_err(|error| ComponentError::World {
        message: format!("{error:#}"),
    })?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(ComponentError::NotAComponent);
    };
    let world = &resolve.worlds[world];
    let names = |items: &mut dyn Iterator<Item = String>| -> Vec<String> {
        items.collect::<BTreeSet<_>>().into_iter().collect()
    };
    Ok(Inspection {
        bytes: component.len(),
        digest: hex::encode(Sha256::digest(component)),
        imports: names(&mut world.imports.keys().map(|key| resolve.name_world_key(key))),
        exports: names(&mut world.exports.keys().map(|key| resolve.name_world_key(key))),
        memory_pages,
    })
}

fn memory_pages(component: &[u8]) -> Result<u64, ComponentError> {
    let mut pages = 0;
    let mut is_component = false;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version { encoding, .. } => {
                is_component |= encoding == wasmparser::Encoding::Component;
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    pages += memory?.initial;
                }
            }
            _ => {}
        }
    }
    if is_component {
        Ok(pages)
    } else {
        Err(ComponentError::NotAComponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty core module: the magic number and version 1.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    /// An empty component.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_module_without_the_sdk_is_told_what_to_do() {
        let error = into_component(MODULE).unwrap_err();
        assert!(matches!(error, ComponentError::NoWorld));
        assert!(error.to_string().contains("backstop_sdk::export!"));
    }

    #[test]
    fn what_is_no_component_is_refused() {
        assert!(matches!(inspect(b"hello"), Err(ComponentError::Parse(_))));
        assert!(matches!(inspect(b""), Err(ComponentError::Parse(_))));
        assert!(matches!(
            inspect(MODULE),
            Err(ComponentError::NotAComponent)
        ));
    }

    #[test]
    fn an_empty_component_is_described() {
        let inspection = inspect(COMPONENT).unwrap();
        assert_eq!(inspection.bytes, 8);
        assert_eq!(inspection.memory_pages, 0);
        assert!(inspection.imports.is_empty() && inspection.exports.is_empty());
        assert_eq!(inspection.digest, hex::encode(Sha256::digest(COMPONENT)),);
    }
}
