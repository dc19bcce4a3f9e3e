//! How many calls of one release may be under way at once, and who is next
//! when that many are.
//!
//! - [`gradient`]: a limit that follows the release's capacity;
//! - [`priority`]: those that wait, bounded, the most important first;
//! - [`queue`]: those of one level, served caller by caller.
//!
//! All are pure: whoever counts the calls asks them, with the time.

pub mod gradient;
pub mod priority;
pub mod queue;

pub use gradient::{Gradient, GradientOptions, Sample};
pub use priority::{Priority, PriorityQueue, Shares, Turn};
pub use queue::{FairQueue, Full, Ticket};
