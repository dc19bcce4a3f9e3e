//! Policies: activated, refused, checked, taken back.

use super::*;

#[tokio::test]
async fn a_policy_is_activated_changed_and_taken_back() {
    let kit = kit().await;
    kit.activate().await;
    let (_, list) = kit.get("/admin/v1/policies").await;
    assert_eq!(list["data"][0]["serving"]["number"], 1);
    assert_eq!(
        list["data"][0]["serving"]["options"]["grants"]["metrics"][0],
        "*"
    );

    // An upload keeps the grants that serve, and changes what it names.
    let component = backstop_policies::component(POLICY).unwrap().to_vec();
    let options = "%7B%22limits%22:%7B%22fuel%22:9000000%7D%7D";
    let path = format!("/admin/v1/policies/p/activate?options={options}");
    let (status, reply) = kit.upload(&path, component).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    assert_eq!(reply["revision"]["number"], 2);
    assert_eq!(reply["revision"]["options"]["limits"]["fuel"], 9_000_000);
    assert_eq!(reply["revision"]["options"]["grants"]["metrics"][0], "*");

    let path = "/admin/v1/policies/p/rollback";
    let empty = request("POST", path).body(Body::empty()).unwrap();
    let (status, reply) = kit.json(empty).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    assert_eq!(reply["revision"]["number"], 1);
    let (status, reply) = kit.post(path, json!({"to": 9})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{reply}");
    let (status, _) = kit.post("/admin/v1/policies/q/rollback", json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let (_, history) = kit.get("/admin/v1/policies/p/history").await;
    let sources: Vec<_> = history["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["source"].as_str().unwrap(), a["by"].as_str().unwrap()))
        .collect();
    assert_eq!(
        sources,
        [
            ("roll-back", "admin"),
            ("upload", "admin"),
            ("builtin:layered-fallback", "ann")
        ]
    );
    let (_, one) = kit.get("/admin/v1/policies/p").await;
    assert_eq!(one["serving"]["number"], 1);
    let (status, _) = kit.get("/admin/v1/policies/q/history").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_bad_activation_says_where_it_failed_and_who_still_serves() {
    let kit = kit().await;
    kit.activate().await;
    let path = "/admin/v1/policies/p/activate";
    let (status, body) = kit.upload(path, b"not wasm at all".to_vec()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let error = &body["error"];
    assert_eq!(error["code"], "activation_failed");
    assert_eq!(error["stage"], "load");
    assert_eq!(error["serving"], 1);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("revision 1 still serves"), "{message}");

    let no_grants = json!({"builtin": POLICY, "grants": {}});
    let (status, body) = kit.post(path, no_grants).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert_eq!(body["error"]["stage"], "grants");

    let settings = json!({"builtin": POLICY, "settings": {"no-such-setting": 1}});
    let (status, body) = kit.post(path, settings).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(body["error"]["stage"], "configure", "{body}");
    assert!(!body["error"]["problems"].as_array().unwrap().is_empty());

    for (wrong, status) in [
        (json!({"builtin": "none"}), StatusCode::NOT_FOUND),
        (json!({}), StatusCode::BAD_REQUEST),
        (
            json!({"builtin": POLICY, "path": "x"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"builtin": POLICY, "gants": {}}),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let (got, body) = kit.post(path, wrong).await;
        assert_eq!(got, status, "{body}");
    }
    let (status, body) = kit.upload(path, vec![0; (4 << 20) + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    let text = request("POST", path).header("content-type", "text/plain");
    let (status, _) = kit.json(text.body(Body::from("x")).unwrap()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (status, body) = kit
        .post(
            "/admin/v1/policies/No%20Name/activate",
            json!({"builtin": POLICY}),
        )
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");

    let (_, one) = kit.get("/admin/v1/policies/p").await;
    assert_eq!(one["serving"]["number"], 1);
    assert!(one["last_activation_error"].is_string());
}

#[tokio::test]
async fn a_component_that_lacks_a_point_in_use_is_refused_and_the_last_revision_serves() {
    let kit = kit().await;
    kit.activate().await;
    *kit.control.points.lock() = vec![DecisionPoint::Fallback];
    let judge = json!({"builtin": "confidence-threshold", "grants": {"metrics": ["*"]}});
    for check in [true, false] {
        let mut body = judge.clone();
        body["check"] = check.into();
        let (status, body) = kit.post("/admin/v1/policies/p/activate", body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{body}");
        assert_eq!(body["error"]["stage"], "points", "{body}");
        let message = body["error"]["message"].as_str().unwrap();
        for part in ["`p`", "`fallback`", "`threshold`", "still serves"] {
            assert!(message.contains(part), "`{message}` does not say `{part}`");
        }
    }
    let (_, one) = kit.get("/admin/v1/policies/p").await;
    assert_eq!(one["serving"]["number"], 1);
    kit.decide("chat").await;

    // Neither is it gone back to, once another is asked elsewhere.
    *kit.control.points.lock() = vec![DecisionPoint::Threshold];
    let (status, body) = kit.post("/admin/v1/policies/p/activate", judge).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let path = "/admin/v1/policies/p/rollback";
    let (status, body) = kit.post(path, json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert_eq!(body["error"]["code"], "missing_point", "{body}");
    let (_, one) = kit.get("/admin/v1/policies/p").await;
    assert_eq!(one["serving"]["number"], 2);
}

#[tokio::test]
async fn a_check_goes_through_every_step_but_the_swap() {
    let kit = kit().await;
    let body = json!({"builtin": POLICY, "grants": {"metrics": ["*"]}, "check": true});
    let (status, reply) = kit.post("/admin/v1/policies/p/activate", body).await;
    assert_eq!(status, StatusCode::OK, "{reply}");
    assert_eq!(reply["checked"], true);
    let (_, list) = kit.get("/admin/v1/policies").await;
    assert_eq!(list["data"], json!([]));
}
