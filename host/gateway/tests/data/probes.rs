//! Probes of the admin plane, with a store that may break.

use crate::faulty::{Fault, Faulty};
use crate::kit::{Model, Running, Says, admin};
use backstop_gateway::admin::STORE_CHECK_HOLDS;
use http::{Request, StatusCode};
use serde_json::json;
use std::sync::Arc;
use tower::ServiceExt;

#[tokio::test]
async fn a_hundred_probes_are_no_hundred_writes_and_still_tell_that_the_store_broke() {
    let model = Model::start(Says::Json(json!({}))).await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let store = Faulty::open(dir.path());
    let text = format!(
        r#"
        [providers.a]
        kind = "json"
        base_url = "http://{}"
        [models.m]
        provider = "a"
        [routes.score]
        kind = "json"
        models = ["m"]
        "#,
        model.addr
    );
    let gateway = Running::start_on(store.clone(), &text, dir).await;
    let router = admin(&gateway).await;
    let probe = async || {
        let request = Request::get("http://127.0.0.1/readyz");
        let request = request.body(axum::body::Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    let before = store.asked();
    for _ in 0..100 {
        assert_eq!(probe().await, StatusCode::OK);
    }
    assert_eq!(store.asked() - before, 1);

    store.writes(Fault::Fails);
    tokio::time::sleep(STORE_CHECK_HOLDS).await;
    assert_eq!(probe().await, StatusCode::SERVICE_UNAVAILABLE);
    store.writes(Fault::None);
    tokio::time::sleep(STORE_CHECK_HOLDS).await;
    assert_eq!(probe().await, StatusCode::OK);
    assert_eq!(store.asked() - before, 3);
}
