//! `GET /v1/models`: the chat routes, as OpenAI's clients list models.

use super::respond;
use super::{Served, unknown_route};
use crate::config::RouteKind;
use crate::http::body::Body;
use crate::openai::Api;
use crate::plant::{Plant, Route};
use http::{Response, StatusCode};
use serde::Serialize;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn of(plant: &Plant, route: &'a Route) -> Self {
        Model {
            id: route.name(),
            object: "model",
            created: plant.built_ms() / 1_000,
            owned_by: "backstop",
        }
    }
}

/// All routes that speak OpenAI's API, by name.
pub(super) fn list(plant: &Plant) -> Response<Body> {
    let data = plant
        .routes()
        .filter(|route| route.kind().api().is_some())
        .map(|route| Model::of(plant, route))
        .collect();
    respond::json(
        StatusCode::OK,
        &List {
            object: "list",
            data,
        },
    )
}

/// One of these routes.
///
/// # Errors
///
/// An answer that offers near names.
pub(super) fn one(plant: &Plant, name: &str) -> Served {
    match plant.route(name).filter(|r| r.kind().api().is_some()) {
        Some(route) => Ok(respond::json(StatusCode::OK, &Model::of(plant, route))),
        None => Err(unknown_route(plant, name, RouteKind::OpenAi(Api::Chat)).into()),
    }
}
