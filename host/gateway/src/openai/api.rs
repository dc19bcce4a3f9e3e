//! The operations of OpenAI's API that a route can speak.
//!
//! What differs between them besides the shape of answers stands here: where
//! they are, what they are called, and how log-probabilities are asked for.

/// One operation of OpenAI's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Chat completions.
    Chat,
    /// The older completions of a text.
    Completions,
    /// Vectors of texts.
    Embeddings,
    /// Responses: items in, items out.
    Responses,
}

impl Api {
    /// All of them; each stands at its own number.
    pub const ALL: [Api; 4] = [Api::Chat, Api::Completions, Api::Embeddings, Api::Responses];

    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Api::Chat => "chat",
            Api::Completions => "completions",
            Api::Embeddings => "embeddings",
            Api::Responses => "responses",
        }
    }

    /// Its path behind a base URL that ends with `/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Api::Chat => "/chat/completions",
            Api::Completions => "/completions",
            Api::Embeddings => "/embeddings",
            Api::Responses => "/responses",
        }
    }

    /// The operation of a path of the data plane.
    pub fn at(path: &str) -> Option<Self> {
        let path = path.strip_prefix("/v1")?;
        Self::ALL.into_iter().find(|api| api.path() == path)
    }

    /// OpenTelemetry's word for it (`gen_ai.operation.name`).
    pub fn operation(self) -> &'static str {
        match self {
            Api::Chat | Api::Responses => "chat",
            Api::Completions => "text_completion",
            Api::Embeddings => "embeddings",
        }
    }

    /// What a request of it is called in an error.
    pub(crate) fn request_name(self) -> &'static str {
        match self {
            Api::Chat => "chat completion request",
            Api::Completions => "completion request",
            Api::Embeddings => "embeddings request",
            Api::Responses => "responses request",
        }
    }

    /// True when its answers may come as a stream of events.
    pub fn streams(self) -> bool {
        self != Api::Embeddings
    }

    /// The field that asks for log-probabilities, as JSON with a comma behind
    /// it; empty where there are none.
    pub(crate) fn logprobs_json(self) -> &'static str {
        match self {
            Api::Chat => r#""logprobs":true,"#,
            // The number of alternatives; the chosen token comes with them.
            Api::Completions => r#""logprobs":1,"#,
            Api::Embeddings => "",
            Api::Responses => r#""include":["message.output_text.logprobs"],"#,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_number_and_its_path() {
        for (position, api) in Api::ALL.into_iter().enumerate() {
            assert_eq!(api as usize, position);
            assert_eq!(Api::at(&format!("/v1{}", api.path())), Some(api));
        }
        assert_eq!(Api::at("/v1/models"), None);
        assert_eq!(Api::at("/chat/completions"), None);
    }
}
