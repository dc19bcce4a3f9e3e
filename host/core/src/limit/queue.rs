//! Those that wait for a place: bounded, and served caller by caller.
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

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// True when the caller has its fair share of the queue already.
    pub own_share: bool,
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
        let mut pushed_out = None;
        if self.len >= self.len_max {
            let own = self.of(caller).map_or(0, |waiting| waiting.items.len());
            let full = Full {
                own_share: own > 0 && own >= self.len_max / self.callers.len().max(1),
            };
            let most = self.callers.iter().enumerate();
            let most = most.max_by_key(|(_, waiting)| waiting.items.len());
            let Some((position, _)) = most.filter(|(_, most)| most.items.len() > own + 1) else {
                return Err(full);
            };
            // The last to come has waited the least.
            pushed_out = self.callers[position]
                .items
                .pop_back()
                .map(|(_, item)| item);
            self.len -= 1;
        }
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
        Ok((Ticket { caller, number }, pushed_out))
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
        assert!(full.own_share);
        let (_, pushed_out) = queue.push(4, (4, 9)).unwrap();
        assert_eq!(pushed_out, Some((1, 1)));
        let full = queue.push(5, (5, 9)).unwrap_err();
        assert!(!full.own_share, "everybody has one");
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
