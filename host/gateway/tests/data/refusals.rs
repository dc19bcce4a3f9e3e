//! Credentials that a provider refuses become the operator's incident.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, until};
use backstop::Severity;
use backstop_gateway::store::{Incident, IncidentState};

async fn incidents(gateway: &Running, state: IncidentState) -> Vec<Incident> {
    gateway.store.incidents(Some(state), 10).await.unwrap()
}

#[tokio::test]
async fn refused_credentials_are_one_incident_until_they_are_accepted() {
    let primary = Model::start(Says::Status(401, None)).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let key = "sk-verysecret";
    let text = two(primary.addr, backup.addr, "").replacen(
        "kind = \"openai\"",
        &format!("kind = \"openai\"\napi_key = \"{key}\""),
        1,
    );
    let gateway = Running::start(&text).await;
    for _ in 0..3 {
        assert_eq!(gateway.chat("chat").await.says(), "from backup");
    }
    until("an incident", async || {
        !incidents(&gateway, IncidentState::Open).await.is_empty()
    })
    .await;
    let open = incidents(&gateway, IncidentState::Open).await;
    let [incident] = &open[..] else {
        panic!("{open:?}");
    };
    assert_eq!(incident.report.key, "auth:primary/default");
    assert_eq!(incident.report.severity, Severity::Error);
    assert_eq!(incident.count, 1);
    let told = format!("{incident:?}");
    assert!(told.contains("401") && !told.contains(key), "{told}");

    // Other failures leave it open, also over a restart with another key.
    primary.say(Says::Status(500, None));
    let (dir, _) = gateway.stop().await;
    let text = text.replace(key, "sk-another");
    let gateway = Running::start_in(&text, dir).await;
    gateway.chat("chat").await;
    assert_eq!(incidents(&gateway, IncidentState::Open).await.len(), 1);

    primary.say(Says::Text("from primary"));
    assert_eq!(gateway.chat("chat").await.says(), "from primary");
    until("the incident is closed", async || {
        incidents(&gateway, IncidentState::Open).await.is_empty()
    })
    .await;
    let closed = incidents(&gateway, IncidentState::Closed).await;
    assert_eq!(closed[0].closed_by.as_deref(), Some("gateway"));
}
