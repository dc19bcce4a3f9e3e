//! Who is served first when there is not enough for all, and who is shed.
//!
//! There are few levels, named after the criticality of requests in Google's
//! *Site Reliability Engineering* (chapter 21, "Handling Overload"): more
//! would need more discipline than their users have. A higher level is served
//! before a lower one, always: what waits is bounded in number and in time, so
//! that a lower one that is never served is told soon, and asks somebody else.
//!
//! A lower level may fill a share of the queue. When the queue as a whole is
//! full, the lowest level that is below the one that comes gives way: the last
//! to come of the caller that has the most of it waiting. Within a level
//! callers take turns ([`super::queue`]).
//!
//! Always holds: no more wait than the queue takes, nor of a level than its
//! share; nobody is refused for want of room while somebody of a lower level
//! waits; each turn is answered once: popped, pushed out, or removed.

use super::queue::{FairQueue, Full, Ticket};

/// How much it matters that a request is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Nobody waits for it who could not wait longer: shed first.
    Sheddable,
    /// As all others.
    #[default]
    Normal,
    /// Somebody would see it fail: shed last.
    Critical,
}

impl Priority {
    /// All, the first to be served first.
    pub const ALL: [Priority; 3] = [Priority::Critical, Priority::Normal, Priority::Sheddable];

    /// The word in configurations, records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Critical => "critical",
            Priority::Normal => "normal",
            Priority::Sheddable => "sheddable",
        }
    }
}

/// Shares of a queue that the lower levels may fill, in percent; `critical`
/// may fill all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Of [`Priority::Normal`]; more than 100 means 100.
    pub normal: u8,
    /// Of [`Priority::Sheddable`]; more than 100 means 100.
    pub sheddable: u8,
}

impl Shares {
    /// How many of `priority` may wait in a queue of `len_max`: a share above
    /// 0 is at least one.
    fn len_max(self, priority: Priority, len_max: usize) -> usize {
        let percent = match priority {
            Priority::Critical => 100,
            Priority::Normal => self.normal.min(100),
            Priority::Sheddable => self.sheddable.min(100),
        };
        let share = (len_max as u128 * u128::from(percent)).div_ceil(100);
        // A share of a `usize` is one.
        usize::try_from(share).unwrap_or(len_max)
    }
}

/// One that waits; unique within its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    priority: Priority,
    ticket: Ticket,
}

/// A queue of `T` with levels.
#[derive(Debug)]
pub struct PriorityQueue<T> {
    /// In the order of [`Priority::ALL`].
    levels: [FairQueue<T>; 3],
    len_max: usize,
    shares: Shares,
}

impl<T> PriorityQueue<T> {
    /// A queue in which `len_max` can wait, of the lower levels no more than
    /// their `shares`.
    pub fn new(len_max: usize, shares: Shares) -> Self {
        PriorityQueue {
            levels: Priority::ALL.map(|priority| FairQueue::new(shares.len_max(priority, len_max))),
            len_max,
            shares,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.levels.iter().map(FairQueue::len).sum()
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(FairQueue::is_empty)
    }

    /// How many of one level wait.
    pub fn len_of(&self, priority: Priority) -> usize {
        self.levels[position(priority)].len()
    }

    /// Lets `item` of `caller` wait. Returns its turn, and whom it
    /// pushed out, where it had to.
    ///
    /// # Errors
    ///
    /// Why there is no room: the level has its share, or the queue is full,
    /// nobody of a lower level waits, and no other caller of this level has
    /// more waiting. The queue is as it was.
    pub fn push(
        &mut self,
        priority: Priority,
        caller: u64,
        item: T,
    ) -> Result<(Turn, Option<(Priority, T)>), Full> {
        let own = position(priority);
        let has_share = self.levels[own].len() >= self.shares.len_max(priority, self.len_max);
        let is_full = self.len() >= self.len_max;
        let outranked = if is_full && !has_share {
            let lower = Priority::ALL.iter().zip(&mut self.levels).skip(own + 1);
            let mut lowest_first = lower.rev();
            lowest_first.find_map(|(priority, level)| Some((*priority, level.give_way()?)))
        } else {
            None
        };
        let level = &mut self.levels[own];
        let pushed = if is_full && outranked.is_none() {
            level.push_as_full(caller, item)
        } else {
            level.push(caller, item)
        };
        let (ticket, pushed_out) = pushed.map_err(|full| match full {
            Full::Queue if has_share && !is_full => Full::Level,
            full => full,
        })?;
        let pushed_out = outranked.or(pushed_out.map(|item| (priority, item)));
        Ok((Turn { priority, ticket }, pushed_out))
    }

    /// Whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.levels.iter_mut().find_map(FairQueue::pop)
    }

    /// Takes back one that waits no longer; none when it was answered before.
    pub fn remove(&mut self, turn: Turn) -> Option<T> {
        self.levels[position(turn.priority)].remove(turn.ticket)
    }
}

/// The position in [`Priority::ALL`].
fn position(priority: Priority) -> usize {
    match priority {
        Priority::Critical => 0,
        Priority::Normal => 1,
        Priority::Sheddable => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::Priority::{Critical, Normal, Sheddable};
    use super::*;
    use proptest::prelude::*;

    const SHARES: Shares = Shares {
        normal: 100,
        sheddable: 50,
    };

    fn filled(len_max: usize, waiting: &[(Priority, u64)]) -> PriorityQueue<(Priority, usize)> {
        let mut queue = PriorityQueue::new(len_max, SHARES);
        for (number, (priority, caller)) in waiting.iter().enumerate() {
            let pushed = queue.push(*priority, *caller, (*priority, number));
            assert!(pushed.unwrap().1.is_none());
        }
        queue
    }

    #[test]
    fn words_and_order_agree() {
        assert!(Priority::ALL.is_sorted_by(|first, second| first > second));
        for (at, priority) in Priority::ALL.into_iter().enumerate() {
            assert_eq!(position(priority), at);
        }
        assert_eq!(Priority::default().as_str(), "normal");
    }

    #[test]
    fn higher_levels_are_served_first_and_callers_take_turns_within_one() {
        let waiting = [
            (Sheddable, 1),
            (Normal, 1),
            (Normal, 1),
            (Normal, 2),
            (Critical, 1),
        ];
        let mut queue = filled(10, &waiting);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(
            order,
            [
                (Critical, 4),
                (Normal, 1),
                (Normal, 3),
                (Normal, 2),
                (Sheddable, 0)
            ]
        );
    }

    #[test]
    fn the_newest_of_the_lowest_level_gives_way_in_a_full_queue() {
        let waiting = [(Sheddable, 1), (Normal, 1), (Sheddable, 2), (Normal, 2)];
        let mut queue = filled(4, &waiting);
        let (_, pushed_out) = queue.push(Critical, 9, (Critical, 9)).unwrap();
        assert_eq!(pushed_out, Some((Sheddable, (Sheddable, 2))));
        let (_, pushed_out) = queue.push(Normal, 1, (Normal, 9)).unwrap();
        assert_eq!(pushed_out, Some((Sheddable, (Sheddable, 0))));
        assert_eq!(
            queue.push(Sheddable, 3, (Sheddable, 9)).unwrap_err(),
            Full::Queue
        );
        // Nobody is lower now: within the level it goes by callers.
        assert_eq!(
            queue.push(Normal, 1, (Normal, 10)).unwrap_err(),
            Full::OwnShare
        );
        let (_, pushed_out) = queue.push(Critical, 9, (Critical, 10)).unwrap();
        assert_eq!(pushed_out, Some((Normal, (Normal, 9))), "who has the most");
        assert_eq!((queue.len(), queue.len_of(Critical)), (4, 2));
    }

    #[test]
    fn a_level_fills_no_more_than_its_share() {
        let mut queue = filled(4, &[(Sheddable, 1), (Sheddable, 3)]);
        assert_eq!(
            queue.push(Sheddable, 2, (Sheddable, 9)).unwrap_err(),
            Full::Level
        );
        assert_eq!(
            queue.push(Sheddable, 1, (Sheddable, 9)).unwrap_err(),
            Full::OwnShare
        );
        assert!(queue.push(Normal, 1, (Normal, 9)).unwrap().1.is_none());
        for (shares, expected) in [((100, 100), 3), ((100, 1), 1), ((0, 0), 0), ((255, 255), 3)] {
            let shares = Shares {
                normal: shares.0,
                sheddable: shares.1,
            };
            assert_eq!(shares.len_max(Sheddable, 3), expected, "{shares:?}");
            assert_eq!(shares.len_max(Critical, usize::MAX), usize::MAX);
        }
    }

    #[test]
    fn a_share_that_is_taken_is_still_shared_by_its_callers() {
        let mut queue = filled(6, &[(Sheddable, 1), (Sheddable, 1), (Sheddable, 1)]);
        let (_, pushed_out) = queue.push(Sheddable, 2, (Sheddable, 9)).unwrap();
        assert_eq!(pushed_out, Some((Sheddable, (Sheddable, 2))));
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_nobody_goes_before_a_higher_level(
            ops in prop::collection::vec((0..5_u8, 0..3_usize, 0..4_u64), 0..400),
            len_max in 0..9_usize,
            normal in 0..=100_u8,
            sheddable in 0..=100_u8,
        ) {
            let shares = Shares { normal, sheddable };
            let mut queue = PriorityQueue::new(len_max, shares);
            let mut waiting: Vec<(Priority, u64, usize)> = Vec::new();
            let mut turns = Vec::new();
            for (number, (op, level, caller)) in ops.into_iter().enumerate() {
                let priority = Priority::ALL[level];
                let lowest = waiting.iter().map(|item| item.0).min();
                match op {
                    0..=2 => {
                        let item = (priority, caller, number);
                        let of_level = queue.len_of(priority);
                        let was_full = queue.len() == len_max;
                        let has_share = of_level == shares.len_max(priority, len_max);
                        match queue.push(priority, caller, item) {
                            Ok((turn, pushed_out)) => {
                                prop_assert_eq!(pushed_out.is_some(), was_full || has_share);
                                if let Some((level, gone)) = pushed_out {
                                    prop_assert_eq!(level, gone.0);
                                    prop_assert!(level <= priority, "only downwards");
                                    prop_assert!(level == priority || Some(level) == lowest);
                                    prop_assert!(waiting.contains(&gone));
                                    waiting.retain(|known| *known != gone);
                                    // Nobody of that caller came later.
                                    let of_gone = waiting.iter().filter(|known| {
                                        (known.0, known.1) == (gone.0, gone.1)
                                    });
                                    let newest = of_gone.map(|known| known.2).max();
                                    prop_assert!(newest.is_none_or(|newest| newest < gone.2));
                                }
                                waiting.push(item);
                                turns.push((turn, item));
                            }
                            Err(full) => {
                                prop_assert!(was_full || has_share);
                                prop_assert!(has_share || lowest.is_none_or(|low| low >= priority));
                                prop_assert!(full != Full::Level || (has_share && !was_full));
                            }
                        }
                    }
                    3 => {
                        let popped = queue.pop();
                        prop_assert_eq!(popped.map(|item| item.0), waiting.iter().map(|item| item.0).max());
                        waiting.retain(|known| Some(*known) != popped);
                    }
                    _ => if !turns.is_empty() {
                        let (turn, item) = turns.swap_remove(number % turns.len());
                        let removed = queue.remove(turn);
                        prop_assert_eq!(removed.is_some(), waiting.contains(&item));
                        waiting.retain(|known| *known != item);
                    },
                }
                prop_assert_eq!(queue.len(), waiting.len());
                prop_assert!(queue.len() <= len_max);
                for priority in Priority::ALL {
                    let count = waiting.iter().filter(|item| item.0 == priority).count();
                    prop_assert_eq!(queue.len_of(priority), count);
                    prop_assert!(count <= shares.len_max(priority, len_max));
                }
            }
        }
    }
}
