//! Which columns, or places in a JSON document, hold what.

/// What a column says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// How sure the model was.
    Score,
    /// Whether it was right.
    Correct,
    /// What would have been right.
    Label,
    /// What it said.
    Predicted,
    /// Which group it belongs to.
    Segment,
    /// Whether the next model was right.
    Next,
    /// For how many answers the row stands.
    Count,
}

/// The columns that are read, in the order of a row's cells.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    wanted: Vec<(Role, String)>,
}

impl Columns {
    /// From what was typed; none for what was not.
    pub(super) fn new(named: &[(Role, Option<&str>)]) -> Columns {
        let wanted = named
            .iter()
            .filter_map(|(role, name)| Some((*role, (*name)?.to_owned())));
        Columns {
            wanted: wanted.collect(),
        }
    }

    /// The names.
    pub(super) fn names(&self) -> Vec<String> {
        self.wanted.iter().map(|(_, name)| name.clone()).collect()
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Which cell of a row has this role.
    pub(super) fn cell(&self, role: Role) -> Option<usize> {
        self.wanted.iter().position(|(of, _)| *of == role)
    }

    /// The name of a cell.
    pub(super) fn name(&self, cell: usize) -> &str {
        &self.wanted[cell].1
    }
}
