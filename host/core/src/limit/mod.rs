//! How many calls of one release may be under way at once, and who is next
//! when that many are.
//!
//! - [`gradient`]: a limit that follows the release's capacity;
//! - [`queue`]: those that wait, bounded, and served caller by caller.
//!
//! Both are pure: whoever counts the calls asks them, with the time.

pub mod gradient;
pub mod queue;

pub use gradient::{Gradient, GradientOptions, Sample};
pub use queue::{FairQueue, Full, Ticket};
