//! `delivery`: what a `fallback` policy asks for besides its plan.
//!
//! Nothing leaves the sandbox here: what is asked for becomes a part of the
//! decision's output, so that it replays with it and is not in the transcript.

use crate::bindings::delivery as wit;
use crate::convert;
use crate::record::Input;
use crate::run_state::RunState;
use backstop_core::plan::{
    AfterCut, HOLD_MS_MAX, HOLD_TOKENS_MAX, Hold, RETRIES_MAX, RETRY_RULES_MAX,
};
use wasmtime::Result;

type Taken = std::result::Result<(), wit::DeliveryError>;

impl RunState {
    /// Refuses what is asked outside of a `fallback` decision.
    fn plans(&self) -> Taken {
        match self.input {
            Some(Input::Fallback(_)) => Ok(()),
            _ => Err(wit::DeliveryError::Refused),
        }
    }
}

/// Holds `value` against `1..=max`.
fn in_range(field: &str, value: u32, max: u32) -> Taken {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    let message = format!("`{field}` is {value}, must be 1 to {max}");
    Err(wit::DeliveryError::Invalid(message))
}

impl wit::Host for RunState {
    fn set_hold(&mut self, hold: wit::Hold) -> Result<Taken> {
        self.enter("delivery.set-hold")?;
        let hold = match hold {
            wit::Hold::None => Hold::None,
            wit::Hold::Whole => Hold::Whole,
            wit::Hold::Beginning(wit::Beginning { tokens, ms }) => {
                let checked = in_range("tokens", tokens, HOLD_TOKENS_MAX)
                    .and_then(|()| in_range("ms", ms, HOLD_MS_MAX));
                if let Err(error) = checked {
                    return Ok(Err(error));
                }
                Hold::Begin { tokens, ms }
            }
        };
        Ok(self.plans().map(|()| self.plan_options.hold = Some(hold)))
    }

    fn set_after_cut(&mut self, after_cut: wit::AfterCut) -> Result<Taken> {
        self.enter("delivery.set-after-cut")?;
        let after_cut = match after_cut {
            wit::AfterCut::Error => AfterCut::Error,
            wit::AfterCut::Restart => AfterCut::Restart,
        };
        let taken = self.plans();
        Ok(taken.map(|()| self.plan_options.after_cut = Some(after_cut)))
    }

    fn set_retries(
        &mut self,
        classes: crate::bindings::types::FailureClasses,
        retries: u8,
    ) -> Result<Taken> {
        self.enter("delivery.set-retries")?;
        if retries > RETRIES_MAX {
            let message = format!("`retries` is {retries}, must be 0 to {RETRIES_MAX}");
            return Ok(Err(wit::DeliveryError::Invalid(message)));
        }
        if let Err(refused) = self.plans() {
            return Ok(Err(refused));
        }
        let rules = &mut self.plan_options.retries;
        if rules.len() == RETRY_RULES_MAX {
            return Ok(Err(wit::DeliveryError::Refused));
        }
        rules.push((convert::failure_classes(classes), retries));
        Ok(Ok(()))
    }
}
