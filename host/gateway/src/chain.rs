//! Errors as text: the whole chain of causes on one line.
//!
//! Every layer adds what it knows once, and no error repeats its cause in its
//! own text, so that the chain reads as one sentence.

use std::error::Error;

/// `error` and everything that caused it, outermost first.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::ComponentError;
    use crate::config::ConfigError;
    use crate::gateway::{ApplyError, ApplyProblem, StartError};
    use crate::launch::LaunchError;
    use crate::store::StoreError;
    use crate::upstream::TargetError;
    use backstop::{ActivationError, ActivationErrorKind};
    use std::io;

    /// What the innermost cause says in each error below.
    const SAID: &str = "the disk said so";

    fn said() -> io::Error {
        io::Error::other(SAID)
    }

    fn problems() -> Vec<ApplyProblem> {
        let component = ComponentError::Read {
            path: "/a".into(),
            source: said(),
        };
        let activation = ActivationError {
            policy: "p".to_owned(),
            serving: None,
            kind: ActivationErrorKind::Empty,
        };
        vec![
            ApplyProblem::Component {
                policy: "p".into(),
                source: component,
            },
            ApplyProblem::Activation(activation),
            ApplyProblem::Target {
                model: "m".into(),
                release: "r".into(),
                source: TargetError::Certificates(said()),
            },
        ]
    }

    #[test]
    fn every_cause_is_told_once() {
        let config = || ConfigError::Read {
            path: "/c".into(),
            source: said(),
        };
        let directory = || StoreError::Directory {
            path: "/d".into(),
            source: said(),
        };
        let database = StoreError::Database {
            doing: "write",
            path: "/d".into(),
            source: Box::new(said()),
        };
        let cache = backstop::StartError::Cache {
            path: "/k".to_owned(),
            source: said(),
        };
        let errors: Vec<Box<dyn Error>> = vec![
            Box::new(config()),
            Box::new(LaunchError::Config(config())),
            Box::new(directory()),
            Box::new(database),
            Box::new(LaunchError::Store(directory())),
            Box::new(LaunchError::Start(StartError::Host(cache))),
        ];
        let problems = problems().into_iter().map(|problem| Box::new(problem) as _);
        for error in errors.into_iter().chain(problems) {
            let text = chain(&*error);
            let innermost = if text.contains(SAID) {
                SAID
            } else {
                "the file is empty"
            };
            assert_eq!(text.matches(innermost).count(), 1, "{text}");
        }
        let whole = ApplyError::from(self::problems());
        let text = chain(&LaunchError::Start(StartError::Apply(whole)));
        assert_eq!(
            text.matches(SAID).count(),
            2,
            "once for each problem: {text}"
        );
        assert_eq!(text.matches("the file is empty").count(), 1, "{text}");
    }
}
