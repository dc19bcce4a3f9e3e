//! Values of labels that cost no allocation where something is counted.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use std::sync::Arc;

/// A word of a closed set, or a name out of the configuration. Two that read
/// the same are the same label.
#[derive(Debug, Clone)]
pub(super) enum Word {
    Fixed(&'static str),
    Name(Arc<str>),
}

impl Word {
    fn as_str(&self) -> &str {
        match self {
            Word::Fixed(word) => word,
            Word::Name(name) => name,
        }
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Word {}

impl std::hash::Hash for Word {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}
