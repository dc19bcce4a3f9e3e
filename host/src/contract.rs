//! The contract's names and versions: which components this host can run.
//!
//! A version adds and never takes away or changes, so that components of the
//! versions in [`ACCEPTED`] run as they did; wasmtime's linker gives their
//! imports the newest of the same series. What a component exports is looked
//! up here under the version that it was built for.

use wasmtime::component::{Component, ComponentExportIndex};

/// The version that this host offers.
pub(crate) const VERSION: &str = "0.1.2";

/// The versions that components may have been built for, newest first.
const ACCEPTED: [&str; 3] = [VERSION, "0.1.1", "0.1.0"];

/// The package of the contract, in names of imports and exports.
const PACKAGE: &str = "backstop:policy/";

/// Interface and version of a name of the contract; none for other names.
pub(crate) fn parse(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

/// True for versions whose components run here.
pub(crate) fn accepts(version: &str) -> bool {
    ACCEPTED.contains(&version)
}

/// The interface of a name of the contract in a version that runs here.
pub(crate) fn interface(name: &str) -> Option<&str> {
    let (interface, version) = parse(name)?;
    accepts(version).then_some(interface)
}

/// The name of `interface` in the version that this host offers.
pub(crate) fn name(interface: &str) -> String {
    format!("{PACKAGE}{interface}@{VERSION}")
}

/// The function of an interface that `component` exports.
pub(crate) fn export(
    component: &Component,
    interface: &str,
    function: &str,
) -> Option<ComponentExportIndex> {
    let (_, interface) = ACCEPTED.iter().find_map(|version| {
        component.get_export(None, format!("{PACKAGE}{interface}@{version}").as_str())
    })?;
    let (_, function) = component.get_export(Some(&interface), function)?;
    Some(function)
}
