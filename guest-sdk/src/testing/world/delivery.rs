//! `delivery`, collected.

use super::{WORLD, raw};
use raw::delivery::{AfterCut, DeliveryError, Hold};
use raw::types::FailureClasses;

/// Most rules about repetitions of one decision.
const RULES_MAX: usize = 14;
/// Most repetitions of a call.
const RETRIES_MAX: u8 = 5;

/// What a policy asked for besides its plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delivery {
    /// How much of a stream is held back.
    pub hold: Option<Hold>,
    /// What follows a cut.
    pub after_cut: Option<AfterCut>,
    /// Repetitions after failures of some classes, in the order of the calls.
    pub retries: Vec<(FailureClasses, u8)>,
}

fn taken(
    take: impl FnOnce(&mut Delivery) -> Result<(), DeliveryError>,
) -> Result<(), DeliveryError> {
    WORLD.with_borrow_mut(|world| match &mut world.delivery {
        Some(delivery) => take(delivery),
        None => Err(DeliveryError::Refused),
    })
}

pub(crate) fn set_hold(hold: Hold) -> Result<(), DeliveryError> {
    if let Hold::Beginning(beginning) = &hold {
        for (field, value, max) in [
            ("tokens", beginning.tokens, 4_096),
            ("ms", beginning.ms, 600_000),
        ] {
            if !(1..=max).contains(&value) {
                let message = format!("`{field}` is {value}, must be 1 to {max}");
                return Err(DeliveryError::Invalid(message));
            }
        }
    }
    taken(|delivery| {
        delivery.hold = Some(hold);
        Ok(())
    })
}

pub(crate) fn set_after_cut(after_cut: AfterCut) -> Result<(), DeliveryError> {
    taken(|delivery| {
        delivery.after_cut = Some(after_cut);
        Ok(())
    })
}

pub(crate) fn set_retries(classes: FailureClasses, retries: u8) -> Result<(), DeliveryError> {
    if retries > RETRIES_MAX {
        let message = format!("`retries` is {retries}, must be 0 to {RETRIES_MAX}");
        return Err(DeliveryError::Invalid(message));
    }
    taken(|delivery| {
        if delivery.retries.len() == RULES_MAX {
            return Err(DeliveryError::Refused);
        }
        delivery.retries.push((classes, retries));
        Ok(())
    })
}
