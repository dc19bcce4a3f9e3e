//! `backstop policy …`: the first three work on this machine, the others
//! through the admin plane of a running gateway.

pub(crate) mod activate;
pub(crate) mod build;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod new;
pub(crate) mod rollback;
