//! `docs/faults.md`: what a failed attempt is, and what follows from it.
//!
//! Made of the table of effects and of the rows that `upstream::classify`
//! documents, so that the page cannot say anything else than the code.

use crate::openai::ApiError;
use backstop_core::fault::{FailureClass, MovesOn, OnBreaker};
use std::fmt::Write as _;

const HEAD: &str = "\
# Failures: whose fault, and what follows

Every failed attempt at a model has one class. This page is made from the code;
`cargo test` writes it anew.

## What a class leads to

| class | breaker | repeated | the plan goes on | the model may have acted | caller's status |
|---|---|---|---|---|---|
";

const NOTES: &str = "
- A caller that hangs up ends its calls upstream and counts against nobody; so
  do the losers of a race.
- *Repeated*: as often as the plan's step or `[routes.NAME.retry]` says, within
  the retry budget and the caller's deadline, never sooner than the provider
  asked for. `classes` changes that for single classes. Where the model may
  have acted, only on routes that are `idempotent`.
- *The plan goes on*: `usually` is what the default plan and the SDK do; a
  policy's step names its own classes. `to larger windows`: to models whose
  `context_tokens` are more, or not known. `where allowed`: on routes with
  `route_round_refusals`.
- *Opens at once*: for a minute, or as long as the provider says, since only an
  operator can mend it. *Until then*: where the provider says when to come
  back, its breaker opens until then, whatever it has counted.
- A status *of the provider* is told with the provider's own body, where there
  is one; the number is told where there is none.
- Inside a stream, what is held back fails like an answer that has not begun.
  Behind that the caller is told in band, and never with a finish reason or
  `[DONE]`.

## What makes a failure one of a class

Rows are tried from top to bottom; the first that fits decides. \"Code\" means
`code`, `type` or `status` of the error body, \"text\" its message.

";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for class in FailureClass::ALL {
        let effect = class.effect();
        let breaker = match effect.breaker {
            OnBreaker::Counts => "counts",
            OnBreaker::Opens => "counts, opens at once",
            OnBreaker::OpensUntil => "counts, opens until then",
            OnBreaker::Ignored => "nothing",
        };
        let moves_on = match effect.moves_on {
            MovesOn::Usually => "usually",
            MovesOn::ToLarger => "to larger windows",
            MovesOn::WhereAllowed => "where allowed",
            MovesOn::Seldom => "no",
        };
        let yes = |holds: bool| if holds { "yes" } else { "no" };
        let status = ApiError::from_class(class).status.as_u16();
        let relayed = if effect.relayed {
            "of the provider, "
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| `{class}` | {breaker} | {} | {moves_on} | {} | {relayed}{status} |",
            yes(effect.repeats),
            yes(effect.may_have_acted),
        );
    }
    page.push_str(NOTES);
    for line in include_str!("upstream/classify.rs").lines() {
        if let Some(row) = line.strip_prefix("//! |") {
            let _ = writeln!(page, "|{row}");
        }
    }
    page
}

#[test]
fn the_page_about_failures_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
    let page = page();
    if std::fs::read_to_string(path).unwrap_or_default() != page {
        std::fs::write(path, page).unwrap();
        panic!("docs/faults.md was out of date and has been written anew; commit it");
    }
}
