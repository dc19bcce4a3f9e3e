//! Those of one level that wait for a place: bounded, and served caller by
//! caller. [`super::priority`] puts the levels in order.
//!
//! Callers take turns; within one caller the first come is the first served.
//! When the queue is full, whoever has the most waiting gives way to a caller
//! with less, so that one that asks without end takes nothing from the others.
//!
//! Always holds: no more wait than the queue takes; each ticket is answered
//! once: popped, pushed out, or removed.

use std::collections::VecDeque;

/// One that waits; unique within its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    caller: u64,
    number: u64,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As many wait as the queue takes.
    Queue,
    /// The same, and the caller has its fair share of it already.
    OwnShare,
    /// As many of this level wait as the queue takes of it.
    Level,
}

/// A queue of `T`.
#[derive(Debug)]
pub struct FairQueue<T> {
    /// Callers with somebody waiting, the next one first.
    callers: VecDeque<Waiting<T>>,
    len: usize,
    len_max: usize,
    next_number: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    caller: u64,
    items: VecDeque<(u64, T)>,
}

impl<T> FairQueue<T> {
    /// A queue in which so many can wait.
    pub fn new(len_max: usize) -> Self {
        FairQueue {
            callers: VecDeque::new(),
            len: 0,
            len_max,
            next_number: 0,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `item` of `caller` wait. Returns its ticket, and whom it pushed
    /// out, where it had to.
    ///
    /// # Errors
    ///
    /// When the queue is full and nobody has more waiting than this caller.
    pub fn push(&mut self, caller: u64, item: T) -> Result<(Ticket, Option<T>), Full> {
        if self.len >= self.len_max {
            return self.push_as_full(caller, item);
        }
        Ok((self.add(caller, item), None))
    }

    /// The same where there is no room for one more, whatever the queue takes:
    /// somebody gives way, or the item is refused.
    ///
    /// # Errors
    ///
    /// As [`FairQueue::push`].
    pub fn push_as_full(&mut self, caller: u64, item: T) -> Result<(Ticket, Option<T>), Full> {
        let own = self.of(caller).map_or(0, |waiting| waiting.items.len());
        let most = self.most();
        let Some(most) = most.filter(|most| self.callers[*most].items.len() > own + 1) else {
            return Err(if own > 0 && own >= self.len / self.callers.len().max(1) {
                Full::OwnShare
            } else {
                Full::Queue
            });
        };
        let pushed_out = self.give_way_at(most);
        Ok((self.add(caller, item), pushed_out))
    }

    /// Takes out the last to come of whoever has the most waiting; none when
    /// nobody waits.
    pub fn give_way(&mut self) -> Option<T> {
        let most = self.most()?;
        self.give_way_at(most)
    }

    /// Position of the caller with the most waiting: among several, of the one
    /// that came last.
    fn most(&self) -> Option<usize> {
        let callers = self.callers.iter().enumerate();
        let most = callers.max_by_key(|(_, waiting)| {
            let newest = waiting.items.back().map(|(number, _)| *number);
            (waiting.items.len(), newest)
        });
        most.map(|(position, _)| position)
    }

    /// Takes out the last to come, who has waited the least.
    fn give_way_at(&mut self, position: usize) -> Option<T> {
        let items = &mut self.callers[position].items;
        let (_, item) = items.pop_back()?;
        if items.is_empty() {
            self.callers.remove(position);
        }
        self.len -= 1;
        Some(item)
    }

    fn add(&mut self, caller: u64, item: T) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        match self.callers.iter_mut().find(|known| known.caller == caller) {
            Some(known) => known.items.push_back((number, item)),
            None => self.callers.push_back(Waiting {
                caller,
                items: VecDeque::from([(number, item)]),
            }),
        }
        self.len += 1;
        Ticket { caller, number }
    }

    /// Whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let mut next = self.callers.pop_front()?;
        let (_, item) = next.items.pop_front()?;
        self.len -= 1;
        if !next.items.is_empty() {
            self.callers.push_back(next);
        }
        Some(item)
    }

    /// Takes back one that waits no longer; none when it was answered before.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let position = self
            .callers
            .iter()
            .position(|waiting| waiting.caller == ticket.caller)?;
        let items = &mut self.callers[position].items;
        let at = items
            .iter()
            .position(|(number, _)| *number == ticket.number)?;
        let (_, item) = items.remove(at)?;
        if items.is_empty() {
            self.callers.remove(position);
        }
        self.len -= 1;
        Some(item)
    }

    fn of(&self, caller: u64) -> Option<&Waiting<T>> {
        self.callers.iter().find(|known| known.caller == caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(len_max: usize, callers: &[u64]) -> FairQueue<(u64, usize)> {
        let mut queue = FairQueue::new(len_max);
        for (position, caller) in callers.iter().enumerate() {
            queue.push(*caller, (*caller, position)).unwrap();
        }
        queue
    }

    #[test]
    fn callers_take_turns() {
        let mut queue = filled(10, &[1, 1, 1, 1, 2, 3]);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(1, 0), (2, 4), (3, 5), (1, 1), (1, 2), (1, 3)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn who_has_the_most_gives_way_to_who_has_less() {
        let mut queue = filled(4, &[1, 1, 1, 2]);
        let (_, pushed_out) = queue.push(3, (3, 9)).unwrap();
        assert_eq!(pushed_out, Some((1, 2)), "the last to come");
        assert_eq!(queue.len(), 4);
        let full = queue.push(1, (1, 9)).unwrap_err();
        assert_eq!(full, Full::OwnShare);
        let (_, pushed_out) = queue.push(4, (4, 9)).unwrap();
        assert_eq!(pushed_out, Some((1, 1)));
        let full = queue.push(5, (5, 9)).unwrap_err();
        assert_eq!(full, Full::Queue, "everybody has one");
    }

    #[test]
    fn who_gives_way_to_another_level_is_the_last_of_whoever_has_the_most() {
        let mut queue = filled(9, &[1, 2, 1, 3]);
        let gave_way: Vec<_> = std::iter::from_fn(|| queue.give_way()).collect();
        assert_eq!(gave_way, [(1, 2), (3, 3), (2, 1), (1, 0)]);
        assert!(queue.is_empty() && queue.pop().is_none());
        // Whose turn is last is not who came last.
        let mut queue = filled(9, &[1, 1, 2]);
        assert_eq!(queue.pop(), Some((1, 0)));
        assert_eq!(queue.give_way(), Some((2, 2)));
    }

    #[test]
    fn who_waits_no_longer_takes_no_room() {
        let mut queue = FairQueue::new(2);
        let (first, _) = queue.push(1, 'a').unwrap();
        queue.push(1, 'b').unwrap();
        assert_eq!(queue.remove(first), Some('a'));
        assert_eq!(queue.remove(first), None);
        queue.push(2, 'c').unwrap();
        assert_eq!(
            (queue.pop(), queue.pop(), queue.pop()),
            (Some('b'), Some('c'), None)
        );
    }

    proptest! {
        #[test]
        fn everybody_is_answered_once(ops in prop::collection::vec((0..3_u8, 0..4_u64), 0..300)) {
            let mut queue = FairQueue::new(8);
            let (mut waiting, mut tickets, mut came) = (Vec::new(), Vec::new(), 0);
            for (op, caller) in ops {
                match op {
                    0 => if let Ok((ticket, pushed_out)) = queue.push(caller, came) {
                        waiting.push(came);
                        tickets.push(ticket);
                        waiting.retain(|item| Some(*item) != pushed_out);
                        came += 1;
                    },
                    1 => if let Some(item) = queue.pop() {
                        prop_assert!(waiting.contains(&item));
                        waiting.retain(|known| *known != item);
                    },
                    _ => if !tickets.is_empty() {
                        let ticket = tickets.remove(caller as usize % tickets.len());
                        let removed = queue.remove(ticket);
                        prop_assert!(removed.is_none_or(|item| waiting.contains(&item)));
                        waiting.retain(|known| Some(*known) != removed);
                    },
                }
                prop_assert_eq!(queue.len(), waiting.len());
                prop_assert!(queue.len() <= 8);
            }
        }
    }
}
