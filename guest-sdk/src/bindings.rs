//! What `wit-bindgen` generates from `wit/`: the only place that knows the
//! component model's calling convention.
//!
//! One module per world, so that a policy exports only the decision points
//! that it names: the custom section that describes a world is emitted by the
//! world's export macro, and [`export!`](crate::export) calls those it needs.
//! The interfaces that the decision points share are those of [`base`].
//! Nothing else in this crate names these modules except by hand-picked
//! re-exports. Off wasm32 the types are the same and the functions are never
//! called: `crate::backend` puts the testing kit in their place.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    rust_2018_idioms,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; `expect` would depend on which lints it happens to break"
)]

/// The world `base-policy`: every import, and the export `lifecycle`.
pub mod base {
    wit_bindgen::generate!({
        path: "wit",
        world: "base-policy",
        generate_all,
        generate_unused_types: true,
        ownership: Borrowing { duplicate_if_necessary: false },
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "__export_base",
        default_bindings_module: "backstop_sdk::__private::bindings::base",
    });
}

/// The world `fallback-point`.
pub mod fallback {
    wit_bindgen::generate!({
        path: "wit",
        world: "fallback-point",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "__export_fallback",
        default_bindings_module: "backstop_sdk::__private::bindings::fallback",
        with: {
            "backstop:policy/types@0.1.2": crate::bindings::base::backstop::policy::types,
            "backstop:policy/requests@0.1.2": crate::bindings::base::backstop::policy::requests,
        },
    });
}

/// The world `threshold-point`.
pub mod threshold {
    wit_bindgen::generate!({
        path: "wit",
        world: "threshold-point",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "__export_threshold",
        default_bindings_module: "backstop_sdk::__private::bindings::threshold",
        with: {
            "backstop:policy/types@0.1.2": crate::bindings::base::backstop::policy::types,
            "backstop:policy/requests@0.1.2": crate::bindings::base::backstop::policy::requests,
            "backstop:policy/answers@0.1.2": crate::bindings::base::backstop::policy::answers,
        },
    });
}

/// The world `rollback-point`.
pub mod rollback {
    wit_bindgen::generate!({
        path: "wit",
        world: "rollback-point",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "__export_rollback",
        default_bindings_module: "backstop_sdk::__private::bindings::rollback",
        with: {
            "backstop:policy/types@0.1.2": crate::bindings::base::backstop::policy::types,
            "backstop:policy/rollouts@0.1.2": crate::bindings::base::backstop::policy::rollouts,
        },
    });
}
