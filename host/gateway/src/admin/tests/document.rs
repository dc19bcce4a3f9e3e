//! The document that describes the admin plane: every route is in it, and replies
//! have the members that it names.

use super::*;
use std::collections::BTreeSet;

#[tokio::test]
async fn the_document_has_every_route_and_every_path_of_it_is_there() {
    let kit = kit().await;
    let (status, document) = kit.get("/admin/v1/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    // The table at the top of `admin` is for people, and tells the same.
    let table: BTreeSet<_> = [
        "GET /",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
        "GET /admin/v1/policies",
        "GET /admin/v1/policies/{name}",
        "GET /admin/v1/policies/{name}/history",
        "POST /admin/v1/policies/{name}/activate",
        "POST /admin/v1/policies/{name}/rollback",
        "GET /admin/v1/decisions",
        "GET /admin/v1/decisions/{id}",
        "GET /admin/v1/requests",
        "GET /admin/v1/requests/{id}",
        "GET /admin/v1/models",
        "POST /admin/v1/models/{model}/health",
        "POST /admin/v1/models/{model}/releases/{release}/breaker",
        "GET /admin/v1/rollouts",
        "POST /admin/v1/rollouts/{model}/{command}",
        "GET /admin/v1/reviews",
        "GET /admin/v1/reviews/{id}",
        "POST /admin/v1/reviews/{id}/resolve",
        "GET /admin/v1/outbox",
        "GET /admin/v1/outbox/{id}",
        "POST /admin/v1/outbox/{id}/retry",
        "GET /admin/v1/evidence",
        "GET /admin/v1/evidence/read",
        "GET /admin/v1/objectives",
        "GET /admin/v1/objectives/{name}",
        "GET /admin/v1/answers",
        "GET /admin/v1/baselines",
        "GET /admin/v1/baselines/{name}",
        "POST /admin/v1/baselines/{name}",
        "POST /admin/v1/baselines/{name}/use",
        "POST /admin/v1/baselines/{name}/remove",
        "GET /admin/v1/incidents",
        "POST /admin/v1/incidents/{id}/close",
        "GET /admin/v1/config",
        "POST /admin/v1/reload",
        "GET /admin/v1/openapi.json",
    ]
    .map(str::to_owned)
    .into();
    let mut listed = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            let filled = path
                .replace("{name}", "n")
                .replace("{id}", "1")
                .replace("{model}", "m")
                .replace("{release}", "r1")
                .replace("{command}", "pause");
            let asked = request(&method, &filled).body(Body::empty()).unwrap();
            let (status, _, body) = kit.send(asked).await;
            let body = String::from_utf8_lossy(&body).into_owned();
            let is_there = !body.contains("no path") && status != StatusCode::METHOD_NOT_ALLOWED;
            assert!(is_there, "{method} {path}: {status} {body}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            listed.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(listed, table);
    // Every shape that is named is in it.
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1) {
        let name = name.split('"').next().unwrap();
        let shape = &document["components"]["schemas"][name];
        assert!(shape.is_object(), "no shape `{name}`");
    }
}

#[tokio::test]
async fn replies_have_the_members_that_the_document_requires() {
    let kit = kit().await;
    kit.activate().await;
    kit.review().await;
    kit.decide("r").await;
    let (_, document) = kit.get("/admin/v1/openapi.json").await;
    for path in [
        "policies",
        "decisions",
        "models",
        "rollouts",
        "reviews",
        "config",
    ] {
        let path = format!("/admin/v1/{path}");
        let (status, reply) = kit.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let said = &document["paths"][&path]["get"]["responses"]["200"];
        let schema = &said["content"]["application/json"]["schema"];
        fits(&document, schema, &reply, &path);
        assert!(
            path.ends_with("config") || reply["data"][0].is_object(),
            "{path}"
        );
    }
}

/// Checks that `value` has all members that `schema` requires, and no others
/// than those that it names.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return fits(
            document,
            &document["components"]["schemas"][name],
            value,
            at,
        );
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let required = required.as_str().unwrap();
        assert!(
            value.get(required).is_some(),
            "{at} has no `{required}`: {value}"
        );
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object())
    {
        for (name, member) in members {
            let property = properties.get(name);
            let property = property.unwrap_or_else(|| panic!("{at}.{name} is not described"));
            fits(document, property, member, &format!("{at}.{name}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item, &format!("{at}[]"));
    }
}
