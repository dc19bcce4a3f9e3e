//! Errors of the admin API: `{"error": {"message", "code", …}}` with a status.

use super::control::ControlError;
use crate::chain::chain;
use crate::store::StoreError;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use backstop::{ActivationError, ActivationErrorKind, RollBackError};
use http::StatusCode;
use serde_json::{Map, Value, json};

/// An error as the API shows it. The admin plane is the operator's: it gets
/// the whole chain of causes.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Further members of the error object.
    more: Map<String, Value>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            status,
            code,
            message: message.into(),
            more: Map::new(),
        }
    }

    pub(super) fn not_found(what: &str, name: &str) -> Self {
        let name = backstop_core::text::sanitize(name.to_owned(), 128);
        ApiError::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("no {what} `{name}`"),
        )
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(
                status = self.status.as_u16(),
                code = self.code,
                message = self.message,
                "admin request failed"
            );
        }
        let mut error = self.more;
        error.insert("message".into(), self.message.into());
        error.insert("code".into(), self.code.into());
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Full { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue_full"),
            StoreError::IncidentsFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "incidents_full"),
            StoreError::BaselinesFull(_) => (StatusCode::TOO_MANY_REQUESTS, "baselines_full"),
            StoreError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            StoreError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            StoreError::AlreadyResolved(_) => (StatusCode::CONFLICT, "already_resolved"),
            StoreError::Busy(_) | StoreError::Locked(_) | StoreError::Closed => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable")
            }
            StoreError::DiskFull(_) => (StatusCode::INSUFFICIENT_STORAGE, "store_full"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "store_failed"),
        };
        let api = ApiError::new(status, code, chain(&error));
        match error {
            StoreError::AlreadyResolved(review) => {
                api.with("review", super::reviews::show(&review))
            }
            _ => api,
        }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let (status, code) = match &error {
            ControlError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            ControlError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            ControlError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            ControlError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        ApiError::new(status, code, error.to_string())
    }
}

impl From<RollBackError> for ApiError {
    fn from(error: RollBackError) -> Self {
        let (status, code) = match &error {
            RollBackError::UnknownPolicy(_) => (StatusCode::NOT_FOUND, "not_found"),
            RollBackError::NoPrevious(_) | RollBackError::NotReady { .. } => {
                (StatusCode::CONFLICT, "not_ready")
            }
            RollBackError::MissingPoint { .. } => (StatusCode::CONFLICT, "missing_point"),
        };
        ApiError::new(status, code, error.to_string())
    }
}

impl From<ActivationError> for ApiError {
    fn from(error: ActivationError) -> Self {
        let (stage, status) = stage(&error.kind);
        let mut message = chain(&error);
        match error.serving {
            Some(number) => message.push_str(&format!("; revision {number} still serves")),
            None => message.push_str("; no revision of it serves"),
        }
        let mut api = ApiError::new(status, "activation_failed", message)
            .with("policy", error.policy)
            .with("stage", stage)
            .with("serving", error.serving);
        if let ActivationErrorKind::Settings { problems } = &error.kind {
            api = api.with("problems", json!(problems));
        }
        api
    }
}

/// The step of the activation that an error belongs to, and its status: what
/// is wrong with the component is the sender's fault.
fn stage(kind: &ActivationErrorKind) -> (&'static str, StatusCode) {
    use ActivationErrorKind as Kind;
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    match kind {
        Kind::Name(_) | Kind::Option { .. } => ("options", StatusCode::BAD_REQUEST),
        Kind::TooLarge { .. } => ("load", StatusCode::PAYLOAD_TOO_LARGE),
        Kind::Empty | Kind::CoreModule | Kind::NotWasm(_) => ("load", unprocessable),
        Kind::TooComplex { .. } => ("load", unprocessable),
        Kind::Invalid(_) | Kind::TooSlow { .. } => ("compile", unprocessable),
        Kind::Busy(_) => ("compile", StatusCode::SERVICE_UNAVAILABLE),
        Kind::ContractVersion { .. } | Kind::World { .. } | Kind::UnknownImport { .. } => {
            ("inspect", unprocessable)
        }
        Kind::MissingPoint { .. } => ("points", StatusCode::CONFLICT),
        Kind::NotGranted { .. } => ("grants", unprocessable),
        Kind::Link(_) => ("link", unprocessable),
        Kind::Guest { step, .. } => (step, unprocessable),
        Kind::Description(_) => ("describe", unprocessable),
        Kind::Schema(_) | Kind::Settings { .. } => ("configure", unprocessable),
        Kind::Snapshot(_) => ("configure", StatusCode::INTERNAL_SERVER_ERROR),
        Kind::Cancelled => ("load", StatusCode::SERVICE_UNAVAILABLE),
        _ => ("activate", unprocessable),
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        ApiError::new(rejection.status(), "invalid_request", rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        ApiError::new(rejection.status(), "invalid_request", rejection.body_text())
    }
}
