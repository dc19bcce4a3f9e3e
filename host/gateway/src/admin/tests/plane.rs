//! The token, readiness, metrics, lists and commands, one by one.

use super::*;

#[tokio::test]
async fn the_token_opens_everything_and_nothing_else_does() {
    let kit = kit().await;
    let paths = ["/admin/v1/policies", "/metrics", "/admin/v1/nothing"];
    for path in paths {
        for given in [
            "",
            "Bearer wrong",
            "Basic correct horse",
            "Bearer correct hors",
        ] {
            let request = Request::get(path)
                .header("host", "127.0.0.1:8081")
                .header("authorization", given);
            let (status, headers, body) = kit.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} with {given:?}");
            assert_eq!(headers["www-authenticate"], "Bearer");
            assert!(!String::from_utf8_lossy(&body).contains(TOKEN));
        }
    }
    assert_eq!(kit.get(paths[0]).await.0, StatusCode::OK);
    assert_eq!(kit.get(paths[2]).await.0, StatusCode::NOT_FOUND);
    for open in ["/", "/livez"] {
        let request = Request::get(open).body(Body::empty()).unwrap();
        assert_eq!(kit.send(request).await.0, StatusCode::OK, "{open}");
    }
}

#[tokio::test]
async fn without_a_token_other_web_pages_get_nothing() {
    let kit = kit_with(None).await;
    let get = |host: &str, origin: Option<&str>| {
        let mut request = Request::get("/admin/v1/policies").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        kit.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(get("localhost:8081", None).await.0, StatusCode::OK);
    let same = Some("http://localhost:8081");
    assert_eq!(get("localhost:8081", same).await.0, StatusCode::OK);
    let rebound = get("rebound.example:8081", None).await;
    assert_eq!(rebound.0, StatusCode::FORBIDDEN);
    let foreign = get("localhost:8081", Some("https://evil.example")).await;
    assert_eq!(foreign.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn readiness_lists_what_is_missing() {
    let kit = kit().await;
    let (status, body) = kit.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let checks = body["checks"].as_array().unwrap();
    let listeners = checks.iter().find(|c| c["name"] == "listeners").unwrap();
    assert_eq!(listeners["ok"], false);
    assert_eq!(listeners["detail"], "the data plane is not bound");

    *kit.control.ready.lock() = true;
    let (status, body) = kit.get("/readyz").await;
    assert_eq!((status, &body["ready"]), (StatusCode::OK, &json!(true)));
    // A probe has no token and is told no details.
    let probe = Request::get("/readyz").body(Body::empty()).unwrap();
    let (status, body) = kit.json(probe).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body["checks"][0].get("detail").is_none(), "{body}");
}

#[tokio::test]
async fn a_store_that_is_gone_makes_the_gateway_unready() {
    let kit = kit().await;
    *kit.control.ready.lock() = true;
    std::fs::remove_dir_all(kit._dir.path()).unwrap();
    let (status, body) = kit.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let failed: Vec<_> = body["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["ok"] == false)
        .collect();
    assert_eq!(
        (failed.len(), &failed[0]["name"]),
        (1, &json!("store")),
        "{body}"
    );
}

#[tokio::test]
async fn metrics_are_open_metrics_text_with_every_family() {
    let kit = kit().await;
    kit.activate().await;
    kit.review().await;
    let scrape = request("GET", "/metrics").body(Body::empty()).unwrap();
    let (status, headers, body) = kit.send(scrape).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "backstop_breaker_state{model=\"m\",release=\"r2\"} 2",
        "backstop_rollout_share{model=\"m\"} 25.0",
        "backstop_policy_revision{policy=\"p\"} 1",
        "backstop_reviews_pending{route=\"fraud\"} 1",
        "backstop_incidents_open{severity=\"critical\"} 0",
        "backstop_config_synchronized 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn decisions_are_listed_filtered_and_shown_whole() {
    let kit = kit().await;
    kit.activate().await;
    let first = kit.decide("chat").await;
    let second = kit.decide("fraud").await;
    let (_, list) = kit.get("/admin/v1/decisions").await;
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["id"])
        .collect();
    assert_eq!(ids, [&json!(second), &json!(first)]);
    assert_eq!(list["data"][0]["decided_by"], "policy", "{list}");

    for (filter, count) in [
        ("route=chat", 1),
        ("route=none", 0),
        ("policy=p&limit=1", 1),
        ("policy=q", 0),
        ("point=threshold", 0),
        ("limit=0", 1),
        ("limit=4000000000", 2),
    ] {
        let (_, list) = kit.get(&format!("/admin/v1/decisions?{filter}")).await;
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{filter}");
    }
    let (status, _) = kit.get("/admin/v1/decisions?lmit=1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let (_, record) = kit.get(&format!("/admin/v1/decisions/{first}")).await;
    let record: backstop::DecisionRecord = serde_json::from_value(record).unwrap();
    assert_eq!(record.id, first);
    let (status, _) = kit.get("/admin/v1/decisions/0000000000000000").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = kit.get("/admin/v1/decisions/xyz").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_review_is_resolved_once_and_its_label_counts_once() {
    let kit = kit().await;
    let review = kit.review().await;
    let (_, list) = kit
        .get("/admin/v1/reviews?status=pending&route=fraud")
        .await;
    assert_eq!(list["data"][0]["id"], review.id);
    assert!(
        list["data"][0].get("request").is_none(),
        "bodies only one by one"
    );
    let path = format!("/admin/v1/reviews/{}", review.id);
    let (_, one) = kit.get(&path).await;
    assert_eq!(one["request"], json!({"amount": 1}));
    assert_eq!(one["answer"], "<script>");

    let resolve = format!("{path}/resolve");
    let (status, body) = kit.post(&resolve, json!({"outcome": "corrected"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let label = json!({"outcome": "corrected", "label": "fraud", "by": "ann"});
    for _ in 0..2 {
        let (status, body) = kit.post(&resolve, label.clone()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["status"], "resolved");
        assert_eq!(body["resolution"]["label"], "fraud");
    }
    let (status, body) = kit.post(&resolve, json!({"outcome": "agree"})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["error"]["code"], "already_resolved");
    assert_eq!(body["error"]["review"]["resolution"]["by"], "ann");
    assert_eq!(*kit.control.labelled.lock(), [review.id]);

    let agree = json!({"outcome": "agree"});
    let (status, _) = kit.post("/admin/v1/reviews/rev-0/resolve", agree).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let huge = json!({"outcome": "agree", "note": "x".repeat(2 << 20)});
    let (status, body) = kit.post(&resolve, huge).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
}

#[tokio::test]
async fn incidents_are_listed_and_closed() {
    let kit = kit().await;
    let report = IncidentReport {
        policy: "p".into(),
        key: "k".into(),
        severity: Severity::Error,
        title: "errors rise".into(),
        detail: String::new(),
    };
    assert_eq!(kit.incidents.raise(report), Ok(true));
    let mut listed = Value::Null;
    for _ in 0..500 {
        listed = kit.get("/admin/v1/incidents?state=open").await.1;
        if listed["data"][0]["id"].is_u64() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(listed["data"][0]["severity"], "error", "{listed}");
    let path = format!("/admin/v1/incidents/{}/close", listed["data"][0]["id"]);
    let (status, closed) = kit.post(&path, json!({"by": "ann"})).await;
    assert_eq!(status, StatusCode::OK, "{closed}");
    assert_eq!(
        (&closed["state"], &closed["closed_by"]),
        (&json!("closed"), &json!("ann"))
    );
    let (status, _) = kit.post("/admin/v1/incidents/77/close", json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn rollouts_take_commands() {
    let kit = kit().await;
    let (_, models) = kit.get("/admin/v1/models").await;
    assert_eq!(models["data"][0]["releases"][1]["breaker"]["state"], "open");
    let (_, rollouts) = kit.get("/admin/v1/rollouts").await;
    assert_eq!(rollouts["data"][0]["phase"], "running");

    let path = "/admin/v1/rollouts/m/abort";
    let (status, body) = kit.post(path, json!({"by": "ann"})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let sent = kit.control.commands.lock().clone();
    assert_eq!(
        sent,
        [("m".into(), RolloutCommand::Abort, Some("ann".into()))]
    );
    for wrong in ["m/explode", "x/pause"] {
        let path = format!("/admin/v1/rollouts/{wrong}");
        let (status, body) = kit.post(&path, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    }
}

#[tokio::test]
async fn a_refused_reload_is_told_with_every_mistake() {
    let kit = kit().await;
    let path = "/admin/v1/reload";
    let (status, body) = kit.post(path, json!(null)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let mistakes = json!(["line 7: unknown key `modle`"]);
    assert_eq!(body["error"]["mistakes"], mistakes);
    let (_, config) = kit.get("/admin/v1/config").await;
    assert_eq!(config["synchronized"], false);
    assert_eq!(config["mistakes"], mistakes);
    assert_eq!(config["applied"]["digest"], "0", "the last good one");
    let (status, body) = kit.post(path, json!(null)).await;
    assert_eq!(
        (status, &body["synchronized"]),
        (StatusCode::OK, &json!(true))
    );
}

#[tokio::test]
async fn errors_are_json_whatever_was_wrong() {
    let kit = kit().await;
    let (status, body) = kit.get("/admin/v1/nothing").await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("not_found"))
    );
    let (status, body) = kit.post("/admin/v1/policies", json!({})).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(body["error"]["code"], "method_not_allowed");
}

#[tokio::test]
async fn the_dashboard_brings_everything_itself() {
    let kit = kit().await;
    let get = || kit.send(Request::get("/").body(Body::empty()).unwrap());
    let (_, headers, body) = get().await;
    let page = String::from_utf8(body.to_vec()).unwrap();
    for foreign in [
        "src=",
        "href=",
        "@import",
        "url(",
        "innerHTML =",
        "NONCE_OF",
    ] {
        assert!(!page.contains(foreign), "the page contains `{foreign}`");
    }
    let policy = headers["content-security-policy"].to_str().unwrap();
    let nonce = policy
        .split("'nonce-")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert_ne!(
        get().await.1["content-security-policy"],
        headers["content-security-policy"]
    );
}
